//! Checks the hot log's files before raft-engine opens them.
//!
//! raft-engine can only refuse damaged files or cut them off at the first broken batch. So its files are repaired here
//! first, and the repairs are reported:
//! - An incomplete write at the end of the newest file is cut off; it was never acknowledged.
//! - A broken batch followed by whole ones is damage, which [`repair`](crate::repair) handles.
//!
//! ```text
//! file   = magic (53 bytes) · version u64 = 2 · alignment u64 = 0 · batch*
//! batch  = length u56 · compression u8 = 0 · footer offset u64 · entries · crc32 u32 (if there are entries)
//!          · footer · crc32 u32 (of the footer, xor the number of the file)
//! ```
//! raft-engine's numbers up to here are big-endian, its checksums little-endian.

use std::path::{Path, PathBuf};

use agentbench_disk::{Disk, DiskFile, Listed, Opening};

use crate::config::{Damage, OpenError};
use crate::quarantine::Quarantine;
use crate::witness::End;

const MAGIC: &[u8] = b"RAFT-LOG-FILE-HEADER-9986AB3E47F320B394C8E84916EB0ED5";
/// Length of a file's header, before the first batch.
pub(crate) const FILE_HEADER: usize = MAGIC.len() + 16;
/// Length of a batch's header, before its entries.
pub(crate) const BATCH_HEADER: usize = 16;
/// Length of a checksum.
pub(crate) const CHECKSUM: usize = 4;
/// Extensions of the files of raft-engine's two queues: the one that batches are appended to, and the one that old ones are moved to.
pub(crate) const QUEUES: [&str; 2] = ["raftlog", "rewrite"];
/// Maximum size of a batch; a larger one is damage.
const MAX_BATCH: usize = 1 << 31;

/// The files of raft-engine's two queues after repair, in order of their numbers, and the end of each.
#[derive(Debug, Default)]
pub(crate) struct FoundEnds {
    pub(crate) append: Vec<End>,
    pub(crate) rewrite: Vec<End>,
}

/// Repairs of the files, and the report of them.
pub(crate) struct Repairs<'a> {
    pub(crate) disk: &'a dyn Disk,
    pub(crate) quarantine: &'a mut Quarantine,
    pub(crate) damage: &'a mut Vec<Damage>,
}

impl Repairs<'_> {
    /// Copies bytes that are about to be changed; without the copy they are not changed.
    pub(crate) fn keep(&mut self, path: &Path, begin: usize, end: usize) -> Result<String, OpenError> {
        let kept = self.quarantine.keep(path, begin as u64, end as u64);
        kept.map(|name| format!("the original bytes are in {name}")).map_err(|error| OpenError::Damaged {
            place: format!("{} at byte {begin}", path.display()),
            what: format!("damaged, and not repaired, since the damaged bytes cannot be copied: {error}"),
        })
    }

    pub(crate) fn report(&mut self, path: &Path, at: usize, what: String) {
        self.damage.push(Damage { place: format!("{} at byte {at}", path.display()), what });
    }
}

/// Checks all files of the hot log and repairs them. Damage is reported, and changed bytes are copied to the quarantine first.
pub(crate) fn make_whole(dir: &Path, repairs: &mut Repairs<'_>) -> Result<FoundEnds, OpenError> {
    let mut check = |extension| {
        let files = files(repairs.disk, dir, extension)?;
        let mut ends = Vec::with_capacity(files.len());
        for (at, (number, path)) in files.iter().enumerate() {
            let end = check_file(path, *number, at + 1 == files.len(), repairs)?;
            ends.extend(end.map(|bytes| End { number: *number, bytes: bytes as u64 }));
        }
        Ok(ends)
    };
    let [append, rewrite] = QUEUES;
    Ok(FoundEnds { append: check(append)?, rewrite: check(rewrite)? })
}

/// The files of one queue with their numbers, in order.
pub(crate) fn files(disk: &dyn Disk, dir: &Path, extension: &str) -> Result<Vec<(u64, PathBuf)>, OpenError> {
    let mut files = Vec::new();
    for Listed { path, .. } in disk.list(dir).map_err(OpenError::io(dir))? {
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if let (Some(number), true) = (number, path.extension().is_some_and(|found| found == extension)) {
            files.push((number, path));
        }
    }
    files.sort_unstable();
    if let Some(pair) = files.windows(2).find(|pair| pair[1].0 != pair[0].0 + 1) {
        return Err(OpenError::Damaged {
            place: dir.display().to_string(),
            what: format!("the file between {} and {} is missing", pair[0].1.display(), pair[1].1.display()),
        });
    }
    Ok(files)
}

