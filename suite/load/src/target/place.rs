//! The address of a server: `ws://host[:port][/path]`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

use anyhow::{Context, bail};

/// Connections per source address before the next 127.0.0.x is used: well below Linux's 28,232 ports.
const PER_SOURCE: usize = 10_000;

/// The address of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Socket address to connect to.
    pub address: SocketAddr,
    /// `Host` of the handshake.
    pub host: String,
    /// Path and query.
    pub path: String,
}

impl Place {
    /// Parses a URL and resolves its host.
    ///
    /// # Errors
    /// The URL is invalid or requests TLS, or its host cannot be resolved.
    pub fn parse(url: &str) -> anyhow::Result<Self> {
        let Some(rest) = url.strip_prefix("ws://") else {
            bail!("{url:?} must begin with ws:// (load does not support TLS; use a TLS proxy)");
        };
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, path) = rest.split_at(at);
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let has_port = host.rsplit(':').next().is_some_and(|port| port.parse::<u16>().is_ok())
            && (!host.starts_with('[') || host.contains("]:"));
        let full = if has_port { host.to_owned() } else { format!("{host}:80") };
        let address = full
            .to_socket_addrs()
            .with_context(|| format!("cannot resolve the host of {url:?}"))?
            .next()
            .with_context(|| format!("the host of {url:?} has no address"))?;
        Ok(Self { address, host: host.to_owned(), path })
    }

    /// A server on this machine.
    pub fn at(address: SocketAddr) -> Self {
        Self { address, host: address.to_string(), path: "/".to_owned() }
    }

    /// The source address for connection `index`, where one must be chosen: on the loopback network there are
    /// as many as needed, since a pair of addresses allows only as many connections as there are ports.
    pub fn source(&self, index: usize) -> Option<IpAddr> {
        let turn = u8::try_from(index / PER_SOURCE).ok().filter(|&turn| turn > 0 && turn < 250)?;
        (self.address.is_ipv4() && self.address.ip().is_loopback())
            .then(|| IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1 + turn)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let place = Place::parse("ws://127.0.0.1:3001/ws?x=1").unwrap();
        assert_eq!((place.address.port(), place.path.as_str()), (3001, "/ws?x=1"));
        assert_eq!(Place::parse("ws://127.0.0.1").unwrap().address.port(), 80);
        assert_eq!(Place::parse("ws://127.0.0.1:9?x").unwrap().path, "/?x");
        assert_eq!(Place::parse("ws://[::1]:9/").unwrap().address.port(), 9);
        for bad in ["wss://127.0.0.1:1", "127.0.0.1:1", "ws://", "ws://127.0.0.1:99999"] {
            Place::parse(bad).unwrap_err();
        }
    }

    #[test]
    fn many_connections_on_loopback_come_from_several_addresses() {
        let place = Place::parse("ws://127.0.0.1:1").unwrap();
        assert_eq!(place.source(9_999), None);
        assert_eq!(place.source(10_000), Some("127.0.0.2".parse().unwrap()));
        assert_eq!(Place::parse("ws://[::1]:1").unwrap().source(10_000), None);
    }
}
