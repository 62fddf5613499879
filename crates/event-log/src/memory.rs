//! An engine that keeps its logs in memory: the simplest implementation of the contract, used by the tests of
//! everything above.
//!
//! It owns the logs and the order in which outcomes are reported. Several writers may share it, each with a handle of its
//! own ([`MemoryLog::another_writer`]). Faults can be injected: an answer that contradicts what was written, delayed
//! completions, a full or failed engine, events that cannot be read.
//! Its contents are lost when the last handle is dropped.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agentbench_protocol::{Epoch, Head, Seq, SessionId};
use bytes::Bytes;

use crate::{
    Append, Appended, Change, Done, EventLog, Frame, Health, Listed, LogError, Observer, ReadLimit, Reading,
    Retention,
};

/// A writer's handle to logs in memory. See the module's documentation for its uses.
#[derive(Default)]
pub struct MemoryLog {
    store: Arc<Store>,
    /// Number of this writer.
    writer: usize,
    /// Set by [`EventLog::close`]: this writer appends no more.
    is_closed: Arc<AtomicBool>,
}

/// What the writers share.
#[derive(Default)]
struct Store {
    state: Mutex<State>,
    /// Observers and the writers that they belong to.
    observers: Mutex<Vec<(usize, Arc<Observer>)>>,
}

#[derive(Default)]
struct State {
    /// In the order of their ids, so that everything done with all of them is the same in each run.
    logs: BTreeMap<SessionId, Log>,
    /// Incarnations that were removed.
    removed: HashSet<(SessionId, Epoch)>,
    /// Number of writers.
    writers: usize,
    /// Number of archived logs so far.
    archived: u64,
    /// Answers to give instead of the true ones, to the next appends in turn.
    faults: VecDeque<Fault>,
    health: Option<Health>,
    held: bool,
    waiting: VecDeque<Submitted>,
    /// Changes not reported yet. One thread at a time reports them, so the order is that of the changes.
    notices: VecDeque<Notice>,
    notifying: bool,
}

struct Log {
    epoch: Epoch,
    head: Seq,
    first_seq: Seq,
    frames: VecDeque<Frame>,
    summary: Bytes,
    /// When it was archived, ms since 1970, and how many were before it.
    archived: Option<(u64, u64)>,
    damaged: Vec<(Seq, Seq)>,
}

struct Fault {
    answer: Appended,
    write: bool,
}

/// Appends and what is to be told of them.
struct Submitted {
    writer: usize,
    is_closed: Arc<AtomicBool>,
    appends: Vec<Append>,
    done: Done,
}

/// Something to report.
enum Notice {
    /// A change, to the observers of all writers but one.
    Change {
        change: Change,
        but: Option<usize>,
    },
    Outcomes {
        outcomes: Vec<Appended>,
        done: Done,
    },
}

impl MemoryLog {
    /// An engine without logs, and its first writer.
    pub fn new() -> Self {
        Self::default()
    }

    /// A further writer of the same logs. It observes what the others do, and they observe what it does.
    #[must_use]
    pub fn another_writer(&self) -> Self {
        let mut state = self.state();
        state.writers += 1;
        Self { store: Arc::clone(&self.store), writer: state.writers, is_closed: Arc::default() }
    }

