//! The index beside each segment: the headers of its records, apart from them.
//!
//! ```text
//! file   = entry*
//! entry  = offset u32 · zero u32 · the record's header
//! ```
//! It has three uses. A start reads it instead of the segment. A record that the disk has lost is known by it, with its
//! session and seqs. And a segment that ends early, or is missing, is found out. It is written behind, up to a second after its
//! records, and not synced: what is not in it is searched for in the segment. Each entry is found and checked by
//! itself, so a lost sector costs no more than the entries in it.
//!
//! The entry of an end may be there without its record: then a start found the segment to end there, and what follows, if
//! anything, does not count.

use std::io::{ErrorKind, Result};
use std::sync::{Mutex, PoisonError};

use agentbench_disk::Opening;

use crate::record::{HEADER, Header};
use crate::segment::Segments;

/// Length of an entry.
pub(crate) const ENTRY: usize = 8 + HEADER;
/// Entries in memory, in bytes, above which they are to be written without waiting for the next second.
const MANY: usize = 1 << 20;
/// Bytes read at once.
const STEP: usize = ENTRY << 10;

/// A record's header and its offset in the segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Indexed {
    pub(crate) offset: u32,
    pub(crate) header: Header,
}

impl Indexed {
    /// Where the record ends.
    pub(crate) fn end(&self) -> u64 {
        u64::from(self.offset) + self.header.record_len() as u64
    }

    fn encode(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.offset.to_le_bytes());
        to.extend_from_slice(&[0; 4]);
        to.extend_from_slice(&self.header.encode(self.offset));
    }

    fn decode(bytes: &[u8], segment: u32) -> Option<Self> {
        let (offset, rest) = bytes.split_first_chunk::<4>()?;
        let offset = u32::from_le_bytes(*offset);
        let (zeros, header) = rest.split_first_chunk::<4>()?;
        let header = Header::decode(header, segment, offset).filter(|_| *zeros == [0; 4])?;
        Some(Self { offset, header })
    }
}

/// The entries of a segment's index by offset, those that are intact. None if there is no index, or it cannot be read.
pub(crate) fn read(segments: &Segments, segment: u32) -> Vec<Indexed> {
    let mut entries = Vec::new();
    let path = segments.index_path(segment);
    let Ok(file) = segments.disk().open(&path, Opening::Existing) else { return entries };
    let mut bytes = vec![0; STEP];
    let mut at = 0;
    loop {
        let read = match file.read_at(&mut bytes, at) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "an index cannot be read: its segment is searched instead");
                break;
            }
        };
        entries.extend(bytes[..read].chunks_exact(ENTRY).filter_map(|entry| Indexed::decode(entry, segment)));
        at += STEP as u64;
    }
    entries.sort_by_key(|entry| entry.offset);
    entries.dedup_by_key(|entry| entry.offset);
    entries
}

/// Entries that are not in their files yet.
#[derive(Debug, Default)]
pub(crate) struct Behind {
    /// Segments with entries, in the order of their records.
    pending: Mutex<Vec<(u32, Vec<u8>)>>,
}

impl Behind {
    /// Adds the entries of committed records. Returns whether there are many.
    pub(crate) fn add<'a>(&self, entries: impl IntoIterator<Item = &'a Indexed>) -> bool {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in entries {
            let segment = entry.header.segment;
            if pending.last().is_none_or(|(last, _)| *last != segment) {
                pending.push((segment, Vec::new()));
            }
            if let Some((_, bytes)) = pending.last_mut() {
                entry.encode(bytes);
            }
        }
        pending.last().is_some_and(|(_, bytes)| bytes.len() >= MANY)
    }

    /// Writes all entries to their files. What cannot be written is kept for the next time.
    pub(crate) fn write(&self, segments: &Segments, durably: bool) -> Result<()> {
        let taken = std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        let mut rest = taken.into_iter();
        while let Some((segment, bytes)) = rest.next() {
            if let Err(error) = append(segments, segment, &bytes, durably) {
                let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
                let newer = std::mem::take(&mut *pending);
                pending.extend(std::iter::once((segment, bytes)).chain(rest).chain(newer));
                return Err(error);
            }
        }
        Ok(())
    }
}

fn append(segments: &Segments, segment: u32, bytes: &[u8], durably: bool) -> Result<()> {
    let path = segments.index_path(segment);
    let file = match segments.disk().open(&path, Opening::Any) {
        // The segment was freed meanwhile, and with it the whole folder may be.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    // Past half an entry, if the last write was cut short.
    let at = file.len()?.next_multiple_of(ENTRY as u64);
    file.write_all_at(bytes, at)?;
    if durably { file.sync() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use agentbench_disk::{Disk, MemoryDisk, SectorSize};
    use agentbench_event_log::conformance::{frame, session};
    use agentbench_protocol::Epoch;

    use super::*;
    use crate::record::{Draft, LogIdentity};

    const SEGMENT: u32 = 5;

    fn entries() -> Vec<Indexed> {
        let log = LogIdentity { number: 1, session: session(1), epoch: Epoch::from_u64(3) };
        let mut bytes = Vec::new();
        let entries = (0..30).map(|n| {
            let frame = frame(n + 1, 1, 100, n as u8);
            let offset = bytes.len() as u32;
            let draft = Draft::Frame { frame: &frame, summary: None };
            Indexed { offset, header: draft.write(&mut bytes, log, 1, SEGMENT, offset) }
        });
        entries.collect()
    }

    fn segments() -> Segments {
        let disk = Arc::new(MemoryDisk::new(1, SectorSize::Bytes512));
        disk.create_dir_all("/segments".as_ref()).unwrap();
        Segments::new(disk, "/segments".into())
    }

    #[test]
    fn what_is_written_in_parts_is_read_as_a_whole() {
        let segments = segments();
        let behind = Behind::default();
        for part in entries().chunks(7) {
            assert!(!behind.add(part));
            behind.write(&segments, true).unwrap();
        }
        assert_eq!(read(&segments, SEGMENT), entries());
        assert_eq!(read(&segments, SEGMENT + 1), []);
    }

    #[test]
    fn a_lost_byte_or_end_costs_one_entry_and_what_is_added_later_is_found() {
        let segments = segments();
        let behind = Behind::default();
        behind.add(&entries());
        behind.write(&segments, true).unwrap();
        let file = segments.disk().open(&segments.index_path(SEGMENT), Opening::Existing).unwrap();
        file.write_all_at(&[0xff], (ENTRY * 3 + 20) as u64).unwrap();
        file.set_len(file.len().unwrap() - 5).unwrap();
        behind.add(&entries()[29..]);
        behind.write(&segments, true).unwrap();
        let mut expected = entries();
        expected.remove(3);
        assert_eq!(read(&segments, SEGMENT), expected);
    }

    #[test]
    fn what_cannot_be_written_is_written_the_next_time() {
        let disk = MemoryDisk::new(1, SectorSize::Bytes512);
        disk.create_dir_all("/segments".as_ref()).unwrap();
        let segments = Segments::new(Arc::new(disk.clone()), "/segments".into());
        let behind = Behind::default();
        behind.add(&entries());
        disk.limit_room(Some(100));
        behind.write(&segments, false).unwrap_err();
        disk.limit_room(None);
        behind.write(&segments, false).unwrap();
        assert_eq!(read(&segments, SEGMENT), entries());
    }
}
