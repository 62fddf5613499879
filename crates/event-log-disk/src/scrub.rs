//! Reads what is old, slowly, so that damage is found before somebody needs the events, and while a backup may still have them.
//!
//! A round goes through the finished segments from begin to end, and then through the archived logs. What is damaged but not needed
//! any more is no damage.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentbench_protocol::SessionId;

use crate::reading::ReadFailure;
use crate::record::LogIdentity;
use crate::scan;
use crate::segment::Segment;
use crate::state::EngineState;
use crate::table::Place;

/// What a look costs that reads nothing, in bytes.
const LEAST_COST: u64 = 4096;

/// One round, and how far it is.
pub(crate) struct Scrub {
    bytes_per_second: u64,
    /// When it went on last.
    last: Instant,
    segments: VecDeque<u32>,
    /// Offset in the first of the segments.
    offset: u64,
    archived: Vec<SessionId>,
    /// Number of blocks of the last archived log that were read.
    blocks: usize,
}

impl Scrub {
    /// `bytes_per_second` 0 turns it off.
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        let (segments, archived) = (VecDeque::new(), Vec::new());
        Self { bytes_per_second, last: Instant::now(), segments, offset: 0, archived, blocks: 0 }
    }

    /// Reads as much as is due, if a second has passed.
    pub(crate) fn go_on(&mut self, shared: &EngineState) {
        if self.bytes_per_second == 0 || self.last.elapsed() < Duration::from_secs(1) {
            return;
        }
        self.last = Instant::now();
        if self.segments.is_empty() && self.archived.is_empty() {
            self.segments = shared.finished().iter().map(|segment| segment.number).collect();
            self.archived = shared.archive.list().iter().map(|log| log.session).collect();
        }
        let mut budget = self.bytes_per_second;
        while budget > 0 {
            let read = if let Some(number) = self.segments.front().copied() {
                self.read_segment(shared, number, budget)
            } else if let Some(session) = self.archived.last().copied() {
                self.read_archived(shared, session)
            } else {
                break;
            };
            budget = budget.saturating_sub(read.max(LEAST_COST));
        }
    }

    /// Reads a part of a segment. Returns its bytes.
    fn read_segment(&mut self, shared: &EngineState, number: u32, budget: u64) -> u64 {
        let begin = self.offset;
        let segment = shared.segments.get(number).filter(|segment| begin < segment.written());
        let Some(segment) = segment else {
            self.segments.pop_front();
            self.offset = 0;
            return 0;
        };
        let written = segment.written();
        let mut end = written.min(begin + budget);
        let mut stretch = scan::search(&*segment.file, number, begin, end);
        while stretch.records.is_empty() && end < written {
            end = written.min(end + budget);
            stretch = scan::search(&*segment.file, number, begin, end);
        }
        for found in stretch.records.iter().filter(|found| !found.is_whole) {
            let place = Place::of(&found.record.header, found.record.offset);
            let at = u64::from(place.offset);
            note_needed(shared, &segment, at, at + u64::from(place.len()));
        }
        for (from, to) in stretch.holes {
            note_needed(shared, &segment, from, to);
        }
        if end == written && stretch.end < written {
            note_needed(shared, &segment, stretch.end, written);
            stretch.end = written;
        }
        self.offset = stretch.end;
        stretch.end - begin
    }

    /// Reads the next block of an archived log. Returns its bytes.
    fn read_archived(&mut self, shared: &EngineState, session: SessionId) -> u64 {
        let Some((first_seq, last_seq, read)) = shared.archive.verify_block(session, self.blocks) else {
            self.archived.pop();
            self.blocks = 0;
            return 0;
        };
        self.blocks += 1;
        if let Err(why) = &read {
            shared.damage.note(session, first_seq, last_seq, "the archive", why);
        }
        read.unwrap_or(0)
    }
}

/// Counts the frames that begin in a damaged stretch of a segment and are needed.
fn note_needed(shared: &EngineState, segment: &Arc<Segment>, from: u64, to: u64) {
    let mut needed: Vec<(LogIdentity, Place)> = Vec::new();
    for (session, log) in shared.live.read().iter() {
        let is_there =
            |place: &&Place| place.segment == segment.number && (from..to).contains(&u64::from(place.offset));
        needed.extend(log.places.iter().filter(is_there).map(|place| (log.identity(*session), *place)));
    }
    for (log, place) in needed {
        shared.note_damage(&log, &place, &ReadFailure::Damaged("found by the scrub".to_owned()));
    }
}
