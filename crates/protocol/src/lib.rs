//! The wire contract: what a message is, how it is written, and what may be said in it.
//!
//! This crate owns the words of the protocol (see `docs/protocol.md`). It has no IO, no clock and no randomness:
//! bytes go in, typed messages or an error with a code come out, and the other way round.

pub mod ids;

pub use ids::{Epoch, Head, InvalidId, Position, Seq, SessionId};
