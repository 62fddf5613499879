//! Connections: from the listener through the handshake to the driver that reads, and the outbox that writes.

mod connection;
pub(crate) mod handshake;
pub(crate) mod listen;
mod outbox;
mod prefixed;

pub(crate) use connection::{Connection, Held};
pub(crate) use outbox::{Follow, Outbox, Wanted};
pub(crate) use prefixed::Prefixed;
