//! One row per way to break the rules: the frames as they reach a server, and the refusal.

use agentbench_websocket::{DecodeError, Role};

use crate::support::{
    BINARY, BOTH, CLOSE, CONTINUATION, FIN, Outcome, PING, PONG, RSV1, Receiver, TEXT, decode, frame_to,
    no_context_takeover, text,
};

/// First byte and payload of each frame, and what is wrong with the last.
type Row = (Vec<(u8, Vec<u8>)>, DecodeError);

fn rows() -> Vec<Row> {
    let one = |first: u8, payload: &[u8], error| (vec![(first, payload.to_vec())], error);
    let mut rows = vec![
        one(FIN | RSV1 | TEXT, b"x", DecodeError::ReservedBits),
        one(FIN | RSV1 | PING, b"x", DecodeError::ReservedBits),
        one(FIN | 0x20 | TEXT, b"x", DecodeError::ReservedBits),
        one(FIN | 0x10 | BINARY, b"", DecodeError::ReservedBits),
        one(FIN | 0x70 | CLOSE, b"", DecodeError::ReservedBits),
        one(PING, b"", DecodeError::FragmentedControl),
        one(PONG, b"x", DecodeError::FragmentedControl),
        one(CLOSE, b"", DecodeError::FragmentedControl),
        one(FIN | PING, &[0; 126], DecodeError::ControlTooLong),
        one(FIN | PONG, &[0; 70_000], DecodeError::ControlTooLong),
        one(FIN | CLOSE, &[0; 126], DecodeError::ControlTooLong),
        one(FIN | CONTINUATION, b"x", DecodeError::NothingToContinue),
        one(CONTINUATION, b"x", DecodeError::NothingToContinue),
        one(FIN | CLOSE, &[0x03], DecodeError::CloseTooShort),
        one(FIN | CLOSE, &[0x03, 0xe8, 0xff], DecodeError::Utf8),
        one(FIN | CLOSE, &[0x03, 0xe8, 0xe2, 0x82], DecodeError::Utf8),
        one(FIN | TEXT, &[0xff], DecodeError::Utf8),
        one(FIN | TEXT, &[0xe2, 0x82], DecodeError::Utf8),
        (vec![(TEXT, b"a".to_vec()), (FIN | TEXT, b"b".to_vec())], DecodeError::UnfinishedMessage),
        (vec![(BINARY, vec![]), (BINARY, vec![])], DecodeError::UnfinishedMessage),
        (vec![(TEXT, vec![0xe2]), (FIN | CONTINUATION, vec![0x82])], DecodeError::Utf8),
        (vec![(TEXT, vec![0xe2]), (FIN | CONTINUATION, vec![])], DecodeError::Utf8),
        (vec![(TEXT, vec![0xe2]), (CONTINUATION, vec![0x28])], DecodeError::Utf8),
        (vec![(TEXT, b"a".to_vec()), (RSV1 | CONTINUATION, vec![])], DecodeError::ReservedBits),
    ];
    for opcode in [0x3, 0x4, 0x5, 0x6, 0x7, 0xb, 0xc, 0xd, 0xe, 0xf] {
        rows.push(one(FIN | opcode, b"", DecodeError::ReservedOpcode(opcode)));
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535_u16] {
        rows.push(one(FIN | CLOSE, &code.to_be_bytes(), DecodeError::CloseCode(code)));
    }
    rows
}

#[test]
fn each_is_refused_after_what_came_before_it_however_it_is_cut() {
    for role in BOTH {
        for (frames, error) in rows() {
            let mut wire = frame_to(role, FIN | TEXT, b"before");
            for (first, payload) in &frames {
                wire.extend(frame_to(role, *first, payload));
            }
            let expected = Outcome { messages: vec![text("before")], error: Some(error) };
            for sizes in [&[][..], &[1], &[2, 3]] {
                let outcome = Receiver::new(role, 1 << 20, None).outcome(&wire, sizes);
                assert_eq!(outcome, expected, "{role:?} {frames:?} in {sizes:?}");
            }
        }
    }
}

