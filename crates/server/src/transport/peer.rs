//! The client's address. Only trusted proxies may report it.

use std::net::IpAddr;

use crate::networks::{Networks, canonical};

/// The client's address, as used by limits, logs and the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
}

impl Peer {
    pub(crate) fn new(address: IpAddr) -> Self {
        Self { address: canonical(address) }
    }

    /// Walks `X-Forwarded-For` from its end (each proxy appends its peer's address) while the reporting proxy is trusted. An
    /// invalid entry ends the walk at the last known address.
    pub(crate) fn forwarded<'a>(
        self,
        trusted: &Networks,
        headers: impl DoubleEndedIterator<Item = &'a [u8]>,
    ) -> Self {
        let mut peer = self;
        if !trusted.contains(peer.address) {
            return peer;
        }
        for entry in headers.rev().flat_map(|header| header.rsplit(|byte| *byte == b',')) {
            let Some(address) = entry_address(entry) else { return peer };
            peer = Self::new(address);
            if !trusted.contains(peer.address) {
                break;
            }
        }
        peer
    }
}

/// An address, perhaps with a port, perhaps in brackets.
fn entry_address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim();
    if let Some(inside) = text.strip_prefix('[') {
        return inside.split_once(']')?.0.parse().ok();
    }
    text.parse().ok().or_else(|| text.rsplit_once(':')?.0.parse::<std::net::Ipv4Addr>().ok().map(IpAddr::V4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted: Networks = "10.0.0.0/8, ::1".parse().unwrap();
        let seen = |from: &str, headers: &[&str]| {
            let peer = Peer::new(from.parse().unwrap());
            peer.forwarded(&trusted, headers.iter().map(|text| text.as_bytes())).address.to_string()
        };
        assert_eq!(seen("192.0.2.1", &["198.51.100.1"]), "192.0.2.1", "a stranger's word");
        assert_eq!(seen("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(seen("10.0.0.1", &["1.1.1.1, 198.51.100.1"]), "198.51.100.1", "the client's own claim");
        assert_eq!(seen("10.0.0.1", &["1.1.1.1, 198.51.100.1, 10.9.9.9"]), "198.51.100.1", "two proxies");
        assert_eq!(seen("10.0.0.1", &["1.1.1.1", "198.51.100.1:8080 , 10.9.9.9"]), "198.51.100.1");
        assert_eq!(seen("::1", &["[2001:db8::7]:99"]), "2001:db8::7");
        assert_eq!(seen("::ffff:10.0.0.1", &["2001:db8::7"]), "2001:db8::7");
        assert_eq!(seen("10.0.0.1", &["<script>, 10.2.2.2"]), "10.2.2.2", "unreadable: what is known stands");
        assert_eq!(seen("10.0.0.1", &[""]), "10.0.0.1");
        assert_eq!(seen("10.0.0.1", &[]), "10.0.0.1");
    }
}
