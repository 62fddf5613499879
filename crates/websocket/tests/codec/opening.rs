//! Handshake heads, and the negotiation of compression.

use agentbench_websocket::handshake::{
    HandshakeError, MAX_HEAD, Offer, Opening, Request, Response, accept_key, parse_response, write_101,
    write_response,
};
use agentbench_websocket::{
    DeflatePolicy, Negotiated, ResponseError, Role, accept_response, negotiate, offer_value,
};
use bytes::BytesMut;

/// RFC 6455 §1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &[u8; 28] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

fn head(change: impl Fn(&str) -> String) -> String {
    let lines = [
        "GET /ws?token=abc HTTP/1.1",
        "Host: server.example.com",
        "upgrade: h2c, WebSocket",
        "Connection: keep-alive, Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol: agentbench.v1.json",
        "Sec-WebSocket-Protocol: bearer.abc ,x",
        "Sec-WebSocket-Extensions: foo, permessage-deflate; server_no_context_takeover",
        "Sec-WebSocket-Extensions: permessage-deflate",
        "Sec-WebSocket-Version: 13",
    ];
    let mut head: String = lines.iter().map(|line| change(line) + "\r\n").collect();
    head.push_str("\r\n");
    head
}

#[test]
fn the_key_of_the_rfc() {
    assert_eq!(&accept_key(KEY), ACCEPT);
    let mut wire = BytesMut::new();
    let offer = Offer { host: "h", target: "/", protocols: &[], deflate: None, headers: &[] };
    let opening = Opening::new(&mut wire, &offer, *b"the sample nonce");
    assert_eq!(opening.expected_accept(), ACCEPT);
    assert_eq!(Request::parse(&wire).unwrap().unwrap().header("Sec-WebSocket-Key"), Some(KEY));
}

#[test]
fn a_browser_s_request() {
    let bytes = head(str::to_owned) + "first frame";
    for cut in 0..bytes.len() - "first frame".len() {
        assert!(Request::parse(&bytes.as_bytes()[..cut]).unwrap().is_none());
    }
    let request = Request::parse(bytes.as_bytes()).unwrap().unwrap();
    assert_eq!((request.method, request.target), ("GET", "/ws?token=abc"));
    assert_eq!(&bytes[request.size..], "first frame");
    assert_eq!(request.header("HOST"), Some("server.example.com"));
    assert!(request.wants_websocket());
    let upgrade = request.upgrade().unwrap();
    assert_eq!(&upgrade.accept, ACCEPT);
    assert!(upgrade.protocols().eq(["agentbench.v1.json", "bearer.abc", "x"]));
    assert_eq!(upgrade.extensions, "foo, permessage-deflate; server_no_context_takeover, permessage-deflate");
}

/// A line that is replaced (by its beginning), what by, and the refusal.
const BROKEN: &[(&str, &str, HandshakeError)] = &[
    ("GET", "POST / HTTP/1.1", HandshakeError::Method),
    ("GET", "GET / HTTP/1.0", HandshakeError::HttpVersion),
    ("Host", "X: y", HandshakeError::Host),
    ("Host", "Host: a\r\nHost: b", HandshakeError::Host),
    ("upgrade", "Upgrade: websockets", HandshakeError::Upgrade),
    ("upgrade", "X: y", HandshakeError::Upgrade),
    ("Connection", "Connection: close", HandshakeError::Connection),
    ("Connection", "Connection: not-upgrade", HandshakeError::Connection),
    ("Sec-WebSocket-Key", "X: y", HandshakeError::Key),
    ("Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ", HandshakeError::Key),
    ("Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZSEh", HandshakeError::Key),
    ("Sec-WebSocket-Key", "Sec-WebSocket-Key: !!!!IHNhbXBsZSBub25jZQ==", HandshakeError::Key),
    ("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8", HandshakeError::Version),
    ("Sec-WebSocket-Version", "X: y", HandshakeError::Version),
];

#[test]
fn requests_that_do_not_open_a_connection() {
    for (line, by, error) in BROKEN {
        let bytes = head(|old| if old.starts_with(line) { (*by).to_owned() } else { old.to_owned() });
        let request = Request::parse(bytes.as_bytes()).unwrap().unwrap();
        assert_eq!(request.upgrade().unwrap_err(), *error, "{by}");
        assert!((400..=505).contains(&error.status()));
    }
}

