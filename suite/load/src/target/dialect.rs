//! How a server wants to be spoken to, as a pure machine: WebSocket messages in, frames and counts out.

use agentbench_websocket::{Opcode, encode_frame};
use bytes::BytesMut;

/// What load sends is not secret and goes through no proxy that could be fooled (RFC 6455 §10.3), so a constant will do.
const MASK: [u8; 4] = [0x5a, 0xa5, 0x3c, 0xc3];

/// What one connection is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    /// Each message comes back to its sender.
    Echo,
    /// Sends to all in the room.
    Speak,
    /// Is in the room and counts what arrives.
    Listen,
    /// Each message is acked to its sender.
    Publish,
}

/// The client's opening handshake beyond what RFC 6455 asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opening {
    /// Path and query.
    pub path: String,
    /// Subprotocols that are offered.
    pub protocols: Vec<&'static str>,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
}

/// One message of the server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
}

/// What a message of the server's meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Heard {
    /// From here on messages may be sent, or will come.
    pub ready: bool,
    /// Echoes, acks or deliveries in it.
    pub answers: u64,
}

impl Heard {
    /// Nothing that counts.
    pub const NOTHING: Self = Self { ready: false, answers: 0 };
    /// The conversation is open.
    pub const READY: Self = Self { ready: true, answers: 0 };
    /// One answer.
    pub const ONE: Self = Self { ready: false, answers: 1 };
}

/// See the module. A dialect belongs to one connection and keeps what it must know of its conversation.
pub trait Dialect {
    /// How the WebSocket is asked for.
    fn opening(&self) -> Opening;

    /// The WebSocket is open: says what comes first. A dialect without a greeting is ready at once.
    fn greet(&mut self, out: &mut Frames) -> Heard;

    /// Takes a message of the server's, and puts what the dialect itself answers to it (pongs, the next step of the
    /// greeting) into `out`.
    ///
    /// # Errors
    /// A refusal by the server, or what this dialect does not know: a sentence that names it.
    fn hear(&mut self, message: Incoming<'_>, out: &mut Frames) -> anyhow::Result<Heard>;

    /// Puts the message of this number, counted from 1, into `out`.
    fn say(&mut self, serial: u64, out: &mut Frames);

    /// All that is to be sent together has been said.
    fn finish(&mut self, _out: &mut Frames) {}
}

/// A client's frames on their way to the socket.
#[derive(Debug, Default)]
pub struct Frames(BytesMut);

impl Frames {
    /// Puts a text message. `text` is UTF-8 by construction of the caller.
    pub fn text(&mut self, text: &[u8]) {
        encode_frame(&mut self.0, Opcode::Text, false, text, Some(MASK));
    }

    /// Puts a binary message.
    pub fn binary(&mut self, bytes: &[u8]) {
        encode_frame(&mut self.0, Opcode::Binary, false, bytes, Some(MASK));
    }

    /// Puts the answer to a ping (at most 125 bytes, as the decoder delivers it).
    pub fn pong(&mut self, payload: &[u8]) {
        encode_frame(&mut self.0, Opcode::Pong, false, payload, Some(MASK));
    }

    /// The bytes that wait.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// So many of them are written.
    pub fn written(&mut self, count: usize) {
        if count == self.0.len() {
            self.0.clear();
        } else {
            bytes::Buf::advance(&mut self.0, count);
        }
    }

    /// Gives back memory, if nothing waits.
    pub fn rest(&mut self) {
        if self.0.is_empty() {
            self.0 = BytesMut::new();
        }
    }
}