    /// Another handle of the same writer, as when its process starts anew: what it has observed so far is not told again.
    #[must_use]
    pub fn same_writer(&self) -> Self {
        self.store
            .observers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(writer, _)| *writer != self.writer);
        Self { store: Arc::clone(&self.store), writer: self.writer, is_closed: Arc::default() }
    }

    /// Answers the next append of any writer with `answer` without writing anything.
    pub fn fail_next(&self, answer: Appended) {
        self.state().faults.push_back(Fault { answer, write: false });
    }

    /// Writes the next append as usual, but answers with `answer`, as when the outcome of a commit is lost.
    pub fn write_but_answer(&self, answer: Appended) {
        self.state().faults.push_back(Fault { answer, write: true });
    }

    /// Forgets injected answers that were not given yet.
    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// Delays appends until [`release`](Self::release), like a slow storage.
    pub fn hold(&self) {
        self.state().held = true;
    }

    /// Commits delayed appends in order, and stops delaying.
    pub fn release(&self) {
        let mut state = self.state();
        state.held = false;
        while let Some(submitted) = state.waiting.pop_front() {
            state.commit(submitted);
        }
        self.notify(state);
    }

    /// Number of delayed `submit`s.
    pub fn held(&self) -> usize {
        self.state().waiting.len()
    }

    /// Makes the engine full (appends are answered `Full`), failed (`Unavailable`) or writable.
    pub fn set_health(&self, health: Health) {
        self.state().health = Some(health);
    }

    /// Makes the frames that contain any of the events `from..=to` unreadable.
    pub fn damage(&self, session: SessionId, from: Seq, to: Seq) {
        if let Some(log) = self.state().logs.get_mut(&session) {
            log.damaged.push((from, to));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic under this lock leaves nothing half done: observers and `Done`s run outside.
        self.store.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports all notices, unless another call (including this thread's own, further up) is already doing so.
    fn notify<'a>(&'a self, mut state: MutexGuard<'a, State>) {
        if state.notifying {
            return;
        }
        state.notifying = true;
        while let Some(notice) = state.notices.pop_front() {
            drop(state);
            match notice {
                Notice::Outcomes { outcomes, done } => done(outcomes),
                Notice::Change { change, but } => {
                    let observers =
                        self.store.observers.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    observers
                        .iter()
                        .filter(|(writer, _)| Some(*writer) != but)
                        .for_each(|(_, observer)| observer(&change));
                }
            }
            state = self.state();
        }
        state.notifying = false;
    }
}

impl State {
    fn commit(&mut self, submitted: Submitted) {
        let Submitted { writer, is_closed, appends, done } = submitted;
        let is_closed = is_closed.load(Ordering::Acquire);
        let outcomes = appends.into_iter().map(|append| self.append(append, writer, is_closed)).collect();
        self.notices.push_back(Notice::Outcomes { outcomes, done });
    }

    fn append(&mut self, append: Append, writer: usize, is_closed: bool) -> Appended {
        if is_closed {
            return Appended::Unavailable("the log is closed".into());
        }
        match &self.health {
            Some(Health::Full) => return Appended::Full,
            Some(Health::Failed(reason)) => return Appended::Unavailable(reason.clone()),
            Some(Health::Writable) | None => {}
        }
        match self.faults.pop_front() {
            None => self.write(append, Some(writer)),
            Some(Fault { answer, write }) => {
                if write {
                    // Whoever is not told of a commit by its outcome observes it.
                    self.write(append, None);
                }
                answer
            }
        }
    }

    /// Writes a frame. All writers but `told` observe it.
    fn write(&mut self, append: Append, told: Option<usize>) -> Appended {
        let Append { session, expected, frame, summary } = append;
        if let Some(log) = self.logs.get(&session) {
            if expected != log.head() {
                let is_repeat = expected.epoch == log.epoch && log.holds(&frame);
                let head = log.head();
                return if is_repeat { Appended::Committed(head) } else { Appended::Conflict(Some(head)) };
            }
            if log.archived.is_some() {
                return Appended::Unavailable("the log is archived".into());
            }
        } else if expected.seq != 0 || self.removed.contains(&(session, expected.epoch)) {
            return Appended::Conflict(None);
        }
        let log = self.logs.entry(session).or_insert_with(|| Log::new(expected.epoch));
        let head = log.push(&frame, summary.as_ref());
        let change = Change::Committed { session, head, frame, summary };
        self.notices.push_back(Notice::Change { change, but: told });
        Appended::Committed(head)
    }

    /// Removes a log; `writer` is told by its call.
    fn remove(&mut self, session: SessionId, writer: usize) -> Result<Epoch, LogError> {
        let log = self.logs.remove(&session).ok_or(LogError::NotFound(session))?;
        self.removed.insert((session, log.epoch));
        let change = Change::Removed(session, log.epoch);
        self.notices.push_back(Notice::Change { change, but: Some(writer) });
        Ok(log.epoch)
    }

    /// Archived logs beyond the limits, oldest first.
    fn overdue(&self, now: u64, retention: Retention) -> Vec<SessionId> {
        let mut all: Vec<_> = self
            .logs
            .iter()
            .filter_map(|(session, log)| log.archived.map(|(at, place)| (at, place, *session, log.bytes())))
            .collect();
        all.sort_unstable();
        let mut bytes: u64 = all.iter().map(|(.., bytes)| bytes).sum();
        let max_age = retention.max_age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        let mut overdue = Vec::new();
        for (at, _, session, size) in all {
            let is_old = max_age.is_some_and(|max| now.saturating_sub(at) > max);
            let is_full = retention.at_most > 0 && overdue.len() == retention.at_most;
            if is_full || !(is_old || retention.max_bytes.is_some_and(|max| bytes > max)) {
                break;
            }
            bytes -= size;
            overdue.push(session);
        }
        overdue
    }
}

impl Log {
    fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            head: 0,
            first_seq: 1,
            frames: VecDeque::new(),
            summary: Bytes::new(),
            archived: None,
            damaged: Vec::new(),
        }
    }

    fn head(&self) -> Head {
        Head { epoch: self.epoch, seq: self.head }
    }

    fn bytes(&self) -> u64 {
        self.frames.iter().map(|frame| frame.bytes().len() as u64).sum()
    }

    fn listed(&self, session: SessionId) -> Listed {
        let archived = self.archived.is_some();
        Listed { session, head: self.head(), summary: self.summary.clone(), archived }
    }

    fn push(&mut self, frame: &Frame, summary: Option<&Bytes>) -> Head {
        self.head = frame.last_seq();
        self.frames.push_back(frame.clone());
        if let Some(summary) = summary {
            self.summary = summary.clone();
        }
        self.head()
    }

    /// Index of the frame that holds `seq`, or of the next one.
    fn index(&self, seq: Seq) -> usize {
        self.frames.partition_point(|frame| frame.last_seq() < seq)
    }

    fn holds(&self, frame: &Frame) -> bool {
        self.frames.get(self.index(frame.first_seq())) == Some(frame)
    }

    fn damage_in(&self, frame: &Frame) -> bool {
        self.damaged.iter().any(|(from, to)| frame.first_seq() <= *to && *from <= frame.last_seq())
    }

    fn read(&self, from: Seq, limit: ReadLimit) -> Result<Vec<Frame>, LogError> {
        let mut frames = Vec::new();
        let (mut bytes, mut events) = (0, 0);
        for frame in self.frames.range(self.index(from)..) {
            if self.damage_in(frame) {
                if frames.is_empty() {
                    let (from, to) = (frame.first_seq(), frame.last_seq());
                    return Err(LogError::Damaged { from, to, detail: "made unreadable".into() });
                }
                break;
            }
            bytes += frame.bytes().len();
            if !frames.is_empty() && bytes > limit.bytes {
                break;
            }
            events += frame.count();
            frames.push(frame.clone());
            if events >= limit.events {
                break;
            }
        }
        Ok(frames)
    }
}

