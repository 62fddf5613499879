//! RFC 6455 §5.7 and RFC 7692 §7.2.3, byte for byte.

use agentbench_websocket::{Opcode, Role, encode_close, encode_fragments, encode_frame};
use bytes::BytesMut;

use crate::support::{OwnedMessage, context_takeover, decode, no_context_takeover, text};

fn receives(role: Role, wire: &[u8], expected: &[OwnedMessage]) {
    let outcome = decode(role, None, wire);
    assert_eq!((outcome.messages.as_slice(), outcome.error), (expected, None));
}

fn written(write: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut wire = BytesMut::new();
    write(&mut wire);
    wire
}

#[test]
fn rfc_6455_single_frame_unmasked_text() {
    let wire = [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
    receives(Role::Client, &wire, &[text("Hello")]);
    assert_eq!(written(|dst| encode_frame(dst, Opcode::Text, false, b"Hello", None)), wire[..]);
}

#[test]
fn rfc_6455_single_frame_masked_text() {
    let wire = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    receives(Role::Server, &wire, &[text("Hello")]);
    let mask = Some([0x37, 0xfa, 0x21, 0x3d]);
    assert_eq!(written(|dst| encode_frame(dst, Opcode::Text, false, b"Hello", mask)), wire[..]);
}

#[test]
fn rfc_6455_fragmented_unmasked_text() {
    let wire = [0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f];
    receives(Role::Client, &wire, &[text("Hello")]);
    let most = 3.try_into().unwrap();
    let ours = written(|dst| encode_fragments(dst, Opcode::Text, false, b"Hello", most, || None));
    assert_eq!(ours, wire[..]);
}

#[test]
fn rfc_6455_ping_and_pong() {
    let ping = [0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
    receives(Role::Client, &ping, &[OwnedMessage::Ping(b"Hello".to_vec())]);
    assert_eq!(written(|dst| encode_frame(dst, Opcode::Ping, false, b"Hello", None)), ping[..]);
    let pong = [0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    receives(Role::Server, &pong, &[OwnedMessage::Pong(b"Hello".to_vec())]);
}

#[test]
fn rfc_6455_lengths_in_two_and_eight_bytes() {
    for (head, len) in
        [(vec![0x82, 0x7e, 0x01, 0x00], 256), (vec![0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0], 65536)]
    {
        let payload = vec![0x5a; len];
        let wire = [head, payload.clone()].concat();
        receives(Role::Client, &wire, &[OwnedMessage::Binary(payload.clone())]);
        assert_eq!(written(|dst| encode_frame(dst, Opcode::Binary, false, &payload, None)), wire[..]);
    }
}

/// One row per example: what it shows, and the frames.
const COMPRESSED_HELLO: &[(&str, &[u8])] = &[
    ("§7.2.3.1 one block", &[0xc1, 0x07, 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]),
    ("§7.2.3.1 two frames", &[0x41, 0x03, 0xf2, 0x48, 0xcd, 0x80, 0x04, 0xc9, 0xc9, 0x07, 0x00]),
    (
        "§7.2.3.3 a stored block",
        &[0xc1, 0x0b, 0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
    ),
    ("§7.2.3.4 a block with BFINAL", &[0xc1, 0x08, 0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00]),
    (
        "§7.2.3.5 two blocks in one message",
        &[0xc1, 0x0d, 0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
    ),
];

#[test]
fn rfc_7692_hello_in_all_its_forms() {
    for (what, wire) in COMPRESSED_HELLO {
        for agreed in [no_context_takeover(), context_takeover(15), context_takeover(9)] {
            let outcome = decode(Role::Client, Some(&agreed), wire);
            assert_eq!((outcome.messages, outcome.error), (vec![text("Hello")], None), "{what}");
        }
    }
}

#[test]
fn rfc_7692_sharing_the_window() {
    // §7.2.3.2: the second message is a reference to the first.
    let first = [0xc1, 0x07, 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let second = [0xc1, 0x05, 0xf2, 0x00, 0x11, 0x00, 0x00];
    let wire = [&first[..], &second].concat();
    let outcome = decode(Role::Client, Some(&context_takeover(15)), &wire);
    assert_eq!((outcome.messages, outcome.error), (vec![text("Hello"), text("Hello")], None));
    assert!(decode(Role::Client, Some(&no_context_takeover()), &wire).error.is_some());
}

#[test]
fn rfc_7692_an_empty_message() {
    let outcome = decode(Role::Client, Some(&no_context_takeover()), &[0xc1, 0x01, 0x00]);
    assert_eq!((outcome.messages, outcome.error), (vec![text("")], None));
}

/// Not as the RFC has it (a 0x00 is to follow, §7.2.3.4), but it is sent, and its meaning is plain.
#[test]
fn a_last_block_at_the_very_end_is_put_up_with() {
    let first = [0xc1, 0x07, 0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let second = [0xc1, 0x07, 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let wire = [&first[..], &second, &first].concat();
    for agreed in [no_context_takeover(), context_takeover(15), context_takeover(9)] {
        let outcome = decode(Role::Client, Some(&agreed), &wire);
        assert_eq!((outcome.messages, outcome.error), (vec![text("Hello"); 3], None));
    }
}

#[test]
fn a_close_reason_is_cut_between_characters() {
    let reason = "é".repeat(62);
    let wire = written(|dst| encode_close(dst, Some((1001, &reason)), None));
    receives(Role::Client, &wire, &[OwnedMessage::Close(Some((1001, "é".repeat(61))))]);
    let empty = written(|dst| encode_close(dst, None, None));
    assert_eq!(empty, [0x88, 0x00][..]);
}
