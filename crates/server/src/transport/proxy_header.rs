//! The PROXY protocol's header, versions 1 and 2, in which a load balancer reports the client's address.
//! Source: "The PROXY protocol, versions 1 & 2", haproxy.org, 2020-03-05.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// First bytes of version 2 (§2.2).
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Longest line of version 1, with its end (§2.1).
const MAX_LINE: usize = 107;
/// Longest accepted header of version 2; addresses take at most 216 bytes, the rest are extensions.
const MAX_HEADER: usize = 2048;
/// Longest header of either version: the size of a reader's buffer.
pub(crate) const MAX_BYTES: usize = 16 + MAX_HEADER;

/// A complete header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// The client's address; `None` for the proxy's own connections (health checks) and for anything but TCP over IP.
    pub(crate) source: Option<SocketAddr>,
    /// Bytes of the header.
    pub(crate) size: usize,
}

/// The bytes are not a PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a trusted proxy's connection does not begin with a PROXY header")]
pub(crate) struct NoHeader;

/// Reads a header from the first bytes of a connection; `None` if more of them are needed.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Header>, NoHeader> {
    let known = bytes.len().min(SIGNATURE.len());
    if bytes[..known] == SIGNATURE[..known] {
        return if known < SIGNATURE.len() { Ok(None) } else { parse_binary(bytes) };
    }
    parse_line(bytes)
}

fn parse_line(bytes: &[u8]) -> Result<Option<Header>, NoHeader> {
    let window = &bytes[..bytes.len().min(MAX_LINE)];
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        const BEGIN: &[u8] = b"PROXY ";
        let known = window.len().min(BEGIN.len());
        let may_come = window[..known] == BEGIN[..known] && window.len() < MAX_LINE;
        return if may_come { Ok(None) } else { Err(NoHeader) };
    };
    let line = std::str::from_utf8(&window[..end]).map_err(|_| NoHeader)?;
    let mut words = line.split(' ');
    if words.next() != Some("PROXY") {
        return Err(NoHeader);
    }
    let size = end + 2;
    let is_v4 = match words.next() {
        Some("UNKNOWN") => return Ok(Some(Header { source: None, size })),
        Some("TCP4") => true,
        Some("TCP6") => false,
        _ => return Err(NoHeader),
    };
    let mut address = || words.next().and_then(|word| word.parse::<IpAddr>().ok()).ok_or(NoHeader);
    let (source, target) = (address()?, address()?);
    let mut port = || words.next().and_then(|word| word.parse::<u16>().ok()).ok_or(NoHeader);
    let (source_port, _) = (port()?, port()?);
    if words.next().is_some() || source.is_ipv4() != is_v4 || target.is_ipv4() != is_v4 {
        return Err(NoHeader);
    }
    Ok(Some(Header { source: Some((source, source_port).into()), size }))
}

fn parse_binary(bytes: &[u8]) -> Result<Option<Header>, NoHeader> {
    let Some(head) = bytes.get(SIGNATURE.len()..16) else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    if head[0] >> 4 != 2 || length > MAX_HEADER {
        return Err(NoHeader);
    }
    let size = 16 + length;
    let is_local = match head[0] & 0xf {
        0 => true,
        1 => false,
        _ => return Err(NoHeader),
    };
    let Some(body) = bytes.get(16..size) else { return Ok(None) };
    let source = match head[1] {
        _ if is_local => None,
        0x11 => Some(binary_source::<4>(body, 8)?),
        0x21 => Some(binary_source::<16>(body, 32)?),
        // Datagrams, UNIX sockets, and unspecified families.
        _ => None,
    };
    Ok(Some(Header { source, size }))
}

