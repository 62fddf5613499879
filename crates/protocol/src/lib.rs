//! The wire contract: what a message is, how it is written, and what may be said in it.
//!
//! This crate owns the words of the protocol (see `docs/protocol.md`). It has no IO, no clock and no randomness:
//! bytes go in, typed messages or an error with a code come out, and the other way round.
//!
//! - [`ids`]: session, epoch, seq, position.
//! - [`envelope`]: reading what clients send, `data` untouched; [`command`]: what a `control_command` asks for.
//! - [`event`]: writing what clients get; [`message`] and [`session`]: the types in it.
//! - [`events`]: what is in the `data` of the events that everybody knows.
//! - [`outline`]: the little of an event's `data` that the server reads.
//! - [`msgpack`]: the same messages in MessagePack, translated to and from the JSON form.
//! - [`error`], [`close`]: what is said when something cannot be done; [`limits`].
//! - [`json`]: the scanner under it.

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

/// Version of the protocol that this crate speaks.
pub const VERSION: u32 = 1;
/// Subprotocol of JSON text frames, version 1.
pub const SUBPROTOCOL_JSON: &str = "agentbench.v1.json";
/// Subprotocol of MessagePack binary frames, version 1.
pub const SUBPROTOCOL_MSGPACK: &str = "agentbench.v1.msgpack";
