//! `corrupt`: one bit turned over. TCP's checksum and TLS would notice it in the wild; a broken intermediary's memory
//! would not.
//!
//! A flip inside the letters of uncompressed text can make other valid text: no WebSocket peer can notice that (`any` may do
//! it), only a checksum over the content. So the useful parts are the two that always break a rule:
//! `payload_high_bit`, since text that is UTF-8 is not UTF-8 any more when the highest bit of any one byte is turned over,
//! and `header`, since a reserved bit of the frame's head must be 0 (RFC 6455 §5.2). In compressed messages
//! `payload_high_bit` damages the compressed data, which its reader may or may not notice.

use agentbench_websocket::FrameHeader;
use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::blow::Blow;

const RSV2: u8 = 0x20;
const HIGH_BIT: u8 = 0x80;

/// Which bit is turned over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CorruptPart {
    /// The highest bit of a byte of payload, as `luck` has it; the reserved bit if there is no payload.
    PayloadHighBit,
    /// A reserved bit of the first frame's head.
    Header,
    /// Any bit of any byte.
    Any,
}

/// Damages what is struck. `is_message` says whether it is made of frames; if not, `payload` means all of it and `header` its
/// first byte.
pub(crate) fn strike(blow: &mut Blow, part: CorruptPart, is_message: bool, luck: u64) {
    if blow.bytes.is_empty() {
        return;
    }
    let mut bytes = BytesMut::from(&blow.bytes[..]);
    let payload = if is_message { first_payload(&bytes) } else { Some(0..bytes.len()) };
    let (position, bit) = match (part, payload) {
        (CorruptPart::Any, _) => (pick(luck, 0..bytes.len()), 1 << ((luck >> 32) % 8)),
        (CorruptPart::PayloadHighBit, Some(payload)) => (pick(luck, payload), HIGH_BIT),
        (CorruptPart::PayloadHighBit | CorruptPart::Header, _) => (0, RSV2),
    };
    bytes[position] ^= bit;
    blow.bytes = Bytes::from(bytes);
}

/// Where the payload of the first frame with any lies.
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
        let mut blow = Blow::none(wire.freeze());
        strike(&mut blow, part, true, luck);
        read(&blow.bytes)
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