/// The source address in the first `N` bytes, and its port after both addresses.
fn binary_source<const N: usize>(body: &[u8], port_at: usize) -> Result<SocketAddr, NoHeader> {
    let address: [u8; N] = body.get(..N).and_then(|bytes| bytes.try_into().ok()).ok_or(NoHeader)?;
    // Both ports have to be there.
    let ports = body.get(port_at..port_at + 4).ok_or(NoHeader)?;
    let port = u16::from_be_bytes([ports[0], ports[1]]);
    let address = match <[u8; 4]>::try_from(&address[..]) {
        Ok(v4) => IpAddr::V4(Ipv4Addr::from(v4)),
        Err(_) => IpAddr::V6(<[u8; 16]>::try_from(&address[..]).map(Ipv6Addr::from).map_err(|_| NoHeader)?),
    };
    Ok((address, port).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source(bytes: &[u8]) -> Option<SocketAddr> {
        let header = parse(bytes).unwrap().unwrap();
        assert_eq!(header.size, bytes.len());
        header.source
    }

    fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([0x20 | command, family]);
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    #[test]
    fn lines_of_version_1() {
        let v4 = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n";
        assert_eq!(source(v4), Some("192.0.2.1:56324".parse().unwrap()));
        let v6 = b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n";
        assert_eq!(source(v6), Some("[2001:db8::1]:1".parse().unwrap()));
        assert_eq!(source(b"PROXY UNKNOWN\r\n"), None);
        assert_eq!(source(b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n"), None);
        for wrong in [
            "GET / HTTP/1.1\r\n\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n",
            "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1 65536\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1 2 3\r\n",
            "PROXY  TCP4 192.0.2.1 198.51.100.1 1 2\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.1 1 2\r\n",
        ] {
            assert_eq!(parse(wrong.as_bytes()), Err(NoHeader), "{wrong:?}");
        }
        assert_eq!(parse(&[b"PROXY ".as_slice(), &[b'x'; 101]].concat()), Err(NoHeader), "no end in sight");
    }

    #[test]
    fn headers_of_version_2() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 0x04, 1, 0xbb];
        assert_eq!(source(&binary(1, 0x11, &v4)), Some("192.0.2.1:56324".parse().unwrap()));
        let with_extension = [&v4[..], &[3, 0, 4, 1, 2, 3, 4]].concat();
        assert_eq!(source(&binary(1, 0x11, &with_extension)), Some("192.0.2.1:56324".parse().unwrap()));
        let mut v6 = [0; 36];
        v6[15] = 1;
        v6[33] = 9;
        assert_eq!(source(&binary(1, 0x21, &v6)), Some("[::1]:9".parse().unwrap()));
        assert_eq!(source(&binary(0, 0x11, &v4)), None, "a health check of the proxy itself");
        assert_eq!(source(&binary(1, 0, &[])), None);
        for wrong in [
            binary(1, 0x11, &v4[..11]),
            binary(2, 0x11, &v4),
            [&SIGNATURE[..], &[0x31, 0x11, 0, 0]].concat(),
            [&SIGNATURE[..], &[0x21, 0x11, 0xff, 0xff]].concat(),
        ] {
            assert_eq!(parse(&wrong), Err(NoHeader), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_a_header_is_never_larger_than_what_was_given(
            signed in any::<bool>(),
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let bytes = if signed { [&SIGNATURE[..], &bytes].concat() } else { bytes };
            if let Ok(Some(header)) = parse(&bytes) {
                prop_assert!(header.size <= bytes.len());
            }
        }

        #[test]
        fn a_header_in_pieces_is_the_same_header(
            address in any::<[u8; 4]>(), port in any::<u16>(), cut in 0_usize..46, text in any::<bool>(),
        ) {
            let whole = if text {
                format!("PROXY TCP4 {} 127.0.0.1 {port} 1\r\n", Ipv4Addr::from(address)).into_bytes()
            } else {
                binary(1, 0x11, &[&address[..], &[127, 0, 0, 1], &port.to_be_bytes(), &[0, 1]].concat())
            };
            let cut = cut.min(whole.len() - 1);
            prop_assert_eq!(parse(&whole[..cut]), Ok(None));
            let more = [&whole[..], b"GET / HTTP/1.1\r\n"].concat();
            let header = parse(&more).unwrap().unwrap();
            prop_assert_eq!(header, Header { source: Some((address, port).into()), size: whole.len() });
        }
    }
}
