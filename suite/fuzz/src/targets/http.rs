//! The HTTP heads that open a connection, as both ends read them.

use agentbench_websocket::handshake::{
    HandshakeError, MAX_HEAD, MAX_REFUSAL, Offer, Opened, Opening, OpeningError, Request, write_101,
    write_response,
};
use agentbench_websocket::{DeflatePolicy, negotiate};
use bytes::BytesMut;

use super::Seed;

const NONCE: [u8; 16] = *b"the sample nonce";

/// Any bytes as the head of a request.
///
/// Holds if the head ends at the same byte however much of it, or of what follows, has arrived, what is refused is never taken from a
/// shorter piece, and everything in a head that is taken can be read.
pub fn http_request(input: &[u8]) {
    let whole = size(input);
    for end in (0..input.len()).rev().take(40).chain((0..input.len()).step_by(31)) {
        let piece = size(&input[..end]);
        match (&whole, &piece) {
            (Ok(Some(head)), _) if end >= *head => assert_eq!(piece, whole, "with {end} bytes"),
            (Ok(_), _) => assert_eq!(piece, Ok(None), "with {end} bytes"),
            (Err(_), _) => {
                assert!(!matches!(piece, Ok(Some(_))), "{end} bytes are taken, and all are {whole:?}");
            }
        }
    }
    let Ok(Some(request)) = Request::parse(input) else { return };
    let target = request.target_parts();
    assert!(target.path.len() + target.query.map_or(0, str::len) <= request.target.len());
    if let Err(error) = request.single("host") {
        assert!((400..600).contains(&error.status()));
    }
    let Ok(upgrade) = request.upgrade() else { return };
    assert!(request.wants_websocket(), "a connection is opened that was not asked for");
    assert!(upgrade.protocols().all(|protocol| !protocol.is_empty()));
    if let Some(agreed) = negotiate(&upgrade.extensions, &DeflatePolicy::default()) {
        assert!(!agreed.response_value().is_empty());
    }
}

/// Where the head ends.
fn size(bytes: &[u8]) -> Result<Option<usize>, HandshakeError> {
    Ok(Request::parse(bytes)?.map(|request| request.size))
}

/// Any bytes as a server's answer to a client's request.
///
/// Input: size of the pieces, then the bytes. Holds if they come to the same outcome whole and in pieces, and no more of a refusal is
/// kept than its limit.
pub fn http_answer(input: &[u8]) {
    let Some((&size, answer)) = input.split_first() else { return };
    let whole = outcome(answer, usize::MAX);
    // Each piece costs another look at the head so far.
    let pieces = outcome(answer, usize::from(size).max(1) * (1 + answer.len() / 512));
    assert_eq!(pieces, whole, "the same bytes whole and in pieces");
    if let Err(OpeningError::Refused(refusal)) = whole {
        assert!(refusal.body.len() <= MAX_REFUSAL);
    }
}

fn opening() -> Opening {
    let offer = Offer {
        host: "h",
        target: "/ws",
        protocols: &["a", "bearer.t"],
        deflate: Some(DeflatePolicy::default()),
        headers: &[],
    };
    Opening::new(&mut BytesMut::new(), &offer, NONCE)
}

fn outcome(answer: &[u8], size: usize) -> Result<Opened, OpeningError> {
    let mut opening = opening();
    let mut pieces = answer.chunks(size);
    while let Some(piece) = pieces.next() {
        if let Some(mut opened) = opening.feed(piece)? {
            pieces.for_each(|piece| opened.rest.extend_from_slice(piece));
            return Ok(opened);
        }
    }
    Err(opening.end())
}

/// Requests of clients, browsers and proxies.
pub(crate) fn request_seeds() -> Vec<Seed> {
    let mut plain = BytesMut::new();
    let offer = Offer {
        host: "localhost:3001",
        target: "/ws?sessionId=7&producerId=p%20q",
        protocols: &["agentbench.v1.json", "bearer.token"],
        deflate: Some(DeflatePolicy::default()),
        headers: &[
            ("Origin", "http://localhost:3001"),
            ("Authorization", "Bearer token"),
            ("X-Forwarded-For", "192.0.2.1, 10.0.0.1"),
        ],
    };
    Opening::new(&mut plain, &offer, NONCE);
    let absolute = String::from_utf8_lossy(&plain).replacen("GET /ws", "GET ws://other:1/ws", 1);
    let http = "GET /api/v1/sessions?limit=5 HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\nLast-Event-ID: 5\r\n\r\n";
    let frames = [&plain[..], &[0x81, 0x80, 1, 2, 3, 4]].concat();
    super::named([
        ("websocket".to_owned(), plain.to_vec()),
        ("absolute".to_owned(), absolute.into_bytes()),
        ("http".to_owned(), http.as_bytes().to_vec()),
        ("with-frames".to_owned(), frames),
    ])
}

/// Answers that open a connection and that refuse one.
pub(crate) fn answer_seeds() -> Vec<Seed> {
    let answer = |size: u8, write: &dyn Fn(&mut BytesMut)| {
        let mut wire = BytesMut::from(&[size][..]);
        write(&mut wire);
        wire.to_vec()
    };
    let accept = *opening().expected_accept();
    let extensions = Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover");
    super::named([
        (
            "opened".to_owned(),
            answer(9, &|wire| {
                write_101(wire, &accept, Some("a"), extensions, &[("X-Node", "n")]);
                wire.extend_from_slice(&[0x81, 2, b'{', b'}']);
            }),
        ),
        ("plain".to_owned(), answer(1, &|wire| write_101(wire, &accept, None, None, &[]))),
        (
            "large".to_owned(),
            answer(40, &|wire| {
                let pad = "x".repeat(MAX_HEAD - 120);
                write_response(wire, 429, "Too Many", &[("X-Pad", &pad)], &"body ".repeat(100));
            }),
        ),
        (
            "refused".to_owned(),
            answer(7, &|wire| {
                write_response(
                    wire,
                    503,
                    "Service Unavailable",
                    &[("Retry-After", "7")],
                    "the server is full\n",
                );
            }),
        ),
    ])
}
