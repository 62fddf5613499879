//! The stored form of what the former engine knew about one log besides its frames: a key-value.
//!
//! ```text
//! key    = log number u64, big-endian
//! value  = version u8 = 1 · zero × 7 · first_seq u64 · summary
//! ```
//! Records of many logs share a group ([`group_of`]). A record without entries means nothing: the former engine's clean-up could
//! lose the deletion of a key-value, and a live log always keeps its last entry.

use agentbench_protocol::Seq;
use bytes::Bytes;

/// Number of groups that contain the records, from 1 on.
const RECORD_GROUPS: u64 = 64;
/// First number of a log, well beyond the groups of the records.
pub(crate) const FIRST_LOG: u64 = 1024;

const VERSION: u8 = 1;
const FIXED: usize = 16;

/// What is known about a log besides its frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogRecord {
    /// The oldest seq still in the log.
    pub(crate) first_seq: Seq,
    /// The summary of the last append that had one.
    pub(crate) summary: Bytes,
}

impl LogRecord {
    /// `None` if the bytes are not a record of a known version.
    pub(crate) fn decode(bytes: &Bytes) -> Option<Self> {
        let fixed: &[u8; FIXED] = bytes.first_chunk()?;
        let mut first_seq = [0; 8];
        first_seq.copy_from_slice(&fixed[8..]);
        let first_seq = u64::from_le_bytes(first_seq);
        (fixed[0] == VERSION && first_seq > 0).then(|| Self { first_seq, summary: bytes.slice(FIXED..) })
    }
}

/// The log whose record has this key in this group.
pub(crate) fn log_of(group: u64, key: &[u8]) -> Option<u64> {
    let log = key.try_into().ok().map(u64::from_be_bytes)?;
    (log >= FIRST_LOG && group == group_of(log)).then_some(log)
}

/// The group that contains the record of a log.
fn group_of(log: u64) -> u64 {
    1 + log % RECORD_GROUPS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_this_form() {
        let bytes = Bytes::from_static(b"\x01\0\0\0\0\0\0\0\x02\x01\0\0\0\0\0\0sum");
        let expected = LogRecord { first_seq: 0x0102, summary: Bytes::from_static(b"sum") };
        assert_eq!(LogRecord::decode(&bytes), Some(expected));
        for other in [bytes.slice(..15), Bytes::new(), Bytes::from([&[2], &bytes[1..]].concat())] {
            assert_eq!(LogRecord::decode(&other), None);
        }
        assert_eq!(LogRecord::decode(&Bytes::from_static(&[1; 16][..])).unwrap().summary, Bytes::new());
    }

    #[test]
    fn keys_name_their_logs() {
        assert_eq!(log_of(1 + 5000 % 64, &5000_u64.to_be_bytes()), Some(5000));
        assert_eq!(log_of(1, &5000_u64.to_be_bytes()), None, "another group");
        assert_eq!(log_of(6, &5_u64.to_be_bytes()), None, "no number of a log");
        assert_eq!(log_of(1, b"next"), None);
    }
}
