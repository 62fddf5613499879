//! `corrupt`: flips one bit. On a real network, TCP's checksum and TLS would detect it; a bit flip in the memory of a
//! broken intermediary stays undetected.
//!
//! A flip within uncompressed text can give other valid text, which no WebSocket peer can detect (`any` may cause it);
//! only a checksum over the content would. So the useful parts are the two that always break a rule:
//! `payload_high_bit`, since UTF-8 text is never valid UTF-8 after the highest bit of any one byte is flipped,
//! and `header`, since a reserved bit of the frame's head must be 0 (RFC 6455 §5.2). In compressed messages
//! `payload_high_bit` damages the compressed data, which the reader may or may not detect.

use agentbench_websocket::FrameHeader;
use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::impact::Impact;

const RSV2: u8 = 0x20;
const HIGH_BIT: u8 = 0x80;

/// Which bit is flipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CorruptPart {
    /// The highest bit of a payload byte, chosen by `luck`; the reserved bit if there is no payload.
    PayloadHighBit,
    /// A reserved bit of the first frame's head.
    Header,
    /// Any bit of any byte.
    Any,
}

/// Damages the bytes. `is_message` tells whether they are frames; if not, `payload` means all of them and `header` the
/// first byte.
pub(crate) fn strike(impact: &mut Impact, part: CorruptPart, is_message: bool, luck: u64) {
    if impact.bytes.is_empty() {
        return;
    }
    let mut bytes = BytesMut::from(&impact.bytes[..]);
    let payload = if is_message { first_payload(&bytes) } else { Some(0..bytes.len()) };
    let (position, bit) = match (part, payload) {
        (CorruptPart::Any, _) => (pick(luck, 0..bytes.len()), 1 << ((luck >> 32) % 8)),
        (CorruptPart::PayloadHighBit, Some(payload)) => (pick(luck, payload), HIGH_BIT),
        (CorruptPart::PayloadHighBit | CorruptPart::Header, _) => (0, RSV2),
    };
    bytes[position] ^= bit;
    impact.bytes = Bytes::from(bytes);
}

/// The range of the payload of the first frame that has one.
fn first_payload(bytes: &[u8]) -> Option<std::ops::Range<usize>> {
    let mut start = 0;
    while let Ok(Some((head, size))) = FrameHeader::parse(&bytes[start..]) {
        let length = usize::try_from(head.payload).ok()?;
        if length > 0 {
            return Some(start + size..start + size + length);
        }
        start += size;
    }
    None
}

fn pick(luck: u64, range: std::ops::Range<usize>) -> usize {
    range.start + (luck % range.len() as u64) as usize
}

#[cfg(test)]
mod tests {
    use agentbench_websocket::{DecodeError, Decoder, Inflater, Input, Limits, Opcode, Role, encode_frame};
    use proptest::prelude::*;

    use super::*;

    fn read(wire: &[u8]) -> Result<(), DecodeError> {
        let mut wire = BytesMut::from(wire);
        let mut decoder = Decoder::new(Role::Server, Limits::default(), None);
        decoder.next(&mut Input::new(&mut wire), &mut Inflater::new()).map(|_| ())
    }

    fn struck(text: &str, part: CorruptPart, luck: u64) -> Result<(), DecodeError> {
        let mut wire = BytesMut::new();
        encode_frame(&mut wire, Opcode::Text, false, text.as_bytes(), Some([9, 200, 3, 77]));
        let mut impact = Impact::none(wire.freeze());
        strike(&mut impact, part, true, luck);
        read(&impact.bytes)
    }

    proptest! {
        #[test]
        fn a_high_bit_makes_any_text_invalid(text in ".{1,80}", luck: u64) {
            prop_assert_eq!(struck(&text, CorruptPart::PayloadHighBit, luck), Err(DecodeError::Utf8));
        }

        #[test]
        fn a_header_always_breaks_the_rule(text in ".{0,80}", luck: u64) {
            prop_assert_eq!(struck(&text, CorruptPart::Header, luck), Err(DecodeError::ReservedBits));
        }
    }

    #[test]
    fn an_empty_message_is_struck_in_its_head() {
        assert_eq!(struck("", CorruptPart::PayloadHighBit, 5), Err(DecodeError::ReservedBits));
    }
}
