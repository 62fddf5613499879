//! The proxy over real sockets, between real peers.

mod bytes;
mod messages;
mod support;
