//! Load for a server of the protocol, and measurements of its process.
//!
//! - [`target`]: publishing and fan-out, for our server and those of any other kind (echo, broadcast, Socket.IO, NATS).
//! - [`bare`]: connections on the codec alone: many that wait, many that come at once, many that follow for the budgets.
//! - [`generator`]: whether a run's figures are the server's or the generator's own. [`files`]: room for its connections.
//! - [`process`]: CPU, memory, threads and files of a process, from `/proc`.
//! - [`fit`]: a straight line through figures by size. [`paired`]: the ratio of two builds.
//! - [`connect`]: a connection, step by step.
//! - [`arrival`]: when each message is due. [`latency`]: histograms from the scheduled and the actual send.
//! - [`child`]: a server as a child process, and one of ours, on a free port. [`contender`]: one of any kind.
//! - [`command`] and [`outcome`]: arguments and output of `agentbench load`.

pub mod arrival;
pub mod bare;
pub mod child;
pub mod command;
pub mod connect;
pub mod contender;
pub mod files;
pub mod fit;
pub mod generator;
pub mod latency;
pub mod outcome;
pub mod paired;
pub mod process;
pub mod target;
