//! The stored form of one frame in the former engine.
//!
//! ```text
//! entry  = magic "AE" · count u16 · frame_len u32 · log u64 · ordinal u64 · session u128 · epoch u64 · first_seq u64
//!          · frame crc32c u32 · header crc32c u32 (of all before it) · frame
//! ```
//! All numbers are little-endian. An entry identifies itself, so it can be found in a batch whose footer is damaged.

use agentbench_event_log::Frame;
use agentbench_protocol::{Epoch, Seq, SessionId};
use bytes::Bytes;

/// Length of an entry's header.
pub(crate) const HEADER: usize = 64;
const MAGIC: [u8; 2] = *b"AE";

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntryHeader {
    pub(crate) count: u16,
    pub(crate) frame_len: u32,
    /// Number of the log, never reused for another one.
    pub(crate) log: u64,
    /// Number of the frame in its log: 1, 2, 3 …
    pub(crate) ordinal: u64,
    pub(crate) session: SessionId,
    pub(crate) epoch: Epoch,
    pub(crate) first_seq: Seq,
    frame_crc: u32,
}

impl EntryHeader {
    /// Decodes the header at the start of `bytes`; `None` if there is no intact and valid one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER] = bytes.first_chunk()?;
        if bytes[..2] != MAGIC || crc32c::crc32c(&bytes[..60]) != u32_at(bytes, 60) {
            return None;
        }
        let session = u128::from(u64_at(bytes, 24)) | u128::from(u64_at(bytes, 32)) << 64;
        let header = Self {
            count: u16::from_le_bytes([bytes[2], bytes[3]]),
            frame_len: u32_at(bytes, 4),
            log: u64_at(bytes, 8),
            ordinal: u64_at(bytes, 16),
            session: SessionId::from_u128(session),
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

    /// An entry without a valid frame in it, but with the checksums of what is in it.
    #[cfg(test)]
    pub(crate) fn example(log: u64, ordinal: u64, first_seq: Seq, count: u16) -> Vec<u8> {
        let mut bytes = vec![0; HEADER + 8];
        bytes[..2].copy_from_slice(&MAGIC);
        bytes[2..4].copy_from_slice(&count.to_le_bytes());
        bytes[4..8].copy_from_slice(&8_u32.to_le_bytes());
        for (at, number) in [(8, log), (16, ordinal), (24, 7), (40, 0xe), (48, first_seq)] {
            bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        let crc = crc32c::crc32c(&bytes[HEADER..]);
        bytes[56..60].copy_from_slice(&crc.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn last_seq(&self) -> Seq {
        self.first_seq + u64::from(self.count) - 1
    }

    /// Whether these are the frame's bytes.
    pub(crate) fn fits(&self, frame: &[u8]) -> bool {
        frame.len() == self.frame_len as usize && crc32c::crc32c(frame) == self.frame_crc
    }

    /// The frame with these bytes.
    pub(crate) fn parse(&self, frame: Bytes) -> Result<Frame, &'static str> {
        if !self.fits(&frame) {
            return Err("the frame fails its checksum");
        }
        let frame = Frame::parse(frame).map_err(|error| error.0)?;
        if frame.first_seq() != self.first_seq || frame.count() != usize::from(self.count) {
            return Err("the frame does not match its header");
        }
        Ok(frame)
    }
}

/// The entries in bytes without a readable footer, with their offsets.
pub(crate) fn find(bytes: &[u8]) -> Vec<(usize, EntryHeader)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at + HEADER <= bytes.len() {
        match EntryHeader::decode(&bytes[at..]) {
            Some(header) if bytes.len() - at - HEADER >= header.frame_len as usize => {
                found.push((at, header));
                at += HEADER + header.frame_len as usize;
            }
            _ => at += 1,
        }
    }
    found
}

fn u32_at(bytes: &[u8; HEADER], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8; HEADER], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
