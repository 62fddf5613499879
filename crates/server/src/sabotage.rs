//! A server that is broken on purpose, so that the suite and the simulation can prove that they detect defects, each a typical
//! mistake of a hub like this one.
//!
//! They exist only behind the cargo feature `sabotage`, which no release has; there `AGENTBENCH_SABOTAGE` names the
//! defect. Without the feature all of this does nothing.

use std::borrow::Cow;
use std::sync::Arc;

use agentbench_event_log::{Appended, EventLog, Frame};
use agentbench_protocol::{Seq, StartAt};
use agentbench_session::Session;

/// A defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "sabotage"),
    expect(dead_code, reason = "only what has no place of its own here is asked for")
)]
pub(crate) enum Defect {
    /// Acks events, and writes them a little later.
    AckBeforeLog,
    /// Drops the dedupe window when a session is loaded.
    ForgetDedupe,
    /// Leaves out one event when a reader resumes.
    SkipOnResume,
    /// Swaps two events that are written together.
    SwapTwo,
    /// Takes an unknown outcome for a commit.
    AckBeforeCommit,
    /// Does not remember the ids that another writer used.
    ForgetWindow,
    /// Does not deliver what another writer has committed.
    StarveFollower,
    /// Takes what this process knows of a log's end for the end.
    StaleHead,
    /// Keeps sessions that another process has removed.
    BackFromRemoval,
    /// Keeps participants whose connections have ended.
    Ghosts,
    /// Gives space in the commit backlog back twice.
    PermitTwice,
}

/// What is broken; nothing, in a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sabotage {
    #[cfg(feature = "sabotage")]
    defect: Option<Defect>,
}

#[cfg(not(feature = "sabotage"))]
impl Sabotage {
    pub(crate) fn from_env() -> Self {
        Self::default()
    }

    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn named(_: &str) -> Self {
        Self::default()
    }

    pub(crate) fn log(self, log: Arc<dyn EventLog>) -> Arc<dyn EventLog> {
        log
    }

    pub(crate) fn dedupe_tail(self, tail: &[Frame]) -> &[Frame] {
        tail
    }

    pub(crate) fn resume_after(self, _: &StartAt, after: Seq, _: Seq) -> Seq {
        after
    }

    pub(crate) fn order(self, frames: &[Frame]) -> Cow<'_, [Frame]> {
        Cow::Borrowed(frames)
    }

    pub(crate) fn outcome<'a>(self, appended: &'a Appended, _: &Session) -> Cow<'a, Appended> {
        Cow::Borrowed(appended)
    }

    pub(crate) fn observed(self, frames: &[Frame]) -> Cow<'_, [Frame]> {
        Cow::Borrowed(frames)
    }

    pub(crate) const fn is(self, _: Defect) -> bool {
        false
    }
}

#[cfg(feature = "sabotage")]
impl Sabotage {
    /// What `AGENTBENCH_SABOTAGE` names.
    pub(crate) fn from_env() -> Self {
        let sabotage = Self::named(&std::env::var("AGENTBENCH_SABOTAGE").unwrap_or_default());
        if let Some(defect) = sabotage.defect {
            tracing::error!(?defect, "THIS SERVER IS BROKEN ON PURPOSE");
        }
        sabotage
    }

    /// The defect of this name, or none.
    pub(crate) fn named(name: &str) -> Self {
        Self { defect: named(name) }
    }

    /// Acks events before they are logged.
    pub(crate) fn log(self, log: Arc<dyn EventLog>) -> Arc<dyn EventLog> {
        match self.defect {
            Some(Defect::AckBeforeLog) => Arc::new(broken::EagerLog::new(log)),
            _ => log,
        }
    }

    /// Drops the dedupe window when a session is loaded.
    pub(crate) fn dedupe_tail(self, tail: &[Frame]) -> &[Frame] {
        if self.defect == Some(Defect::ForgetDedupe) { &[] } else { tail }
    }

    /// Skips one event on resume, if there is one to skip.
    pub(crate) fn resume_after(self, from: &StartAt, after: Seq, head: Seq) -> Seq {
        let is_resume = matches!(from, StartAt::After(_)) && after < head;
        after + Seq::from(is_resume && self.defect == Some(Defect::SkipOnResume))
    }

    /// Swaps the first two of several events that are written together.
    pub(crate) fn order(self, frames: &[Frame]) -> Cow<'_, [Frame]> {
        if self.defect == Some(Defect::SwapTwo) { broken::swap_two(frames) } else { Cow::Borrowed(frames) }
    }

    /// The log's word on a frame, or a better one than it has given.
    pub(crate) fn outcome<'a>(self, appended: &'a Appended, session: &Session) -> Cow<'a, Appended> {
        match (appended, session.in_flight_to()) {
            (Appended::Unknown(_), Some(to)) if self.is(Defect::AckBeforeCommit) => {
                Cow::Owned(Appended::Committed(to))
            }
            _ => Cow::Borrowed(appended),
        }
    }

    /// Frames of another writer with other ids than they have.
    pub(crate) fn observed(self, frames: &[Frame]) -> Cow<'_, [Frame]> {
        if !self.is(Defect::ForgetWindow) {
            return Cow::Borrowed(frames);
        }
        Cow::Owned(frames.iter().map(broken::renamed).collect())
    }

    /// Whether the server has this defect.
    pub(crate) fn is(self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }
}

