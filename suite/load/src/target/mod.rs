//! Load for servers of any kind: what they are sent, what comes back, and how fast.
//!
//! ```text
//!   Exchange / Broadcast ──► Link ──► Dialect       (pure: bytes in, bytes out)
//!        (tasks)              │ socket, codec
//!                             └─► Tally             what came, when, and what failed
//! ```
//! - [`Dialect`]: how a server wants to be spoken to. [`Plain`] WebSocket messages, [`SocketIo`], [`Nats`], and our own
//!   protocol ([`AgentBench`]), so that all of them are measured by the same loops.
//! - [`exchange`]: each message is answered to its sender (echo, publish with ack). [`broadcast`]: one sender, many readers.
//! - [`Place`]: where a server is. [`Measured`]: what came of a run.
//!
//! A run has two shapes: a window (so many messages on their way, the next goes out when one comes back), and a
//! schedule (a rate that does not wait for the server; latency counts from the planned moment).

mod agentbench;
mod broadcast;
mod dialect;
mod exchange;
mod link;
mod measured;
mod nats;
mod place;
mod plain;
mod ramp;
mod schedule;
mod socket_io;
mod tally;
mod template;

pub use agentbench::AgentBench;
pub use broadcast::{Broadcast, broadcast};
pub use dialect::{Dialect, Frames, Heard, Incoming, Job, Opening};
pub use exchange::{Exchange, exchange};
pub use link::{Link, Shared};
pub use measured::{Measured, Pace};
pub use nats::Nats;
pub use place::Place;
pub use plain::Plain;
pub use ramp::open_all;
pub use socket_io::SocketIo;
pub use template::Template;
pub(crate) use template::event;