/// Lines that are added to a good head, and the refusal: never as if the line were not there.
#[test]
fn what_cannot_be_read_is_not_taken_as_absent() {
    let good = head(str::to_owned);
    let with = |line: &[u8]| {
        let (first, rest) = good.split_once("\r\n").unwrap();
        [first.as_bytes(), b"\r\n", line, b"\r\n", rest.as_bytes()].concat()
    };
    for name in ["Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"] {
        let bytes = with(&[name.as_bytes(), b": gr\xf6\xdfe"].concat());
        let refused = Request::parse(&bytes).unwrap().unwrap().upgrade().unwrap_err();
        assert!(matches!(refused, HandshakeError::NotText(of) if of.eq_ignore_ascii_case(name)), "{refused}");
    }
    let bytes = with(b"X-One: gr\xf6\xdfe\r\nX-Two: a\r\nx-two: a\r\nX-Three: \xc3\xbc");
    let request = Request::parse(&bytes).unwrap().unwrap();
    assert_eq!(request.single("X-One"), Err(HandshakeError::NotText("X-One")));
    assert_eq!(request.single("X-Two"), Err(HandshakeError::Repeated("X-Two")));
    assert_eq!(request.single("X-Three"), Ok(Some("ü")));
    assert_eq!(request.single("X-Four"), Ok(None));
}

#[test]
fn lines_that_end_in_lf_alone_are_refused_wherever_they_stand() {
    let good = head(str::to_owned);
    let ends: Vec<usize> = good.match_indices("\r\n").map(|(at, _)| at).collect();
    for at in ends {
        let bytes = format!("{}{}", &good[..at], &good[at + 1..]);
        assert_eq!(Request::parse(bytes.as_bytes()).unwrap_err(), HandshakeError::LineEnd, "{bytes:?}");
    }
}

#[test]
fn a_target_is_read_in_both_forms() {
    for (target, authority, path, query) in [
        ("/ws?token=a?b", None, "/ws", Some("token=a?b")),
        ("/", None, "/", None),
        ("http://h:1/ws?x", Some("h:1"), "/ws", Some("x")),
        ("HTTPS://h", Some("h"), "/", None),
        ("ws://h?x=//y/z", Some("h"), "/", Some("x=//y/z")),
        ("wss://[::1]:8/a/b", Some("[::1]:8"), "/a/b", None),
        ("ftp://h/ws", None, "ftp://h/ws", None),
        ("/http://h/ws", None, "/http://h/ws", None),
        ("/ws?http://h/x", None, "/ws", Some("http://h/x")),
    ] {
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        let parts = Request::parse(bytes.as_bytes()).unwrap().unwrap().target_parts();
        assert_eq!((parts.authority, parts.path, parts.query), (authority, path, query), "{target}");
        assert!(!format!("{parts:?}").contains("token"));
    }
}

#[test]
fn heads_that_are_none() {
    assert_eq!(Request::parse(b"\x16\x03\x01 TLS").unwrap_err(), HandshakeError::Malformed);
    let endless = format!("GET /{}", "a".repeat(MAX_HEAD));
    assert_eq!(Request::parse(endless.as_bytes()).unwrap_err(), HandshakeError::TooLarge);
    let large = head(|line| if line.starts_with("Host") { format!("H: {endless}") } else { line.to_owned() });
    assert_eq!(Request::parse(large.as_bytes()).unwrap_err(), HandshakeError::TooLarge);
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65));
    assert_eq!(Request::parse(many.as_bytes()).unwrap_err(), HandshakeError::TooLarge);
}

