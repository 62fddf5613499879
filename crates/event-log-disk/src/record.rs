//! The stored form of one record of the hot log: a header that can be found and checked by itself, and what it announces.
//!
//! ```text
//! record  = header · body · summary · zeros up to a multiple of 8
//! header  = magic "AL" · version u8 = 1 · kind u8 · flags u8 · zero u8 · count u16 · body_len u32 · summary_len u32
//!           · segment u32 · zero u32 · log u64 · session u128 · epoch u64 · first_seq u64 · commit u64
//!           · payload crc32c u32 (of body and summary) · header crc32c u32 (of all before it and the record's offset)
//! ```
//! All numbers are little-endian. What each kind announces:
//! - a *frame*: the body is the frame; with flag 1 the summary that was stored with it follows.
//! - a *state*: what a log has besides its frames, after a trim or when an old segment is cleaned up: `first_seq` is the oldest seq
//!   that may be read, the body is the head u64, and the summary follows.
//! - a *removal*: the log was removed; nothing older of this log number counts.
//! - an *end*: the segment was finished here, and another one follows.
//! - a *void* is in an index only: the record there does not count.
//!
//! A header is bound to its place, by the number of the segment and the offset in it: what a file contained before it was
//! used again, or a page that the disk swapped with another, is no record.

use agentbench_event_log::Frame;
use agentbench_protocol::{Epoch, Seq, SessionId};
use bytes::Bytes;

/// Length of a header.
pub(crate) const HEADER: usize = 80;
/// Every record begins at a multiple of this.
pub(crate) const ALIGN: usize = 8;
/// Maximum length of a summary.
pub(crate) const MAX_SUMMARY: usize = 256 << 10;
/// First bytes of every record.
pub(crate) const MAGIC: [u8; 2] = *b"AL";

const VERSION: u8 = 1;
const HAS_SUMMARY: u8 = 1;
const STATE_BODY: u32 = 8;

/// What a record announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum RecordKind {
    Frame,
    State,
    Removal,
    End,
    Void,
}

/// The header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: RecordKind,
    pub(crate) has_summary: bool,
    /// Number of events of a frame.
    pub(crate) count: u16,
    pub(crate) body_len: u32,
    pub(crate) summary_len: u32,
    /// Number of the segment that it is in.
    pub(crate) segment: u32,
    /// Number of the log, never used for two logs of which records are there.
    pub(crate) log: u64,
    pub(crate) session: SessionId,
    pub(crate) epoch: Epoch,
    pub(crate) first_seq: Seq,
    /// Number of the group commit that wrote it.
    pub(crate) commit: u64,
    pub(crate) payload_crc: u32,
}

impl Header {
    /// Seq of a frame's last event.
    pub(crate) fn last_seq(&self) -> Seq {
        self.first_seq + u64::from(self.count) - 1
    }

    /// Length of the whole record, with its padding.
    pub(crate) fn record_len(&self) -> usize {
        (HEADER + self.payload_len()).next_multiple_of(ALIGN)
    }

    pub(crate) fn payload_len(&self) -> usize {
        self.body_len as usize + self.summary_len as usize
    }

