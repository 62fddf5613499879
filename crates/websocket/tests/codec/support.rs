//! Calls the codec, and builds frames by hand, so that the codec is not its own witness.

use agentbench_websocket::{
    DecodeError, Decoder, DeflatePolicy, FrameHeader, Inflater, Input, Limits, Message, Negotiated, Role,
    negotiate,
};

pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xa;
pub(crate) const FIN: u8 = 0x80;
pub(crate) const RSV1: u8 = 0x40;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A message that outlives the buffers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OwnedMessage {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

impl OwnedMessage {
    pub(crate) fn borrowed(&self) -> Message<'_> {
        match self {
            Self::Text(text) => Message::Text(text),
            Self::Binary(bytes) => Message::Binary(bytes),
            Self::Ping(bytes) => Message::Ping(bytes),
            Self::Pong(bytes) => Message::Pong(bytes),
            Self::Close(close) => Message::Close(
                close.as_ref().map(|(code, reason)| agentbench_websocket::CloseFrame { code: *code, reason }),
            ),
        }
    }
}

impl From<Message<'_>> for OwnedMessage {
    fn from(message: Message<'_>) -> Self {
        match message {
            Message::Text(text) => Self::Text(text.to_owned()),
            Message::Binary(bytes) => Self::Binary(bytes.to_owned()),
            Message::Ping(bytes) => Self::Ping(bytes.to_owned()),
            Message::Pong(bytes) => Self::Pong(bytes.to_owned()),
            Message::Close(close) => Self::Close(close.map(|close| (close.code, close.reason.to_owned()))),
        }
    }
}

pub(crate) fn text(text: &str) -> OwnedMessage {
    OwnedMessage::Text(text.to_owned())
}

/// What came out of a stream: messages, and why it ended if it was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) messages: Vec<OwnedMessage>,
    pub(crate) error: Option<DecodeError>,
}

/// A receiving side with all that it needs.
pub(crate) struct Receiver {
    pub(crate) decoder: Decoder,
    inflater: Inflater,
}

impl Receiver {
    pub(crate) fn new(role: Role, max_message: usize, deflate: Option<&Negotiated>) -> Self {
        Self { decoder: Decoder::new(role, Limits { max_message }, deflate), inflater: Inflater::new() }
    }

    /// One read of the socket. Calls `on_message` for each message.
    pub(crate) fn read(
        &mut self,
        bytes: &[u8],
        mut on_message: impl FnMut(Message<'_>),
    ) -> Result<(), DecodeError> {
        let mut bytes = bytes.to_vec();
        let mut input = Input::new(&mut bytes);
        while let Some(message) = self.decoder.next(&mut input, &mut self.inflater)? {
            on_message(message);
        }
        assert_eq!(input.remaining(), 0, "no message means that all is consumed");
        Ok(())
    }

    /// The whole stream in reads of the given sizes, over and over.
    pub(crate) fn outcome(&mut self, mut stream: &[u8], sizes: &[usize]) -> Outcome {
        let mut messages = Vec::new();
        let mut sizes = sizes.iter().cycle();
        while !stream.is_empty() {
            let size = sizes.next().map_or(stream.len(), |&size| size.clamp(1, stream.len()));
            let (piece, rest) = stream.split_at(size);
            if let Err(error) = self.read(piece, |message| messages.push(message.into())) {
                let again = self.read(rest, |_| panic!("nothing comes after a refusal"));
                assert_eq!(again, Err(error), "a refusal is final");
                return Outcome { messages, error: Some(error) };
            }
            stream = rest;
        }
        Outcome { messages, error: None }
    }
}

/// Decodes a stream that comes in one piece.
pub(crate) fn decode(role: Role, deflate: Option<&Negotiated>, stream: &[u8]) -> Outcome {
    Receiver::new(role, 1 << 20, deflate).outcome(stream, &[])
}

/// A frame as the peer of `role` sends it, from its first byte and payload.
pub(crate) fn frame_to(role: Role, first: u8, payload: &[u8]) -> Vec<u8> {
    let masked = role == Role::Server;
    let bit = if masked { 0x80 } else { 0 };
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(bit | len as u8),
        len @ 126..=0xffff => {
            frame.push(bit | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(bit | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    if masked {
        frame.extend(MASK);
        frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    } else {
        frame.extend(payload);
    }
    frame
}

/// Cuts a stream of sound frames into its frames.
pub(crate) fn frames(mut stream: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while !stream.is_empty() {
        let (header, size) = FrameHeader::parse(stream).expect("sound frames").expect("whole frames");
        let (frame, rest) = stream.split_at(size + header.payload as usize);
        frames.push(frame);
        stream = rest;
    }
    frames
}

/// What the default policy makes of an unadorned offer.
pub(crate) fn no_context_takeover() -> Negotiated {
    negotiate("permessage-deflate", &DeflatePolicy::default()).expect("a sound offer")
}

/// Both ends keep their context, with windows of `bits`.
pub(crate) fn context_takeover(bits: u8) -> Negotiated {
    let policy = DeflatePolicy {
        server_no_context_takeover: false,
        client_no_context_takeover: false,
        server_max_window_bits: bits,
        client_max_window_bits: bits,
    };
    negotiate("permessage-deflate; client_max_window_bits", &policy).expect("a sound offer")
}

pub(crate) const BOTH: [Role; 2] = [Role::Server, Role::Client];
