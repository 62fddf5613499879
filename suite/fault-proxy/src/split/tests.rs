//! Whatever comes in comes out, and messages do not hang on how their bytes came.

use std::num::NonZeroUsize;

use agentbench_websocket::handshake::{self, Offer};
use agentbench_websocket::{encode_fragments, encode_frame};
use proptest::prelude::*;

use super::*;

/// A client's head, and what waits for the answer.
fn opening() -> (BytesMut, handshake::Opening) {
    let mut head = BytesMut::new();
    let offer = Offer { host: "host", target: "/", protocols: &[], deflate: None, headers: &[] };
    let opening = handshake::Opening::new(&mut head, &offer, [1; 16]);
    (head, opening)
}

/// A client's head and frames: of each message its text and the size of its fragments, a ping after each.
fn wire(messages: &[(Vec<u8>, usize)]) -> (BytesMut, BytesMut) {
    let ((head, _), mut frames) = (opening(), BytesMut::new());
    for (text, most) in messages {
        let most = NonZeroUsize::new(*most).unwrap();
        encode_fragments(&mut frames, Opcode::Binary, false, text, most, || Some([5, 6, 7, 8]));
        encode_frame(&mut frames, Opcode::Ping, false, b"?", Some([0; 4]));
    }
    (head, frames)
}

/// Everything that comes out when the bytes come in pieces of these sizes, over and over.
fn split(bytes: &[u8], sizes: &[usize]) -> Vec<Unit> {
    let (opening, (_, asked)) = (Opening::default(), opening());
    let mut splitter = Splitter::new(Way::Up);
    let (mut units, mut rest) = (Vec::new(), bytes);
    for size in sizes.iter().cycle() {
        let (piece, next) = rest.split_at((*size).min(rest.len()));
        splitter.input.extend_from_slice(piece);
        units.extend(std::iter::from_fn(|| splitter.next(&opening)));
        if matches!(opening.mode(), Mode::Asked(accept) if accept == *asked.expected_accept()) {
            opening.set(Mode::WebSocket(Compression::default()));
        }
        if next.is_empty() {
            break;
        }
        rest = next;
    }
    units.extend(std::iter::from_fn(|| splitter.next(&opening)));
    units.extend(splitter.rest());
    units
}

fn bytes_of(units: &[Unit]) -> Vec<u8> {
    let bytes = units.iter().flat_map(|unit| match unit {
        Unit::Head(bytes) | Unit::Bytes(bytes) | Unit::Control(bytes) | Unit::Message(bytes) => {
            bytes.to_vec()
        }
        Unit::Piece { bytes, .. } => bytes.to_vec(),
    });
    bytes.collect()
}

proptest! {
    #[test]
    fn messages_are_the_same_however_their_bytes_come(
        messages in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), 1usize..200), 0..6),
        sizes in prop::collection::vec(1usize..400, 1..8),
    ) {
        let (head, frames) = wire(&messages);
        let all = [&head[..], &frames[..]].concat();
        let units = split(&all, &sizes);
        let count = |is: fn(&Unit) -> bool| units.iter().filter(|unit| is(unit)).count();
        prop_assert_eq!(count(|unit| matches!(unit, Unit::Message(_))), messages.len());
        prop_assert_eq!(count(|unit| matches!(unit, Unit::Control(_))), messages.len());
        prop_assert_eq!(bytes_of(&units), all);
    }

    #[test]
    fn no_bytes_are_lost_or_invented(bytes in prop::collection::vec(any::<u8>(), 0..600), sizes in prop::collection::vec(1usize..99, 1..5)) {
        prop_assert_eq!(&bytes_of(&split(&bytes, &sizes)), &bytes);
        let (head, _) = wire(&[]);
        let all = [&head[..], &bytes[..]].concat();
        // A ping may overtake fragments, but nothing else changes its place.
        let mut out = bytes_of(&split(&all, &sizes));
        let mut expected = all;
        out.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(out, expected);
    }
}

#[test]
fn a_message_that_is_too_large_passes_in_pieces_and_the_next_one_whole() {
    let mut frames = BytesMut::new();
    encode_frame(&mut frames, Opcode::Binary, false, &vec![1; MAX_MESSAGE + 1], Some([0; 4]));
    encode_frame(&mut frames, Opcode::Binary, false, b"next", Some([0; 4]));
    let (head, _) = wire(&[]);
    let all = [&head[..], &frames[..]].concat();
    let units = split(&all, &[100_000]);
    assert_eq!(units.iter().filter(|unit| matches!(unit, Unit::Piece { begins: true, .. })).count(), 1);
    assert_eq!(units.iter().filter(|unit| matches!(unit, Unit::Message(_))).count(), 1);
    assert!(matches!(units.last(), Some(Unit::Message(bytes)) if bytes.ends_with(b"next")));
    assert_eq!(bytes_of(&units), all);
}
