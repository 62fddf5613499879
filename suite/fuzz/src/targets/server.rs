//! A connection's first bytes, as the server reads them before it knows who is there.

use std::net::{IpAddr, Ipv4Addr};

use agentbench_server::config::Networks;
use agentbench_server::fuzzing::{proxy_header, upgrade_head};
use agentbench_websocket::handshake::Request;

use super::Seed;

const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// Any bytes as a PROXY header, and as the head of an upgrade behind one.
///
/// Holds if a header ends at the same byte however much has arrived, a head is taken whole or refused with a status of its own, and
/// nothing in a head changes a stranger's address.
pub fn server_heads(input: &[u8]) {
    let whole = proxy_header(input);
    for end in 0..input.len().min(300) {
        let piece = proxy_header(&input[..end]);
        match (&whole, &piece) {
            (Ok(Some((size, _))), _) if end >= *size => assert_eq!(piece, whole, "with {end} bytes"),
            (Ok(_), _) => assert_eq!(piece, Ok(None), "with {end} bytes"),
            (Err(_), _) => {
                assert!(!matches!(piece, Ok(Some(_))), "{end} bytes are taken, and all are refused");
            }
        }
    }
    let size = whole.ok().flatten().map_or(0, |(size, _)| size);
    assert!(size <= input.len(), "a header of {size} bytes in {}", input.len());
    let head = &input[size..];
    let trusted: Networks = "10.0.0.0/8".parse().expect("a network");
    let [proxied, strange] = [PROXY, STRANGER].map(|peer| upgrade_head(head, peer, &trusted));
    match (proxied, strange) {
        (Ok(proxied), Ok(strange)) => {
            let request = Request::parse(head).ok().flatten().expect("a head that is taken is one");
            assert_eq!((proxied.size, strange.size), (request.size, request.size));
            assert_eq!(strange.address, STRANGER, "a stranger is believed");
            assert_eq!((proxied.token, proxied.producer), (strange.token, strange.producer));
        }
        (Err(proxied), Err(strange)) => {
            assert_eq!(proxied, strange);
            assert!((400..600).contains(&proxied), "status {proxied}");
        }
        other => panic!("it matters who asks: {other:?}"),
    }
}

/// Requests behind headers of both versions, and without one.
pub(crate) fn seeds() -> Vec<Seed> {
    let text = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n".to_vec();
    let signature = b"\r\n\r\n\0\r\nQUIT\n\x21";
    let v4 = [&signature[..], &[0x11, 0, 12, 192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 4, 1, 0xbb]].concat();
    let v6 = [&signature[..], &[0x21, 0, 36], &[0x20; 36]].concat();
    let headers = [("none", vec![]), ("text", text), ("v4", v4), ("v6", v6)];
    let requests = super::http::request_seeds();
    super::named(headers.iter().flat_map(|(name, header)| {
        requests
            .iter()
            .map(move |(request, head)| (format!("{name}-{request}"), [&header[..], head].concat()))
    }))
}
