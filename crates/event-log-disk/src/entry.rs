//! The stored form of one frame in the hot log: one raft-engine entry.
//!
//! ```text
//! entry  = magic "AE" · count u16 · frame_len u32 · log u64 · ordinal u64 · session u128 · epoch u64 · first_seq u64
//!          · frame crc32c u32 · header crc32c u32 (of all before it) · frame
//! ```
//! All numbers are little-endian. raft-engine has one checksum over all entries of a batch, so by itself it could only
//! report that one of a hundred frames is damaged. With a checksum per frame, and one for its header, damage is narrowed down to
//! the affected frames, their seqs remain known, and entries can be recovered from a batch whose index is lost.

use std::any::Any;

use agentbench_event_log::Frame;
use agentbench_protocol::{Epoch, Seq, SessionId};
use bytes::Bytes;
use protobuf::reflect::MessageDescriptor;
use protobuf::{
    Clear, CodedInputStream, CodedOutputStream, Message, ProtobufError, ProtobufResult, UnknownFields,
};
use raft_engine::MessageExt;

/// Length of an entry's header.
pub(crate) const HEADER: usize = 64;
/// First bytes of every entry.
pub(crate) const MAGIC: [u8; 2] = *b"AE";

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntryHeader {
    pub(crate) count: u16,
    pub(crate) frame_len: u32,
    /// Number of the log in the hot log, never reused for another one.
    pub(crate) log: u64,
    /// Number of the frame in its log: 1, 2, 3 …
    pub(crate) ordinal: u64,
    pub(crate) session: SessionId,
    pub(crate) epoch: Epoch,
    pub(crate) first_seq: Seq,
    pub(crate) frame_crc: u32,
}

impl EntryHeader {
    pub(crate) fn last_seq(&self) -> Seq {
        self.first_seq + u64::from(self.count) - 1
    }

    pub(crate) fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0..2].copy_from_slice(&MAGIC);
        bytes[2..4].copy_from_slice(&self.count.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.frame_len.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.log.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.ordinal.to_le_bytes());
        bytes[24..40].copy_from_slice(&self.session.as_u128().to_le_bytes());
        bytes[40..48].copy_from_slice(&self.epoch.as_u64().to_le_bytes());
        bytes[48..56].copy_from_slice(&self.first_seq.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.frame_crc.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Decodes the header at the start of `bytes`; `None` if there is no intact and valid one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER] = bytes.first_chunk()?;
        if bytes[..2] != MAGIC || crc32c::crc32c(&bytes[..60]) != u32_at(bytes, 60) {
            return None;
        }
        let header = Self {
            count: u16::from_le_bytes([bytes[2], bytes[3]]),
            frame_len: u32_at(bytes, 4),
            log: u64_at(bytes, 8),
            ordinal: u64_at(bytes, 16),
            session: SessionId::from_u128(
                u128::from(u64_at(bytes, 24)) | u128::from(u64_at(bytes, 32)) << 64,
            ),
            epoch: Epoch::from_u64(u64_at(bytes, 40)),
            first_seq: u64_at(bytes, 48),
            frame_crc: u32_at(bytes, 56),
        };
        let sensible = header.count > 0
            && header.ordinal > 0
            && header.first_seq > 0
            && header.first_seq.checked_add(u64::from(header.count)).is_some();
        sensible.then_some(header)
    }
}

/// A frame with its header, as exchanged with raft-engine.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) header: EntryHeader,
    /// The frame's bytes; not verified yet when they come from the disk.
    bytes: Bytes,
    // raft-engine expects a protobuf message, which needs a field for unknown fields.
    unknown: UnknownFields,
}

impl Entry {
    /// The entry that stores `frame`.
    pub(crate) fn new(log: u64, ordinal: u64, session: SessionId, epoch: Epoch, frame: &Frame) -> Self {
        let bytes = frame.bytes().clone();
        let header = EntryHeader {
            count: u16::try_from(frame.count()).expect("a frame has at most 512 events"),
            frame_len: u32::try_from(bytes.len()).expect("a frame is smaller than 4 GiB"),
            log,
            ordinal,
            session,
            epoch,
            first_seq: frame.first_seq(),
            frame_crc: crc32c::crc32c(&bytes),
        };
        Self { header, bytes, unknown: UnknownFields::default() }
    }

    /// The frame, or its damage.
    pub(crate) fn frame(&self) -> Result<Frame, &'static str> {
        if self.bytes.len() != self.header.frame_len as usize {
            return Err("the frame is cut short");
        }
        if crc32c::crc32c(&self.bytes) != self.header.frame_crc {
            return Err("the frame fails its checksum");
        }
        let frame = Frame::parse(self.bytes.clone()).map_err(|error| error.0)?;
        if frame.first_seq() != self.header.first_seq || frame.count() != usize::from(self.header.count) {
            return Err("the frame does not match its header");
        }
        Ok(frame)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let header = EntryHeader::decode(bytes)?;
        let bytes = Bytes::copy_from_slice(&bytes[HEADER..]);
        Some(Self { header, bytes, unknown: UnknownFields::default() })
    }
}

