//! Any messages, however fragmented, interleaved, compressed and cut; and any bytes at all.

use std::num::NonZeroUsize;

use agentbench_websocket::{
    Decoder, Deflater, Inflater, Input, Limits, Negotiated, Opcode, RetainingDeflater, Role, encode_deflated,
    encode_fragments, encode_message,
};
use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::support::{OwnedMessage, Receiver, context_takeover, frames, no_context_takeover};

/// One data message as it is sent, and a control frame after each of its fragments as long as there are some.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) message: OwnedMessage,
    pub(crate) between: Vec<OwnedMessage>,
    fragment: usize,
    compressed: bool,
    mask: [u8; 4],
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => vec(any::<u8>(), 0..300),
        2 => (any::<u8>(), 0..5000_usize).prop_map(|(byte, len)| vec![byte; len]),
        1 => (any::<u8>(), 65_530..65_540_usize).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

fn control() -> impl Strategy<Value = OwnedMessage> {
    let short = || vec(any::<u8>(), 0..=125);
    prop_oneof![short().prop_map(OwnedMessage::Ping), short().prop_map(OwnedMessage::Pong)]
}

pub(crate) fn sent(may_compress: bool) -> impl Strategy<Value = Sent> {
    let message = prop_oneof![
        payload().prop_map(OwnedMessage::Binary),
        "\\PC{0,200}".prop_map(OwnedMessage::Text),
        "[a-c]{0,3000}".prop_map(OwnedMessage::Text),
    ];
    (message, vec(control(), 0..4), 1..2000_usize, any::<bool>(), any::<[u8; 4]>()).prop_map(
        move |(message, between, fragment, compressed, mask)| Sent {
            message,
            between,
            fragment,
            compressed: compressed && may_compress,
            mask,
        },
    )
}

/// Compresses as a peer of the given agreement does.
enum Compressor {
    None,
    Alone(Deflater, u8),
    Retaining(RetainingDeflater),
}

impl Compressor {
    fn of(agreed: Option<&Negotiated>, sender: Role) -> Self {
        let Some(agreed) = agreed else { return Self::None };
        match agreed.retaining_deflater(sender, 3) {
            Some(retaining) => Self::Retaining(retaining),
            None => Self::Alone(Deflater::new(3), agreed.send_window_bits(sender)),
        }
    }

    fn compress(&mut self, payload: &[u8]) -> BytesMut {
        let mut compressed = BytesMut::new();
        match self {
            Self::None => unreachable!("nothing is to be compressed"),
            Self::Alone(deflater, bits) => deflater.compress(*bits, payload, &mut compressed),
            Self::Retaining(deflater) => deflater.compress(payload, &mut compressed),
        }
        compressed
    }
}

/// The stream, and what a receiver of `role` is to make of it.
pub(crate) fn stream(
    role: Role,
    agreed: Option<&Negotiated>,
    script: &[Sent],
) -> (BytesMut, Vec<OwnedMessage>) {
    let sender = if role == Role::Server { Role::Client } else { Role::Server };
    let mut compressor = Compressor::of(agreed, sender);
    let (mut wire, mut expected) = (BytesMut::new(), Vec::new());
    for sent in script {
        let mask = (role == Role::Server).then_some(sent.mask);
        let (opcode, payload) = match &sent.message {
            OwnedMessage::Text(text) => (Opcode::Text, text.as_bytes()),
            OwnedMessage::Binary(bytes) => (Opcode::Binary, bytes.as_slice()),
            control => unreachable!("{control:?} is no data message"),
        };
        let payload = if sent.compressed { compressor.compress(payload) } else { payload.into() };
        let most = NonZeroUsize::new(sent.fragment).expect("fragments have bytes");
        let mut message = BytesMut::new();
        encode_fragments(&mut message, opcode, sent.compressed, &payload, most, || mask);

        let frames = frames(&message);
        let mut between = sent.between.iter();
        for (n, frame) in frames.iter().enumerate() {
            wire.extend_from_slice(frame);
            if n + 1 < frames.len()
                && let Some(control) = between.next()
            {
                encode_message(&mut wire, &control.borrowed(), mask);
                expected.push(control.clone());
            }
        }
        expected.push(sent.message.clone());
    }
    (wire, expected)
}

