//! The wire contract: the messages, their encoding, and their content.
//!
//! This crate implements the protocol of `docs/protocol.md`. It has no IO, no clock and no randomness:
//! bytes go in, typed messages or an error with a code come out, and the other way round.
//!
//! - [`ids`]: session, epoch, seq, position.
//! - [`envelope`]: parses clients' messages, leaving `data` unchanged; [`command`]: the content of a `control_command`.
//! - [`event`]: writes what clients receive; [`message`] and [`session`]: the types in it.
//! - [`events`]: the `data` of well-known events.
//! - [`mod@outline`]: the few parts of an event's `data` that the server reads.
//! - [`msgpack`]: the same messages in MessagePack, converted to and from the JSON form.
//! - [`error`], [`close`]: refusals and close codes; [`limits`].
//! - [`json`]: the underlying scanner.

pub mod close;
pub mod command;
pub mod envelope;
pub mod error;
pub mod event;
pub mod events;
pub mod ids;
pub mod json;
pub mod limits;
pub mod message;
pub mod msgpack;
pub mod outline;
pub mod session;
pub mod warning;

pub use close::{CloseCode, Reconnect};
pub use command::{Command, StartAt};
pub use envelope::{Envelope, MessageType, Metadata, Priority};
pub use error::{ErrorCode, Refusal};
pub use ids::{Epoch, Head, InvalidId, Position, Seq, SessionId};
pub use message::{AckLevel, GapCause, NotRecovered, SystemMessage};
pub use outline::{Authorship, Outline, outline};
pub use session::{Outcome, SessionInfo, Status};
pub use warning::{Doubtful, Doubts, Warning};

/// Version of the protocol implemented by this crate.
pub const VERSION: u32 = 1;
/// Subprotocol of JSON text frames, version 1.
pub const SUBPROTOCOL_JSON: &str = "agentbench.v1.json";
/// Subprotocol of MessagePack binary frames, version 1.
pub const SUBPROTOCOL_MSGPACK: &str = "agentbench.v1.msgpack";
