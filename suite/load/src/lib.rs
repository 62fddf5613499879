//! Load for a server that speaks the protocol, and a look at what it costs the server's process.
//!
//! - [`bare`]: connections on the codec alone, for sheer load: many of them, little work for each message.
//! - [`process`]: CPU, memory, threads and files of a process, from `/proc`.
//! - [`child`]: a server started for a measurement, on a free port, with a scratch folder of its own.

pub mod bare;
pub mod child;
pub mod process;
