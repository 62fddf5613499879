//! The audit log: what was permitted or refused, and to whom. One JSON line for each relevant decision.
//!
//! - [`Record`] is a decision; [`Log`] passes it to a thread of its own, which numbers, chains and writes it. No caller
//!   ever waits for the disk: a caller that requires a line checks for room first, and tries again later.
//! - `chain` is the form of a line: each contains its own SHA-256 and that of the line before, so that [`verify`] detects a line that
//!   was changed, removed or reordered, across any number of files.
//!
//! The chain cannot show that somebody with write access rewrote the file from some line on. To detect that, record the
//! number and hash of the last line elsewhere from time to time, and give them to [`verify`].

mod chain;
pub mod faults;
mod log;
mod record;
mod verify;

pub use chain::{FIRST, Hash};
pub use log::{Log, OpenError, Settings, Stuck};
pub use record::{Outcome, Record};
pub use verify::{Fault, Finding, Report, verify};
