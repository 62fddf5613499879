//! What a client makes of an answer to its opening handshake, in pieces of any size.

use agentbench_websocket::handshake::{
    HandshakeError, MAX_HEAD, MAX_REFUSAL, Offer, Opened, Opening, OpeningError, Refusal, write_101,
    write_response,
};
use agentbench_websocket::{DeflatePolicy, ResponseError, offer_value};
use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const NONCE: [u8; 16] = *b"the sample nonce";
const ACCEPT: &[u8; 28] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const GOOD: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

fn opening(compresses: bool) -> Opening {
    let offer = Offer {
        host: "h",
        target: "/ws",
        protocols: &["a", "bearer.secret"],
        deflate: compresses.then(DeflatePolicy::default),
        headers: &[],
    };
    Opening::new(&mut BytesMut::new(), &offer, NONCE)
}

/// The outcome of an answer that comes in these pieces, over and over, and then ends. What comes behind the head counts as one.
fn outcome(answer: &[u8], sizes: &[usize], compresses: bool) -> Result<Opened, OpeningError> {
    let mut opening = opening(compresses);
    let mut rest = answer;
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, next) = rest.split_at((*size).min(rest.len()));
        if let Some(mut opened) = opening.feed(piece)? {
            opened.rest.extend_from_slice(next);
            return Ok(opened);
        }
        rest = next;
    }
    Err(opening.end())
}

fn whole(answer: &[u8]) -> Result<Opened, OpeningError> {
    outcome(answer, &[usize::MAX], true)
}

#[test]
fn answers_that_do_not_open_a_connection() {
    use HandshakeError as Head;
    let cases: &[(&str, &str, OpeningError)] = &[
        ("websocket", "h2c", Head::Upgrade.into()),
        ("Connection: Upgrade", "Connection: close", Head::Connection.into()),
        ("Sec-WebSocket-Accept", "X", Head::Accept.into()),
        ("s3pP", "S3pP", Head::Accept.into()),
        ("HTTP/1.1", "SSH-2.0", Head::Malformed.into()),
        ("\r\n\r\n", "\r\nSec-WebSocket-Protocol: b\r\n\r\n", OpeningError::Protocol),
        ("\r\n\r\n", "\r\nSec-WebSocket-Protocol: A\r\n\r\n", OpeningError::Protocol),
        (
            "\r\n\r\n",
            "\r\nSec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: a\r\n\r\n",
            Head::Repeated("sec-websocket-protocol").into(),
        ),
        ("\r\n\r\n", "\r\nSec-WebSocket-Extensions: x\r\n\r\n", ResponseError::NotOffered.into()),
        ("\r\n\r\n", "\r\nX: y\r\n", OpeningError::Ended),
    ];
    for (old, new, error) in cases {
        let answer = format!("{GOOD}\r\n").replace(old, new);
        assert_eq!(whole(answer.as_bytes()).unwrap_err(), *error, "{answer}");
        assert!(!error.to_string().is_empty());
    }
    let compressed = format!("{GOOD}Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n");
    assert!(whole(compressed.as_bytes()).unwrap().deflate.is_some());
    let refused = outcome(compressed.as_bytes(), &[usize::MAX], false).unwrap_err();
    assert_eq!(refused, ResponseError::NotOffered.into());
    assert_eq!(whole(b"").unwrap_err(), OpeningError::Ended);
}

#[test]
fn a_refusal_comes_with_the_start_of_its_body() {
    let answer = |body: &str| {
        let mut wire = BytesMut::new();
        write_response(&mut wire, 503, "Service Unavailable", &[("Retry-After", "7")], body);
        wire
    };
    let refused = |body: &[u8]| {
        OpeningError::Refused(Refusal { status: 503, retry_after: Some(7), body: body.to_vec() })
    };
    assert_eq!(whole(&answer("full\n")).unwrap_err(), refused(b"full\n"));
    let said = "the server refused the connection with HTTP status 503";
    assert_eq!(refused(b" full\n").to_string(), format!("{said}: full"));
    assert_eq!(refused(b"").to_string(), said);

    // Too long to be kept, and it does not have to come.
    let long = answer(&"x".repeat(3 * MAX_REFUSAL));
    let mut opening = opening(true);
    let error = opening.feed(&long[..long.len() - MAX_REFUSAL]).unwrap_err();
    assert_eq!(error, refused(&[b'x'; MAX_REFUSAL]));

    // Of no length: there is nothing to wait for.
    let chunked = b"HTTP/1.1 404 x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n";
    let error = whole(chunked).unwrap_err();
    assert_eq!(error, OpeningError::Refused(Refusal { status: 404, retry_after: None, body: Vec::new() }));
}