    /// The bytes for a record at `offset` of its segment.
    pub(crate) fn encode(&self, offset: u32) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0..2].copy_from_slice(&MAGIC);
        bytes[2] = VERSION;
        bytes[3] = match self.kind {
            RecordKind::Frame => 1,
            RecordKind::State => 2,
            RecordKind::Removal => 3,
            RecordKind::End => 4,
            RecordKind::Void => 5,
        };
        bytes[4] = if self.has_summary { HAS_SUMMARY } else { 0 };
        bytes[6..8].copy_from_slice(&self.count.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.body_len.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.summary_len.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.segment.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.log.to_le_bytes());
        bytes[32..48].copy_from_slice(&self.session.as_u128().to_le_bytes());
        bytes[48..56].copy_from_slice(&self.epoch.as_u64().to_le_bytes());
        bytes[56..64].copy_from_slice(&self.first_seq.to_le_bytes());
        bytes[64..72].copy_from_slice(&self.commit.to_le_bytes());
        bytes[72..76].copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = header_crc(&bytes, offset);
        bytes[76..80].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Decodes the header at the start of `bytes`, found at `offset` of a segment; `None` if there is no intact and valid one.
    pub(crate) fn decode(bytes: &[u8], segment: u32, offset: u32) -> Option<Self> {
        let bytes: &[u8; HEADER] = bytes.first_chunk()?;
        if bytes[..3] != [MAGIC[0], MAGIC[1], VERSION] || header_crc(bytes, offset) != u32_at(bytes, 76) {
            return None;
        }
        let header = Self {
            kind: match bytes[3] {
                1 => RecordKind::Frame,
                2 => RecordKind::State,
                3 => RecordKind::Removal,
                4 => RecordKind::End,
                5 => RecordKind::Void,
                _ => return None,
            },
            has_summary: bytes[4] & HAS_SUMMARY != 0,
            count: u16::from_le_bytes([bytes[6], bytes[7]]),
            body_len: u32_at(bytes, 8),
            summary_len: u32_at(bytes, 12),
            segment: u32_at(bytes, 16),
            log: u64_at(bytes, 24),
            session: SessionId::from_u128(
                u128::from(u64_at(bytes, 32)) | u128::from(u64_at(bytes, 40)) << 64,
            ),
            epoch: Epoch::from_u64(u64_at(bytes, 48)),
            first_seq: u64_at(bytes, 56),
            commit: u64_at(bytes, 64),
            payload_crc: u32_at(bytes, 72),
        };
        (header.segment == segment && header.is_valid()).then_some(header)
    }

    fn is_valid(&self) -> bool {
        let fits = self.body_len.checked_add(self.summary_len).is_some_and(|len| len < u32::MAX - 1024);
        let kind = match self.kind {
            RecordKind::Frame => {
                self.count > 0
                    && self.first_seq > 0
                    && self.first_seq.checked_add(u64::from(self.count)).is_some()
            }
            RecordKind::State => self.first_seq > 0 && self.body_len == STATE_BODY,
            RecordKind::Removal | RecordKind::End => self.payload_len() == 0,
            RecordKind::Void => true,
        };
        let summary_fits = self.summary_len as usize <= MAX_SUMMARY;
        fits && kind && summary_fits && (self.has_summary || self.summary_len == 0)
    }

    /// Whether `payload` is what the record was written with.
    pub(crate) fn fits(&self, payload: &[u8]) -> bool {
        payload.len() == self.payload_len() && crc32c::crc32c(payload) == self.payload_crc
    }

    /// The frame in a payload that [fits](Self::fits), or what is wrong with it.
    pub(crate) fn frame(&self, payload: &Bytes) -> Result<Frame, &'static str> {
        let frame = Frame::parse(payload.slice(..self.body_len as usize)).map_err(|error| error.0)?;
        if frame.first_seq() != self.first_seq || frame.count() != usize::from(self.count) {
            return Err("the frame does not match its header");
        }
        Ok(frame)
    }

    /// The head in the body of a state.
    pub(crate) fn head_of_state(&self, payload: &[u8]) -> Option<Seq> {
        payload.first_chunk().filter(|_| self.kind == RecordKind::State).map(|head| u64::from_le_bytes(*head))
    }
}

/// Which log a record belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogIdentity {
    pub(crate) number: u64,
    pub(crate) session: SessionId,
    pub(crate) epoch: Epoch,
}

/// A record that is about to be written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Draft<'a> {
    Frame { frame: &'a Frame, summary: Option<&'a [u8]> },
    State { first_seq: Seq, head: Seq, summary: &'a [u8] },
    Removal,
    End,
}

impl Draft<'_> {
    /// Length of the whole record, with its padding.
    pub(crate) fn record_len(&self) -> usize {
        let payload = match self {
            Self::Frame { frame, summary } => frame.bytes().len() + summary.map_or(0, <[u8]>::len),
            Self::State { summary, .. } => STATE_BODY as usize + summary.len(),
            Self::Removal | Self::End => 0,
        };
        (HEADER + payload).next_multiple_of(ALIGN)
    }

    /// Appends the record to `to`; its offset in the segment will be `offset`. Returns its header.
    pub(crate) fn write(
        &self,
        to: &mut Vec<u8>,
        log: LogIdentity,
        commit: u64,
        segment: u32,
        offset: u32,
    ) -> Header {
        let head;
        let (kind, first_seq, count, body, summary): (_, _, _, &[u8], Option<&[u8]>) = match *self {
            Self::Frame { frame, summary } => {
                let count = u16::try_from(frame.count()).expect("a frame has at most 512 events");
                (RecordKind::Frame, frame.first_seq(), count, &frame.bytes()[..], summary)
            }
            Self::State { first_seq, head: seq, summary } => {
                head = seq.to_le_bytes();
                (RecordKind::State, first_seq, 0, &head[..], Some(summary))
            }
            Self::Removal => (RecordKind::Removal, 0, 0, &[][..], None),
            Self::End => (RecordKind::End, 0, 0, &[][..], None),
        };
        let mut payload_crc = crc32c::crc32c(body);
        if let Some(summary) = summary {
            payload_crc = crc32c::crc32c_append(payload_crc, summary);
        }
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("a frame is smaller than 4 GiB");
        let header = Header {
            kind,
            has_summary: summary.is_some(),
            count,
            body_len: length(body),
            summary_len: length(summary.unwrap_or_default()),
            segment,
            log: log.number,
            session: log.session,
            epoch: log.epoch,
            first_seq,
            commit,
            payload_crc,
        };
        let begin = to.len();
        to.extend_from_slice(&header.encode(offset));
        to.extend_from_slice(body);
        to.extend_from_slice(summary.unwrap_or_default());
        to.resize(begin + header.record_len(), 0);
        header
    }
}

