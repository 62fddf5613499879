//! The cases of the Autobahn test suite (0.8), restated in memory against an echo endpoint, as server and as
//! client.
//!
//! Sizes and repetitions of categories 9, 12 and 13 are trimmed; category 8 does not exist, 11 is empty, 9.7
//! and 9.8 measure only.

use agentbench_websocket::{
    DeflatePolicy, Deflater, Message, Negotiated, Opcode, Role, accept_response, encode_close,
    encode_deflated, encode_message, negotiate,
};
use bytes::BytesMut;

use crate::support::{
    BINARY, BOTH, CLOSE, CONTINUATION, FIN, OwnedMessage, PING, PONG, Receiver, TEXT, frame_to, text,
};

/// The smallest endpoint that an application could be: it sends back what it gets, and keeps to the closing
/// handshake.
struct Echo {
    role: Role,
    receiver: Receiver,
    deflate: Option<(Deflater, u8)>,
    sent: BytesMut,
    closed: bool,
}

impl Echo {
    fn new(role: Role, agreed: Option<&Negotiated>) -> Self {
        Self {
            role,
            receiver: Receiver::new(role, 16 << 20, agreed),
            deflate: agreed.map(|agreed| (Deflater::new(3), agreed.send_window_bits(role))),
            sent: BytesMut::new(),
            closed: false,
        }
    }

    fn read(&mut self, bytes: &[u8]) {
        let Self { role, receiver, deflate, sent, closed } = self;
        let mask = (*role == Role::Client).then_some([9, 8, 7, 6]);
        let result = receiver.read(bytes, |message| match message {
            Message::Text(text) => echo(sent, Opcode::Text, text.as_bytes(), deflate, mask),
            Message::Binary(bytes) => echo(sent, Opcode::Binary, bytes, deflate, mask),
            Message::Ping(bytes) => encode_message(sent, &Message::Pong(bytes), mask),
            Message::Pong(_) => {}
            Message::Close(close) => {
                *closed = true;
                encode_close(sent, close.map(|close| (close.code, close.reason)), mask);
            }
        });
        if let Err(error) = result
            && !*closed
        {
            *closed = true;
            encode_close(sent, Some((error.close_code(), &error.to_string())), mask);
        }
    }

    /// What the peer has got by now.
    fn answers(&mut self, agreed: Option<&Negotiated>) -> Vec<OwnedMessage> {
        let peer = if self.role == Role::Server { Role::Client } else { Role::Server };
        let outcome = Receiver::new(peer, 16 << 20, agreed).outcome(&self.sent, &[]);
        assert_eq!(outcome.error, None, "what we send is sound");
        outcome.messages
    }
}

fn echo(
    sent: &mut BytesMut,
    opcode: Opcode,
    payload: &[u8],
    deflate: &mut Option<(Deflater, u8)>,
    mask: Option<[u8; 4]>,
) {
    match deflate {
        Some((deflater, bits)) => encode_deflated(sent, opcode, payload, deflater, *bits, mask),
        None => agentbench_websocket::encode_frame(sent, opcode, false, payload, mask),
    }
}

type Frames = Vec<(u8, Vec<u8>)>;

/// What the peer sends, and all that it gets back. A trailing close is how the endpoint ended it.
struct Case {
    id: &'static str,
    frames: Frames,
    answers: Vec<OwnedMessage>,
}

fn case(id: &'static str, frames: &[(u8, &[u8])], answers: Vec<OwnedMessage>) -> Case {
    Case { id, frames: frames.iter().map(|(first, payload)| (*first, payload.to_vec())).collect(), answers }
}

fn binary(bytes: &[u8]) -> OwnedMessage {
    OwnedMessage::Binary(bytes.to_vec())
}

fn pong(bytes: &[u8]) -> OwnedMessage {
    OwnedMessage::Pong(bytes.to_vec())
}

fn closed(code: u16) -> OwnedMessage {
    OwnedMessage::Close(Some((code, String::new())))
}