/// Heads that no honest encoder writes.
const HEADS: &[(Role, &[u8], DecodeError)] = &[
    (Role::Client, &[0x82, 126, 0, 125], DecodeError::LengthNotMinimal),
    (Role::Client, &[0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff], DecodeError::LengthNotMinimal),
    (Role::Client, &[0x82, 127, 0x80], DecodeError::LengthTopBit),
    (Role::Client, &[0x82, 127, 0x7f, 0, 0, 0, 0, 0, 0, 0], DecodeError::TooBig),
    (Role::Client, &[0x82, 0x80, 0, 0, 0, 0], DecodeError::Masked),
    (Role::Server, &[0x82, 0x00], DecodeError::NotMasked),
    (Role::Server, &[0xa0], DecodeError::ReservedBits),
    (Role::Server, &[0x83], DecodeError::ReservedOpcode(3)),
    (Role::Server, &[0x09], DecodeError::FragmentedControl),
    (Role::Server, &[0x89, 0xfe], DecodeError::ControlTooLong),
];

#[test]
fn a_head_is_refused_with_the_byte_that_is_wrong() {
    for (role, head, error) in HEADS {
        for sizes in [&[][..], &[1]] {
            let outcome = Receiver::new(*role, 1 << 20, None).outcome(head, sizes);
            assert_eq!(outcome.error, Some(*error), "{head:x?}");
        }
        let before = &head[..head.len() - 1];
        assert_eq!(decode(*role, None, before).error, None, "{before:x?} may still become a frame");
    }
}

#[test]
fn compression_is_marked_on_the_first_frame_of_a_data_message_only() {
    let agreed = no_context_takeover();
    let role = Role::Server;
    for frames in [
        vec![(FIN | RSV1 | PING, vec![])],
        vec![(FIN | RSV1 | CLOSE, vec![])],
        vec![(RSV1 | TEXT, vec![0xf2]), (FIN | RSV1 | CONTINUATION, vec![0x48])],
        vec![(TEXT, vec![]), (FIN | RSV1 | CONTINUATION, vec![])],
    ] {
        let wire: Vec<u8> =
            frames.iter().flat_map(|(first, payload)| frame_to(role, *first, payload)).collect();
        assert_eq!(decode(role, Some(&agreed), &wire).error, Some(DecodeError::ReservedBits), "{frames:?}");
    }
}

#[test]
fn damaged_compressed_data_is_refused() {
    let agreed = no_context_takeover();
    for (what, payload) in [
        ("a reserved block type", &[0x07][..]),
        ("a stored block with a wrong length", &[0x00, 0x05, 0x00, 0xfa, 0x00, 0x48]),
        ("a reference before the beginning", &[0xf2, 0x00, 0x11, 0x00, 0x00]),
        ("cut short", &[0xf2, 0x48, 0xcd]),
        (
            "a stored block cut short, which would take the tail for its own",
            &[0x00, 0x20, 0x00, 0xdf, 0xff, 0x48],
        ),
        ("rubbish after a last block", &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x07]),
    ] {
        let wire = frame_to(Role::Server, FIN | RSV1 | TEXT, payload);
        assert_eq!(decode(Role::Server, Some(&agreed), &wire).error, Some(DecodeError::Deflate), "{what}");
    }
    let not_text = [0x00, 0x01, 0x00, 0xfe, 0xff, 0xff, 0x00];
    let wire = frame_to(Role::Server, FIN | RSV1 | TEXT, &not_text);
    assert_eq!(decode(Role::Server, Some(&agreed), &wire).error, Some(DecodeError::Utf8));
}

#[test]
fn every_refusal_has_its_close_code() {
    for (error, code) in [
        (DecodeError::Utf8, 1007),
        (DecodeError::Deflate, 1007),
        (DecodeError::TooBig, 1009),
        (DecodeError::ReservedBits, 1002),
        (DecodeError::CloseCode(1005), 1002),
        (DecodeError::NotMasked, 1002),
    ] {
        assert_eq!(error.close_code(), code);
    }
}

#[test]
fn what_follows_a_close_is_ignored() {
    for role in BOTH {
        let mut wire = frame_to(role, TEXT, b"never finished");
        wire.extend(frame_to(role, FIN | CLOSE, &[]));
        wire.extend(frame_to(role, FIN | TEXT, b"late"));
        wire.extend([0xff; 100]);
        for sizes in [&[][..], &[1]] {
            let mut receiver = Receiver::new(role, 1 << 20, None);
            let outcome = receiver.outcome(&wire, sizes);
            assert_eq!(
                outcome,
                Outcome { messages: vec![crate::support::OwnedMessage::Close(None)], error: None }
            );
            assert_eq!(receiver.decoder.buffered(), 0);
        }
    }
}