#[test]
fn a_body_that_stops_half_way_is_reported_at_the_end() {
    let mut opening = opening(true);
    let head = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 100\r\n\r\nexp";
    assert_eq!(opening.feed(head), Ok(None));
    assert_eq!(opening.feed(b"ired"), Ok(None));
    let refusal = Refusal { status: 401, retry_after: None, body: b"expired".to_vec() };
    assert_eq!(opening.end(), OpeningError::Refused(refusal));
    assert_eq!(opening.end(), OpeningError::Ended);
}

#[test]
fn heads_are_bounded_however_they_come() {
    let pad = |size: usize| format!("{GOOD}X: {}\r\n\r\n", "x".repeat(size - GOOD.len() - 7));
    let fits = pad(MAX_HEAD);
    assert_eq!(fits.len(), MAX_HEAD);
    for sizes in [&[usize::MAX][..], &[1000]] {
        assert!(outcome(fits.as_bytes(), sizes, false).unwrap().rest.is_empty());
        for answer in [pad(MAX_HEAD + 1), format!("{GOOD}X: {}", "x".repeat(2 * MAX_HEAD))] {
            let error = outcome(answer.as_bytes(), sizes, false).unwrap_err();
            assert_eq!(error, HandshakeError::TooLarge.into());
        }
    }
    let frames = [fits.as_bytes(), &[7; 100_000]].concat();
    assert_eq!(whole(&frames).unwrap().rest, vec![7; 100_000]);
}

#[test]
fn tokens_do_not_stand_in_logs() {
    let offer = Offer {
        host: "h",
        target: "/ws?token=secret",
        protocols: &["secret"],
        deflate: None,
        headers: &[("Authorization", "secret")],
    };
    let opening = Opening::new(&mut BytesMut::new(), &offer, NONCE);
    assert!(!format!("{offer:?} {opening:?}").contains("secret"));
}

/// Lines that answers are put together from: sound, broken and beside the point.
const LINES: &[&str] = &[
    "Upgrade: websocket",
    "Connection: keep-alive, Upgrade",
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    "Sec-WebSocket-Accept: x",
    "Sec-WebSocket-Protocol: a",
    "Sec-WebSocket-Protocol: b",
    "Sec-WebSocket-Extensions: permessage-deflate",
    "Content-Length: 3",
    "Content-Length: 18446744073709551615",
    "Content-Length: -1",
    "Retry-After: 1",
    "no header",
    "X:",
];

fn answer() -> impl Strategy<Value = Vec<u8>> {
    let status = select(&["HTTP/1.1 101 x", "HTTP/1.1 101", "HTTP/1.0 503 x", "HTTP/1.1 999999", "HTTP/9"]);
    let made =
        (status, vec(select(LINES), 0..8), vec(any::<u8>(), 0..2000)).prop_map(|(status, lines, body)| {
            let mut head = format!("{status}\r\n");
            lines.iter().for_each(|line| head += &format!("{line}\r\n"));
            [head.as_bytes(), b"\r\n", &body].concat()
        });
    let good = vec(any::<u8>(), 0..300).prop_map(|frames| {
        let mut wire = BytesMut::new();
        let extensions = offer_value(&DeflatePolicy::default());
        write_101(
            &mut wire,
            ACCEPT,
            Some("a"),
            Some(&extensions.replace("; client_max_window_bits", "")),
            &[],
        );
        [&wire[..], &frames].concat()
    });
    let refused = ("[a-z]{0,2000}", any::<u16>()).prop_map(|(body, status)| {
        let mut wire = BytesMut::new();
        write_response(&mut wire, 400 + status % 200, "No", &[], &body);
        wire.to_vec()
    });
    let large =
        (0usize..30_000).prop_map(|size| format!("{GOOD}X: {}\r\n\r\nrest", "x".repeat(size)).into_bytes());
    prop_oneof![3 => made, 2 => good, 2 => refused, 1 => large, 1 => vec(any::<u8>(), 0..300)]
}

proptest! {
    #[test]
    fn an_answer_means_the_same_however_it_is_cut(
        mut answer in answer(),
        damage in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        sizes in vec(1usize..4000, 1..5),
        small in any::<bool>(),
    ) {
        if let (Some((at, byte)), false) = (damage, answer.is_empty()) {
            let at = at.index(answer.len());
            answer[at] = byte;
        }
        let small = small && answer.len() < 3000;
        let sizes: Vec<usize> = if small { sizes.iter().map(|size| size % 7 + 1).collect() } else { sizes };
        prop_assert_eq!(outcome(&answer, &sizes, true), whole(&answer));
    }
}
