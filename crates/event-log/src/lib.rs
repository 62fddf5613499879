//! The log of every session: its contract, its unit of append, and an engine in memory.
//!
//! - [`EventLog`] is the contract in prose and types. Every engine passes the same conformance suite.
//! - [`Frame`] is the unit of append: 1..N events of one session, whole or not at all.
//! - [`memory`] is the simplest engine, used by the tests of everything above.
//! - `conformance` (a cargo feature) contains the cases that every engine passes.
//!
//! ```text
//!   session log   ┌────────────┬───────┬──────────────────┐
//!   (one epoch)   │ frame 1..3 │ 4..4  │ frame 5..9       │ ◄── append(expected = head 9, frame 10..)
//!                 └────────────┴───────┴──────────────────┘
//!                 ▲ first seq kept (trim)                 ▲ head (epoch, seq 9)
//! ```
//!
//! Out of scope: assigning seqs and detecting repeated ids (`session`), access control (`server`), and the
//! meaning of an event's bytes (`protocol`).

#[cfg(feature = "conformance")]
pub mod conformance;
mod contract;
mod frame;
pub mod memory;

pub use contract::{
    Append, Appended, Change, Done, EventLog, Health, Listed, LogError, Observer, ReadLimit, Reading,
    Retention,
};
pub use frame::{
    Frame, FrameBuilder, FrameError, Kind, MAX_FRAME_BYTES, MAX_FRAME_EVENTS, Record, Run, Runs,
};