/// Runs a case for both roles, in one read, in reads of 997 bytes, and byte by byte. Of a refusal only the
/// code counts.
fn run(case: &Case) {
    for role in BOTH {
        let wire: Vec<u8> =
            case.frames.iter().flat_map(|(first, payload)| frame_to(role, *first, payload)).collect();
        for chop in [usize::MAX, 997, 1] {
            if chop == 1 && wire.len() > 200_000 {
                continue;
            }
            let mut echo = Echo::new(role, None);
            for piece in wire.chunks(chop) {
                echo.read(piece);
            }
            let mut answers = echo.answers(None);
            for answer in &mut answers {
                if let OwnedMessage::Close(Some((1002 | 1007 | 1009, reason))) = answer {
                    reason.clear();
                }
            }
            assert!(answers == case.answers, "{} as {role:?} in {chop}: {answers:.200?}", case.id);
        }
    }
}

#[test]
fn category_1_framing() {
    for size in [0, 125, 126, 127, 128, 65_535, 65_536] {
        let payload = vec![b'*'; size];
        let message = String::from_utf8(payload.clone()).unwrap();
        run(&case("1.1.x", &[(FIN | TEXT, &payload)], vec![OwnedMessage::Text(message)]));
        let payload = vec![0xfe; size];
        run(&case("1.2.x", &[(FIN | BINARY, &payload)], vec![binary(&payload)]));
    }
}

#[test]
fn category_2_pings_and_pongs() {
    let hello: &[u8] = b"Hello, world!";
    let bytes: &[u8] = &[0x00, 0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0x00, 0xff];
    let most: &[u8] = &[0xfe; 125];
    let ten: Vec<Vec<u8>> = (0..10).map(|n| format!("payload-{n}").into_bytes()).collect();
    let pings: Vec<(u8, &[u8])> = ten.iter().map(|payload| (FIN | PING, payload.as_slice())).collect();
    for case in [
        case("2.1", &[(FIN | PING, b"")], vec![pong(b"")]),
        case("2.2", &[(FIN | PING, hello)], vec![pong(hello)]),
        case("2.3", &[(FIN | PING, bytes)], vec![pong(bytes)]),
        case("2.4", &[(FIN | PING, most)], vec![pong(most)]),
        case("2.5", &[(FIN | PING, &[0xfe; 126])], vec![closed(1002)]),
        case("2.7", &[(FIN | PONG, b"")], vec![]),
        case("2.8", &[(FIN | PONG, b"unsolicited")], vec![]),
        case("2.9", &[(FIN | PONG, b"unsolicited"), (FIN | PING, b"ping")], vec![pong(b"ping")]),
        case("2.10", &pings, ten.iter().map(|payload| pong(payload)).collect()),
    ] {
        run(&case);
    }
}

#[test]
fn category_3_reserved_bits() {
    let hello: &[u8] = b"Hello, world!";
    for rsv in 1..=7 {
        let bits = rsv << 4;
        let broken = closed(1002);
        for case in [
            case("3.1", &[(FIN | bits | TEXT, hello)], vec![broken.clone()]),
            case(
                "3.2",
                &[(FIN | TEXT, hello), (FIN | bits | TEXT, hello), (FIN | PING, b"")],
                vec![text("Hello, world!"), broken.clone()],
            ),
            case("3.5", &[(FIN | bits | BINARY, &[0, 0xff, 0xfe])], vec![broken.clone()]),
            case("3.6", &[(FIN | bits | PING, hello)], vec![broken.clone()]),
            case("3.7", &[(FIN | bits | CLOSE, &[])], vec![broken]),
        ] {
            run(&case);
        }
    }
}

#[test]
fn category_4_opcodes() {
    let hello: &[u8] = b"Hello, world!";
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        run(&case("4.x.1", &[(FIN | opcode, b"")], vec![closed(1002)]));
        run(&case("4.x.2", &[(FIN | opcode, b"reserved opcode payload")], vec![closed(1002)]));
        run(&case(
            "4.x.3",
            &[(FIN | TEXT, hello), (FIN | opcode, b""), (FIN | PING, b"")],
            vec![text("Hello, world!"), closed(1002)],
        ));
    }
}

