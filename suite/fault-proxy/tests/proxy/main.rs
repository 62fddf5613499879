//! The proxy over real sockets, between real peers.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod bytes;
mod control;
mod messages;
mod plan;
mod support;
