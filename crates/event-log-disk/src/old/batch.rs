//! The form of the former engine's files, and where its batches are in one.
//!
//! ```text
//! file   = magic (53 bytes) · version u64 = 2 · alignment u64 = 0 · batch*
//! batch  = length u56 · compression u8 = 0 · footer offset u64 · entries · crc32 u32 (if there are entries)
//!          · footer · crc32 u32 (of the footer, xor the number of the file)
//! ```
//! Numbers up to here are big-endian, checksums little-endian. Batches could be compressed by the format, but the engine had
//! that switched off in all its versions, so another value than 0 is damage.

use std::io::{Error, Result};

use agentbench_disk::DiskFile;

const MAGIC: &[u8] = b"RAFT-LOG-FILE-HEADER-9986AB3E47F320B394C8E84916EB0ED5";
/// Version and alignment.
const FORMAT: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0];
/// Length of a file's header, before the first batch.
pub(crate) const FILE_HEADER: usize = MAGIC.len() + FORMAT.len();
/// Length of a batch's header, before its entries.
pub(crate) const BATCH_HEADER: usize = 16;
/// Length of a checksum.
const CHECKSUM: usize = 4;
/// Maximum size of a batch; a larger one is damage.
const MAX_BATCH: usize = 1 << 31;

/// A part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stretch {
    /// A batch whose header and footer are intact.
    Batch(Batch),
    /// Bytes that contain no such batch.
    Damaged { begin: usize, end: usize },
}

/// The place of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) begin: usize,
    pub(crate) length: usize,
    /// Offset of its footer from `begin`.
    pub(crate) footer: usize,
    /// Whether its entries have the checksum that they should have.
    pub(crate) is_whole: bool,
}

impl Stretch {
    pub(crate) fn begin(&self) -> usize {
        match self {
            Self::Batch(batch) => batch.begin,
            Self::Damaged { begin, .. } => *begin,
        }
    }

    pub(crate) fn end(&self) -> usize {
        match self {
            Self::Batch(batch) => batch.begin + batch.length,
            Self::Damaged { end, .. } => *end,
        }
    }

    pub(crate) fn is_whole(&self) -> bool {
        matches!(self, Self::Batch(batch) if batch.is_whole)
    }
}

impl Batch {
    /// Splits its bytes into entries and footer, without their checksums.
    pub(crate) fn split<'a>(&self, bytes: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let (head, footer) = bytes.split_at_checked(self.footer)?;
        let entries = head.get(BATCH_HEADER..)?;
        let (footer, _) = footer.split_last_chunk::<CHECKSUM>()?;
        Some((entries.split_last_chunk::<CHECKSUM>().map_or(&[][..], |(entries, _)| entries), footer))
    }
}

/// A view of a file, read in large steps where batches are small.
pub(crate) struct View<'a> {
    file: &'a dyn DiskFile,
    pub(crate) size: usize,
    buffer: Vec<u8>,
    offset: usize,
}

impl<'a> View<'a> {
    const STEP: usize = 128 << 10;

    pub(crate) fn new(file: &'a dyn DiskFile) -> Result<Self> {
        let size = usize::try_from(file.len()?).map_err(Error::other)?;
        Ok(Self { file, size, buffer: Vec::new(), offset: 0 })
    }

    /// `length` bytes from `at`; `None` if the file ends before.
    pub(crate) fn bytes(&mut self, at: usize, length: usize) -> Result<Option<&[u8]>> {
        if length > self.size.saturating_sub(at) {
            return Ok(None);
        }
        let is_inside = at >= self.offset && at + length <= self.offset + self.buffer.len();
        if !is_inside {
            self.buffer.resize(length.max(Self::STEP).min(self.size - at), 0);
            self.offset = at;
            let read = self.file.read_exact_at(&mut self.buffer, at as u64);
            read.inspect_err(|_| self.buffer.clear())?;
        }
        Ok(Some(&self.buffer[at - self.offset..][..length]))
    }

