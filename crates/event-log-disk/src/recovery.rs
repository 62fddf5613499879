//! From the segments of a folder to the live logs: what a start makes of what it finds.
//!
//! Nothing is changed here, and damage costs what is damaged: a record that cannot be read is known by the index, by the
//! frames around it, or not at all, and then it is the last thing that was written.
//! - The records of a log are put in order by their seqs. Where two say the same, a clean-up was moving one: the later counts, or
//!   the earlier if the later did not reach the disk whole.
//! - Where none follows, frames are lost, and readers are told of a gap.
//! - With fsyncs, the last commit may be there in parts without having been answered. What does not follow the
//!   rest of its log is left out, and so is a frame that was cut short.

use std::collections::HashMap;
use std::sync::Arc;

use agentbench_disk::Opening;
use agentbench_protocol::{Epoch, Seq, SessionId};
use bytes::Bytes;

use crate::config::{Damage, Durability};
use crate::faults::{self, Defect};
use crate::index::{self, Indexed};
use crate::reading;
use crate::record::{HEADER, Header, LogIdentity, RecordKind};
use crate::scan;
use crate::segment::{Segment, Segments};
use crate::table::{LiveLog, Place};
use crate::tombstones::Tombstone;

/// Number of summaries of a log to fall back to, if the newest cannot be read.
const SUMMARIES: usize = 4;

/// What was found.
#[derive(Default)]
pub(crate) struct Recovered {
    /// Live logs by their numbers.
    pub(crate) logs: Vec<(SessionId, LiveLog)>,
    pub(crate) tombstones: Vec<Tombstone>,
    /// The highest number of a log.
    pub(crate) last_log: u64,
    pub(crate) last_commit: u64,
    /// Each segment with the end of its last record.
    pub(crate) ends: Vec<(u32, u64)>,
    pub(crate) bytes: u64,
    /// Entries that the indexes lack.
    pub(crate) unindexed: Vec<Indexed>,
    pub(crate) damage: Vec<Damage>,
    /// Events that are lost, of which no earlier start knew.
    pub(crate) lost: Vec<Damage>,
}

/// A frame of a log.
#[derive(Debug, Clone, Copy)]
struct FoundFrame {
    place: Place,
    commit: u64,
    record: Source,
}

/// Where a record is known from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Index,
    /// It was found in its segment, and is whole or not.
    Segment {
        is_whole: bool,
    },
}

/// What is known of a log so far.
struct FoundLog {
    session: SessionId,
    epoch: Epoch,
    frames: Vec<FoundFrame>,
    /// Records with summaries, the newest first: the seq up to which each holds, its commit, its place.
    summaries: Vec<(Seq, u64, Place)>,
    first_seq: Seq,
    /// The head and the place of the newest state.
    state: Option<(Seq, Place)>,
    segments: Vec<u32>,
    /// The segment with the removal.
    removal: Option<u32>,
}

/// Reads all segments.
pub(crate) fn recover(segments: &Segments, numbers: &[u32], durability: Durability) -> Recovered {
    let recovered = Recovered::default();
    let mut reader = Reader { segments, durability, logs: HashMap::default(), recovered };
    for number in numbers {
        reader.read_segment(*number);
    }
    reader.finish()
}

struct Reader<'a> {
    segments: &'a Segments,
    durability: Durability,
    logs: HashMap<u64, FoundLog, foldhash::fast::RandomState>,
    recovered: Recovered,
}

