//! What fuzz targets may call: the parsers of a connection's first bytes, without a socket.

use std::net::{IpAddr, SocketAddr};

use super::handshake::read_request;
use super::{Peer, proxy_header};
use crate::networks::Networks;

/// What the head of an upgrade says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpgradeHead {
    /// Bytes of the head.
    pub size: usize,
    /// The token, wherever it was sent.
    pub token: Option<String>,
    /// The producer that the connection is; empty if not named.
    pub producer: String,
    /// The client's address, as far as trusted proxies report it.
    pub address: IpAddr,
}

/// Reads the head of an upgrade that comes from `peer`.
///
/// # Errors
/// The HTTP status of the refusal.
pub fn upgrade_head(head: &[u8], peer: IpAddr, trusted: &Networks) -> Result<UpgradeHead, u16> {
    let request = read_request(head, Peer::new(peer), trusted).map_err(|invalid| invalid.status)?;
    Ok(UpgradeHead {
        size: request.size,
        token: request.token.map(|token| token.text),
        producer: request.producer,
        address: request.peer.address,
    })
}

/// Size of a PROXY header and the address in it; `Ok(None)` if more bytes are needed, `Err` if it is none.
pub type ProxyHeader = Result<Option<(usize, Option<SocketAddr>)>, &'static str>;

/// Reads a PROXY header from a connection's first bytes.
pub fn proxy_header(bytes: &[u8]) -> ProxyHeader {
    let header = proxy_header::parse(bytes).map_err(|_| "no header")?;
    Ok(header.map(|header| (header.size, header.source)))
}
