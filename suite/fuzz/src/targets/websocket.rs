//! The WebSocket codec: any bytes into the decoder, and any messages through the encoder and back.

use std::num::NonZeroUsize;

use agentbench_websocket::{
    DecodeError, Decoder, DeflatePolicy, Deflater, Inflater, Input, Limits, Negotiated, Opcode, Role,
    encode_close, encode_deflated, encode_fragments, encode_frame, negotiate,
};
use bytes::BytesMut;

use super::Seed;

const MAX_MESSAGE: usize = 4096;
/// Most bytes of a control frame (RFC 6455 §5.5).
const MAX_CONTROL: usize = 125;

/// Any bytes, cut in any way, for both roles and every kind of compression.
///
/// Input: role and compression, size of the pieces, the bytes of the socket. Holds if the decoder does not panic, comes to the same
/// messages and the same end whole and in pieces, and holds no more than twice what has arrived.
pub fn websocket_decoder(input: &[u8]) {
    let Some((&[how, size], stream)) = input.split_first_chunk() else { return };
    let agreed = agreement(how >> 1);
    let whole = read(role(how), agreed.as_ref(), stream, usize::MAX);
    let pieces = read(role(how), agreed.as_ref(), stream, usize::from(size).max(1));
    assert_eq!(whole, pieces, "the same bytes whole and in pieces");
}

/// Messages of every kind, as frames of any size, through the encoder and back.
///
/// Input: role and compression, size of the pieces, then for each message: kind, size of its frames, length, its bytes. Holds if the
/// decoder gives back what the encoder was given.
pub fn websocket_round_trip(input: &[u8]) {
    let Some((&[how, size], script)) = input.split_first_chunk() else { return };
    let agreed = agreement(how >> 1);
    let (wire, sent) = encode(role(how), agreed.as_ref(), script);
    let (received, error) = read(role(how), agreed.as_ref(), &wire, usize::from(size).max(1));
    assert_eq!(error, None, "our own frames are refused");
    assert_eq!(received, sent, "what was sent is received");
}

fn role(how: u8) -> Role {
    if how & 1 == 0 { Role::Server } else { Role::Client }
}

fn agreement(how: u8) -> Option<Negotiated> {
    let alone = how & 2 == 0;
    let policy = DeflatePolicy {
        server_no_context_takeover: alone,
        client_no_context_takeover: alone,
        server_max_window_bits: 9 + how % 7,
        client_max_window_bits: 9 + how % 7,
    };
    (how & 1 == 0).then(|| negotiate("permessage-deflate; client_max_window_bits", &policy)).flatten()
}

/// The messages in words, and the refusal.
fn read(
    role: Role,
    agreed: Option<&Negotiated>,
    stream: &[u8],
    size: usize,
) -> (Vec<String>, Option<DecodeError>) {
    let mut decoder = Decoder::new(role, Limits { max_message: MAX_MESSAGE }, agreed);
    let mut inflater = Inflater::new();
    let mut messages = Vec::new();
    for piece in stream.chunks(size) {
        let mut piece = piece.to_vec();
        let mut input = Input::new(&mut piece);
        loop {
            match decoder.next(&mut input, &mut inflater) {
                Ok(Some(message)) => {
                    assert!(message.size() <= MAX_MESSAGE, "a message of {} bytes", message.size());
                    messages.push(format!("{message:?}"));
                }
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
        assert!(decoder.buffered() <= 2 * stream.len(), "{} bytes are held", decoder.buffered());
    }
    (messages, None)
}

/// The frames of a script for the receiver with this role, and their messages in words.
fn encode(role: Role, agreed: Option<&Negotiated>, mut script: &[u8]) -> (BytesMut, Vec<String>) {
    let mask = (role == Role::Server).then_some([0x12, 0, 0xff, 0x80]);
    let sender = if role == Role::Server { Role::Client } else { Role::Server };
    let (mut wire, mut sent) = (BytesMut::new(), Vec::new());
    let mut deflater = Deflater::new(1);
    let mut retaining = agreed.and_then(|agreed| agreed.retaining_deflater(sender, 1));
    while let Some((&[kind, most, length], rest)) = script.split_first_chunk() {
        let (payload, rest) = rest.split_at(usize::from(length).min(rest.len()));
        script = rest;
        // Compression makes something of repeats alone.
        let payload = payload.repeat(1 + usize::from(kind >> 4));
        let most = NonZeroUsize::new(usize::from(most)).unwrap_or(NonZeroUsize::MAX);
        let text = String::from_utf8_lossy(&payload).into_owned();
        let short = &payload[..payload.len().min(MAX_CONTROL)];
        let (opcode, data) = match kind & 7 {
            0 => (Opcode::Ping, short),
            1 => (Opcode::Pong, short),
            2 => {
                let reason = &text[..text.floor_char_boundary(MAX_CONTROL - 2)];
                encode_close(&mut wire, Some((1000, &text)), mask);
                sent.push(format!("Close(Some(CloseFrame {{ code: 1000, reason: {reason:?} }}))"));
                // Nothing is read behind a close.
                return (wire, sent);
            }
            3 | 4 => (Opcode::Binary, &payload[..]),
            _ => (Opcode::Text, text.as_bytes()),
        };
        let data = &data[..data.len().min(MAX_MESSAGE)];
        let data = if opcode == Opcode::Text { &data[..text.floor_char_boundary(data.len())] } else { data };
        sent.push(match opcode {
            Opcode::Text => format!("Text({:?})", &text[..data.len()]),
            other => format!("{other:?}({data:?})"),
        });
        match (agreed, &mut retaining) {
            _ if opcode.is_control() => encode_frame(&mut wire, opcode, false, data, mask),
            (Some(_), Some(retaining)) if kind & 8 != 0 => {
                let mut compressed = BytesMut::new();
                retaining.compress(data, &mut compressed);
                encode_fragments(&mut wire, opcode, true, &compressed, most, || mask);
            }
            (Some(agreed), None) if kind & 8 != 0 => {
                encode_deflated(
                    &mut wire,
                    opcode,
                    data,
                    &mut deflater,
                    agreed.send_window_bits(sender),
                    mask,
                );
            }
            _ => encode_fragments(&mut wire, opcode, false, data, most, || mask),
        }
    }
    (wire, sent)
}

/// Scripts of messages, for [`websocket_round_trip`].
pub(crate) fn round_trip_seeds() -> Vec<Seed> {
    let message = |kind: u8, most: u8, payload: &[u8]| [&[kind, most, payload.len() as u8], payload].concat();
    let script = [
        message(0x35, 7, "a text with ümläuts €".as_bytes()),
        message(3, 0, &[0, 255, 7, 7, 7]),
        message(0, 0, b"ping"),
        message(0xfd, 0, br#"{"eventType":"progress","percent":50}"#),
        message(0xfc, 90, br#"{"eventType":"progress","percent":50}"#),
        message(1, 0, b""),
        message(2, 0, b"over and out"),
    ]
    .concat();
    super::named((0..16).map(|how| (format!("how-{how:02}"), [&[how, 3][..], &script].concat())))
}

/// The frames of those scripts, for [`websocket_decoder`].
pub(crate) fn decoder_seeds() -> Vec<Seed> {
    super::named(round_trip_seeds().into_iter().map(|(name, script)| {
        let (wire, _) = encode(role(script[0]), agreement(script[0] >> 1).as_ref(), &script[2..]);
        (name, [&script[..2], &wire].concat())
    }))
}