impl Reader<'_> {
    fn report(&mut self, number: u32, at: u64, what: String) {
        let path = self.segments.path(number);
        self.recovered.damage.push(Damage { place: format!("{} at byte {at}", path.display()), what });
    }

    fn read_segment(&mut self, number: u32) {
        let entries = index::read(self.segments, number);
        let path = self.segments.path(number);
        let opened = self.segments.disk().open(&path, Opening::Existing);
        let segment = match opened.and_then(|file| Ok((file.len()?, file))) {
            Ok((len, file)) => {
                let segment = Arc::new(Segment::new(number, file));
                self.segments.insert(segment.clone());
                Some((segment, len))
            }
            Err(error) => {
                self.report(number, 0, format!("the segment cannot be opened: {error}"));
                None
            }
        };
        let len = segment.as_ref().map_or(0, |(_, len)| *len);
        let mut at = 0;
        let mut is_ended = false;
        for entry in entries {
            let begin = u64::from(entry.offset);
            if let Some((segment, _)) = segment.as_ref().filter(|_| begin > at) {
                self.search(segment, at, begin);
            }
            at = entry.end();
            if entry.header.kind == RecordKind::End {
                is_ended = true;
                at = begin;
                break;
            }
            self.add(&entry, Source::Index);
        }
        if at > len {
            let what = format!("its last {} bytes are missing; their events are told as gaps", at - len);
            self.report(number, len, what);
        }
        if let Some((segment, len)) = segment {
            if !is_ended && at < len {
                at = self.search(&segment, at, len);
            }
            segment.set_written(at.min(len));
            self.recovered.bytes += len;
            self.recovered.ends.push((number, at.min(len)));
            if !is_ended {
                self.recovered.unindexed.push(end_of_segment(number, at));
            }
        }
    }

    /// Searches a stretch that the index says nothing about. Returns where its last record ends.
    fn search(&mut self, segment: &Segment, begin: u64, end: u64) -> u64 {
        let stretch = scan::search(&*segment.file, segment.number, begin, end);
        for found in &stretch.records {
            if found.record.header.kind != RecordKind::End {
                self.add(&found.record, Source::Segment { is_whole: found.is_whole });
            }
        }
        for (from, to) in stretch.holes {
            let what = format!("{} bytes are damaged; the events in them are told as gaps", to - from);
            segment.set_damaged();
            self.report(segment.number, from, what);
        }
        // Where writes are synced, a file is used again, and what it had before follows its records.
        if stretch.has_rest && self.durability == Durability::Logged {
            let what = "something was begun here that is no record: a write that was cut short, or damage";
            self.report(segment.number, stretch.end, what.into());
        }
        stretch.end
    }

    fn add(&mut self, record: &Indexed, source: Source) {
        let Indexed { offset, header } = *record;
        self.recovered.last_commit = self.recovered.last_commit.max(header.commit);
        if matches!(header.kind, RecordKind::End | RecordKind::Void) {
            return;
        }
        self.recovered.last_log = self.recovered.last_log.max(header.log);
        let log = self.logs.entry(header.log).or_insert_with(|| FoundLog::new(&header));
        if (log.session, log.epoch) != (header.session, header.epoch) {
            let what = format!("a record of session {} has the number of another log", header.session);
            return self.report(header.segment, u64::from(offset), what);
        }
        if !log.segments.contains(&header.segment) {
            log.segments.push(header.segment);
        }
        let place = Place::of(&header, offset);
        match header.kind {
            RecordKind::Frame => {
                if header.has_summary {
                    log.add_summary(header.last_seq(), header.commit, place);
                }
                log.frames.push(FoundFrame { place, commit: header.commit, record: source });
            }
            RecordKind::State => {
                if self.add_state(&header, place) {
                    self.keep(record, source);
                }
            }
            RecordKind::Removal => {
                log.removal = Some(header.segment);
                self.keep(record, source);
            }
            RecordKind::End | RecordKind::Void => {}
        }
    }

    /// A record that counts, and belongs into the index if it is not there.
    fn keep(&mut self, record: &Indexed, source: Source) {
        if source != Source::Index {
            self.recovered.unindexed.push(*record);
        }
    }

    /// Returns whether the state can be read.
    fn add_state(&mut self, header: &Header, place: Place) -> bool {
        // Its header has a checksum of its own.
        if let Some(log) = self.logs.get_mut(&header.log) {
            log.first_seq = log.first_seq.max(header.first_seq);
        }
        let payload = payload_at(self.segments, &place, header);
        let head = payload.and_then(|payload| header.head_of_state(&payload));
        let (Some(head), Some(log)) = (head, self.logs.get_mut(&header.log)) else {
            let what = format!("the state of session {} is damaged; an older one is used", header.session);
            self.report(place.segment, u64::from(place.offset), what);
            return false;
        };
        log.add_summary(head, header.commit, place);
        // Records come in the order in which they were written, but for those that were moved with the same contents.
        if log.state.as_ref().is_none_or(|(newest, _)| *newest <= head) {
            log.state = Some((head, place));
        }
        true
    }

    fn finish(mut self) -> Recovered {
        let mut logs: Vec<_> = std::mem::take(&mut self.logs).into_iter().collect();
        logs.sort_unstable_by_key(|(number, _)| *number);
        for (number, found) in logs {
            if let Some(removal) = found.removal {
                let identity = LogIdentity { number, session: found.session, epoch: found.epoch };
                self.recovered.tombstones.push(Tombstone::new(identity, removal, found.segments));
                continue;
            }
            let session = found.session;
            if let Some(log) = self.assemble(number, found) {
                self.recovered.logs.push((session, log));
            }
        }
        self.recovered
    }

    /// `None` if nothing of the log counts.
    fn assemble(&mut self, number: u64, mut found: FoundLog) -> Option<LiveLog> {
        self.put_in_order(number, &mut found);
        let mut log = LiveLog::begin(number, found.epoch, 0);
        let mut next = 1;
        let mut left_out = None;
        for frame in &found.frames {
            let place = frame.place;
            if place.first_seq < next {
                // It was replaced.
                continue;
            }
            let is_last = self.durability == Durability::Synced
                && frame.commit == self.recovered.last_commit
                && frame.record != Source::Index;
            let is_cut = frame.record == Source::Segment { is_whole: false };
            let is_behind_a_hole = place.first_seq > next.max(found.first_seq);
            // At the very end a frame that is not whole was never answered, at either level: its write was under way.
            let is_unanswered = is_last && (is_cut || is_behind_a_hole)
                || is_cut && frame.commit == self.recovered.last_commit;
            let is_left_out = is_unanswered || left_out.is_some() && is_last;
            if is_left_out && !faults::has(Defect::TornTailShown) {
                left_out.get_or_insert(place);
                self.leave_out(frame, &found, number);
                continue;
            }
            if is_behind_a_hole && frame.record != Source::Index {
                let (from, to) = (next.max(found.first_seq), place.first_seq - 1);
                let what = format!("events {from} to {to} of session {} are lost", found.session);
                self.recovered
                    .lost
                    .push(Damage { place: self.segments.path(place.segment).display().to_string(), what });
            }
            next = place.last_seq() + 1;
            log.places.push(place);
            if frame.record != Source::Index {
                self.index_frame(frame, &found, number);
            }
        }
        if let Some(place) = left_out {
            let what = format!(
                "the last write was cut short: events of session {} from seq {} on were not answered, and are left out",
                found.session, place.first_seq
            );
            self.report(place.segment, u64::from(place.offset), what);
        }
        self.set_ends(log, &found)
    }

    /// Sorts the frames of a log by their seqs, and keeps one of those that a clean-up was moving.
    fn put_in_order(&self, number: u64, found: &mut FoundLog) {
        let identity = LogIdentity { number, session: found.session, epoch: found.epoch };
        let is_whole = |place: Place| reading::read(self.segments, identity, &[place]).is_ok();
        found.frames.sort_unstable_by_key(|frame| (frame.place.first_seq, u64::MAX - frame.commit));
        for same in found.frames.chunk_by_mut(|a, b| a.place.first_seq == b.place.first_seq) {
            // The one that was moved is of the same size.
            let shape = |frame: &FoundFrame| (frame.place.count, frame.place.frame_len);
            let wanted = shape(&same[0]);
            let whole = |frame: &FoundFrame| shape(frame) == wanted && is_whole(frame.place);
            if same.len() > 1
                && let Some(whole) = same.iter().position(whole)
            {
                same.swap(0, whole);
            }
        }
        found.frames.dedup_by_key(|frame| frame.place.first_seq);
    }

    fn set_ends(&mut self, mut log: LiveLog, found: &FoundLog) -> Option<LiveLog> {
        let last = log.places.last().map_or(0, Place::last_seq);
        log.head = last.max(found.state.as_ref().map_or(0, |(head, _)| *head));
        log.tail = log.head;
        log.first_seq = found.first_seq;
        log.places.retain(|place| place.first_seq >= found.first_seq);
        log.places.shrink_to_fit();
        log.state = found.state.map(|(_, place)| (place.segment, place.len()));
        log.segments.clone_from(&found.segments);
        if log.head == 0 {
            return None;
        }
        log.summary = self.summary_of(&log, found);
        Some(log)
    }

    /// The newest summary that can be read.
    fn summary_of(&mut self, log: &LiveLog, found: &FoundLog) -> Bytes {
        let mut is_lost = false;
        for (holds_for, _, place) in &found.summaries {
            if *holds_for > log.head {
                // It came with a frame that is left out.
                continue;
            }
            if let Some(summary) = summary_at(self.segments, place) {
                if is_lost {
                    let what =
                        format!("the summary of session {} is damaged; an older one is used", found.session);
                    self.report(place.segment, u64::from(place.offset), what);
                }
                return summary;
            }
            is_lost = true;
        }
        if is_lost && let Some((_, _, place)) = found.summaries.first() {
            let what = format!("the summary of session {} is damaged and lost", found.session);
            self.report(place.segment, u64::from(place.offset), what);
        }
        Bytes::new()
    }

    fn index_frame(&mut self, frame: &FoundFrame, found: &FoundLog, number: u64) {
        if let Some(record) = self.indexed(frame, found, number) {
            self.recovered.unindexed.push(record);
        }
    }

    /// Notes in the index that a record does not count, so that later starts do not see it in another light.
    fn leave_out(&mut self, frame: &FoundFrame, found: &FoundLog, number: u64) {
        if let Some(mut record) = self.indexed(frame, found, number) {
            record.header.kind = RecordKind::Void;
            self.recovered.unindexed.push(record);
        }
    }

    /// The header of a frame that was found in its segment.
    fn indexed(&self, frame: &FoundFrame, found: &FoundLog, number: u64) -> Option<Indexed> {
        let Place { segment, offset, .. } = frame.place;
        let bytes = reading::bytes_at(&*self.segments.get(segment)?, offset, HEADER).ok()?;
        let header = Header::decode(&bytes, segment, offset)?;
        let is_same = (header.log, header.session, header.epoch) == (number, found.session, found.epoch);
        is_same.then_some(Indexed { offset, header })
    }
}

