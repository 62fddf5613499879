//! Load for a server that speaks the protocol, and a look at what it costs the server's process.
//!
//! - [`bare`]: connections on the codec alone, for sheer load: many of them, little work for each message.
//! - [`process`]: CPU, memory, threads and files of a process, from `/proc`.
//! - [`connect`]: a connection, step by step.
//! - [`arrival`]: when each message is due. [`latency`]: histograms from the planned and the real moment of
//!   sending.
//! - [`child`]: a server started for a measurement, on a free port, with a scratch folder of its own.

pub mod arrival;
pub mod bare;
pub mod child;
pub mod connect;
pub mod latency;
pub mod process;