#[test]
fn both_ends_understand_each_other() {
    let mut wire = BytesMut::new();
    let offer = Offer {
        host: "localhost:3001",
        target: "/ws",
        protocols: &["agentbench.v1.json", "bearer.t"],
        deflate: Some(DeflatePolicy::default()),
        headers: &[("Origin", "http://x\r\nInjected: yes")],
    };
    let mut opening = Opening::new(&mut wire, &offer, *b"the sample nonce");
    let request = Request::parse(&wire).unwrap().unwrap();
    assert_eq!(request.size, wire.len());
    assert_eq!(request.header("origin"), Some("http://xInjected: yes"));
    let upgrade = request.upgrade().unwrap();
    let agreed = negotiate(&upgrade.extensions, &DeflatePolicy::default()).unwrap();

    let mut answer = BytesMut::new();
    let protocol = upgrade.protocols().next();
    write_101(&mut answer, &upgrade.accept, protocol, Some(&agreed.response_value()), &[("X", "y")]);
    let consumed = answer.len();
    answer.extend_from_slice(b"\x81\x00");
    for cut in 0..consumed {
        assert_eq!(parse_response(&answer[..cut], ACCEPT), Ok(Response::Incomplete));
    }
    let opened = opening.feed(&answer).unwrap().unwrap();
    assert_eq!(opened.protocol.as_deref(), Some("agentbench.v1.json"));
    assert_eq!((opened.deflate.is_some(), &opened.rest[..]), (true, &b"\x81\x00"[..]));
    let expected = Response::Accepted {
        protocol: Some("agentbench.v1.json"),
        extensions: agreed.response_value(),
        consumed,
    };
    assert_eq!(parse_response(&answer, ACCEPT), Ok(expected));
    assert_eq!(parse_response(&answer, &[b'x'; 28]), Err(HandshakeError::Accept));
}

#[test]
fn refusals_keep_their_reasons() {
    let mut wire = BytesMut::new();
    write_response(&mut wire, 503, "Service Unavailable", &[("Retry-After", "7")], "full");
    let consumed = wire.len() - 4;
    let expected = Response::Rejected { status: 503, retry_after: Some(7), length: Some(4), consumed };
    assert_eq!(parse_response(&wire, ACCEPT), Ok(expected));

    wire.clear();
    write_response(&mut wire, 426, "Upgrade Required", &[], "");
    assert!(wire.windows(25).any(|text| text == b"Sec-WebSocket-Version: 13"));
    assert_eq!(parse_response(b"SSH-2.0-OpenSSH\r\n", ACCEPT), Err(HandshakeError::Malformed));
    for (head, error) in [
        ("HTTP/1.1 101 x\r\nConnection: upgrade\r\n\r\n", HandshakeError::Upgrade),
        ("HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n", HandshakeError::Connection),
        ("HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", HandshakeError::Accept),
    ] {
        assert_eq!(parse_response(head.as_bytes(), ACCEPT), Err(error));
    }
}

const DEFAULT: DeflatePolicy = DeflatePolicy {
    server_no_context_takeover: true,
    client_no_context_takeover: true,
    server_max_window_bits: 15,
    client_max_window_bits: 15,
};
const NARROW: DeflatePolicy =
    DeflatePolicy { server_max_window_bits: 10, client_max_window_bits: 11, ..DEFAULT };
const TAKEOVER: DeflatePolicy =
    DeflatePolicy { server_no_context_takeover: false, client_no_context_takeover: false, ..DEFAULT };

const ALONE: &str = "; server_no_context_takeover; client_no_context_takeover";

/// The offer, the server's policy, and the answer's parameters.
const OFFERS: &[(&str, DeflatePolicy, Option<&str>)] = &[
    ("", DEFAULT, None),
    ("x-webkit-deflate-frame", DEFAULT, None),
    ("permessage-deflate", DEFAULT, Some("")),
    (" foo;bar=\"a, permessage-deflate\" ,\tpermessage-deflate ;client_max_window_bits", DEFAULT, Some("")),
    (
        "permessage-deflate; client_max_window_bits",
        NARROW,
        Some("; server_max_window_bits=10; client_max_window_bits=11"),
    ),
    ("permessage-deflate", NARROW, Some("; server_max_window_bits=10")),
    (
        "permessage-deflate; client_max_window_bits=9",
        NARROW,
        Some("; server_max_window_bits=10; client_max_window_bits=9"),
    ),
    ("permessage-deflate; client_max_window_bits=15", DEFAULT, Some("")),
    ("permessage-deflate; client_max_window_bits=8", DEFAULT, Some("; client_max_window_bits=8")),
    ("permessage-deflate; server_max_window_bits=15", DEFAULT, Some("; server_max_window_bits=15")),
    ("permessage-deflate; server_max_window_bits=\"9\"", DEFAULT, Some("; server_max_window_bits=9")),
    ("permessage-deflate; server_max_window_bits=\"1\\2\"", DEFAULT, Some("; server_max_window_bits=12")),
    ("permessage-deflate; server_max_window_bits = 12", DEFAULT, Some("; server_max_window_bits=12")),
    // A window that we cannot compress with is declined, and the next offer is tried.
    ("permessage-deflate; server_max_window_bits=8", DEFAULT, None),
    ("permessage-deflate; server_max_window_bits=8, permessage-deflate", DEFAULT, Some("")),
    // Ill-formed, repeated or unknown parameters decline an offer.
    ("permessage-deflate; server_max_window_bits", DEFAULT, None),
    ("permessage-deflate; server_max_window_bits=", DEFAULT, None),
    ("permessage-deflate; server_max_window_bits=7", DEFAULT, None),
    ("permessage-deflate; server_max_window_bits=16", DEFAULT, None),
    ("permessage-deflate; server_max_window_bits=09", DEFAULT, None),
    ("permessage-deflate; server_max_window_bits=+9", DEFAULT, None),
    ("permessage-deflate; server_max_window_bits=\"9", DEFAULT, None),
    ("permessage-deflate; client_max_window_bits=999", DEFAULT, None),
    ("permessage-deflate; client_max_window_bits; client_max_window_bits=10", DEFAULT, None),
    ("permessage-deflate; server_max_window_bits=10; server_max_window_bits=10", DEFAULT, None),
    ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", DEFAULT, None),
    ("permessage-deflate; server_no_context_takeover=true", DEFAULT, None),
    ("permessage-deflate; client_no_context_takeover=\"\"", DEFAULT, None),
    ("permessage-deflate; unknown", DEFAULT, None),
    ("permessage-deflate;", DEFAULT, None),
    ("permessage-deflate; unknown=1, permessage-deflate; client_no_context_takeover", DEFAULT, Some("")),
];

