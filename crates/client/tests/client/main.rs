//! The client against a server in memory.
//!
//! - `server`: the other end.
//! - `pair`: a connection machine and a server, the wires between them and the clock; no sockets, no sleeping, every fault at
//!   the byte where it is wanted. `promises`: properties over random cuts, delays and restarts. `cases`: one situation each.
//! - `conformance`: the cases that every client of the protocol passes.
//! - `peer`: the same server behind a TCP socket. `driver`: the whole client against it. `ends`: follows
//!   that end with their session.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, helpers included")]

mod cases;
mod conformance;
mod driver;
mod ends;
mod pair;
mod peer;
mod promises;
mod server;
