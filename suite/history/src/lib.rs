//! What the clients of one run did and observed, and a judge of it. No runtime, clock, randomness or sockets.
//!
//! - [`record`]: the records of one client, in the order in which things happened. [`jsonl`]: the same as a
//!   file.
//! - [`mod@check`]: a pure function of all clients' records that finds every broken promise.
//! - [`finding`]: the promises by name, and the evidence for each that was broken.
//! - [`shrink`]: the smallest part of a failing plan that still fails.
//!
//! A history is only as good as its ids: each message id is used by one client only, and means the same message wherever
//! it appears.

pub mod check;
pub mod finding;
pub mod jsonl;
pub mod record;
pub mod shrink;

pub use check::check;
pub use finding::{Finding, Kind, Summary, Verdict};
pub use record::{ClientHistory, Content, Operation, Record, StopReason};
pub use shrink::Shrinker;
