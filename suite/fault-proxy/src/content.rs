//! The content of a message: its frames joined, unmasked and decompressed.
//!
//! If the peers agreed on context takeover (RFC 7692 §7.1.1), each message is compressed with the earlier ones as its
//! dictionary. So this keeps the dictionary of such a direction, and only of such; and once a fault has dropped, repeated
//! or reordered a message there, later ones are forwarded uncompressed (which the extension always allows), since the
//! receiver's dictionary no longer matches the sender's.

use std::borrow::Cow;

use agentbench_websocket::{FrameHeader, Opcode, apply_mask, encode_frame};
use bytes::{Bytes, BytesMut};
use flate2::{Decompress, FlushDecompress, Status};

use crate::MAX_MESSAGE;

/// The bytes that the sender removes from the end of every compressed message (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
const FIRST_OUTPUT: usize = 4 * 1024;

/// Reads the messages of one direction of one link.
pub(crate) struct Reader {
    is_compressed: bool,
    retains: bool,
    state: Option<Box<Decompress>>,
    /// The dictionary is lost: a message could not be decompressed or was not read completely.
    is_lost: bool,
}

impl Reader {
    pub(crate) fn new(is_compressed: bool, retains: bool) -> Self {
        Self { is_compressed, retains, state: None, is_lost: false }
    }

    /// Whether messages may refer to earlier ones, so that all must be read.
    pub(crate) fn retains(&self) -> bool {
        self.retains
    }

    /// Records that a message was not read.
    pub(crate) fn skip(&mut self) {
        self.is_lost |= self.retains;
    }

    /// The content of a message, given its frames. `None` if it cannot be read: damaged, over [`MAX_MESSAGE`] when
    /// decompressed, or dependent on such a message.
    pub(crate) fn read<'a>(&mut self, wire: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let (first, _) = FrameHeader::parse(wire).ok()??;
        let payload = payload(wire)?;
        if !first.compressed {
            return Some(payload);
        }
        if !self.is_compressed || self.is_lost {
            return None;
        }
        let state = self.state.get_or_insert_with(|| Box::new(Decompress::new(false)));
        if !self.retains {
            state.reset(false);
        }
        let content = inflate(state, &payload);
        self.is_lost |= self.retains && content.is_none();
        content.map(Cow::Owned)
    }
}

/// The same message as one uncompressed frame, masked if it was masked.
pub(crate) fn uncompressed(wire: &[u8], content: &[u8]) -> Option<Bytes> {
    let (first, _) = FrameHeader::parse(wire).ok()??;
    let mut plain = BytesMut::with_capacity(content.len() + agentbench_websocket::MAX_HEADER);
    encode_frame(&mut plain, first.opcode, false, content, first.mask);
    Some(plain.freeze())
}

/// The payload of all frames, unmasked.
fn payload(wire: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut joined: Vec<u8> = Vec::new();
    let mut rest = wire;
    while let Some((head, size)) = FrameHeader::parse(rest).ok()? {
        debug_assert!(
            !head.opcode.is_control() || head.opcode == Opcode::Close,
            "control frames are separate units"
        );
        let end = size.checked_add(usize::try_from(head.payload).ok()?)?;
        let bytes = rest.get(size..end)?;
        if end == wire.len() && head.mask.is_none() {
            return Some(Cow::Borrowed(bytes));
        }
        let start = joined.len();
        joined.extend_from_slice(bytes);
        if let Some(mask) = head.mask {
            apply_mask(&mut joined[start..], mask);
        }
        rest = &rest[end..];
    }
    Some(Cow::Owned(joined))
}

fn inflate(state: &mut Decompress, payload: &[u8]) -> Option<Vec<u8>> {
    let mut content = Vec::with_capacity(FIRST_OUTPUT.max(payload.len() * 2));
    if payload.is_empty() {
        return Some(content);
    }
    // A payload with a final block has no removed tail: its sender starts anew.
    if feed(state, payload, &mut content)? {
        state.reset(false);
    } else {
        feed(state, &TAIL, &mut content)?;
    }
    Some(content)
}

/// Decompresses all of `input`; returns whether a final block ended exactly at its end.
fn feed(state: &mut Decompress, mut input: &[u8], content: &mut Vec<u8>) -> Option<bool> {
    loop {
        if content.len() == content.capacity() {
            content.reserve(content.len().max(FIRST_OUTPUT));
        }
        let (read, written) = (state.total_in(), content.len());
        let status = state.decompress_vec(input, content, FlushDecompress::None).ok()?;
        let read = usize::try_from(state.total_in() - read).ok()?;
        input = &input[read..];
        if content.len() > MAX_MESSAGE {
            return None;
        }
        let has_room = content.len() < content.capacity();
        match status {
            Status::StreamEnd if input.is_empty() => return Some(true),
            Status::StreamEnd => state.reset(false),
            _ if input.is_empty() && has_room => return Some(false),
            _ if read == 0 && content.len() == written && has_room => return None,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use agentbench_websocket::{DeflatePolicy, Deflater, Role, negotiate};

    use super::*;

    fn frame(payload: &[u8], compressed: bool, mask: Option<[u8; 4]>) -> BytesMut {
        let mut wire = BytesMut::new();
        encode_frame(&mut wire, Opcode::Text, compressed, payload, mask);
        wire
    }

    #[test]
    fn reads_masked_fragments() {
        let mut wire = BytesMut::new();
        let most = std::num::NonZeroUsize::new(3).unwrap();
        agentbench_websocket::encode_fragments(&mut wire, Opcode::Text, false, b"fragments", most, || {
            Some([1, 2, 3, 4])
        });
        assert_eq!(Reader::new(false, false).read(&wire).unwrap(), &b"fragments"[..]);
    }

    #[test]
    fn reads_compressed_messages_with_and_without_dictionary() {
        let policy = DeflatePolicy {
            client_no_context_takeover: false,
            server_no_context_takeover: false,
            ..DeflatePolicy::default()
        };
        let negotiated = negotiate("permessage-deflate", &policy).unwrap();
        let mut retaining = negotiated.retaining_deflater(Role::Client, 6).unwrap();
        let mut single = Deflater::new(6);
        let (mut with, mut without) = (Reader::new(true, true), Reader::new(true, false));
        for n in 0..5 {
            let text = format!("the same words over and over, but for {n}");
            let (mut a, mut b) = (BytesMut::new(), BytesMut::new());
            retaining.compress(text.as_bytes(), &mut a);
            single.compress(15, text.as_bytes(), &mut b);
            assert_eq!(with.read(&frame(&a, true, Some([7; 4]))).unwrap(), text.as_bytes());
            assert_eq!(without.read(&frame(&b, true, None)).unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn a_damaged_dictionary_is_not_trusted() {
        let mut reader = Reader::new(true, true);
        assert!(reader.read(&frame(&[0xff; 20], true, None)).is_none());
        let mut good = BytesMut::new();
        Deflater::new(6).compress(15, b"good", &mut good);
        assert!(reader.read(&frame(&good, true, None)).is_none());
        assert_eq!(reader.read(&frame(b"plain", false, None)).unwrap(), &b"plain"[..]);
    }
}