#[test]
fn category_5_fragmentation() {
    const F1: &[u8] = b"fragment1";
    const F2: &[u8] = b"fragment2";
    const PAY: &[u8] = b"ping payload";
    let whole = || text("fragment1fragment2");
    let refused = || vec![closed(1002)];
    let begin = (TEXT, F1);
    let more = (CONTINUATION, F2);
    let end = (FIN | CONTINUATION, F2);
    let ping = (FIN | PING, PAY);
    for case in [
        case("5.1", &[(PING, F1), end], refused()),
        case("5.2", &[(PONG, F1), end], refused()),
        case("5.3", &[begin, end], vec![whole()]),
        case("5.6", &[begin, ping, end], vec![pong(PAY), whole()]),
        case("5.9", &[(FIN | CONTINUATION, F1), (FIN | TEXT, F2)], refused()),
        case("5.12", &[(CONTINUATION, F1), (FIN | TEXT, F2)], refused()),
        case("5.15", &[begin, end, (CONTINUATION, F1), (FIN | TEXT, F2)], vec![whole(), closed(1002)]),
        case("5.16", &[(CONTINUATION, F1), begin, end], refused()),
        case("5.17", &[(FIN | CONTINUATION, F1), begin, end], refused()),
        case("5.18", &[begin, (FIN | TEXT, F2)], refused()),
        case(
            "5.19",
            &[begin, more, ping, more, more, ping, end],
            vec![pong(PAY), pong(PAY), text(&format!("fragment1{}", "fragment2".repeat(4)))],
        ),
    ] {
        run(&case);
    }
}

/// Text, and whether it is UTF-8: the rows of 6.2 to 6.23.
fn texts() -> Vec<(Vec<u8>, bool)> {
    let mut rows: Vec<(Vec<u8>, bool)> = Vec::new();
    for valid in [
        "Hello-µ@ßöäüàá-UTF-8!!",
        "κόσμε",
        "\u{0}",
        "\u{80}",
        "\u{800}",
        "\u{10000}",
        "\u{7f}",
        "\u{7ff}",
        "\u{ffff}",
        "\u{10ffff}",
        "\u{d7ff}",
        "\u{e000}",
        "\u{fffd}",
        "\u{fffe}",
        "\u{1fffe}",
        "\u{10fffe}",
    ] {
        rows.push((valid.as_bytes().to_vec(), true));
    }
    let invalid: &[&[u8]] = &[
        // 6.3.1: a surrogate between valid text.
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
        // 6.6: characters cut short.
        b"\xce",
        b"\xce\xba\xe1",
        b"\xce\xba\xe1\xbd",
        b"\xce\xba\xe1\xbd\xb9\xcf",
        // 6.8, 6.10: five and six bytes, and beyond the last character.
        b"\xf8\x88\x80\x80\x80",
        b"\xfc\x84\x80\x80\x80\x80",
        b"\xf7\xbf\xbf\xbf",
        b"\xfb\xbf\xbf\xbf\xbf",
        b"\xfd\xbf\xbf\xbf\xbf\xbf",
        b"\xf4\x90\x80\x80",
        // 6.12, 6.13: continuation bytes and starts alone.
        b"\x80",
        b"\xbf",
        b"\x80\xbf\x80\xbf",
        b"\xc0 \xc1 \xc2 ",
        b"\xe0 \xe1 ",
        b"\xf0 \xf1 ",
        b"\xf8 ",
        b"\xfc ",
        // 6.14, 6.15: sequences without their last byte.
        b"\xc0",
        b"\xe0\x80",
        b"\xf0\x80\x80",
        b"\xdf",
        b"\xef\xbf",
        b"\xf7\xbf\xbf",
        // 6.16: impossible bytes.
        b"\xfe",
        b"\xff",
        b"\xfe\xfe\xff\xff",
        // 6.17 to 6.19: overlong forms.
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xf0\x80\x80\xaf",
        b"\xc1\xbf",
        b"\xe0\x9f\xbf",
        b"\xf0\x8f\xbf\xbf",
        b"\xc0\x80",
        b"\xe0\x80\x80",
        // 6.20, 6.21: surrogates, alone and in pairs.
        b"\xed\xa0\x80",
        b"\xed\xaf\xbf",
        b"\xed\xb0\x80",
        b"\xed\xbf\xbf",
        b"\xed\xa0\x80\xed\xb0\x80",
    ];
    rows.extend(invalid.iter().map(|bytes| (bytes.to_vec(), false)));
    rows
}

