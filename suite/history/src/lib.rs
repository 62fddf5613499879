//! What the clients of one run did and saw, and a judge of it. No runtime, clock, randomness or sockets.
//!
//! - [`record`]: what one client wrote down, in the order in which it happened. [`jsonl`]: the same as a
//!   file.
//! - [`check`]: a pure function of all clients' records that finds every broken promise.
//! - [`finding`]: the promises by name, and the witness of each that was broken.
//! - [`shrink`]: the smallest part of a failing plan that still fails.
//!
//! A history is worth its ids: a message id is used by one client only, and says the same message wherever it
//! turns up.

pub mod check;
pub mod finding;
pub mod jsonl;
pub mod record;
pub mod shrink;

pub use check::check;
pub use finding::{Finding, Kind, Summary, Verdict};
pub use record::{ClientHistory, Content, Operation, Record, StoppedBecause};
pub use shrink::Shrinker;