impl EventLog for MemoryLog {
    fn submit(&self, appends: Vec<Append>, done: Done) {
        for append in &appends {
            assert_eq!(
                append.frame.first_seq(),
                append.expected.seq + 1,
                "a frame follows the head it expects"
            );
        }
        let submitted =
            Submitted { writer: self.writer, is_closed: Arc::clone(&self.is_closed), appends, done };
        let mut state = self.state();
        if state.held {
            state.waiting.push_back(submitted);
            return;
        }
        state.commit(submitted);
        self.notify(state);
    }

    fn is_shared(&self) -> bool {
        self.state().writers > 0
    }

    fn head(&self, session: SessionId) -> Option<Head> {
        self.state().logs.get(&session).map(Log::head)
    }

    fn read(&self, session: SessionId, from: Seq, limit: ReadLimit) -> Result<Reading, LogError> {
        let state = self.state();
        let log = state.logs.get(&session).ok_or(LogError::NotFound(session))?;
        if from < log.first_seq {
            return Err(LogError::Trimmed { first_seq: log.first_seq });
        }
        Ok(Reading { head: log.head(), first_seq: log.first_seq, frames: log.read(from, limit)? })
    }

    fn list(&self) -> Result<Vec<Listed>, LogError> {
        Ok(self.state().logs.iter().map(|(session, log)| log.listed(*session)).collect())
    }

    fn find(&self, session: SessionId) -> Result<Listed, LogError> {
        let state = self.state();
        state.logs.get(&session).map(|log| log.listed(session)).ok_or(LogError::NotFound(session))
    }

    fn observe(&self, observer: Observer) {
        let mut observers = self.store.observers.lock().unwrap_or_else(PoisonError::into_inner);
        observers.push((self.writer, Arc::new(observer)));
    }

    fn trim(&self, session: SessionId, before: Seq) -> Result<Seq, LogError> {
        let mut state = self.state();
        let log = state.logs.get_mut(&session).ok_or(LogError::NotFound(session))?;
        if log.archived.is_some() {
            return Err(LogError::Refused("the log is archived".into()));
        }
        let gone = log.index(before);
        log.frames.drain(..gone);
        log.first_seq = log.frames.front().map_or(log.head + 1, Frame::first_seq);
        Ok(log.first_seq)
    }

    fn archive(&self, session: SessionId, now: u64) -> Result<(), LogError> {
        let mut state = self.state();
        let place = state.archived;
        let log = state.logs.get_mut(&session).ok_or(LogError::NotFound(session))?;
        if let Some(frame) = log.frames.iter().find(|frame| log.damage_in(frame)) {
            let (from, to) = (frame.first_seq(), frame.last_seq());
            return Err(LogError::Damaged { from, to, detail: "made unreadable".into() });
        }
        if log.archived.is_none() {
            log.archived = Some((now, place));
            state.archived += 1;
            let change = Change::Archived(session);
            state.notices.push_back(Notice::Change { change, but: Some(self.writer) });
        }
        self.notify(state);
        Ok(())
    }

    fn retain(&self, now: u64, retention: Retention) -> Result<Vec<(SessionId, Epoch)>, LogError> {
        let mut state = self.state();
        let overdue = state.overdue(now, retention);
        let remove = |session| Ok((session, state.remove(session, self.writer)?));
        let removed = overdue.into_iter().map(remove).collect();
        self.notify(state);
        removed
    }

    fn delete(&self, session: SessionId) -> Result<(), LogError> {
        let mut state = self.state();
        let removed = state.remove(session, self.writer);
        self.notify(state);
        removed.map(|_| ())
    }

    fn health(&self) -> Health {
        self.state().health.clone().unwrap_or(Health::Writable)
    }

    fn close(&self) -> Result<(), LogError> {
        // Delayed appends count as in flight.
        self.release();
        self.is_closed.store(true, Ordering::Release);
        Ok(())
    }
}