impl FoundLog {
    fn new(header: &Header) -> Self {
        Self {
            session: header.session,
            epoch: header.epoch,
            frames: Vec::new(),
            summaries: Vec::new(),
            first_seq: 1,
            state: None,
            segments: Vec::new(),
            removal: None,
        }
    }

    fn add_summary(&mut self, holds_for: Seq, commit: u64, place: Place) {
        let order = (holds_for, commit);
        let at = self.summaries.partition_point(|(seq, commit, _)| (*seq, *commit) > order);
        self.summaries.insert(at, (holds_for, commit, place));
        self.summaries.truncate(SUMMARIES);
    }
}

/// The entry that says where a segment ends.
pub(crate) fn end_of_segment(segment: u32, at: u64) -> Indexed {
    let header = Header {
        kind: RecordKind::End,
        has_summary: false,
        count: 0,
        body_len: 0,
        summary_len: 0,
        segment,
        log: 0,
        session: SessionId::from_u128(0),
        epoch: Epoch::from_u64(0),
        first_seq: 0,
        commit: 0,
        payload_crc: 0,
    };
    Indexed { offset: u32::try_from(at).unwrap_or(u32::MAX), header }
}

/// Body and summary of a record, if they are intact and the header is this one.
fn payload_at(segments: &Segments, place: &Place, header: &Header) -> Option<Bytes> {
    let record =
        reading::bytes_at(&*segments.get(place.segment)?, place.offset, place.len() as usize).ok()?;
    let found = Header::decode(&record, place.segment, place.offset)?;
    let payload = record.slice(HEADER..record.len().min(HEADER + header.payload_len()));
    (found == *header && header.fits(&payload)).then_some(payload)
}

fn summary_at(segments: &Segments, place: &Place) -> Option<Bytes> {
    let record =
        reading::bytes_at(&*segments.get(place.segment)?, place.offset, place.len() as usize).ok()?;
    let header = Header::decode(&record, place.segment, place.offset)?;
    let payload = record.slice(HEADER..record.len().min(HEADER + header.payload_len()));
    let summary = header.has_summary && header.fits(&payload);
    // A copy, so that it does not keep the frame in memory.
    summary.then(|| Bytes::copy_from_slice(&payload[header.body_len as usize..]))
}
