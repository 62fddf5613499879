//! Searches a stretch of a segment for records: those that follow one another, and the next one behind what is none.

use agentbench_disk::DiskFile;

use crate::index::Indexed;
use crate::record::{ALIGN, HEADER, Header, MAGIC};

/// Bytes read at once.
const STEP: usize = 1 << 20;
/// Bytes read at once where the disk cannot read more together.
const PIECE: usize = 4096;

/// A record that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) record: Indexed,
    /// Whether body and summary fit their checksum.
    pub(crate) is_whole: bool,
}

/// What a stretch of a segment contains.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) records: Vec<Found>,
    /// Begin and end of what is no record, between records.
    pub(crate) holes: Vec<(u64, u64)>,
    /// Where the last record ends.
    pub(crate) end: u64,
    /// Something was begun there, but it is no record: not even its header is intact.
    pub(crate) has_rest: bool,
}

/// Searches the bytes `begin..end`; a record may reach beyond.
pub(crate) fn search(file: &dyn DiskFile, segment: u32, begin: u64, end: u64) -> Stretch {
    let mut view = View::new(file);
    let mut stretch = Stretch { end: begin, ..Stretch::default() };
    let mut at = begin.next_multiple_of(ALIGN as u64);
    while at < end {
        let Some(header) = view.header(at, segment) else {
            at += ALIGN as u64;
            continue;
        };
        if at > stretch.end {
            stretch.holes.push((stretch.end, at));
        }
        let offset = at as u32;
        let record = Indexed { offset, header };
        let payload = view.bytes(at + HEADER as u64, header.payload_len());
        stretch.records.push(Found { record, is_whole: header.fits(payload) });
        at = record.end();
        stretch.end = at;
    }
    stretch.has_rest = stretch.end < end && view.bytes(stretch.end, HEADER).iter().any(|byte| *byte != 0);
    stretch
}

/// A window on a file, which is zero where the disk cannot read it.
struct View<'a> {
    file: &'a dyn DiskFile,
    buffer: Vec<u8>,
    offset: u64,
}

impl<'a> View<'a> {
    fn new(file: &'a dyn DiskFile) -> Self {
        Self { file, buffer: Vec::new(), offset: 0 }
    }

    /// `len` bytes from `at` on; fewer where the file ends.
    fn bytes(&mut self, at: u64, len: usize) -> &[u8] {
        let is_inside = at >= self.offset && at + len as u64 <= self.offset + self.buffer.len() as u64;
        if !is_inside {
            self.fill(at, len.max(STEP));
        }
        let begin = (at - self.offset) as usize;
        &self.buffer[begin.min(self.buffer.len())..self.buffer.len().min(begin + len)]
    }

    fn fill(&mut self, at: u64, len: usize) {
        // A header may announce more than the file has.
        let left = self.file.len().unwrap_or(0).saturating_sub(at);
        let len = len.min(usize::try_from(left).unwrap_or(usize::MAX));
        self.offset = at;
        self.buffer.clear();
        self.buffer.resize(len, 0);
        match self.file.read_at(&mut self.buffer, at) {
            Ok(read) => self.buffer.truncate(read),
            Err(_) => {
                for (place, piece) in self.buffer.chunks_mut(PIECE).enumerate() {
                    if self.file.read_at(piece, at + (place * PIECE) as u64).is_err() {
                        piece.fill(0);
                    }
                }
            }
        }
    }

    fn header(&mut self, at: u64, segment: u32) -> Option<Header> {
        let offset = u32::try_from(at).ok()?;
        let bytes = self.bytes(at, HEADER);
        // Rules out most places.
        if !bytes.starts_with(&MAGIC) {
            return None;
        }
        Header::decode(bytes, segment, offset)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use agentbench_disk::{Disk, MemoryDisk, Opening, SectorSize};
    use agentbench_event_log::conformance::{frame, session};
    use agentbench_protocol::Epoch;

    use super::*;
    use crate::record::{Draft, LogIdentity};

    const SEGMENT: u32 = 5;

    fn written() -> (Vec<u8>, Vec<Indexed>) {
        let log = LogIdentity { number: 1, session: session(1), epoch: Epoch::from_u64(3) };
        let mut bytes = Vec::new();
        let records = (0..9).map(|n| {
            let frame = frame(n + 1, 1, 100 + n as usize * 7, n as u8);
            let offset = bytes.len() as u32;
            let draft = Draft::Frame { frame: &frame, summary: None };
            Indexed { offset, header: draft.write(&mut bytes, log, 1, SEGMENT, offset) }
        });
        let records = records.collect();
        (bytes, records)
    }

    fn searched(bytes: &[u8]) -> Stretch {
        let disk = MemoryDisk::new(1, SectorSize::Bytes512);
        let file = disk.open(Path::new("/a"), Opening::New).unwrap();
        file.write_all_at(bytes, 0).unwrap();
        search(&*file, SEGMENT, 0, bytes.len() as u64)
    }

    #[test]
    fn all_records_are_found() {
        let (bytes, records) = written();
        let stretch = searched(&bytes);
        assert_eq!(stretch.records.iter().map(|found| found.record).collect::<Vec<_>>(), records);
        assert!(stretch.records.iter().all(|found| found.is_whole));
        assert_eq!((stretch.end, stretch.has_rest), (bytes.len() as u64, false));
        let padded = [&bytes[..], &[0; 5000]].concat();
        assert_eq!(searched(&padded), stretch);
    }

    #[test]
    fn every_flipped_byte_costs_one_record() {
        let (whole, records) = written();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x11;
            let stretch = searched(&bytes);
            let hit = records.iter().find(|record| record.end() > at as u64).unwrap();
            let intact: Vec<_> = stretch.records.iter().filter(|found| found.is_whole).collect();
            let is_padding = at as u64 >= u64::from(hit.offset) + (HEADER + hit.header.payload_len()) as u64;
            assert_eq!(intact.len(), records.len() - usize::from(!is_padding), "{at}");
            assert!(is_padding || intact.iter().all(|found| found.record != *hit), "{at}");
        }
    }

    #[test]
    fn every_end_is_found() {
        let (whole, records) = written();
        for len in 0..whole.len() {
            let stretch = searched(&whole[..len]);
            let intact = stretch.records.iter().filter(|found| found.is_whole).count();
            // The padding of the last one is not needed.
            let expected = records.iter().filter(|record| {
                u64::from(record.offset) + (HEADER + record.header.payload_len()) as u64 <= len as u64
            });
            assert_eq!(intact, expected.count(), "{len}");
        }
    }
}
