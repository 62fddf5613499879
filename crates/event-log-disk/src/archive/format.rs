//! The stored form of one archived log.
//!
//! ```text
//! file    = header · summary · block × n · index · footer
//! header  = magic "ABARCHIV" · version u32 = 1 · summary_len u32 · session u128 · epoch u64 · first_seq u64
//!           · last_seq u64 · archived_at u64 (ms since 1970) · crc32c u32 (of header and summary) · zero u32
//! block   = zstd, with its checksum (but not in old files), of (frame_len u32 · frame) × m
//! index   = (first_seq u64 · last_seq u64 · offset u64 · length u32 · raw_length u32 · crc32c u32 · zero u32) × n
//! footer  = index_offset u64 · blocks u32 · index crc32c u32 · footer crc32c u32 (of all before it) · magic "ABEN"
//! ```
//! All numbers are little-endian; `length` and `crc32c` of a block are those of its compressed form. A file never
//! changes once it has its final name.

use agentbench_event_log::Frame;
use agentbench_protocol::{Epoch, Seq, SessionId};
use bytes::{Buf, BufMut, Bytes};

pub(crate) const HEADER: usize = 72;
pub(crate) const INDEX_ENTRY: usize = 40;
pub(crate) const FOOTER: usize = 24;
/// Largest block that is decompressed: one frame of the largest event, with some margin. A larger size is damage.
pub(crate) const MAX_RAW_BLOCK: usize = 256 << 20;

const MAGIC: [u8; 8] = *b"ABARCHIV";
const END_MAGIC: [u8; 4] = *b"ABEN";
const VERSION: u32 = 1;

/// What is known about an archived log without reading its frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) session: SessionId,
    pub(crate) epoch: Epoch,
    /// The oldest seq that can be read; `last_seq + 1` if there is none.
    pub(crate) first_seq: Seq,
    pub(crate) last_seq: Seq,
    /// When it was archived, ms since 1970.
    pub(crate) archived_at: u64,
    pub(crate) summary: Bytes,
}

impl Header {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + self.summary.len());
        bytes.put_slice(&MAGIC);
        bytes.put_u32_le(VERSION);
        bytes.put_u32_le(u32::try_from(self.summary.len()).expect("a summary has a few KiB"));
        bytes.put_u128_le(self.session.as_u128());
        bytes.put_u64_le(self.epoch.as_u64());
        bytes.put_u64_le(self.first_seq);
        bytes.put_u64_le(self.last_seq);
        bytes.put_u64_le(self.archived_at);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes), &self.summary);
        bytes.put_u32_le(crc);
        bytes.put_u32_le(0);
        bytes.put_slice(&self.summary);
        bytes
    }

    /// Total size of header and summary, from the header's fixed part.
    pub(crate) fn encoded_len(bytes: &[u8; HEADER]) -> Result<usize, &'static str> {
        let mut rest = &bytes[..];
        if rest.copy_to_bytes(8)[..] != MAGIC {
            return Err("no archive header");
        }
        if rest.get_u32_le() != VERSION {
            return Err("unknown archive version");
        }
        Ok(HEADER + rest.get_u32_le() as usize)
    }

    /// Decodes header and summary from `bytes`, which end with the summary.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let (fixed, summary) = bytes.split_first_chunk::<HEADER>().ok_or("the header is cut short")?;
        if Self::encoded_len(fixed)? != bytes.len() {
            return Err("the header is cut short");
        }
        let mut rest = &fixed[16..];
        let header = Self {
            session: SessionId::from_u128(rest.get_u128_le()),
            epoch: Epoch::from_u64(rest.get_u64_le()),
            first_seq: rest.get_u64_le(),
            last_seq: rest.get_u64_le(),
            archived_at: rest.get_u64_le(),
            summary: Bytes::copy_from_slice(summary),
        };
        let crc = crc32c::crc32c_append(crc32c::crc32c(&fixed[..HEADER - 8]), summary);
        if rest.get_u32_le() != crc || rest.get_u32_le() != 0 {
            return Err("the header fails its checksum");
        }
        // A frame's events all have a seq behind them.
        if header.last_seq == Seq::MAX {
            return Err("the last seq is out of range");
        }
        Ok(header)
    }
}

