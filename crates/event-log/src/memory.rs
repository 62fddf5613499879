//! An engine that keeps its logs in memory: the simplest implementation of the contract, used by the tests of
//! everything above.
//!
//! It owns the logs and the order in which outcomes are reported. Faults can be injected: an answer that contradicts
//! what was written, delayed completions, a full or failed engine, events that cannot be read.
//! Its contents are lost when it is dropped.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agentbench_protocol::{Epoch, Head, Seq, SessionId};
use bytes::Bytes;

use crate::{
    Append, Appended, Done, EventLog, Frame, Health, Listed, LogError, Observer, ReadLimit, Reading,
};

/// All logs in memory. See the module's documentation for its uses.
#[derive(Default)]
pub struct MemoryLog {
    state: Mutex<State>,
    observers: Mutex<Vec<Arc<Observer>>>,
}

#[derive(Default)]
struct State {
    logs: HashMap<SessionId, Log>,
    /// Answers to give instead of the true ones, to the next appends in turn.
    faults: VecDeque<Fault>,
    health: Option<Health>,
    held: bool,
    waiting: VecDeque<(Vec<Append>, Done)>,
    closed: bool,
    /// Commits not reported yet. One thread at a time reports them, so the order is that of the commits.
    notices: VecDeque<Notice>,
    notifying: bool,
}

struct Log {
    epoch: Epoch,
    head: Seq,
    first_seq: Seq,
    frames: VecDeque<Frame>,
    summary: Bytes,
    archived: bool,
    damaged: Vec<(Seq, Seq)>,
}

struct Fault {
    answer: Appended,
    write: bool,
}

struct Notice {
    committed: Vec<(SessionId, Head, Frame)>,
    outcomes: Vec<Appended>,
    done: Done,
}

impl MemoryLog {
    /// An engine without logs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers the next append with `answer` without writing anything.
    pub fn fail_next(&self, answer: Appended) {
        self.state().faults.push_back(Fault { answer, write: false });
    }

    /// Writes the next append as usual, but answers with `answer`, as when the outcome of a commit is lost.
    pub fn write_but_answer(&self, answer: Appended) {
        self.state().faults.push_back(Fault { answer, write: true });
    }

    /// Delays appends until [`release`](Self::release), like a slow storage.
    pub fn hold(&self) {
        self.state().held = true;
    }

    /// Commits delayed appends in order, and stops delaying.
    pub fn release(&self) {
        let mut state = self.state();
        state.held = false;
        while let Some((appends, done)) = state.waiting.pop_front() {
            state.commit(appends, done);
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
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports all notices, unless another call (including this thread's own, further up) is already doing so.
    fn notify<'a>(&'a self, mut state: MutexGuard<'a, State>) {
        if state.notifying {
            return;
        }
        state.notifying = true;
        while let Some(notice) = state.notices.pop_front() {
            drop(state);
            let observers = self.observers.lock().unwrap_or_else(PoisonError::into_inner).clone();
            for (session, head, frame) in &notice.committed {
                for observer in &observers {
                    observer(*session, *head, frame);
                }
            }
            (notice.done)(notice.outcomes);
            state = self.state();
        }
        state.notifying = false;
    }
}

impl State {
    fn commit(&mut self, appends: Vec<Append>, done: Done) {
        let mut committed = Vec::new();
        let outcomes = appends.into_iter().map(|append| self.append(append, &mut committed)).collect();
        self.notices.push_back(Notice { committed, outcomes, done });
    }

    fn append(&mut self, append: Append, committed: &mut Vec<(SessionId, Head, Frame)>) -> Appended {
        if self.closed {
            return Appended::Unavailable("the log is closed".into());
        }
        match &self.health {
            Some(Health::Full) => return Appended::Full,
            Some(Health::Failed(reason)) => return Appended::Unavailable(reason.clone()),
            Some(Health::Writable) | None => {}
        }
        match self.faults.pop_front() {
            None => self.write(append, committed),
            Some(Fault { answer, write }) => {
                if write {
                    self.write(append, committed);
                }
                answer
            }
        }
    }

    fn write(&mut self, append: Append, committed: &mut Vec<(SessionId, Head, Frame)>) -> Appended {
        let Append { session, expected, frame, summary } = append;
        let Some(log) = self.logs.get_mut(&session) else {
            if expected.seq != 0 {
                return Appended::Conflict(None);
            }
            let mut log = Log::new(expected.epoch);
            let head = log.push(&frame, summary);
            self.logs.insert(session, log);
            committed.push((session, head, frame));
            return Appended::Committed(head);
        };
        if expected == log.head() {
            if log.archived {
                return Appended::Unavailable("the log is archived".into());
            }
            let head = log.push(&frame, summary);
            committed.push((session, head, frame));
            return Appended::Committed(head);
        }
        if expected.epoch == log.epoch && log.holds(&frame) {
            return Appended::Committed(log.head());
        }
        Appended::Conflict(Some(log.head()))
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
            archived: false,
            damaged: Vec::new(),
        }
    }

    fn head(&self) -> Head {
        Head { epoch: self.epoch, seq: self.head }
    }

    fn push(&mut self, frame: &Frame, summary: Option<Bytes>) -> Head {
        self.head = frame.last_seq();
        self.frames.push_back(frame.clone());
        if let Some(summary) = summary {
            self.summary = summary;
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
        let mut state = self.state();
        if state.held {
            state.waiting.push_back((appends, done));
            return;
        }
        state.commit(appends, done);
        self.notify(state);
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
        let state = self.state();
        let listed = |(session, log): (&SessionId, &Log)| Listed {
            session: *session,
            head: log.head(),
            summary: log.summary.clone(),
            archived: log.archived,
        };
        Ok(state.logs.iter().map(listed).collect())
    }

    fn observe(&self, observer: Observer) {
        self.observers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(observer));
    }

    fn trim(&self, session: SessionId, before: Seq) -> Result<Seq, LogError> {
        let mut state = self.state();
        let log = state.logs.get_mut(&session).ok_or(LogError::NotFound(session))?;
        if log.archived {
            return Err(LogError::Refused("the log is archived".into()));
        }
        let gone = log.index(before);
        log.frames.drain(..gone);
        log.first_seq = log.frames.front().map_or(log.head + 1, Frame::first_seq);
        Ok(log.first_seq)
    }

    fn archive(&self, session: SessionId) -> Result<(), LogError> {
        let mut state = self.state();
        let log = state.logs.get_mut(&session).ok_or(LogError::NotFound(session))?;
        if let Some(frame) = log.frames.iter().find(|frame| log.damage_in(frame)) {
            let (from, to) = (frame.first_seq(), frame.last_seq());
            return Err(LogError::Damaged { from, to, detail: "made unreadable".into() });
        }
        log.archived = true;
        Ok(())
    }

    fn delete(&self, session: SessionId) -> Result<(), LogError> {
        self.state().logs.remove(&session).map(|_| ()).ok_or(LogError::NotFound(session))
    }

    fn health(&self) -> Health {
        self.state().health.clone().unwrap_or(Health::Writable)
    }

    fn close(&self) -> Result<(), LogError> {
        // Delayed appends count as in flight.
        self.release();
        self.state().closed = true;
        Ok(())
    }
}
