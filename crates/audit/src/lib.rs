//! The audit log: who was let do what, and who was not. One JSON line for each decision that matters.
//!
//! - [`Record`] is a decision; [`Log`] gives it to a thread of its own, which numbers, chains and writes it. No caller
//!   ever waits for the disk: who must not go on without a line asks for room before, and comes back.
//! - `chain` is a line's form: each carries the SHA-256 of the one before and its own, so that a line which is changed, removed
//!   or swapped is found by [`verify`], over as many files as there are.
//!
//! What the chain cannot show: that somebody who may write the file has made it anew from some line on. For that, keep the
//! number and hash of the last line somewhere else now and then; [`verify`] tells them.

mod chain;
pub mod faults;
mod log;
mod record;
mod verify;

pub use chain::{FIRST, Hash};
pub use log::{Log, OpenError, Settings, Stuck};
pub use record::{Outcome, Record};
pub use verify::{Fault, Finding, Report, verify};