    pub(crate) fn has_file_header(&mut self) -> Result<bool> {
        let header = self.bytes(0, FILE_HEADER)?;
        Ok(header.is_some_and(|header| header.starts_with(MAGIC) && header.ends_with(&FORMAT)))
    }

    /// All that follows the file's header. Zeros at the end of the newest file are space for writes that never came.
    pub(crate) fn stretches(&mut self, number: u64, is_newest: bool) -> Result<Vec<Stretch>> {
        let mut stretches = Vec::new();
        let mut at = FILE_HEADER;
        while at < self.size {
            if let Some(batch) = self.batch(at, number)? {
                stretches.push(Stretch::Batch(batch));
                at += batch.length;
                continue;
            }
            let next = self.find_batch(at + 1, number)?;
            let end = next.unwrap_or(self.size);
            if next.is_some() || !is_newest || !self.is_zero_from(at)? {
                stretches.push(Stretch::Damaged { begin: at, end });
            }
            at = end;
        }
        Ok(stretches)
    }

    /// The batch that begins at `at`, if its header and footer are intact.
    fn batch(&mut self, at: usize, number: u64) -> Result<Option<Batch>> {
        let Some((length, footer)) = self.bytes(at, BATCH_HEADER)?.and_then(decode_header) else {
            return Ok(None);
        };
        let Some(bytes) = self.bytes(at.saturating_add(footer), length - footer)? else { return Ok(None) };
        let Some((items, crc)) = bytes.split_last_chunk::<CHECKSUM>() else { return Ok(None) };
        // There are far fewer than 2³² files before it.
        if crc32fast::hash(items) != u32::from_le_bytes(*crc) ^ number as u32 {
            return Ok(None);
        }
        let is_whole = self.entries_are_whole(at + BATCH_HEADER, footer - BATCH_HEADER)?;
        Ok(Some(Batch { begin: at, length, footer, is_whole }))
    }

    /// The first batch that begins at `from` or later.
    fn find_batch(&mut self, from: usize, number: u64) -> Result<Option<usize>> {
        for at in from..self.size.saturating_sub(BATCH_HEADER) {
            // The header alone rules out most places, without moving the view.
            if self.bytes(at, BATCH_HEADER)?.and_then(decode_header).is_some()
                && self.batch(at, number)?.is_some()
            {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    fn is_zero_from(&mut self, mut at: usize) -> Result<bool> {
        while at < self.size {
            let length = Self::STEP.min(self.size - at);
            if self.bytes(at, length)?.is_some_and(|bytes| bytes.iter().any(|byte| *byte != 0)) {
                return Ok(false);
            }
            at += length;
        }
        Ok(true)
    }

    fn entries_are_whole(&mut self, begin: usize, length: usize) -> Result<bool> {
        if length == 0 {
            return Ok(true);
        }
        let split = self.bytes(begin, length)?.and_then(|bytes| bytes.split_last_chunk::<CHECKSUM>());
        Ok(split.is_some_and(|(entries, crc)| crc32fast::hash(entries) == u32::from_le_bytes(*crc)))
    }
}

/// Length of the batch and offset of its footer, if they are valid.
fn decode_header(bytes: &[u8]) -> Option<(usize, usize)> {
    let (length, footer) = bytes.split_first_chunk::<8>()?;
    let length = u64::from_be_bytes(*length);
    let footer = u64::from_be_bytes(*footer.first_chunk()?);
    let compression = length & 0xff;
    let (length, footer) = (usize::try_from(length >> 8).ok()?, usize::try_from(footer).ok()?);
    let sensible = compression == 0
        && length <= MAX_BATCH
        && footer >= BATCH_HEADER
        // At least a count and a checksum.
        && length.checked_sub(footer)? > CHECKSUM;
    sensible.then_some((length, footer))
}
