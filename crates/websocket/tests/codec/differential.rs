//! The same streams through tungstenite: both accept the same messages, or both refuse.
//!
//! Where the two differ by intention, [`agree`] says so.

use std::io::{self, Read, Write};

use agentbench_websocket::{DecodeError, Role};
use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket, protocol};

use crate::properties::{Sent, role, sent, stream};
use crate::support::{Outcome, OwnedMessage, Receiver};

const MAX: usize = 100_000;

/// A socket whose peer has sent all it ever will, and reads all we send.
struct Wire {
    incoming: io::Cursor<Vec<u8>>,
    outgoing: Vec<u8>,
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.incoming.read(into)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            size => Ok(size),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn socket(role: Role, incoming: Vec<u8>) -> WebSocket<Wire> {
    let role = match role {
        Role::Server => protocol::Role::Server,
        Role::Client => protocol::Role::Client,
    };
    let config = WebSocketConfig::default().max_message_size(Some(MAX)).max_frame_size(Some(MAX));
    let wire = Wire { incoming: io::Cursor::new(incoming), outgoing: Vec::new() };
    WebSocket::from_raw_socket(wire, role, Some(config))
}

fn owned(message: Message) -> OwnedMessage {
    match message {
        Message::Text(text) => OwnedMessage::Text(text.as_str().to_owned()),
        Message::Binary(bytes) => OwnedMessage::Binary(bytes.to_vec()),
        Message::Ping(bytes) => OwnedMessage::Ping(bytes.to_vec()),
        Message::Pong(bytes) => OwnedMessage::Pong(bytes.to_vec()),
        Message::Close(close) => {
            OwnedMessage::Close(close.map(|close| (close.code.into(), close.reason.as_str().to_owned())))
        }
        Message::Frame(_) => unreachable!("frames are not read"),
    }
}

/// Messages up to the close, and whether the stream was refused.
fn theirs(role: Role, stream: &[u8]) -> (Vec<OwnedMessage>, bool) {
    let mut socket = socket(role, stream.to_vec());
    let mut messages = Vec::new();
    loop {
        match socket.read() {
            Ok(message) => messages.push(owned(message)),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return (messages, false),
            Err(Error::ConnectionClosed) => return (messages, false),
            // What follows a close is an error there, and ignored here.
            Err(_) => return (messages.clone(), !matches!(messages.last(), Some(OwnedMessage::Close(_)))),
        }
        if matches!(messages.last(), Some(OwnedMessage::Close(_))) {
            return (messages, false);
        }
    }
}

fn agree(role: Role, stream: &[u8]) -> Result<(), TestCaseError> {
    let Outcome { messages: ours, error } = Receiver::new(role, MAX, None).outcome(stream, &[]);
    let (mut theirs, refused) = theirs(role, stream);
    match error {
        // It takes lengths that are not minimal, and goes on from there.
        Some(DecodeError::LengthNotMinimal) => {
            prop_assert!(theirs.starts_with(&ours));
            return Ok(());
        }
        Some(_) if refused => {}
        // It passes such a close on as a violation of the protocol.
        Some(DecodeError::CloseCode(_)) => {
            let close = theirs.pop();
            prop_assert!(matches!(close, Some(OwnedMessage::Close(Some((1002, _))))), "{:?}", close);
        }
        // It checks a frame when there is all of it; we check what there is. Both have delivered the same
        // until then.
        Some(error) => prop_assert_ne!(error, DecodeError::CloseTooShort, "only we refuse a whole frame"),
        None => {
            prop_assert!(!refused, "only they refuse");
            // It does not know the newer code 1014.
            if let Some(OwnedMessage::Close(Some((1014, _)))) = ours.last() {
                theirs.pop();
                theirs.push(ours[ours.len() - 1].clone());
            }
        }
    }
    prop_assert_eq!(ours, theirs);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn on_sound_streams(role in role(), script in vec(sent(false), 0..5)) {
        let (wire, _) = stream(role, None, &script);
        agree(role, &wire)?;
    }

    #[test]
    fn on_damaged_streams(
        role in role(),
        script in vec(sent(false), 1..5),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        let (wire, _) = stream(role, None, &script);
        let mut wire = wire.to_vec();
        for (index, byte) in damage {
            let at = index.index(wire.len());
            wire[at] = byte;
        }
        if let Some(cut) = cut {
            wire.truncate(cut.index(wire.len()));
        }
        agree(role, &wire)?;
    }

    /// Heads are where damage hurts: short frames with any first two bytes.
    #[test]
    fn on_any_heads(
        role in role(),
        frames in vec((any::<u8>(), 0..140_u8, vec(any::<u8>(), 0..20)), 1..6),
    ) {
        let masked = if role == Role::Server { 0x80 } else { 0 };
        let frame = |(first, len, rest): &(u8, u8, Vec<u8>)| [&[*first, masked ^ len], &rest[..]].concat();
        let wire: Vec<u8> = frames.iter().flat_map(frame).collect();
        agree(role, &wire)?;
    }

    #[test]
    fn on_closes(role in role(), payload in vec(any::<u8>(), 0..8), code in 990..5010_u16) {
        agree(role, &crate::support::frame_to(role, 0x88, &payload))?;
        let payload = [&code.to_be_bytes()[..], b"reason"].concat();
        agree(role, &crate::support::frame_to(role, 0x88, &payload))?;
    }

    #[test]
    fn what_they_send_we_read(
        role in role(),
        script in vec(sent(false), 0..5),
        sizes in vec(1..500_usize, 0..9),
    ) {
        let sender = if role == Role::Server { Role::Client } else { Role::Server };
        let mut socket = socket(sender, Vec::new());
        let mut expected = Vec::new();
        for Sent { message, between, .. } in &script {
            for message in between.iter().chain([message]) {
                let theirs = match message.clone() {
                    OwnedMessage::Text(text) => Message::text(text),
                    OwnedMessage::Binary(bytes) => Message::binary(bytes),
                    OwnedMessage::Ping(bytes) => Message::Ping(bytes.into()),
                    OwnedMessage::Pong(bytes) => Message::Pong(bytes.into()),
                    OwnedMessage::Close(_) => unreachable!("closes come last"),
                };
                // Sending a pong that was not asked for may wait for the next flush.
                socket.send(theirs).unwrap();
                socket.flush().unwrap();
                expected.push(message.clone());
            }
        }
        socket.close(Some(CloseFrame { code: CloseCode::Away, reason: "bye".into() })).unwrap();
        expected.push(OwnedMessage::Close(Some((1001, "bye".to_owned()))));
        let wire = BytesMut::from(socket.get_ref().outgoing.as_slice());
        let outcome = Receiver::new(role, MAX, None).outcome(&wire, &sizes);
        prop_assert_eq!(outcome, Outcome { messages: expected, error: None });
    }
}