fn agreement() -> impl Strategy<Value = Option<Negotiated>> {
    prop_oneof![
        Just(None),
        Just(Some(no_context_takeover())),
        (9..=15_u8).prop_map(|bits| Some(context_takeover(bits))),
    ]
}

fn conversation() -> impl Strategy<Value = (Option<Negotiated>, Vec<Sent>)> {
    agreement().prop_flat_map(|agreed| (Just(agreed), vec(sent(agreed.is_some()), 0..6)))
}

pub(crate) fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Server), Just(Role::Client)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_sent_arrives_however_it_is_cut(
        role in role(),
        (agreed, script) in conversation(),
        sizes in vec(1..3000_usize, 0..20),
        tiny in vec(1..4_usize, 1..5),
    ) {
        let (wire, expected) = stream(role, agreed.as_ref(), &script);
        for sizes in [&[][..], &sizes, &tiny] {
            let mut receiver = Receiver::new(role, 1 << 20, agreed.as_ref());
            let outcome = receiver.outcome(&wire, sizes);
            prop_assert_eq!(outcome.error, None);
            prop_assert_eq!(&outcome.messages, &expected);
            prop_assert_eq!(receiver.decoder.buffered(), 0);
        }
    }

    #[test]
    fn a_damaged_stream_is_refused_at_the_same_point_however_it_is_cut(
        role in role(),
        (agreed, script) in conversation(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        sizes in vec(1..40_usize, 1..20),
    ) {
        let (mut wire, _) = stream(role, agreed.as_ref(), &script);
        for (index, byte) in damage.into_iter().filter(|_| !script.is_empty()) {
            let at = index.index(wire.len());
            wire[at] = byte;
        }
        let whole = Receiver::new(role, 1 << 17, agreed.as_ref()).outcome(&wire, &[]);
        let cut = Receiver::new(role, 1 << 17, agreed.as_ref()).outcome(&wire, &sizes);
        prop_assert_eq!(whole, cut);
    }

    #[test]
    fn no_bytes_panic_or_hold_more_than_they_are(
        role in role(),
        agreed in agreement(),
        bytes in vec(prop_oneof![any::<u8>(), Just(0x80), Just(0x01), Just(0xc1), Just(0xff)], 0..400),
        sizes in vec(1..40_usize, 0..10),
    ) {
        let mut receiver = Receiver::new(role, 1000, agreed.as_ref());
        receiver.outcome(&bytes, &sizes);
        prop_assert!(receiver.decoder.buffered() <= 2 * bytes.len().max(1));
    }

    #[test]
    fn compressed_frames_read_back(
        payload in payload(), level in 0..=9_u8, bits in 9..=15_u8, mask in any::<Option<[u8; 4]>>(),
    ) {
        let agreed = context_takeover(bits);
        let role = if mask.is_some() { Role::Server } else { Role::Client };
        let (mut wire, mut deflater) = (BytesMut::new(), Deflater::new(level));
        encode_deflated(&mut wire, Opcode::Binary, &payload, &mut deflater, bits, mask);
        prop_assert!(wire.len() <= payload.len() + 14);

        let mut inflater = Inflater::new();
        let mut decoder = Decoder::new(role, Limits::default(), Some(&agreed));
        let mut input = Input::new(&mut wire);
        let message = decoder.next(&mut input, &mut inflater).unwrap().map(OwnedMessage::from);
        prop_assert_eq!(message, Some(OwnedMessage::Binary(payload)));
    }
}

/// A window that is agreed on must be kept to: a peer may have no more memory than that.
#[test]
fn no_reference_reaches_beyond_the_window() {
    let mut state = 1_u64;
    let mut noise = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    let mut deflater = Deflater::new(6);
    for bits in 9..=15 {
        let window = 1_usize << bits;
        // DEFLATE looks 262 bytes ahead, and its window holds those, too.
        for (period, fits) in [(window - 262, true), (window, false), (window + 300, false)] {
            let once: Vec<u8> = (0..period).map(&mut noise).collect();
            let mut compressed = BytesMut::new();
            deflater.compress(bits, &once.repeat(3), &mut compressed);
            let made_use = compressed.len() < period * 5 / 2;
            assert_eq!(made_use, fits, "{bits} bits, again after {period}: {} bytes", compressed.len());
        }
    }
}
