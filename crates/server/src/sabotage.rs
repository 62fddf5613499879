//! A server that is broken on purpose, so that the suite can prove that it detects defects: four of them, each a typical
//! mistake of a hub like this one.
//!
//! They exist only behind the cargo feature `sabotage`, which no release has; there `AGENTBENCH_SABOTAGE` names the
//! defect. Without the feature all of this does nothing.

use std::borrow::Cow;
use std::sync::Arc;

use agentbench_event_log::{EventLog, Frame};
use agentbench_protocol::{Seq, StartAt};

/// What is broken; nothing, in a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sabotage {
    #[cfg(feature = "sabotage")]
    defect: Option<broken::Defect>,
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
        Self { defect: broken::Defect::named(name) }
    }

    /// Acks events before they are logged.
    pub(crate) fn log(self, log: Arc<dyn EventLog>) -> Arc<dyn EventLog> {
        match self.defect {
            Some(broken::Defect::AckBeforeLog) => Arc::new(broken::EagerLog::new(log)),
            _ => log,
        }
    }

    /// Drops the dedupe window when a session is loaded.
    pub(crate) fn dedupe_tail(self, tail: &[Frame]) -> &[Frame] {
        if self.defect == Some(broken::Defect::ForgetDedupe) { &[] } else { tail }
    }

    /// Skips one event on resume, if there is one to skip.
    pub(crate) fn resume_after(self, from: &StartAt, after: Seq, head: Seq) -> Seq {
        let is_resume = matches!(from, StartAt::After(_)) && after < head;
        after + Seq::from(is_resume && self.defect == Some(broken::Defect::SkipOnResume))
    }

    /// Swaps the first two of several events that are written together.
    pub(crate) fn order(self, frames: &[Frame]) -> Cow<'_, [Frame]> {
        if self.defect == Some(broken::Defect::SwapTwo) {
            broken::swap_two(frames)
        } else {
            Cow::Borrowed(frames)
        }
    }
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
    use agentbench_protocol::{Head, Seq, SessionId};

    /// What is broken.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(super) enum Defect {
        AckBeforeLog,
        ForgetDedupe,
        SkipOnResume,
        SwapTwo,
    }

    impl Defect {
        pub(super) fn named(name: &str) -> Option<Self> {
            Some(match name {
                "ack_before_log" => Self::AckBeforeLog,
                "forget_dedupe" => Self::ForgetDedupe,
                "skip_on_resume" => Self::SkipOnResume,
                "swap_two" => Self::SwapTwo,
                _ => return None,
            })
        }
    }

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

        fn retain(&self, now: u64, retention: Retention) -> Result<Vec<SessionId>, LogError> {
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