/// The place of one block and the events in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) first_seq: Seq,
    pub(crate) last_seq: Seq,
    pub(crate) offset: u64,
    pub(crate) length: u32,
    pub(crate) raw_length: u32,
    pub(crate) crc: u32,
}

/// The index of the blocks followed by the footer; `offset` is where the index begins.
pub(crate) fn encode_index(blocks: &[Block], offset: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(blocks.len() * INDEX_ENTRY + FOOTER);
    for block in blocks {
        bytes.put_u64_le(block.first_seq);
        bytes.put_u64_le(block.last_seq);
        bytes.put_u64_le(block.offset);
        bytes.put_u32_le(block.length);
        bytes.put_u32_le(block.raw_length);
        bytes.put_u32_le(block.crc);
        bytes.put_u32_le(0);
    }
    let footer = bytes.len();
    let index_crc = crc32c::crc32c(&bytes);
    bytes.put_u64_le(offset);
    bytes.put_u32_le(u32::try_from(blocks.len()).expect("a log has fewer than 2³² blocks"));
    bytes.put_u32_le(index_crc);
    let crc = crc32c::crc32c(&bytes[footer..]);
    bytes.put_u32_le(crc);
    bytes.put_slice(&END_MAGIC);
    bytes
}

/// The place of the index, from the footer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) index_offset: u64,
    pub(crate) index_length: usize,
    index_crc: u32,
}

impl Footer {
    pub(crate) fn decode(bytes: &[u8; FOOTER]) -> Result<Self, &'static str> {
        if bytes[20..] != END_MAGIC || (&bytes[16..]).get_u32_le() != crc32c::crc32c(&bytes[..16]) {
            return Err("the footer is damaged");
        }
        let mut rest = &bytes[..];
        let index_offset = rest.get_u64_le();
        let index_length = rest.get_u32_le() as usize * INDEX_ENTRY;
        Ok(Self { index_offset, index_length, index_crc: rest.get_u32_le() })
    }

    /// Decodes the index.
    pub(crate) fn decode_index(&self, bytes: &[u8]) -> Result<Vec<Block>, &'static str> {
        if bytes.len() != self.index_length || crc32c::crc32c(bytes) != self.index_crc {
            return Err("the index fails its checksum");
        }
        let block = |mut rest: &[u8]| Block {
            first_seq: rest.get_u64_le(),
            last_seq: rest.get_u64_le(),
            offset: rest.get_u64_le(),
            length: rest.get_u32_le(),
            raw_length: rest.get_u32_le(),
            crc: rest.get_u32_le(),
        };
        let blocks: Vec<_> = bytes.chunks_exact(INDEX_ENTRY).map(block).collect();
        if blocks.iter().any(|block| block.last_seq == Seq::MAX) {
            return Err("the last seq of a block is out of range");
        }
        Ok(blocks)
    }
}

/// Adds a frame to an uncompressed block.
pub(crate) fn put_frame(raw: &mut Vec<u8>, frame: &Frame) {
    raw.put_u32_le(u32::try_from(frame.bytes().len()).expect("a frame is smaller than 4 GiB"));
    raw.put_slice(frame.bytes());
}

/// The frames of a stored block. Verifies everything: they are those in the index, without a hole.
pub(crate) fn decode_block(block: &Block, stored: &[u8]) -> Result<Vec<Frame>, String> {
    let frames = decode_frames(block, stored)?;
    let ends = (frames.first().map(Frame::first_seq), frames.last().map(Frame::last_seq));
    if ends != (Some(block.first_seq), Some(block.last_seq)) {
        return Err("the block does not match the index".into());
    }
    Ok(frames)
}

