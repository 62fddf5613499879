//! A server's protocol as a pure state machine: WebSocket messages in, frames and counts out.

use agentbench_websocket::{Opcode, encode_frame};
use bytes::BytesMut;

/// Load is not secret and passes no intermediary that needs protection (RFC 6455 §10.3), so a constant mask is enough.
const MASK: [u8; 4] = [0x5a, 0xa5, 0x3c, 0xc3];

/// The job of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    /// Each message comes back to its sender.
    Echo,
    /// Sends to all in the room.
    Speak,
    /// Joins the room and counts deliveries.
    Listen,
    /// Each message is acked to its sender.
    Publish,
}

/// The client's opening handshake beyond the requirements of RFC 6455.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opening {
    /// Path and query.
    pub path: String,
    /// Offered subprotocols.
    pub protocols: Vec<&'static str>,
    /// Additional headers.
    pub headers: Vec<(&'static str, String)>,
}

/// One message from the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
}

/// The meaning of a message from the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reply {
    /// From here on, messages can be sent, or will arrive.
    pub ready: bool,
    /// Number of echoes, acks or deliveries in it.
    pub answers: u64,
}

impl Reply {
    /// Nothing relevant.
    pub const NOTHING: Self = Self { ready: false, answers: 0 };
    /// The connection is ready.
    pub const READY: Self = Self { ready: true, answers: 0 };
    /// One answer.
    pub const ONE: Self = Self { ready: false, answers: 1 };
}

/// A dialect belongs to one connection and holds the state of its conversation.
pub trait Dialect {
    /// The parameters of the opening handshake.
    fn opening(&self) -> Opening;

    /// The WebSocket is open: sends the first messages. A dialect without a greeting is ready at once.
    fn greet(&mut self, out: &mut Frames) -> Reply;

    /// Handles a message from the server, and adds the dialect's own answers (pongs, the next step of the
    /// greeting) to `out`.
    ///
    /// # Errors
    /// The server refuses, or sends something that this dialect does not know; the error names it.
    fn receive(&mut self, message: Incoming<'_>, out: &mut Frames) -> anyhow::Result<Reply>;

    /// Adds message `serial`, counted from 1, to `out`.
    fn send(&mut self, serial: u64, out: &mut Frames);

    /// Marks the end of the messages that are sent together.
    fn finish(&mut self, _out: &mut Frames) {}
}

/// A client's frames on their way to the socket.
#[derive(Debug, Default)]
pub struct Frames(BytesMut);

impl Frames {
    /// Adds a text message. The caller ensures that `text` is UTF-8.
    pub fn text(&mut self, text: &[u8]) {
        encode_frame(&mut self.0, Opcode::Text, false, text, Some(MASK));
    }

    /// Adds a binary message.
    pub fn binary(&mut self, bytes: &[u8]) {
        encode_frame(&mut self.0, Opcode::Binary, false, bytes, Some(MASK));
    }

    /// Adds the answer to a ping (at most 125 bytes, as the decoder delivers it).
    pub fn pong(&mut self, payload: &[u8]) {
        encode_frame(&mut self.0, Opcode::Pong, false, payload, Some(MASK));
    }

    /// The queued bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Removes `count` written bytes.
    pub fn written(&mut self, count: usize) {
        if count == self.0.len() {
            self.0.clear();
        } else {
            bytes::Buf::advance(&mut self.0, count);
        }
    }

    /// Frees memory if nothing is queued.
    pub fn shrink(&mut self) {
        if self.0.is_empty() {
            self.0 = BytesMut::new();
        }
    }
}
