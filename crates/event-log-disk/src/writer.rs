//! The only thread that changes the hot log: checks each append against its log's end, writes many together, and reports
//! the outcomes.
//!
//! ```text
//! inbox ─► stage: compare with the tail, add to the batch ─► write the batch (64 KiB) ─┐
//!            ▲                                                                         │ again, up to 4 MiB
//!            └─────────────────────────────────────────────────────────────────────────┘
//!          ─► fsync (once, if asked for) ─► move the heads ─► outcomes
//! ```
//! Appends that arrive during a commit form the next one. A log's `tail` runs ahead of its `head` while frames
//! are in flight, so several frames of one session may share a commit; when a batch fails, its tails are rolled back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use agentbench_event_log::{Append, Appended, Done, Frame, Health, LogError, ReadLimit};
use agentbench_protocol::{Head, SessionId};

use crate::archive::Archive;
use crate::config::{Durability, unavailable};
use crate::entry::Entry;
use crate::hot::{Batch, Hot, WriteError};
use crate::inbox::{Inbox, Request};
use crate::lock::DirLock;
use crate::reading::{self, Hints};
use crate::record::{FIRST_LOG, LogRecord};
use crate::removed::Removed;
use crate::stats::Counters;
use crate::table::{LiveLog, LiveLogs};

/// Size of a batch in bytes of frames. A read of one frame reads its whole batch, so this limits
/// what a range read of one session among many costs; larger batches would hardly be cheaper to write.
const BATCH_BYTES: usize = 64 << 10;
/// Maximum bytes of frames in a group commit, so that its first append does not wait indefinitely.
const GROUP_BYTES: usize = 4 << 20;
/// Maximum number of frames in a group commit.
const GROUP_FRAMES: usize = 4096;
/// Log numbers are reserved in portions of this size, so that a new log usually needs no write of its own.
const LOG_NUMBERS: u64 = 4096;

/// What the writer shares with the callers' threads.
pub(crate) struct EngineState {
    pub(crate) hot: Hot,
    pub(crate) live: LiveLogs,
    pub(crate) archive: Archive,
    pub(crate) inbox: Inbox,
    pub(crate) removed: Removed,
    pub(crate) health: RwLock<Health>,
    pub(crate) counters: Counters,
    pub(crate) hints: Hints,
    /// Released last, when no thread uses the files any more.
    pub(crate) _lock: DirLock,
}

impl EngineState {
    pub(crate) fn health(&self) -> Health {
        let health = self.health.read().unwrap_or_else(PoisonError::into_inner).clone();
        match (health, self.hot.failure()) {
            (Health::Failed(reason), _) => Health::Failed(reason),
            // The clean-up's fsync failed; the writer will notice it at its next commit.
            (_, Some(failure)) => Health::Failed(failure.to_owned()),
            (health, None) => health,
        }
    }

    fn set_health(&self, health: Health) {
        let mut now = self.health.write().unwrap_or_else(PoisonError::into_inner);
        // A failure lasts until the log is opened again.
        if *now != health && !matches!(*now, Health::Failed(_)) {
            if health != Health::Writable {
                tracing::error!(?health, "the log accepts no appends");
            }
            *now = health;
        }
    }
}

/// The thread's own state.
pub(crate) struct Writer {
    shared: Arc<EngineState>,
    durability: Durability,
    /// The number of the next log.
    next_log: u64,
    /// Numbers below this are reserved in the hot log.
    reserved: u64,
    closed: bool,
    group: Group,
}

/// One group commit.
struct Group {
    submissions: Vec<(Done, usize)>,
    outcomes: Vec<StageOutcome>,
    staged: Vec<Staged>,
    batch: Batch,
    /// Index of the first element of `staged` that is in `batch`.
    batch_begin: usize,
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
    fate: Fate,
}

enum Fate {
    InBatch,
    Written,
    Failed(Appended),
}

