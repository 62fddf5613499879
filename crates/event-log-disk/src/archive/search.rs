//! Finds the blocks of an archived log without its index: where the index is damaged, they are whole all the same.
//!
//! A block is a zstd frame, which says how long it is. Whether it is as it was written is known by its own checksum, or by its entry
//! in what is left of the index; a block without either is treated as damaged.

use std::fs::File;
use std::os::unix::fs::FileExt;

use agentbench_protocol::Seq;

use super::format::{self, Block, HEADER, Header, INDEX_ENTRY, MAX_RAW_BLOCK};

/// First bytes of a zstd frame (RFC 8878, section 3.1.1).
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// The bit of the frame header's descriptor that says that a checksum follows the content (section 3.1.1.1.1).
const HAS_CHECKSUM: u8 = 0x04;
/// Bytes read at first for a block; more if it is longer.
const STEP: usize = 512 << 10;

/// The blocks of a log, contiguous from its first to its last seq: where there is no block that can be trusted, one that cannot be
/// read stands for it. `None` if there is none at all.
pub(crate) fn find_blocks(file: &File, header: &Header) -> std::io::Result<Option<Vec<Block>>> {
    let size = file.metadata()?.len();
    let mut window = Window { file, size, offset: 0, bytes: Vec::new() };
    let mut found = Vec::new();
    let mut at = (HEADER + header.summary.len()) as u64;
    while let Some(begin) = window.find_magic(at)? {
        at = begin + 1;
        if let Some((block, has_checksum)) = window.block_at(begin)? {
            at = begin + u64::from(block.length);
            found.push((block, has_checksum));
        }
    }
    let rest = window.read(at, usize::try_from(size.saturating_sub(at)).unwrap_or(0))?.to_vec();
    found.retain(|(block, has_checksum)| *has_checksum || has_entry(&rest, block));
    Ok(contiguous(found.into_iter().map(|(block, _)| block), header))
}

/// Whether the rest of a file has the entry of this block.
fn has_entry(rest: &[u8], block: &Block) -> bool {
    let entry = &format::encode_index(&[*block], 0)[..INDEX_ENTRY];
    rest.windows(INDEX_ENTRY).any(|window| window == entry)
}

fn contiguous(found: impl Iterator<Item = Block>, header: &Header) -> Option<Vec<Block>> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut next = header.first_seq;
    for block in found {
        let is_inside = block.last_seq >= next && block.last_seq <= header.last_seq;
        let overlaps = block.first_seq < next && !blocks.is_empty();
        if !is_inside || overlaps {
            continue;
        }
        if block.first_seq > next {
            blocks.push(lost(next, block.first_seq - 1));
        }
        next = block.last_seq + 1;
        blocks.push(block);
    }
    if blocks.is_empty() {
        return None;
    }
    if next <= header.last_seq {
        blocks.push(lost(next, header.last_seq));
    }
    Some(blocks)
}

/// A block that cannot be read: nothing has this checksum.
fn lost(first_seq: Seq, last_seq: Seq) -> Block {
    Block { first_seq, last_seq, offset: 0, length: 0, raw_length: 0, crc: u32::MAX }
}

/// A part of a file.
struct Window<'a> {
    file: &'a File,
    size: u64,
    offset: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// `len` bytes from `at` on; fewer where the file ends.
    fn read(&mut self, at: u64, len: usize) -> std::io::Result<&[u8]> {
        let len = len.min(usize::try_from(self.size.saturating_sub(at)).unwrap_or(usize::MAX));
        let is_inside = at >= self.offset && at + len as u64 <= self.offset + self.bytes.len() as u64;
        if !is_inside {
            let left = usize::try_from(self.size.saturating_sub(at)).unwrap_or(usize::MAX);
            self.bytes.resize(len.max(STEP).min(left), 0);
            self.file.read_exact_at(&mut self.bytes, at)?;
            self.offset = at;
        }
        Ok(&self.bytes[(at - self.offset) as usize..][..len])
    }

    fn find_magic(&mut self, mut at: u64) -> std::io::Result<Option<u64>> {
        while at + ZSTD_MAGIC.len() as u64 <= self.size {
            let bytes = self.read(at, STEP)?;
            if let Some(found) = bytes.windows(4).position(|window| window == ZSTD_MAGIC) {
                return Ok(Some(at + found as u64));
            }
            // The magic may begin in the last three.
            at += (bytes.len() - 3) as u64;
        }
        Ok(None)
    }

    /// The block at `at`, and whether it has a checksum of its own, which fits then.
    fn block_at(&mut self, at: u64) -> std::io::Result<Option<(Block, bool)>> {
        let mut len = STEP;
        loop {
            let stored = self.read(at, len)?;
            match zstd::zstd_safe::find_frame_compressed_size(stored) {
                Ok(length) => return Ok(decode(&stored[..length.min(stored.len())], at)),
                Err(_) if stored.len() < len || len > MAX_RAW_BLOCK => return Ok(None),
                Err(_) => len *= 4,
            }
        }
    }
}

fn decode(stored: &[u8], offset: u64) -> Option<(Block, bool)> {
    let raw_length = u32::try_from(zstd::zstd_safe::get_frame_content_size(stored).ok()??).ok()?;
    if raw_length as usize > MAX_RAW_BLOCK {
        return None;
    }
    let block = Block {
        first_seq: 0,
        last_seq: 0,
        offset,
        length: u32::try_from(stored.len()).ok()?,
        raw_length,
        crc: crc32c::crc32c(stored),
    };
    let frames = format::decode_frames(&block, stored).ok()?;
    let (first, last) = (frames.first()?, frames.last()?);
    let has_checksum = stored.get(4)? & HAS_CHECKSUM != 0;
    Some((Block { first_seq: first.first_seq(), last_seq: last.last_seq(), ..block }, has_checksum))
}
