//! Any bytes, cut in any way, for both roles and every kind of compression: the decoder never panics, comes
//! to the same end whole and in pieces, and holds no more than has arrived.
//!
//! `cargo +nightly fuzz run websocket_decoder`

#![no_main]

use agentbench_websocket::{
    DecodeError, Decoder, DeflatePolicy, Inflater, Input, Limits, Negotiated, Role, negotiate,
};
use libfuzzer_sys::fuzz_target;

const MAX_MESSAGE: usize = 4096;

fuzz_target!(|data: &[u8]| {
    let Some((&[how, size], stream)) = data.split_first_chunk() else { return };
    let role = if how & 1 == 0 { Role::Server } else { Role::Client };
    let agreed = agreement(how >> 1);
    let whole = read(role, agreed.as_ref(), stream, usize::MAX);
    let pieces = read(role, agreed.as_ref(), stream, usize::from(size).max(1));
    assert_eq!(whole, pieces);
});

fn agreement(how: u8) -> Option<Negotiated> {
    let alone = how & 2 == 0;
    let policy = DeflatePolicy {
        server_no_context_takeover: alone,
        client_no_context_takeover: alone,
        server_max_window_bits: 9 + how % 7,
        client_max_window_bits: 9 + how % 7,
    };
    (how & 1 == 0).then(|| negotiate("permessage-deflate; client_max_window_bits", &policy)).flatten()
}

/// The messages in words, and the refusal.
fn read(
    role: Role,
    agreed: Option<&Negotiated>,
    stream: &[u8],
    size: usize,
) -> (Vec<String>, Option<DecodeError>) {
    let mut decoder = Decoder::new(role, Limits { max_message: MAX_MESSAGE }, agreed);
    let mut inflater = Inflater::new();
    let mut messages = Vec::new();
    for piece in stream.chunks(size) {
        let mut piece = piece.to_vec();
        let mut input = Input::new(&mut piece);
        loop {
            match decoder.next(&mut input, &mut inflater) {
                Ok(Some(message)) => messages.push(format!("{message:?}")),
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
        assert!(decoder.buffered() <= 2 * stream.len());
    }
    (messages, None)
}