/// The frames of a stored block, whatever their seqs, without a hole.
pub(crate) fn decode_frames(block: &Block, stored: &[u8]) -> Result<Vec<Frame>, String> {
    if stored.len() != block.length as usize || crc32c::crc32c(stored) != block.crc {
        return Err("the block fails its checksum".into());
    }
    let raw_length = block.raw_length as usize;
    if raw_length > MAX_RAW_BLOCK {
        return Err("the block's size is too large".into());
    }
    let raw = zstd::bulk::decompress(stored, raw_length).map_err(|error| error.to_string())?;
    let mut raw = Bytes::from(raw);
    let mut frames: Vec<Frame> = Vec::new();
    while raw.has_remaining() {
        if raw.remaining() < 4 {
            return Err("the block ends inside a frame".into());
        }
        let length = raw.get_u32_le() as usize;
        if raw.remaining() < length {
            return Err("the block ends inside a frame".into());
        }
        let frame = Frame::parse(raw.split_to(length)).map_err(|error| error.to_string())?;
        if frames.last().is_some_and(|before| frame.first_seq() != before.last_seq() + 1) {
            return Err("the block's frames do not follow one another".into());
        }
        frames.push(frame);
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use agentbench_event_log::conformance::{frame, session};

    use super::*;

    fn header() -> Header {
        Header {
            session: session(5),
            epoch: Epoch::from_u64(77),
            first_seq: 3,
            last_seq: 900,
            archived_at: 1_700_000_000_000,
            summary: Bytes::from_static(b"a summary"),
        }
    }

    fn blocks() -> Vec<Block> {
        let block = |n: u64| Block {
            first_seq: n * 10 + 1,
            last_seq: n * 10 + 10,
            offset: n << 33,
            length: n as u32,
            raw_length: 7,
            crc: !0,
        };
        (0..5).map(block).collect()
    }

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let bytes = header().encode();
        assert_eq!(bytes.len(), HEADER + 9);
        assert_eq!(Header::encoded_len(bytes.first_chunk().unwrap()), Ok(bytes.len()));
        assert_eq!(Header::decode(&bytes), Ok(header()));
    }

    #[test]
    fn every_damaged_header_is_found() {
        let whole = header().encode();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            assert!(Header::decode(&bytes).is_err(), "{at}");
            assert!(Header::decode(&whole[..at]).is_err(), "{at}");
        }
    }

    #[test]
    fn an_index_is_read_as_it_was_written() {
        let bytes = encode_index(&blocks(), 12345);
        assert_eq!(bytes.len(), 5 * INDEX_ENTRY + FOOTER);
        let footer = Footer::decode(bytes.last_chunk().unwrap()).unwrap();
        assert_eq!((footer.index_offset, footer.index_length), (12345, 5 * INDEX_ENTRY));
        assert_eq!(footer.decode_index(&bytes[..5 * INDEX_ENTRY]), Ok(blocks()));
    }

    #[test]
    fn every_damaged_index_is_found() {
        let whole = encode_index(&blocks(), 12345);
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            let read = Footer::decode(bytes.last_chunk().unwrap())
                .and_then(|footer| footer.decode_index(&bytes[..5 * INDEX_ENTRY]));
            assert!(read.is_err(), "{at}");
        }
    }

    #[test]
    fn a_seq_with_none_behind_it_is_refused_though_its_checksum_fits() {
        let header = Header { last_seq: u64::MAX, ..header() };
        assert_eq!(Header::decode(&header.encode()), Err("the last seq is out of range"));
        let blocks = [Block { last_seq: u64::MAX, ..blocks()[0] }];
        let bytes = encode_index(&blocks, 0);
        let footer = Footer::decode(bytes.last_chunk().unwrap()).unwrap();
        assert!(footer.decode_index(&bytes[..INDEX_ENTRY]).is_err());
    }

    #[test]
    fn a_block_is_read_as_it_was_written() {
        let frames = vec![frame(3, 2, 50, 1), frame(5, 1, 500, 2)];
        let mut raw = Vec::new();
        frames.iter().for_each(|frame| put_frame(&mut raw, frame));
        let stored = zstd::bulk::compress(&raw, 3).unwrap();
        let block = Block {
            first_seq: 3,
            last_seq: 5,
            offset: 0,
            length: stored.len() as u32,
            raw_length: raw.len() as u32,
            crc: crc32c::crc32c(&stored),
        };
        assert_eq!(decode_block(&block, &stored), Ok(frames));
        assert!(decode_block(&Block { first_seq: 2, ..block }, &stored).is_err());
        assert!(decode_block(&Block { last_seq: 6, ..block }, &stored).is_err());
        assert!(decode_block(&Block { raw_length: 5, ..block }, &stored).is_err());
        assert!(decode_block(&Block { raw_length: u32::MAX, ..block }, &stored).is_err());
        assert!(decode_block(&block, &stored[1..]).is_err());
    }
}
