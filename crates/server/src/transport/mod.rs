//! Connections: from the listener through the handshake to the driver that reads, and the outbox that writes.

pub(crate) mod admission;
mod connection;
mod framing;
pub(crate) mod handshake;
pub(crate) mod listen;
mod outbox;
pub(crate) mod peer;
mod prefixed;
mod proxy_header;

pub(crate) use connection::{Connection, Held};
pub(crate) use outbox::{Follow, Outbox, Wanted};
pub(crate) use peer::Peer;
pub(crate) use prefixed::Prefixed;
