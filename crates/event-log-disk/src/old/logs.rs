//! The logs as the batches of the former engine's files leave them, read in order: the moved batches first, then the appended
//! ones, each queue by its files' numbers.
//!
//! A later batch replaces what an earlier one holds of the same frame: it is a copy, moved by the clean-up. So it does not
//! matter here that the former engine read several moved batches as one (its atomic groups), and that it forgot all earlier
//! frames of a log at a gap between moved ones: what comes back by that was trimmed, and the log's record says so.
//! Only an intact frame replaces an intact one.

use std::collections::BTreeMap;

use agentbench_protocol::{Epoch, Seq, SessionId};
use bytes::Bytes;

use super::entry::{EntryHeader, HEADER};
use super::items::Item;
use super::record::{FIRST_LOG, log_of};

/// What was read so far.
#[derive(Default)]
pub(crate) struct Logs {
    /// By number.
    pub(crate) logs: BTreeMap<u64, FoundLog>,
    /// The records of logs, as stored, by the log's number.
    pub(crate) records: BTreeMap<u64, Bytes>,
}

/// The entries of one log.
#[derive(Default)]
pub(crate) struct FoundLog {
    /// By ordinal; `None` if the entry's header is damaged.
    pub(crate) entries: BTreeMap<u64, Option<FoundFrame>>,
    /// The session that the newest entry names, and its ordinal.
    session: Option<(u64, SessionId)>,
}

/// One entry with an intact header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FoundFrame {
    pub(crate) epoch: Epoch,
    pub(crate) first_seq: Seq,
    pub(crate) count: u16,
    /// Whether the frame has the checksum that the header states.
    pub(crate) is_intact: bool,
    /// Index of the file.
    pub(crate) file: u32,
    /// Offset of the entry in the file.
    pub(crate) offset: u64,
    /// Bytes of the frame.
    pub(crate) len: u32,
}

/// Where the entries of one batch are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// Index of the file.
    pub(crate) file: u32,
    /// Offset of the first entry in the file.
    pub(crate) offset: u64,
}

impl FoundFrame {
    pub(crate) fn last_seq(&self) -> Seq {
        self.first_seq + u64::from(self.count) - 1
    }
}

impl FoundLog {
    /// The session that its newest readable entry names.
    pub(crate) fn session(&self) -> Option<SessionId> {
        self.session.map(|(_, session)| session)
    }

    fn insert(&mut self, ordinal: u64, header: Option<&EntryHeader>, frame: Option<FoundFrame>) {
        if let Some(header) = header
            && self.session.is_none_or(|(newest, _)| newest <= ordinal)
        {
            self.session = Some((ordinal, header.session));
        }
        let slot = self.entries.entry(ordinal).or_default();
        let replaces = match (&slot, &frame) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(old), Some(new)) => new.is_intact || !old.is_intact,
        };
        if replaces {
            *slot = frame;
        }
    }
}

impl Logs {
    /// Applies the items of a batch with these entries. Returns how many of its frames are damaged.
    pub(crate) fn apply(&mut self, items: &[Item<'_>], entries: &[u8], place: Place) -> usize {
        let mut damaged = 0;
        for item in items {
            match *item {
                Item::Entry { group, ordinal, begin, end } if group >= FIRST_LOG => {
                    let bytes = entries.get(begin..end).unwrap_or_default();
                    let is_intact = self.add(group, ordinal, bytes, place.offset + begin as u64, place.file);
                    damaged += usize::from(!is_intact);
                }
                Item::Entry { .. } => {}
                Item::Clean { group } => drop(self.logs.remove(&group)),
                Item::Compact { group, ordinal } => self.compact(group, ordinal),
                Item::Put { group, key, value } => {
                    let log = log_of(group, key);
                    self.records.extend(log.map(|log| (log, Bytes::copy_from_slice(value))));
                }
                Item::Delete { group, key } => drop(log_of(group, key).map(|log| self.records.remove(&log))),
            }
        }
        damaged
    }

    /// Adds an entry that was found without a footer. `bytes` begin with it.
    pub(crate) fn add_found(&mut self, header: &EntryHeader, bytes: &[u8], offset: u64, file: u32) -> bool {
        let bytes = bytes.get(..HEADER + header.frame_len as usize).unwrap_or_default();
        header.log >= FIRST_LOG && self.add(header.log, header.ordinal, bytes, offset, file)
    }

    /// Adds an entry, and returns whether it is intact.
    fn add(&mut self, log: u64, ordinal: u64, bytes: &[u8], offset: u64, file: u32) -> bool {
        let header = EntryHeader::decode(bytes);
        let header = header.filter(|header| (header.log, header.ordinal) == (log, ordinal));
        let frame = header.map(|header| FoundFrame {
            epoch: header.epoch,
            first_seq: header.first_seq,
            count: header.count,
            is_intact: header.fits(&bytes[HEADER..]),
            file,
            offset,
            len: header.frame_len,
        });
        self.logs.entry(log).or_default().insert(ordinal, header.as_ref(), frame);
        frame.is_some_and(|frame| frame.is_intact)
    }

    fn compact(&mut self, log: u64, ordinal: u64) {
        if let Some(log) = self.logs.get_mut(&log) {
            log.entries = log.entries.split_off(&ordinal);
        }
    }
}