#[test]
fn category_6_utf8() {
    run(&case("6.1.1", &[(FIN | TEXT, b"")], vec![text("")]));
    run(&case("6.1.2", &[(TEXT, b""), (CONTINUATION, b""), (FIN | CONTINUATION, b"")], vec![text("")]));
    run(&case(
        "6.1.3",
        &[(TEXT, b""), (CONTINUATION, b"middle"), (FIN | CONTINUATION, b"")],
        vec![text("middle")],
    ));
    for (bytes, valid) in texts() {
        let answers =
            if valid { vec![text(std::str::from_utf8(&bytes).unwrap())] } else { vec![closed(1007)] };
        run(&case("6.x", &[(FIN | TEXT, &bytes)], answers.clone()));
        // And in fragments of one byte each.
        let mut frames: Frames = bytes.iter().map(|byte| (CONTINUATION, vec![*byte])).collect();
        frames[0].0 = TEXT;
        frames.push((FIN | CONTINUATION, Vec::new()));
        run(&Case { id: "6.x in fragments", frames, answers });
    }
}

#[test]
fn category_6_4_fails_with_the_byte_that_is_wrong() {
    // The last byte of the first part is the first that no continuation could mend.
    let parts: &[(&[u8], &[u8])] = &[
        (b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90", b"\x80\x80edited"),
        (b"\xce\xba\xed\xa0", b"\x80"),
        (b"ascii\xc0", b"\xaf"),
        (b"\xe2\x82\xac\xe0\x80", b"\x80"),
        (b"\xf0\x9f\x98\x80\xff", b"and more"),
    ];
    for role in BOTH {
        for (bad, rest) in parts {
            let sound = bad.len() - 1;
            // Between fragments (6.4.1, 6.4.2), and inside one frame (6.4.3, 6.4.4).
            let fragment = frame_to(role, TEXT, &bad[..sound]);
            let next = frame_to(role, CONTINUATION, &bad[sound..]);
            let frame = frame_to(role, FIN | TEXT, &[*bad, rest].concat());
            let inside = frame.len() - rest.len() - 1;
            for (before, after) in [(&fragment[..], &next[..]), (&frame[..inside], &frame[inside..=inside])] {
                let mut echo = Echo::new(role, None);
                echo.read(before);
                assert!(!echo.closed, "{bad:x?} is sound up to its last byte");
                echo.read(after);
                assert!(echo.closed, "{bad:x?} cannot be mended");
                let answers = echo.answers(None);
                assert!(matches!(answers.as_slice(), [OwnedMessage::Close(Some((1007, _)))]), "{answers:?}");
            }
        }
    }
}

fn close_payload(code: u16, reason: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), reason].concat()
}

#[test]
fn category_7_closing() {
    let normal = close_payload(1000, b"");
    let bye = (FIN | CLOSE, normal.as_slice());
    let long = "*".repeat(123);
    let with_reason = close_payload(1000, b"Hello World!");
    let with_long = close_payload(1000, long.as_bytes());
    let too_long = close_payload(1000, &[b'*'; 124]);
    let bad_reason = close_payload(1000, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited");
    let hello = (FIN | TEXT, b"Hello World!".as_slice());
    let reply = |reason: &str| OwnedMessage::Close(Some((1000, reason.to_owned())));
    for case in [
        case("7.1.1", &[hello, bye], vec![text("Hello World!"), reply("")]),
        case("7.1.2", &[bye, bye], vec![reply("")]),
        case("7.1.3", &[bye, (FIN | PING, b"")], vec![reply("")]),
        case("7.1.4", &[bye, hello], vec![reply("")]),
        case("7.1.5", &[(TEXT, b"fragment1"), bye, (FIN | CONTINUATION, b"fragment2")], vec![reply("")]),
        case("7.3.1", &[(FIN | CLOSE, b"")], vec![OwnedMessage::Close(None)]),
        case("7.3.2", &[(FIN | CLOSE, b"a")], vec![closed(1002)]),
        case("7.3.3", &[bye], vec![reply("")]),
        case("7.3.4", &[(FIN | CLOSE, &with_reason)], vec![reply("Hello World!")]),
        case("7.3.5", &[(FIN | CLOSE, &with_long)], vec![reply(&long)]),
        case("7.3.6", &[(FIN | CLOSE, &too_long)], vec![closed(1002)]),
        case("7.5.1", &[(FIN | CLOSE, &bad_reason)], vec![closed(1007)]),
    ] {
        run(&case);
    }
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999] {
        run(&case("7.7.x", &[(FIN | CLOSE, &close_payload(code, b""))], vec![closed(code)]));
    }
    for code in [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65_535] {
        run(&case("7.9.x", &[(FIN | CLOSE, &close_payload(code, b""))], vec![closed(1002)]));
    }
}

