//! Transport: listeners, admission, handshake, and the driver that reads a connection.

pub(crate) mod admission;
pub(crate) mod driver;
mod framing;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub(crate) mod handshake;
pub(crate) mod listen;
pub(crate) mod peer;
pub(crate) mod plain;
mod prefixed;
mod proxy_header;

pub(crate) use peer::Peer;
pub(crate) use prefixed::Prefixed;
