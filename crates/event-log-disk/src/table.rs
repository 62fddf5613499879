//! The live logs in memory: their ends, and where each of their frames is. The writer changes them, all threads read them.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use agentbench_event_log::ReadLimit;
use agentbench_protocol::{Epoch, Head, Seq, SessionId};
use bytes::Bytes;

use crate::record::{ALIGN, HEADER, Header, LogIdentity};

/// Where one frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) first_seq: Seq,
    pub(crate) segment: u32,
    /// Offset of its record in the segment.
    pub(crate) offset: u32,
    /// Length of the frame.
    pub(crate) frame_len: u32,
    /// Number of events.
    pub(crate) count: u16,
    /// What else the record has besides its header and the frame, in multiples of 8 bytes.
    more: u16,
}

impl Place {
    pub(crate) fn of(header: &Header, offset: u32) -> Self {
        let frame_len = header.body_len;
        let more = header.record_len() - HEADER - frame_len as usize;
        let more = u16::try_from(more.div_ceil(ALIGN)).expect("summaries are bounded");
        Self {
            first_seq: header.first_seq,
            segment: header.segment,
            offset,
            frame_len,
            count: header.count,
            more,
        }
    }

    /// Length of the whole record, which may be told up to 7 bytes too long.
    pub(crate) fn len(&self) -> u32 {
        HEADER as u32 + self.frame_len + u32::from(self.more) * ALIGN as u32
    }

    pub(crate) fn last_seq(&self) -> Seq {
        self.first_seq + u64::from(self.count) - 1
    }
}

/// One live log.
#[derive(Debug, Clone)]
pub(crate) struct LiveLog {
    pub(crate) number: u64,
    pub(crate) epoch: Epoch,
    /// The last committed seq.
    pub(crate) head: Seq,
    /// The oldest seq that may be read.
    pub(crate) first_seq: Seq,
    /// The last seq in flight, or `head`.
    pub(crate) tail: Seq,
    /// Why appends are refused, if they are.
    pub(crate) shut: Option<&'static str>,
    pub(crate) summary: Bytes,
    /// Where its frames are, in order. Between two that do not follow one another, frames are lost.
    pub(crate) places: Vec<Place>,
    /// Segment and length of its newest state.
    pub(crate) state: Option<(u32, u32)>,
    /// Segments that have records of it, needed or not.
    pub(crate) segments: Vec<u32>,
}

impl LiveLog {
    /// A log whose first frame, which ends at `tail`, is in flight.
    pub(crate) fn begin(number: u64, epoch: Epoch, tail: Seq) -> Self {
        Self {
            number,
            epoch,
            head: 0,
            first_seq: 1,
            tail,
            shut: None,
            summary: Bytes::new(),
            places: Vec::new(),
            state: None,
            segments: Vec::new(),
        }
    }

    /// Its head; `None` while its first frame is in flight.
    pub(crate) fn head(&self) -> Option<Head> {
        (self.head > 0).then_some(Head { epoch: self.epoch, seq: self.head })
    }

    pub(crate) fn identity(&self, session: SessionId) -> LogIdentity {
        LogIdentity { number: self.number, session, epoch: self.epoch }
    }

    /// Segment and length of each record of it that is needed.
    pub(crate) fn records(&self) -> impl Iterator<Item = (u32, u32)> {
        self.places.iter().map(|place| (place.segment, place.len())).chain(self.state)
    }

    /// Notes that a segment has a record of it.
    pub(crate) fn is_in(&mut self, segment: u32) {
        // Records are written to the newest segment, which is the last one noted.
        if self.segments.last() != Some(&segment) && !self.segments.contains(&segment) {
            self.segments.push(segment);
        }
    }

    /// The oldest seq that remains if all frames are removed that end before `before`.
    pub(crate) fn first_seq_without(&self, before: Seq) -> Seq {
        if before > self.head {
            return self.head + 1;
        }
        let kept = self.places.partition_point(|place| place.last_seq() < before);
        match self.places.get(kept) {
            Some(place) if place.first_seq <= before => place.first_seq,
            // It is lost, and stays so: readers are told.
            _ => kept.checked_sub(1).map_or(self.first_seq, |at| self.places[at].last_seq() + 1),
        }
    }

