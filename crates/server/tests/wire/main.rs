//! Tests of the server over real sockets: the promises of protocol.md, and the handling of invalid input. Each test has a
//! server of its own in this process.
//!
//! - `support` is that server, a client that can also send raw bytes, and tokens.
//! - `errors`: every error code; `tokens` and `roles`: who may come in, and do what.
//! - `forms`: what one parser takes and another does not; `liveness`: workers that hang or panic.
//! - `refusals`: what is said before a close.
//! - `framing`: broken bytes, greedy and dead clients; `heads`: heads of requests.
//! - `clock`: a wall clock that is set; `costs`: what one peer can make the server do and hold.
//! - `lifecycle`, `publishing`, `following`, `presence`: what sessions promise.
//! - `api`, `commands`, `streams`, `connections`: the same over HTTP, and what administrators see and do.
//! - `encrypted`: TLS; `addresses`: who calls, behind proxies; `issuer`: keys that are fetched; `limits`: who calls too often; `audited`: what is written of it.
//! - `pages`: the dashboard and the export that is a page; `review`: who may leave notes, and what listings tell; `evidence`: uploads that break off, downloads that nobody runs.
//! - `looking`: profiles and frames for operators.
//! - `figures`: what is measured and served of it; `alerts`: what watches over it.
//! - `traced`: spans of events.
//! - `damaged`: disks that lose what they were given, clocks that jump, folders that go away.
//! - `stopping`: the end of a server's life and the next one on the same folder.

mod addresses;
mod alerts;
mod api;
mod audited;
mod clock;
mod commands;
mod connections;
mod costs;
mod damaged;
mod encrypted;
mod errors;
mod evidence;
mod figures;
mod following;
mod forms;
mod framing;
mod heads;
mod issuer;
mod lifecycle;
mod limits;
mod liveness;
mod looking;
mod pages;
mod presence;
mod publishing;
mod refusals;
mod review;
mod roles;
mod stopping;
mod streams;
mod support;
mod tokens;
mod traced;
mod two_servers;
mod warnings;
