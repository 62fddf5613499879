//! One process of the server without a runtime: workers with their owners, audiences and mailboxes, on a log in memory.
//!
//! Whatever a server does by itself (letters, commits, reads, loads, ticks) happens when it is asked for, in one thread and by
//! a clock that is set by hand; so a test, or a simulation of several processes on one log, decides the order of everything.
//! The owners, the delivery and the catalog are those of the product. Only what needs a runtime is done anew here: `post`
//! routes letters as `worker/post.rs` does, `door` reads the messages of clients as `dispatch` does.
//!
//! - [`node`]: the process, and what may happen in it next.

mod door;
pub mod node;
mod post;
mod socket;

pub use node::{Node, NodeStep, Plan, START, Time};
pub use socket::Peer;