#[cfg(feature = "sabotage")]
fn named(name: &str) -> Option<Defect> {
    Some(match name {
        "ack_before_log" => Defect::AckBeforeLog,
        "forget_dedupe" => Defect::ForgetDedupe,
        "skip_on_resume" => Defect::SkipOnResume,
        "swap_two" => Defect::SwapTwo,
        "ack_before_commit" => Defect::AckBeforeCommit,
        "forget_window" => Defect::ForgetWindow,
        "starve_follower" => Defect::StarveFollower,
        "stale_head" => Defect::StaleHead,
        "back_from_removal" => Defect::BackFromRemoval,
        "ghosts" => Defect::Ghosts,
        "permit_twice" => Defect::PermitTwice,
        _ => return None,
    })
}

#[cfg(feature = "sabotage")]
mod broken {
    use std::borrow::Cow;
    use std::collections::HashMap;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Arc, Mutex, PoisonError};
    use std::thread;
    use std::time::{Duration, Instant};

    use agentbench_event_log::{
        Append, Appended, Done, EventLog, Frame, FrameBuilder, Health, Listed, LogError, MAX_FRAME_EVENTS,
        Observer, ReadLimit, Reading, Record, Retention,
    };
    use agentbench_protocol::{Epoch, Head, Seq, SessionId};

    /// All events as one frame with the first two swapped. Their envelopes keep their real positions.
    pub(super) fn swap_two(frames: &[Frame]) -> Cow<'_, [Frame]> {
        let mut records: Vec<Record<'_>> =
            frames.iter().flat_map(|frame| frame.records().map(|(_, record)| record)).collect();
        let count = records.len();
        if !(2..=MAX_FRAME_EVENTS).contains(&count) {
            return Cow::Borrowed(frames);
        }
        records.swap(0, 1);
        let mut builder = FrameBuilder::new(frames[0].first_seq(), 0);
        records.iter().for_each(|record| builder.push(record));
        Cow::Owned(vec![builder.finish()])
    }

    /// The same frame, but for the ids of its events.
    pub(super) fn renamed(frame: &Frame) -> Frame {
        let mut builder = FrameBuilder::new(frame.first_seq(), 0);
        for (seq, record) in frame.records() {
            builder.push(&Record { id: &format!("unknown-{seq}"), ..record });
        }
        builder.finish()
    }

    /// How long an acked event is only in memory.
    const LATE_BY: Duration = Duration::from_millis(300);

    /// A log that reports commits at once and writes them a little later.
    pub(super) struct EagerLog {
        inner: Arc<dyn EventLog>,
        heads: Mutex<HashMap<SessionId, Head>>,
        queue: Mutex<Sender<(Vec<Append>, Done)>>,
    }

    impl EagerLog {
        pub(super) fn new(inner: Arc<dyn EventLog>) -> Self {
            let (queue, queued) = channel::<(Vec<Append>, Done)>();
            let (late, to_write) = channel();
            thread::spawn(move || {
                for (appends, done) in queued {
                    done(appends.iter().map(|append| Appended::Committed(head_of(append))).collect());
                    if late.send((crate::clock::instant() + LATE_BY, appends)).is_err() {
                        return;
                    }
                }
            });
            let log = Arc::clone(&inner);
            thread::spawn(move || write_late(&*log, &to_write));
            Self { inner, heads: Mutex::default(), queue: Mutex::new(queue) }
        }
    }

    fn write_late(log: &dyn EventLog, to_write: &Receiver<(Instant, Vec<Append>)>) {
        for (due, appends) in to_write {
            thread::sleep(due.saturating_duration_since(crate::clock::instant()));
            log.submit(appends, Box::new(|_| {}));
        }
    }

    fn head_of(append: &Append) -> Head {
        Head { seq: append.frame.last_seq(), ..append.expected }
    }

    impl EventLog for EagerLog {
        fn submit(&self, appends: Vec<Append>, done: Done) {
            let heads = appends.iter().map(|append| (append.session, head_of(append)));
            self.heads.lock().unwrap_or_else(PoisonError::into_inner).extend(heads);
            // The thread ends only with this log.
            let _ = self.queue.lock().unwrap_or_else(PoisonError::into_inner).send((appends, done));
        }

        fn is_shared(&self) -> bool {
            self.inner.is_shared()
        }

        fn damaged_frames(&self) -> u64 {
            self.inner.damaged_frames()
        }

        fn head(&self, session: SessionId) -> Option<Head> {
            let heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
            heads.get(&session).copied().or_else(|| self.inner.head(session))
        }

        fn read(&self, session: SessionId, from: Seq, limit: ReadLimit) -> Result<Reading, LogError> {
            self.inner.read(session, from, limit)
        }

        fn list(&self) -> Result<Vec<Listed>, LogError> {
            self.inner.list()
        }

        fn find(&self, session: SessionId) -> Result<Listed, LogError> {
            self.inner.find(session)
        }

        fn observe(&self, observer: Observer) {
            self.inner.observe(observer);
        }

        fn trim(&self, session: SessionId, before: Seq) -> Result<Seq, LogError> {
            self.inner.trim(session, before)
        }

        fn archive(&self, session: SessionId, now: u64) -> Result<(), LogError> {
            self.inner.archive(session, now)
        }

        fn retain(&self, now: u64, retention: Retention) -> Result<Vec<(SessionId, Epoch)>, LogError> {
            self.inner.retain(now, retention)
        }

        fn delete(&self, session: SessionId) -> Result<(), LogError> {
            self.inner.delete(session)
        }

        fn health(&self) -> Health {
            self.inner.health()
        }

        fn close(&self) -> Result<(), LogError> {
            self.inner.close()
        }
    }
}
