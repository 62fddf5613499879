//! The server from outside, over real sockets: what it promises in protocol.md, and what it does with input that breaks
//! every rule. Each test has a server of its own in this process.
//!
//! - `support` is that server, a client that can also send raw bytes, and tokens.
//! - `errors`: every error code; `tokens` and `roles`: who may come in, and do what.
//! - `framing`: broken bytes, greedy and dead clients.
//! - `lifecycle`, `publishing`, `following`, `presence`: what sessions promise.
//! - `api`, `streams`, `connections`: the same over HTTP, and what administrators see and do.
//! - `encrypted`: TLS; `addresses`: who calls, behind proxies; `issuer`: keys that are fetched; `limits`: who calls too often; `audited`: what is written of it.
//! - `looking`: profiles and frames for operators.
//! - `traced`: spans of events.
//! - `stopping`: the end of a server's life and the next one on the same folder.

mod addresses;
mod api;
mod audited;
mod connections;
mod encrypted;
mod errors;
mod following;
mod framing;
mod issuer;
mod lifecycle;
mod limits;
mod looking;
mod presence;
mod publishing;
mod roles;
mod stopping;
mod streams;
mod support;
mod tokens;
mod traced;
