//! The server from outside, over real sockets: what it promises in protocol.md, and what it does with input that breaks
//! every rule. Each test has a server of its own in this process.
//!
//! - `support` is that server, a client that can also send raw bytes, and tokens.
//! - `errors`: every error code; `tokens` and `roles`: who may come in, and do what.
//! - `framing`: broken bytes, greedy and dead clients.

mod errors;
mod framing;
mod roles;
mod support;
mod tokens;
