//! The stored form of what is known about one live log besides its frames: a raft-engine key-value.
//!
//! ```text
//! key    = log number u64, big-endian
//! value  = version u8 = 1 · zero × 7 · first_seq u64 · summary
//! ```
//! Records of many logs share a raft-engine group ([`group_of`]): a group of its own would cost each log another 700 bytes of
//! memory. Session and epoch are not here but in every [entry](crate::entry), so a lost record loses only a
//! summary.
//!
//! raft-engine's clean-up can lose a deletion of a key-value, so a record without entries means nothing: a
//! live log always keeps its last entry.

use agentbench_protocol::Seq;
use bytes::Bytes;

/// Groups `1..=RECORD_GROUPS` contain the records: few enough to be dense, many enough that one is rewritten quickly.
pub(crate) const RECORD_GROUPS: u64 = 64;
/// First number of a log, well beyond the groups of the records.
pub(crate) const FIRST_LOG: u64 = 1024;

const VERSION: u8 = 1;
const FIXED: usize = 16;

/// What is known about a live log besides its frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogRecord {
    /// The oldest seq still in the log.
    pub(crate) first_seq: Seq,
    /// The summary of the last append that had one.
    pub(crate) summary: Bytes,
}

impl LogRecord {
    pub(crate) fn encode(first_seq: Seq, summary: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FIXED + summary.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(&[0; 7]);
        bytes.extend_from_slice(&first_seq.to_le_bytes());
        bytes.extend_from_slice(summary);
        bytes
    }

    /// `None` if the bytes are not a record of a known version.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let fixed: &[u8; FIXED] = bytes.first_chunk()?;
        let mut first_seq = [0; 8];
        first_seq.copy_from_slice(&fixed[8..]);
        let first_seq = u64::from_le_bytes(first_seq);
        (fixed[0] == VERSION && first_seq > 0)
            .then(|| Self { first_seq, summary: Bytes::copy_from_slice(&bytes[FIXED..]) })
    }
}

/// The group that contains the record of a log.
pub(crate) fn group_of(log: u64) -> u64 {
    1 + log % RECORD_GROUPS
}

/// The key of a log's record.
pub(crate) fn key_of(log: u64) -> [u8; 8] {
    log.to_be_bytes()
}

/// The log of the record with this key; `None` for other keys.
pub(crate) fn log_of(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes).filter(|log| *log >= FIRST_LOG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_this_form() {
        let bytes = LogRecord::encode(0x0102, b"sum");
        assert_eq!(bytes, b"\x01\0\0\0\0\0\0\0\x02\x01\0\0\0\0\0\0sum");
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        for summary in [&b""[..], b"x", &[0; 5000]] {
            let read = LogRecord::decode(&LogRecord::encode(9, summary)).unwrap();
            assert_eq!(read, LogRecord { first_seq: 9, summary: Bytes::copy_from_slice(summary) });
        }
    }

    #[test]
    fn other_bytes_are_no_record() {
        let whole = LogRecord::encode(9, b"");
        for len in 0..whole.len() {
            assert_eq!(LogRecord::decode(&whole[..len]), None);
        }
        let newer = [&[2], &whole[1..]].concat();
        assert_eq!(LogRecord::decode(&newer), None);
        assert_eq!(LogRecord::decode(&LogRecord::encode(0, b"")), None);
    }

    #[test]
    fn keys_name_their_logs() {
        assert_eq!(log_of(&key_of(5000)), Some(5000));
        assert_eq!(log_of(&key_of(5)), None);
        assert_eq!(log_of(b"next"), None);
        assert!((1..=RECORD_GROUPS).contains(&group_of(5000)));
    }
}