impl Writer {
    pub(crate) fn new(shared: Arc<EngineState>, durability: Durability, next_log: u64) -> Self {
        let group = Group {
            submissions: Vec::new(),
            outcomes: Vec::new(),
            staged: Vec::new(),
            batch: Batch::default(),
            batch_begin: 0,
            bytes: 0,
            begun: Instant::now(),
        };
        let next_log = next_log.max(FIRST_LOG);
        Self { shared, durability, next_log, reserved: next_log, closed: false, group }
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
            if self.group.batch.bytes >= BATCH_BYTES {
                self.write_batch();
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
        let shared = self.shared.clone();
        let mut logs = shared.live.write();
        match logs.get_mut(&append.session) {
            Some(log) if append.expected.epoch == log.epoch && append.expected.seq == log.tail => {
                if let Some(reason) = log.shut {
                    return StageOutcome::Known(Appended::Unavailable(reason.into()));
                }
                log.tail = append.frame.last_seq();
                log.tail_ordinal += 1;
                let log = log.clone();
                drop(logs);
                self.add(append, &log)
            }
            Some(log) => {
                let log = log.clone();
                drop(logs);
                self.repeated_or_conflict(&append, &log)
            }
            None => {
                if let Some(head) = shared.archive.head(append.session) {
                    drop(logs);
                    return self.to_archived(&append, head);
                }
                let is_removed = || shared.removed.holds(append.session, append.expected.epoch);
                if append.expected.seq != 0 || is_removed() {
                    return StageOutcome::Known(Appended::Conflict(None));
                }
                let log = LiveLog {
                    number: self.next_log,
                    epoch: append.expected.epoch,
                    head: 0,
                    head_ordinal: 0,
                    first_seq: 1,
                    first_ordinal: 1,
                    tail: append.frame.last_seq(),
                    tail_ordinal: 1,
                    shut: None,
                };
                self.next_log += 1;
                logs.insert(append.session, log.clone());
                drop(logs);
                self.add(append, &log)
            }
        }
    }

    /// Adds a frame to the batch; its log's tail has been moved already.
    fn add(&mut self, append: Append, log: &LiveLog) -> StageOutcome {
        let Append { session, frame, summary, .. } = append;
        let entry = Entry::new(log.number, log.tail_ordinal, session, log.epoch, &frame);
        self.group.bytes += frame.bytes().len();
        let head = Head { epoch: log.epoch, seq: frame.last_seq() };
        self.group.staged.push(Staged { session, head, frame, fate: Fate::InBatch });
        let mut added = self.group.batch.add(entry);
        if let (Ok(()), Some(summary)) = (&added, summary) {
            added = self.group.batch.set_record(log.number, LogRecord::encode(log.first_seq, &summary));
        }
        if let (Ok(()), true) = (&added, self.next_log > self.reserved) {
            self.reserved = self.next_log + LOG_NUMBERS;
            added = self.group.batch.set_next_log(self.reserved);
        }
        if let Err(error) = added {
            // Only a batch over 2 GiB can fail, and the limits of frames and batches exclude that.
            self.fail_batch(&Appended::Unavailable(error.to_string()));
        }
        StageOutcome::Staged(self.group.staged.len() - 1)
    }

    /// Handles a frame that does not follow the log's tail: harmless if the log already contains this very frame.
    fn repeated_or_conflict(&mut self, append: &Append, log: &LiveLog) -> StageOutcome {
        let conflict = StageOutcome::Conflict(append.session);
        if append.expected.epoch != log.epoch || append.frame.last_seq() > log.tail {
            return conflict;
        }
        if append.frame.first_seq() > log.head {
            let same = |staged: &Staged| staged.session == append.session && staged.frame == append.frame;
            return self.group.staged.iter().rposition(same).map_or(conflict, StageOutcome::Staged);
        }
        let limit = ReadLimit { bytes: 0, events: 1 };
        let seq = append.frame.first_seq();
        match reading::read(&self.shared.hot, &self.shared.hints, log, seq, limit) {
            Ok(Ok(frames)) if frames.first() == Some(&append.frame) && seq >= log.first_seq => {
                StageOutcome::Known(Appended::Committed(Head { epoch: log.epoch, seq: log.head }))
            }
            _ => conflict,
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

    fn write_batch(&mut self) {
        if self.group.batch_begin == self.group.staged.len() {
            return;
        }
        match self.shared.hot.write(&mut self.group.batch) {
            Ok(()) => {
                for staged in &mut self.group.staged[self.group.batch_begin..] {
                    staged.fate = Fate::Written;
                }
                self.group.batch_begin = self.group.staged.len();
                self.shared.set_health(Health::Writable);
            }
            Err(WriteError::Full) => {
                self.shared.set_health(Health::Full);
                self.fail_batch(&Appended::Full);
            }
            Err(WriteError::Unknown(reason)) => {
                self.shared.set_health(Health::Failed(reason.clone()));
                self.fail_batch(&Appended::Unknown(reason));
            }
        }
    }

    /// Rolls back the tails of the frames in the batch and starts another one.
    fn fail_batch(&mut self, answer: &Appended) {
        let mut logs = self.shared.live.write();
        for staged in self.group.staged[self.group.batch_begin..].iter_mut().rev() {
            staged.fate = Fate::Failed(answer.clone());
            let Some(log) = logs.get_mut(&staged.session) else { continue };
            log.tail = staged.frame.first_seq() - 1;
            log.tail_ordinal -= 1;
            if log.tail_ordinal == 0 {
                logs.remove(&staged.session);
            }
        }
        drop(logs);
        self.group.batch = Batch::default();
        self.group.batch_begin = self.group.staged.len();
        // The failed batch reserved no numbers.
        self.reserved = self.reserved.min(self.next_log.saturating_sub(1));
    }

    fn commit(&mut self) {
        self.write_batch();
        let written = self.group.staged.iter().any(|staged| matches!(staged.fate, Fate::Written));
        if written
            && self.durability == Durability::Synced
            && let Err(reason) = self.shared.hot.sync()
        {
            self.shared.set_health(Health::Failed(reason.clone()));
            for staged in &mut self.group.staged {
                if matches!(staged.fate, Fate::Written) {
                    staged.fate = Fate::Failed(Appended::Unknown(reason.clone()));
                }
            }
        }
        if self.group.staged.iter().any(|staged| matches!(staged.fate, Fate::Written)) {
            self.shared.hot.promise();
        }
        self.move_heads();
        self.report_outcomes();
        self.group.staged.clear();
        self.group.batch_begin = 0;
        self.group.bytes = 0;
    }

    fn move_heads(&mut self) {
        let (mut frames, mut bytes) = (0, 0);
        let mut logs = self.shared.live.write();
        for staged in &self.group.staged {
            if matches!(staged.fate, Fate::Written)
                && let Some(log) = logs.get_mut(&staged.session)
            {
                log.head = staged.frame.last_seq();
                log.head_ordinal += 1;
                frames += 1;
                bytes += staged.frame.bytes().len() as u64;
            }
        }
        drop(logs);
        if frames > 0 {
            self.shared.counters.committed(frames, bytes, self.group.begun.elapsed());
        }
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
                Appended::Conflict(self.shared.live.get(session).and_then(|log| log.head()))
            }
            StageOutcome::Staged(index) => match &self.group.staged[index] {
                Staged { fate: Fate::Failed(answer), .. } => answer.clone(),
                Staged { head, .. } => Appended::Committed(*head),
            },
        }
    }

    /// Handles requests other than appends. Returns `false` to stop.
    fn control(&mut self, request: Request) -> bool {
        // The requester may have gone meanwhile.
        match request {
            Request::Append { appends, done } => self.stage_all(appends, done),
            Request::Shut { session, reply } => drop(reply.send(self.shut(session))),
            Request::Reopen { session, number, shut } => {
                if let Some(log) = self.shared.live.write().get_mut(&session)
                    && log.number == number
                {
                    log.shut = shut;
                }
            }
            Request::Remove { session, number, reply } => drop(reply.send(self.remove(session, number))),
            Request::Trim { session, number, first_seq, ordinal, reply } => {
                drop(reply.send(self.trim(session, number, first_seq, ordinal)));
            }
            Request::Close { reply } => {
                self.closed = true;
                drop(reply.send(self.make_durable()));
            }
            Request::Stop => {
                if let Err(error) = self.make_durable() {
                    tracing::error!(%error, "the log could not be closed properly");
                }
                return false;
            }
        }
        true
    }

    fn shut(&self, session: SessionId) -> Result<LiveLog, LogError> {
        let mut logs = self.shared.live.write();
        let log = logs.get_mut(&session).ok_or(LogError::NotFound(session))?;
        let before = log.clone();
        log.shut = Some("the log is being archived");
        Ok(before)
    }

    fn remove(&mut self, session: SessionId, number: u64) -> Result<(), LogError> {
        if self.shared.live.get(session).is_none_or(|log| log.number != number) {
            return Err(LogError::NotFound(session));
        }
        let mut batch = Batch::default();
        batch.remove(number);
        self.write_change(&mut batch)?;
        self.shared.live.write().remove(&session);
        Ok(())
    }

    fn trim(
        &mut self,
        session: SessionId,
        number: u64,
        first_seq: u64,
        ordinal: u64,
    ) -> Result<(), LogError> {
        let Some(log) = self.shared.live.get(session).filter(|log| log.number == number) else {
            return Err(LogError::NotFound(session));
        };
        let summary = self.shared.hot.record(number).map(|record| record.summary).unwrap_or_default();
        // The last frame always stays: it provides the head when the log is opened again.
        let first_ordinal = ordinal.min(log.head_ordinal);
        let mut batch = Batch::default();
        batch.set_record(number, LogRecord::encode(first_seq, &summary)).map_err(unavailable)?;
        batch.compact(number, first_ordinal);
        self.write_change(&mut batch)?;
        if let Some(log) = self.shared.live.write().get_mut(&session) {
            log.first_seq = first_seq;
            log.first_ordinal = first_ordinal;
        }
        Ok(())
    }

    /// Writes a change other than an append, with the same durability.
    fn write_change(&mut self, batch: &mut Batch) -> Result<(), LogError> {
        if let Health::Failed(reason) = self.shared.health() {
            return Err(unavailable(reason));
        }
        match self.shared.hot.write(batch) {
            Ok(()) => {}
            Err(WriteError::Full) => return Err(unavailable("the disk is full")),
            Err(WriteError::Unknown(reason)) => {
                self.shared.set_health(Health::Failed(reason.clone()));
                return Err(unavailable(reason));
            }
        }
        if self.durability == Durability::Synced { self.make_durable() } else { Ok(()) }
    }

    fn make_durable(&self) -> Result<(), LogError> {
        if let Some(failure) = self.shared.hot.failure() {
            return Err(unavailable(failure));
        }
        self.shared.hot.sync().map_err(|reason| {
            self.shared.set_health(Health::Failed(reason.clone()));
            unavailable(reason)
        })
    }
}

/// Runs a caller's code on the writer's thread. All sessions depend on this thread, so a panic must not end it.
fn guard(run: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(run)).is_err() {
        tracing::error!("an observer or a completion panicked");
    }
}
