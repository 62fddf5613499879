//! Several servers on one log, their clients and their faults in one thread: whatever happens is decided by one seed, so a
//! failure is named by it, shrunk, and replayed.
//!
//! The owners, the delivery and the client's machine are those of the product, and the judge of the histories is the suite's
//! own; only sockets, threads, time and chance are made here.
//!
//! - [`step`]: what can happen, as text that can be replayed. [`Run`](run::Run): a run by a seed or by a list of steps.
//! - `world`: the servers, the clients, the log. `client`: a client, and what it has seen. `judge`: what must hold at the end.
//! - [`guard`]: a run in which a panic is a finding. [`shrink`]: the shortest list of steps that still fails in the same way.

mod client;
pub mod defects;
pub mod guard;
mod judge;
pub mod run;
pub mod shrink;
pub mod step;
mod world;

pub use judge::Finding;
pub use run::{Outcome, Run, Setup};
pub use step::Step;
