//! WebSocket framing for both ends, as pure functions over bytes: RFC 6455, and RFC 7692 compression.
//!
//! - [`Decoder`] decodes the bytes of a socket into [`Message`]s; one per connection, small, and empty between
//!   messages.
//! - [`Inflater`] and [`Deflater`] hold the large compression state; one of each per thread.
//! - [`encode_frame`] and related functions encode frames; [`encode_header`] encodes only the head, for shared
//!   bodies.
//! - [`handshake`] parses and encodes the HTTP heads that open a connection; [`negotiate`] agrees on compression.
//!
//! ```text
//!   socket ──► Input ──► Decoder ──► Message<'_>         (borrowed from the read buffer where it lies whole)
//!                          ▲
//!                       Inflater
//!   socket ◄── BytesMut ◄── encode_frame ◄── Deflater
//! ```
//!
//! Out of scope: sockets, time (pings, timeouts), randomness (keys and masks are arguments), when
//! to close, and who may connect. There is no per-connection writer: an encoded frame can be
//! sent to any number of peers.
//!
//! ```
//! use agentbench_websocket::{Decoder, Inflater, Input, Limits, Message, Role, encode_frame, Opcode};
//! use bytes::BytesMut;
//!
//! let mut wire = BytesMut::new();
//! encode_frame(&mut wire, Opcode::Text, false, b"hello", Some([1, 2, 3, 4]));
//!
//! let mut inflater = Inflater::new(); // one per thread
//! let mut decoder = Decoder::new(Role::Server, Limits::default(), None); // one per connection
//! let mut input = Input::new(&mut wire);
//! while let Some(message) = decoder.next(&mut input, &mut inflater)? {
//!     assert_eq!(message, Message::Text("hello"));
//! }
//! # Ok::<(), agentbench_websocket::DecodeError>(())
//! ```

mod decoder;
mod deflate;
mod encode;
mod error;
mod frame;
pub mod handshake;
mod inflate;
mod mask;
mod message;
mod negotiation;

pub use decoder::{Decoder, Input, Limits, MAX_RATIO};
pub use deflate::{Deflater, RetainingDeflater};
pub use encode::{
    encode_close, encode_deflated, encode_fragments, encode_frame, encode_header, encode_message,
};
pub use error::DecodeError;
pub use frame::{EncodedHeader, FrameHeader, MAX_CONTROL_PAYLOAD, MAX_HEADER, Opcode};
pub use inflate::Inflater;
pub use mask::apply_mask;
pub use message::{CloseFrame, Message, is_sendable_close_code};
pub use negotiation::{DeflatePolicy, Negotiated, ResponseError, accept_response, negotiate, offer_value};

/// Our end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// We accepted the connection: what arrives must be masked, what we send must not be.
    Server,
    /// We opened the connection: what arrives must not be masked, what we send must be.
    Client,
}
