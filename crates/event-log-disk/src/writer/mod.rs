//! The only thread that changes the hot log: checks each append against its log's end, writes many together, and reports
//! the outcomes.
//!
//! ```text
//! inbox ─► stage: compare with the tail, add to the buffer ─► write the buffer (256 KiB) ─┐
//!            ▲                                                                            │ again, up to 4 MiB
//!            └────────────────────────────────────────────────────────────────────────────┘
//!          ─► fsync (once, if asked for) ─► move the heads ─► outcomes
//! ```
//! Appends that arrive during a commit form the next one. A log's `tail` runs ahead of its `head` while frames
//! are in flight, so several frames of one session may share a commit; when a write fails, its tails are rolled back.

mod changing;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use agentbench_event_log::{Append, Appended, Done, Frame, Health, ReadLimit};
use agentbench_protocol::{Head, Seq, SessionId};
use bytes::Bytes;

use crate::appender::{Appender, WriteError};
use crate::config::Durability;
use crate::inbox::Request;
use crate::index::Indexed;
use crate::reading;
use crate::record::{Draft, LogIdentity, MAX_SUMMARY};
use crate::segment::{Segment, Segments};
use crate::state::EngineState;
use crate::table::{LiveLog, Picked, Place};
pub(crate) use changing::ShutLog;

/// Bytes that are written with one call: larger ones would hardly be cheaper, and leave the processor's cache.
const WRITE_BYTES: usize = 256 << 10;
/// Maximum bytes of frames in a group commit, so that its first append does not wait indefinitely.
const GROUP_BYTES: usize = 4 << 20;
/// Maximum number of frames in a group commit.
const GROUP_FRAMES: usize = 4096;

/// The thread's own state.
pub(crate) struct Writer {
    shared: Arc<EngineState>,
    durability: Durability,
    appender: Appender,
    /// The number of the next log.
    next_log: u64,
    /// The number of the current group commit.
    commit: u64,
    closed: bool,
    group: Group,
}

/// One group commit.
struct Group {
    submissions: Vec<(Done, usize)>,
    outcomes: Vec<StageOutcome>,
    staged: Vec<Staged>,
    /// Index of the first element of `staged` that is not written.
    unwritten: usize,
    bytes: usize,
    begun: Instant,
}

enum StageOutcome {
    Known(Appended),
    /// That of the staged frame with this index.
    Staged(usize),
    /// A conflict with the log's state after this commit.
    Conflict(SessionId),
}

struct Staged {
    session: SessionId,
    /// The log's head once it is committed.
    head: Head,
    frame: Frame,
    summary: Option<Bytes>,
    record: Indexed,
    fate: Fate,
}

enum Fate {
    Buffered,
    Written,
    Failed(Appended),
}

impl Writer {
    pub(crate) fn new(
        shared: Arc<EngineState>,
        durability: Durability,
        appender: Appender,
        next_log: u64,
        commit: u64,
    ) -> Self {
        let group = Group {
            submissions: Vec::new(),
            outcomes: Vec::new(),
            staged: Vec::new(),
            unwritten: 0,
            bytes: 0,
            begun: Instant::now(),
        };
        Self { shared, durability, appender, next_log, commit, closed: false, group }
    }

    /// Runs until the stop request.
    pub(crate) fn run(mut self) {
        let mut requests = Vec::new();
        loop {
            self.shared.inbox.take(&mut requests);
            self.group.begun = Instant::now();
            for request in requests.drain(..) {
                match request {
                    Request::Append { appends, done } => self.stage_all(appends, done),
                    other => {
                        self.commit();
                        if !self.control(other) {
                            return;
                        }
                    }
                }
            }
            self.commit();
        }
    }

    fn stage_all(&mut self, appends: Vec<Append>, done: Done) {
        self.group.submissions.push((done, appends.len()));
        for append in appends {
            let outcome = self.stage(append);
            self.group.outcomes.push(outcome);
            if self.appender.buffered() >= WRITE_BYTES {
                // A failure is in the fates of the frames.
                drop(self.write());
            }
        }
        if self.group.bytes >= GROUP_BYTES || self.group.staged.len() >= GROUP_FRAMES {
            self.commit();
            self.group.begun = Instant::now();
        }
    }

