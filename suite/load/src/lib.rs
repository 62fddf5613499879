//! Load for a server that speaks the protocol, and a look at what it costs the server's process.
//!
//! - [`target`]: publishing and fan-out, for our server and those of any other kind (echo, broadcast, Socket.IO, NATS).
//! - [`bare`]: connections on the codec alone: many that wait, many that come at once, many that follow for the budgets.
//! - [`generator`]: whether a run's figures are the server's or the generator's own. [`files`]: room for its connections.
//! - [`process`]: CPU, memory, threads and files of a process, from `/proc`.
//! - [`connect`]: a connection, step by step.
//! - [`arrival`]: when each message is due. [`latency`]: histograms from the planned and the real moment of
//!   sending.
//! - [`child`]: a server as a child process, and one of ours, on a free port. [`contender`]: one of any kind.
//! - [`command`] and [`outcome`]: what `agentbench load` takes and tells.

pub mod arrival;
pub mod bare;
pub mod child;
pub mod command;
pub mod connect;
pub mod contender;
pub mod files;
pub mod generator;
pub mod latency;
pub mod outcome;
pub mod paired;
pub mod process;
pub mod target;