/// Provides raft-engine with an entry's ordinal.
pub(crate) struct Entries;

impl MessageExt for Entries {
    type Entry = Entry;

    fn index(entry: &Entry) -> u64 {
        entry.header.ordinal
    }
}

/// raft-engine calls only `write_to_vec` and `parse_from_bytes`. The other methods do what a protobuf message must
/// do, with the whole entry as its bytes.
impl Message for Entry {
    fn write_to_vec(&self, to: &mut Vec<u8>) -> ProtobufResult<()> {
        to.extend_from_slice(&self.header.encode());
        to.extend_from_slice(&self.bytes);
        Ok(())
    }

    fn parse_from_bytes(bytes: &[u8]) -> ProtobufResult<Self> {
        let damaged = std::io::Error::new(std::io::ErrorKind::InvalidData, "an entry's header is damaged");
        Self::decode(bytes).ok_or(ProtobufError::IoError(damaged))
    }

    fn is_initialized(&self) -> bool {
        true
    }

    fn merge_from(&mut self, from: &mut CodedInputStream<'_>) -> ProtobufResult<()> {
        let mut bytes = Vec::new();
        while !from.eof()? {
            bytes.push(from.read_raw_byte()?);
        }
        *self = Self::parse_from_bytes(&bytes)?;
        Ok(())
    }

    fn write_to_with_cached_sizes(&self, to: &mut CodedOutputStream<'_>) -> ProtobufResult<()> {
        to.write_raw_bytes(&self.header.encode())?;
        to.write_raw_bytes(&self.bytes)
    }

    fn compute_size(&self) -> u32 {
        HEADER as u32 + self.header.frame_len
    }

    fn get_cached_size(&self) -> u32 {
        self.compute_size()
    }

    fn get_unknown_fields(&self) -> &UnknownFields {
        &self.unknown
    }

    fn mut_unknown_fields(&mut self) -> &mut UnknownFields {
        &mut self.unknown
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn descriptor(&self) -> &'static MessageDescriptor {
        unreachable!("an entry is always initialised and never used by reflection")
    }

    fn new() -> Self {
        let header = EntryHeader {
            count: 0,
            frame_len: 0,
            log: 0,
            ordinal: 0,
            session: SessionId::from_u128(0),
            epoch: Epoch::from_u64(0),
            first_seq: 0,
            frame_crc: 0,
        };
        Self { header, bytes: Bytes::new(), unknown: UnknownFields::default() }
    }

    fn default_instance() -> &'static Self {
        unreachable!("an entry is never a field of another message")
    }
}

impl Clear for Entry {
    fn clear(&mut self) {
        *self = Message::new();
    }
}

fn u32_at(bytes: &[u8; HEADER], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8; HEADER], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use agentbench_event_log::conformance::{frame, session};

    use super::*;

    fn entry() -> Entry {
        Entry::new(1024, 3, session(7), Epoch::from_u64(u64::MAX - 1), &frame(11, 3, 40, 9))
    }

    fn stored() -> Vec<u8> {
        let mut bytes = Vec::new();
        entry().write_to_vec(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn an_entry_has_this_form() {
        let bytes = stored();
        assert_eq!(bytes.len(), HEADER + frame(11, 3, 40, 9).bytes().len());
        assert_eq!(bytes[..4], [b'A', b'E', 3, 0]);
        assert_eq!(bytes[8..24], [0, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[HEADER..], frame(11, 3, 40, 9).bytes()[..]);
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let read = Entry::parse_from_bytes(&stored()).unwrap();
        assert_eq!(read, entry());
        assert_eq!(read.frame(), Ok(frame(11, 3, 40, 9)));
        assert_eq!((Entries::index(&read), read.header.last_seq()), (3, 13));
        assert_eq!(entry().write_to_bytes().unwrap(), stored());
    }

    #[test]
    fn every_flipped_byte_is_found() {
        let whole = stored();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x40;
            match Entry::parse_from_bytes(&bytes) {
                Err(_) => assert!(at < HEADER, "{at}"),
                Ok(read) => {
                    assert!(at >= HEADER && read.frame().is_err(), "{at}");
                    assert_eq!(read.header, entry().header);
                }
            }
        }
    }

    #[test]
    fn every_missing_end_is_found() {
        let whole = stored();
        for len in 0..whole.len() {
            let read = Entry::parse_from_bytes(&whole[..len]);
            assert!(read.is_err() || read.unwrap().frame().is_err(), "{len}");
        }
    }
}