    fn stage(&mut self, append: Append) -> StageOutcome {
        if self.closed {
            return StageOutcome::Known(Appended::Unavailable("the log is closed".into()));
        }
        if let Health::Failed(reason) = self.shared.health() {
            self.shared.set_health(Health::Failed(reason.clone()));
            return StageOutcome::Known(Appended::Unavailable(reason));
        }
        if append.summary.as_ref().is_some_and(|summary| summary.len() > MAX_SUMMARY) {
            return StageOutcome::Known(Appended::Unavailable("the summary is too large".into()));
        }
        let logs = self.shared.live.read();
        match logs.get(&append.session) {
            Some(log) if append.expected.epoch == log.epoch && append.expected.seq == log.tail => {
                if let Some(reason) = log.shut {
                    return StageOutcome::Known(Appended::Unavailable(reason.into()));
                }
                let log = log.identity(append.session);
                drop(logs);
                self.add(append, log)
            }
            Some(log) => {
                let (log, tail) = (log.identity(append.session), log.tail);
                drop(logs);
                self.repeated_or_conflict(&append, log, tail)
            }
            None => {
                drop(logs);
                if let Some(head) = self.shared.archive.head(append.session) {
                    return self.to_archived(&append, head);
                }
                let (session, epoch) = (append.session, append.expected.epoch);
                if append.expected.seq != 0 || self.shared.removed.holds(session, epoch) {
                    return StageOutcome::Known(Appended::Conflict(None));
                }
                self.add(append, LogIdentity { number: self.next_log, session, epoch })
            }
        }
    }

    /// Adds a frame to the buffer, and moves its log's tail.
    fn add(&mut self, append: Append, log: LogIdentity) -> StageOutcome {
        let Append { session, frame, summary, .. } = append;
        let draft = Draft::Frame { frame: &frame, summary: summary.as_deref() };
        if !self.appender.has_room(&draft)
            && let Err(answer) = self.begin_segment()
        {
            return StageOutcome::Known(answer);
        }
        let record = self.appender.add(&draft, log, self.commit);
        let tail = frame.last_seq();
        let mut logs = self.shared.live.write();
        match logs.get_mut(&session) {
            Some(log) => log.tail = tail,
            // Its tail may have been rolled back to nothing meanwhile.
            None => {
                logs.insert(session, LiveLog::begin(log.number, log.epoch, tail));
                self.next_log = self.next_log.max(log.number + 1);
            }
        }
        drop(logs);
        self.group.bytes += frame.bytes().len();
        let head = Head { epoch: log.epoch, seq: tail };
        self.group.staged.push(Staged { session, head, frame, summary, record, fate: Fate::Buffered });
        StageOutcome::Staged(self.group.staged.len() - 1)
    }

    /// Handles a frame that does not follow the log's tail: harmless if the log already contains this very frame.
    fn repeated_or_conflict(&mut self, append: &Append, log: LogIdentity, tail: Seq) -> StageOutcome {
        let conflict = StageOutcome::Conflict(append.session);
        if append.expected.epoch != log.epoch || append.frame.last_seq() > tail {
            return conflict;
        }
        let seq = append.frame.first_seq();
        let limit = ReadLimit { bytes: 0, events: 1 };
        let found =
            self.shared.live.with(append.session, |log| (log.head, log.first_seq, log.pick(seq, limit)));
        match found {
            Some((head, first_seq, picked)) if seq <= head => match picked {
                Picked::Places(places) if seq >= first_seq => {
                    match reading::read(&self.shared.segments, log, &places) {
                        Ok(frames) if frames.first() == Some(&append.frame) => {
                            StageOutcome::Known(Appended::Committed(Head { epoch: log.epoch, seq: head }))
                        }
                        _ => conflict,
                    }
                }
                _ => conflict,
            },
            _ => {
                let same = |staged: &Staged| staged.session == append.session && staged.frame == append.frame;
                self.group.staged.iter().rposition(same).map_or(conflict, StageOutcome::Staged)
            }
        }
    }

    fn to_archived(&self, append: &Append, head: Head) -> StageOutcome {
        if append.expected == head {
            return StageOutcome::Known(Appended::Unavailable("the log is archived".into()));
        }
        let limit = ReadLimit { bytes: 0, events: 1 };
        if append.expected.epoch == head.epoch && append.frame.last_seq() <= head.seq {
            let read = self.shared.archive.read(append.session, append.frame.first_seq(), limit);
            if read.is_ok_and(|reading| reading.frames.first() == Some(&append.frame)) {
                return StageOutcome::Known(Appended::Committed(head));
            }
        }
        StageOutcome::Known(Appended::Conflict(Some(head)))
    }

    /// Writes what was added, and goes on in the next segment.
    fn begin_segment(&mut self) -> Result<(), Appended> {
        self.write()?;
        self.appender.begin_segment(self.commit).map_err(|error| self.answer_to(error))
    }

    fn write(&mut self) -> Result<(), Appended> {
        let written = self.appender.write().map_err(|error| self.answer_to(error));
        match &written {
            Ok(()) => self.mark_written(),
            Err(answer) => self.roll_back(answer),
        }
        written
    }

    fn mark_written(&mut self) {
        if self.group.unwritten == self.group.staged.len() {
            return;
        }
        for staged in &mut self.group.staged[self.group.unwritten..] {
            staged.fate = Fate::Written;
        }
        self.group.unwritten = self.group.staged.len();
        self.shared.set_health(Health::Writable);
    }