fn header_crc(bytes: &[u8; HEADER], offset: u32) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..76]), &offset.to_le_bytes())
}

fn u32_at(bytes: &[u8; HEADER], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8; HEADER], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use agentbench_event_log::conformance::{frame, session};

    use super::*;

    const OFFSET: u32 = 4096;

    fn log() -> LogIdentity {
        LogIdentity { number: 9, session: session(7), epoch: Epoch::from_u64(u64::MAX - 1) }
    }

    fn stored(draft: Draft<'_>) -> (Vec<u8>, Header) {
        let mut bytes = Vec::new();
        let header = draft.write(&mut bytes, log(), 5, 3, OFFSET);
        assert_eq!(bytes.len(), draft.record_len());
        (bytes, header)
    }

    #[test]
    fn a_record_has_this_form() {
        let frame = frame(11, 3, 41, 9);
        let (bytes, header) = stored(Draft::Frame { frame: &frame, summary: Some(b"sum") });
        assert_eq!(bytes.len() % ALIGN, 0);
        assert_eq!(bytes[..8], [b'A', b'L', 1, 1, 1, 0, 3, 0]);
        assert_eq!(bytes[16..32], [3, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
        let length = frame.bytes().len();
        assert_eq!(bytes[HEADER..HEADER + length], frame.bytes()[..]);
        assert_eq!(&bytes[HEADER + length..HEADER + length + 3], b"sum");
        assert_eq!((header.first_seq, header.last_seq(), header.commit), (11, 13, 5));
    }

    #[test]
    fn every_kind_is_read_as_it_was_written() {
        let frame = frame(11, 3, 40, 9);
        let drafts = [
            Draft::Frame { frame: &frame, summary: None },
            Draft::Frame { frame: &frame, summary: Some(b"") },
            Draft::State { first_seq: 4, head: 90, summary: b"a summary" },
            Draft::Removal,
            Draft::End,
        ];
        for draft in drafts {
            let (bytes, header) = stored(draft);
            assert_eq!(Header::decode(&bytes, 3, OFFSET), Some(header), "{draft:?}");
            let payload = Bytes::copy_from_slice(&bytes[HEADER..HEADER + header.payload_len()]);
            assert!(header.fits(&payload));
            match draft {
                Draft::Frame { summary, .. } => {
                    assert_eq!(header.frame(&payload), Ok(frame.clone()));
                    assert_eq!(header.has_summary, summary.is_some());
                }
                Draft::State { head, .. } => assert_eq!(header.head_of_state(&payload), Some(head)),
                Draft::Removal | Draft::End => {}
            }
        }
    }

    #[test]
    fn a_record_at_another_place_is_none() {
        let (bytes, _) = stored(Draft::Removal);
        assert_eq!(Header::decode(&bytes, 3, OFFSET + 8), None);
        assert_eq!(Header::decode(&bytes, 4, OFFSET), None);
    }

    #[test]
    fn every_flipped_byte_and_every_missing_end_is_found() {
        let frame = frame(11, 3, 40, 9);
        let (whole, _) = stored(Draft::Frame { frame: &frame, summary: Some(b"summary") });
        let is_whole = |bytes: &[u8]| {
            Header::decode(bytes, 3, OFFSET).is_some_and(|header| {
                bytes.get(HEADER..HEADER + header.payload_len()).is_some_and(|payload| header.fits(payload))
            })
        };
        assert!(is_whole(&whole));
        let payload_end = HEADER + frame.bytes().len() + 7;
        for at in 0..payload_end {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x40;
            assert!(!is_whole(&bytes), "{at}");
            assert!(!is_whole(&whole[..at]), "{at}");
        }
    }
}