#[test]
fn offers_and_answers() {
    for (offer, policy, parameters) in OFFERS {
        let answer = negotiate(offer, policy).map(|agreed| agreed.response_value());
        let expected = parameters.map(|parameters| format!("permessage-deflate{ALONE}{parameters}"));
        assert_eq!(answer, expected, "{offer}");
    }
    let answer = |offer| negotiate(offer, &TAKEOVER).unwrap().response_value();
    assert_eq!(answer("permessage-deflate"), "permessage-deflate");
    assert_eq!(
        answer("permessage-deflate; server_no_context_takeover"),
        "permessage-deflate; server_no_context_takeover"
    );
    assert_eq!(
        answer("permessage-deflate; client_no_context_takeover"),
        "permessage-deflate; client_no_context_takeover"
    );
}

#[test]
fn our_offer_meets_our_answer() {
    for offered in [DEFAULT, NARROW, TAKEOVER] {
        for served in [DEFAULT, NARROW, TAKEOVER] {
            let at_server = negotiate(&offer_value(&offered), &served).unwrap();
            let at_client = accept_response(&at_server.response_value(), &offered).unwrap().unwrap();
            for role in [Role::Server, Role::Client] {
                assert!(at_client.send_window_bits(role) <= at_server.send_window_bits(role));
                let may = |agreed: &Negotiated| agreed.retaining_deflater(role, 1).is_some();
                assert!(!may(&at_client) || may(&at_server), "nobody keeps what the other forgets");
            }
        }
    }
}

const ANSWERS: &[(&str, DeflatePolicy, Result<bool, ResponseError>)] = &[
    ("", DEFAULT, Ok(false)),
    ("permessage-deflate", DEFAULT, Ok(true)),
    ("permessage-deflate; client_max_window_bits=9; server_max_window_bits=8", DEFAULT, Ok(true)),
    ("permessage-deflate; client_max_window_bits=8", DEFAULT, Err(ResponseError::Window)),
    ("permessage-deflate; client_max_window_bits", DEFAULT, Err(ResponseError::Parameters)),
    ("permessage-deflate; unknown", DEFAULT, Err(ResponseError::Parameters)),
    ("permessage-deflate", NARROW, Err(ResponseError::Window)),
    ("permessage-deflate; server_max_window_bits=11", NARROW, Err(ResponseError::Window)),
    ("permessage-deflate; server_max_window_bits=10", NARROW, Ok(true)),
    ("permessage-deflate, permessage-deflate", DEFAULT, Err(ResponseError::NotOffered)),
    ("x-webkit-deflate-frame", DEFAULT, Err(ResponseError::NotOffered)),
];

#[test]
fn answers_to_our_offer() {
    for (answer, policy, expected) in ANSWERS {
        assert_eq!(accept_response(answer, policy).map(|agreed| agreed.is_some()), *expected, "{answer}");
    }
}
