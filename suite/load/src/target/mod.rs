//! Load for servers of any kind: what they are sent, what they answer, and how fast.
//!
//! ```text
//!   Exchange / Broadcast ──► Link ──► Dialect       (pure: bytes in, bytes out)
//!        (tasks)              │ socket, codec
//!                             └─► Tally             what came, when, and what failed
//! ```
//! - [`Dialect`]: a server's protocol. [`Plain`] WebSocket messages, [`SocketIo`], [`Nats`], readers of [`Pusher`], and our own
//!   protocol ([`AgentBench`]), so that all of them are measured with the same loops.
//! - [`exchange`]: each message is answered to its sender (echo, publish with ack). [`broadcast`]: one sender, many readers.
//! - [`Place`]: the address of a server. [`Measurement`]: the result of a run.
//!
//! A run has one of two modes: a window (a fixed number of messages in flight; each answer allows the next message), and a
//! schedule (a rate independent of the server; latency counts from the scheduled send).

mod agentbench;
mod broadcast;
mod dialect;
mod exchange;
mod link;
mod measurement;
mod nats;
mod place;
mod plain;
mod pusher;
mod ramp;
mod schedule;
mod socket_io;
mod tally;
mod template;

pub use agentbench::AgentBench;
pub use broadcast::{Broadcast, broadcast};
pub use dialect::{Dialect, Frames, Incoming, Job, Opening, Reply};
pub use exchange::{Exchange, exchange};
pub use link::{Link, Shared};
pub use measurement::{Measurement, Pace};
pub use nats::Nats;
pub use place::Place;
pub use plain::Plain;
pub use pusher::Pusher;
pub use ramp::open_all;
pub use socket_io::SocketIo;
pub use template::Template;
pub(crate) use template::event;