    /// The answer to an append that could not be written.
    fn answer_to(&self, error: WriteError) -> Appended {
        match error {
            WriteError::Full => {
                self.shared.set_health(Health::Full);
                Appended::Full
            }
            WriteError::Refused(reason) => Appended::Unavailable(reason),
            WriteError::Unknown(reason) => {
                self.shared.set_health(Health::Failed(reason.clone()));
                Appended::Unknown(reason)
            }
        }
    }

    /// Rolls back the tails of the frames that were not written.
    fn roll_back(&mut self, answer: &Appended) {
        let mut logs = self.shared.live.write();
        for staged in self.group.staged[self.group.unwritten..].iter_mut().rev() {
            staged.fate = Fate::Failed(answer.clone());
            let Some(log) = logs.get_mut(&staged.session) else { continue };
            log.tail = staged.frame.first_seq() - 1;
            if log.tail == 0 {
                logs.remove(&staged.session);
            }
        }
        drop(logs);
        self.group.unwritten = self.group.staged.len();
    }

    fn commit(&mut self) {
        drop(self.write());
        let is_written = |staged: &Staged| matches!(staged.fate, Fate::Written);
        let mut any = self.group.staged.iter().any(is_written);
        if any && self.durability == Durability::Synced {
            let synced = self
                .appender
                .sync()
                .and_then(|()| self.shared.hot.failure().map_or(Ok(()), |failure| Err(failure.to_owned())));
            if let Err(reason) = synced {
                self.shared.set_health(Health::Failed(reason.clone()));
                for staged in self.group.staged.iter_mut().filter(|staged| is_written(staged)) {
                    staged.fate = Fate::Failed(Appended::Unknown(reason.clone()));
                }
                any = false;
            }
        }
        if any {
            self.move_heads();
            self.promise();
        }
        self.report_outcomes();
        self.group.staged.clear();
        self.group.unwritten = 0;
        self.group.bytes = 0;
        self.commit += 1;
    }

    /// Records how far the newest segment is about to be promised. Then all that is known of those before it is in memory, since
    /// from now on they may be freed.
    fn promise(&self) {
        if let Some(end) = self.appender.end() {
            *self.shared.promised.lock().unwrap_or_else(PoisonError::into_inner) = end;
        }
    }

    fn move_heads(&mut self) {
        let (mut frames, mut bytes) = (0, 0);
        let mut logs = self.shared.live.write();
        let mut current = None;
        for staged in self.group.staged.iter_mut().filter(|staged| matches!(staged.fate, Fate::Written)) {
            let Some(log) = logs.get_mut(&staged.session) else { continue };
            let place = Place::of(&staged.record.header, staged.record.offset);
            log.head = staged.frame.last_seq();
            log.places.push(place);
            log.is_in(place.segment);
            if let Some(summary) = staged.summary.take() {
                log.summary = summary;
            }
            count_live(&self.shared.segments, &mut current, &place);
            frames += 1;
            bytes += staged.frame.bytes().len() as u64;
        }
        drop(logs);
        let written = self.group.staged.iter().filter(|staged| matches!(staged.fate, Fate::Written));
        if self.shared.hot.behind.add(written.map(|staged| &staged.record)) {
            self.shared.hot.poke.now();
        }
        self.shared.counters.committed(frames, bytes, self.group.begun.elapsed());
    }

    fn report_outcomes(&mut self) {
        let shared = self.shared.clone();
        let mut outcomes = std::mem::take(&mut self.group.outcomes);
        let mut rest = outcomes.drain(..);
        for (done, count) in std::mem::take(&mut self.group.submissions) {
            let answers = rest.by_ref().take(count).map(|outcome| self.answer(outcome)).collect();
            shared.counters.answered(count);
            guard(|| done(answers));
        }
        drop(rest);
        self.group.outcomes = outcomes;
    }

    fn answer(&self, outcome: StageOutcome) -> Appended {
        match outcome {
            StageOutcome::Known(answer) => answer,
            StageOutcome::Conflict(session) => {
                Appended::Conflict(self.shared.live.with(session, |log| log.head()).flatten())
            }
            StageOutcome::Staged(index) => match &self.group.staged[index] {
                Staged { fate: Fate::Failed(answer), .. } => answer.clone(),
                Staged { head, .. } => Appended::Committed(*head),
            },
        }
    }
}

/// `current` is the segment that was counted last: most often that of the next one, too.
fn count_live(segments: &Segments, current: &mut Option<Arc<Segment>>, place: &Place) {
    if current.as_ref().is_none_or(|segment| segment.number != place.segment) {
        *current = segments.get(place.segment);
    }
    if let Some(segment) = current {
        segment.add_live(place.len());
    }
}

/// Runs a caller's code on the writer's thread. All sessions depend on this thread, so a panic must not end it.
fn guard(run: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(run)).is_err() {
        tracing::error!("an observer or a completion panicked");
    }
}
