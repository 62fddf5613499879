//! The catalogue of archived logs, so that opening the archive need not read every file.
//!
//! ```text
//! file    = record*
//! record  = length u32 (of what follows the checksum) · crc32c u32 · kind u8 · zero × 7 · file_bytes u64 · header
//! ```
//! `kind` 1: the log was archived. 2: it was removed. `header` is that of the archive file, including the summary.
//! All numbers are little-endian. The files are authoritative: what is missing or damaged here is read from their
//! headers, so only removals must be durable in advance.

use bytes::{Buf, BufMut};

use super::format::Header;

const ADDED: u8 = 1;
const REMOVED: u8 = 2;
const BEFORE_BODY: usize = 8;
const BEFORE_HEADER: usize = 16;

/// One record of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) removed: bool,
    /// Size of the archive file.
    pub(crate) file_bytes: u64,
    pub(crate) header: Header,
}

impl Record {
    pub(crate) fn encode(&self, to: &mut Vec<u8>) {
        let begin = to.len();
        to.put_bytes(0, BEFORE_BODY);
        to.put_u8(if self.removed { REMOVED } else { ADDED });
        to.put_bytes(0, 7);
        to.put_u64_le(self.file_bytes);
        to.extend_from_slice(&self.header.encode());
        let body = begin + BEFORE_BODY;
        let length = u32::try_from(to.len() - body).expect("a summary has a few KiB");
        let crc = crc32c::crc32c(&to[body..]);
        to[begin..begin + 4].copy_from_slice(&length.to_le_bytes());
        to[begin + 4..body].copy_from_slice(&crc.to_le_bytes());
    }

    /// The record at the start of `bytes`, and the rest.
    fn decode(mut bytes: &[u8]) -> Option<(Self, &[u8])> {
        if bytes.len() < BEFORE_BODY {
            return None;
        }
        let (length, crc) = (bytes.get_u32_le() as usize, bytes.get_u32_le());
        let (body, rest) = bytes.split_at_checked(length)?;
        if body.len() < BEFORE_HEADER || crc32c::crc32c(body) != crc {
            return None;
        }
        let removed = match body[0] {
            ADDED => false,
            REMOVED => true,
            _ => return None,
        };
        let file_bytes = (&body[8..]).get_u64_le();
        let header = Header::decode(&body[BEFORE_HEADER..]).ok()?;
        Some((Self { removed, file_bytes, header }, rest))
    }
}

/// All records up to the first damaged one, and their size in bytes.
pub(crate) fn decode(bytes: &[u8]) -> (Vec<Record>, usize) {
    let mut records = Vec::new();
    let mut rest = bytes;
    while let Some((record, next)) = Record::decode(rest) {
        records.push(record);
        rest = next;
    }
    (records, bytes.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use agentbench_event_log::conformance::session;
    use agentbench_protocol::Epoch;
    use bytes::Bytes;

    use super::*;

    fn records() -> Vec<Record> {
        let record = |n: u64| Record {
            removed: n == 2,
            file_bytes: 4000 + n,
            header: Header {
                session: session(n),
                epoch: Epoch::from_u64(n),
                first_seq: 1,
                last_seq: n,
                archived_at: 5,
                summary: Bytes::from(vec![b's'; n as usize]),
            },
        };
        (0..4).map(record).collect()
    }

    fn encoded() -> Vec<u8> {
        let mut bytes = Vec::new();
        records().iter().for_each(|record| record.encode(&mut bytes));
        bytes
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        assert_eq!(decode(&encoded()), (records(), encoded().len()));
        assert_eq!(decode(&[]), (Vec::new(), 0));
    }

    #[test]
    fn reading_ends_before_damage() {
        let whole = encoded();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            let (read, len) = decode(&bytes);
            assert!(len <= at && read[..] == records()[..read.len()], "{at}");
            let (read, len) = decode(&whole[..at]);
            assert!(len <= at && read[..] == records()[..read.len()], "{at}");
        }
    }
}