#[test]
fn category_9_and_10_large_messages() {
    for size in [64 << 10, 256 << 10, 1 << 20] {
        let payload = vec![b'*'; size];
        let message = OwnedMessage::Text("*".repeat(size));
        run(&case("9.1", &[(FIN | TEXT, &payload)], vec![message.clone()]));
        run(&case("9.2", &[(FIN | BINARY, &payload)], vec![binary(&payload)]));
        for fragment in [64, 1300, 16 << 10] {
            let mut frames: Frames =
                payload.chunks(fragment).map(|piece| (CONTINUATION, piece.to_vec())).collect();
            frames[0].0 = TEXT;
            frames.last_mut().unwrap().0 |= FIN;
            run(&Case { id: "9.3, 10.1", frames, answers: vec![message.clone()] });
        }
    }
}

/// Text like that of the suite's JSON file: neither noise nor a single letter.
fn prose(size: usize) -> String {
    let mut text = String::new();
    let mut n = 1_u32;
    while text.len() < size {
        n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.push_str(["{\"id\": ", "\"naïve\", ", "[42, ", "null], ", "\"müde\": "][(n >> 16) as usize % 5]);
    }
    text.truncate(text.floor_char_boundary(size));
    text
}

/// The agreements of 13.1 to 13.7 (12 has the first), as offer and policy.
fn agreements() -> Vec<(Role, Negotiated)> {
    let mut agreements = Vec::new();
    for no_takeover in [false, true] {
        for bits in [9, 15] {
            let policy = DeflatePolicy {
                server_no_context_takeover: no_takeover,
                client_no_context_takeover: no_takeover,
                server_max_window_bits: bits,
                client_max_window_bits: bits,
            };
            let offers = "permessage-deflate; client_max_window_bits; server_max_window_bits=8, \
                          permessage-deflate; client_max_window_bits";
            let at_server = negotiate(offers, &policy).expect("the second offer is fine");
            let answer = at_server.response_value();
            let at_client = accept_response(&answer, &policy).expect("a sound answer").expect("a yes");
            agreements.push((Role::Server, at_server));
            agreements.push((Role::Client, at_client));
        }
    }
    agreements
}

#[test]
fn category_12_and_13_compression() {
    for (role, agreed) in agreements() {
        let peer = if role == Role::Server { Role::Client } else { Role::Server };
        for size in [0, 16, 64, 256, 1024, 4096, 8192, 16_384, 32_768, 65_536, 131_072] {
            for (opcode, fragment) in [(TEXT, usize::MAX), (BINARY, 256), (TEXT, 1000)] {
                let mut echo = Echo::new(role, Some(&agreed));
                let mut retaining = agreed.retaining_deflater(peer, 6);
                let mut alone = Deflater::new(6);
                let text = prose(size);
                for _ in 0..3 {
                    let mut payload = BytesMut::new();
                    match &mut retaining {
                        Some(deflater) => deflater.compress(text.as_bytes(), &mut payload),
                        None => alone.compress(agreed.send_window_bits(peer), text.as_bytes(), &mut payload),
                    }
                    let mut wire = Vec::new();
                    let pieces: Vec<&[u8]> = payload.chunks(fragment).collect();
                    for (n, piece) in pieces.iter().enumerate() {
                        let first = if n == 0 { 0x40 | opcode } else { CONTINUATION };
                        let fin = if n + 1 == pieces.len() { FIN } else { 0 };
                        wire.extend(frame_to(role, fin | first, piece));
                    }
                    for piece in wire.chunks(4000) {
                        echo.read(piece);
                    }
                }
                let message = if opcode == TEXT {
                    OwnedMessage::Text(text)
                } else {
                    OwnedMessage::Binary(text.into_bytes())
                };
                assert_eq!(echo.answers(Some(&agreed)), vec![message; 3], "{agreed:?} {size}");
            }
        }
    }
}