    /// The places of the frames from `from` (between the log's ends) on, up to the limit or the next lost frame.
    pub(crate) fn pick(&self, from: Seq, limit: ReadLimit) -> Picked {
        let next = self.places.partition_point(|place| place.first_seq <= from);
        let at = next.checked_sub(1).filter(|at| self.places[*at].last_seq() >= from);
        let Some(at) = at else {
            let before = next.checked_sub(1).map(|at| self.places[at].last_seq() + 1);
            return Picked::Lost {
                from: before.unwrap_or(self.first_seq).max(self.first_seq),
                to: self.places.get(next).map_or(self.head, |place| place.first_seq - 1),
            };
        };
        let (mut bytes, mut events) = (0, 0);
        let mut next_seq = self.places[at].first_seq;
        let picked = self.places[at..].iter().take_while(|place| {
            let fits = events == 0 || bytes + place.frame_len as usize <= limit.bytes;
            let wanted = fits && events < limit.events.max(1) && place.first_seq == next_seq;
            bytes += place.frame_len as usize;
            events += usize::from(place.count);
            next_seq = place.last_seq() + 1;
            wanted
        });
        Picked::Places(picked.take(MOST_PICKED).copied().collect())
    }
}

/// Frames of one read; its reader comes again for more.
const MOST_PICKED: usize = 4096;

/// The result of [`LiveLog::pick`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Picked {
    /// At least one.
    Places(Vec<Place>),
    /// The frames of these seqs are lost.
    Lost { from: Seq, to: Seq },
}

pub(crate) type Logs = HashMap<SessionId, LiveLog, foldhash::fast::RandomState>;

/// All live logs.
#[derive(Default)]
pub(crate) struct LiveLogs(RwLock<Logs>);

impl LiveLogs {
    pub(crate) fn new(logs: Logs) -> Self {
        Self(RwLock::new(logs))
    }

    // Every change under the lock is a few assignments, so a panic elsewhere on the thread leaves nothing half done.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Logs> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Logs> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `look` finds in the log of a session, if its first frame is committed.
    pub(crate) fn with<T>(&self, session: SessionId, look: impl FnOnce(&LiveLog) -> T) -> Option<T> {
        self.read().get(&session).filter(|log| log.head > 0).map(look)
    }

    pub(crate) fn has(&self, session: SessionId) -> bool {
        self.with(session, |_| ()).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> LiveLog {
        let place =
            |first_seq, count| Place { first_seq, segment: 1, offset: 0, frame_len: 100, count, more: 0 };
        LiveLog {
            head: 14,
            first_seq: 3,
            places: vec![place(3, 2), place(5, 1), place(8, 3), place(11, 2)],
            ..LiveLog::begin(1, Epoch::from_u64(1), 14)
        }
    }

    fn picked(from: Seq, bytes: usize, events: usize) -> Vec<Seq> {
        match log().pick(from, ReadLimit { bytes, events }) {
            Picked::Places(places) => places.iter().map(|place| place.first_seq).collect(),
            lost @ Picked::Lost { .. } => panic!("{lost:?}"),
        }
    }

    #[test]
    fn the_frame_with_the_seq_comes_first_and_a_limit_or_a_hole_ends_the_read() {
        assert_eq!(picked(3, 9999, 99), [3, 5]);
        assert_eq!(picked(4, 0, 99), [3]);
        assert_eq!(picked(4, 9999, 1), [3]);
        assert_eq!(picked(3, 9999, 3), [3, 5]);
        assert_eq!(picked(9, 200, 99), [8, 11]);
        assert_eq!(picked(9, 199, 99), [8]);
        assert_eq!(picked(12, 0, 0), [11]);
    }

    #[test]
    fn whole_frames_are_trimmed_and_lost_ones_only_as_a_whole() {
        let expected =
            [(1, 3), (3, 3), (4, 3), (5, 5), (6, 6), (7, 6), (8, 8), (10, 8), (12, 11), (14, 13), (15, 15)];
        for (before, first_seq) in expected {
            assert_eq!(log().first_seq_without(before), first_seq, "{before}");
        }
    }

    #[test]
    fn lost_frames_are_named_by_those_around_them() {
        let limit = ReadLimit { bytes: 1, events: 1 };
        for (from, begin, end) in [(6, 6, 7), (7, 6, 7), (13, 13, 14), (14, 13, 14)] {
            assert_eq!(log().pick(from, limit), Picked::Lost { from: begin, to: end }, "{from}");
        }
        let mut begins_later = log();
        begins_later.places.remove(0);
        assert_eq!(begins_later.pick(3, limit), Picked::Lost { from: 3, to: 4 });
    }
}