/// Checks one file. Returns the end of its last whole batch; `None` if the file was removed.
fn check_file(
    path: &Path,
    number: u64,
    newest: bool,
    repairs: &mut Repairs<'_>,
) -> Result<Option<usize>, OpenError> {
    let io = OpenError::io;
    let file = repairs.disk.open(path, Opening::Existing).map_err(io(path))?;
    let mut view = View::new(&*file).map_err(io(path))?;
    if !view.has_file_header().map_err(io(path))? {
        let next = view.find_batch(FILE_HEADER, number).map_err(io(path))?;
        if newest && next.is_none() {
            // The process ended while it created the file. raft-engine creates it again.
            if view.size > 0 {
                let kept = repairs.keep(path, 0, view.size)?;
                repairs.report(path, 0, format!("a file that had just been started was removed; {kept}"));
            }
            repairs.disk.remove(path).map_err(io(path))?;
            return Ok(None);
        }
        return Err(OpenError::Damaged {
            place: path.display().to_string(),
            what: "the header of the file is damaged; restore the file from a copy".into(),
        });
    }
    let mut at = FILE_HEADER;
    let mut last = None;
    while at < view.size {
        if let Some(batch) = view.batch(at, number).map_err(io(path))? {
            last = Some(batch);
            at += batch.length;
            continue;
        }
        match view.find_batch(at + 1, number).map_err(io(path))? {
            None if newest => {
                // Zeros are preallocated space for writes that never came.
                if !view.is_zero_from(at).map_err(io(path))? {
                    let kept = repairs.keep(path, at, view.size)?;
                    let count = view.size - at;
                    repairs.report(
                        path,
                        at,
                        format!("the last write was cut short; {count} bytes removed; {kept}"),
                    );
                }
                file.set_len(at as u64).and_then(|()| file.sync()).map_err(io(path))?;
                view.size = at;
            }
            found => {
                let end = found.unwrap_or(view.size);
                let kept = repairs.keep(path, at, end)?;
                let repaired = crate::repair::repair(&*file, number, at, end).map_err(io(path))?;
                let what = repaired.map_err(|what| OpenError::Damaged {
                    place: format!("{} at byte {at}", path.display()),
                    what: what.into(),
                })?;
                repairs.report(path, at, format!("{what}; {kept}"));
                view = View::new(&*file).map_err(io(path))?;
                last = None;
                at = end;
            }
        }
    }
    let Some(last) = last else { return Ok(Some(at)) };
    // raft-engine reads only the last batch's entries.
    if !view.entries_are_whole(&last).map_err(io(path))? {
        let kept = repairs.keep(path, last.begin, last.begin + last.length)?;
        if newest {
            file.set_len(last.begin as u64).and_then(|()| file.sync()).map_err(io(path))?;
            let what = format!("the last write was cut short; {} bytes removed; {kept}", last.length);
            repairs.report(path, last.begin, what);
            // The one before may be affected as well.
            return check_file(path, number, newest, repairs);
        }
        view.sign_entries(&*file, &last).map_err(io(path))?;
        let what = format!("frames in this batch are damaged; the others stay readable; {kept}");
        repairs.report(path, last.begin, what);
    }
    Ok(Some(at))
}

/// The place of one batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch {
    pub(crate) begin: usize,
    pub(crate) length: usize,
    /// Offset of its footer from `begin`.
    pub(crate) footer: usize,
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

    pub(crate) fn new(file: &'a dyn DiskFile) -> std::io::Result<Self> {
        let size = usize::try_from(file.len()?).map_err(std::io::Error::other)?;
        Ok(Self { file, size, buffer: Vec::new(), offset: 0 })
    }

    /// `length` bytes from `at`; `None` if the file ends before.
    fn bytes(&mut self, at: usize, length: usize) -> std::io::Result<Option<&[u8]>> {
        if length > self.size.saturating_sub(at) {
            return Ok(None);
        }
        let inside = at >= self.offset && at + length <= self.offset + self.buffer.len();
        if !inside {
            self.buffer.resize(length.max(Self::STEP).min(self.size - at), 0);
            self.offset = at;
            self.file.read_exact_at(&mut self.buffer, at as u64)?;
        }
        Ok(Some(&self.buffer[at - self.offset..][..length]))
    }

    pub(crate) fn has_file_header(&mut self) -> std::io::Result<bool> {
        let header = self.bytes(0, FILE_HEADER)?;
        Ok(header.is_some_and(|header| {
            header.starts_with(MAGIC)
                && header[MAGIC.len()..] == [0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]
        }))
    }

    /// The batch that begins at `at`, if its header and footer are intact.
    pub(crate) fn batch(&mut self, at: usize, number: u64) -> std::io::Result<Option<Batch>> {
        let Some((length, footer)) = self.bytes(at, BATCH_HEADER)?.and_then(decode_header) else {
            return Ok(None);
        };
        let Some(bytes) = self.bytes(at.saturating_add(footer), length - footer)? else { return Ok(None) };
        let Some((items, crc)) = bytes.split_last_chunk::<CHECKSUM>() else { return Ok(None) };
        // There are far fewer than 2³² files before it.
        let whole = crc32fast::hash(items) == u32::from_le_bytes(*crc) ^ number as u32;
        Ok(whole.then_some(Batch { begin: at, length, footer }))
    }

    /// The first whole batch that begins at `from` or later.
    pub(crate) fn find_batch(&mut self, from: usize, number: u64) -> std::io::Result<Option<usize>> {
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

    fn is_zero_from(&mut self, at: usize) -> std::io::Result<bool> {
        let rest = self.size - at;
        Ok(self.bytes(at, rest)?.is_none_or(|bytes| bytes.iter().all(|byte| *byte == 0)))
    }

    pub(crate) fn entries_are_whole(&mut self, batch: &Batch) -> std::io::Result<bool> {
        let length = batch.footer - BATCH_HEADER;
        if length == 0 {
            return Ok(true);
        }
        let bytes = self.bytes(batch.begin + BATCH_HEADER, length)?;
        let split = bytes.and_then(|bytes| bytes.split_last_chunk::<CHECKSUM>());
        Ok(split.is_some_and(|(entries, crc)| crc32fast::hash(entries) == u32::from_le_bytes(*crc)))
    }

    fn sign_entries(&mut self, file: &dyn DiskFile, batch: &Batch) -> std::io::Result<()> {
        let length = batch.footer - BATCH_HEADER;
        let begin = batch.begin + BATCH_HEADER;
        let bytes = self.bytes(begin, length)?.and_then(|bytes| bytes.split_last_chunk::<CHECKSUM>());
        let Some((entries, _)) = bytes else { return Ok(()) };
        let crc = crc32fast::hash(entries).to_le_bytes();
        file.write_all_at(&crc, (begin + length - CHECKSUM) as u64)?;
        file.sync()
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
