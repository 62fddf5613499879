//! Counters shared by the links of a run, and the supervision: a run ends with its first failure, and when it stalls.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use hdrhistogram::Histogram;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Time between two checks for progress.
const LOOK: Duration = Duration::from_millis(250);

/// Counters and supervision of a run.
pub(super) struct Tally {
    /// Answers or deliveries so far.
    pub(super) answered: Cell<u64>,
    /// From sending (or the scheduled time) to the answer, µs.
    pub(super) latency: RefCell<Histogram<u64>>,
    /// The run is over; links that end now have not failed.
    pub(super) done: Cell<bool>,
    /// Number of answers at which the waiting task is woken.
    pub(super) expected: Cell<u64>,
    pub(super) arrived: Notify,
    failure: RefCell<Option<anyhow::Error>>,
    failed: Notify,
}

impl Tally {
    pub(super) fn new() -> anyhow::Result<Rc<Self>> {
        Ok(Rc::new(Self {
            answered: Cell::new(0),
            latency: RefCell::new(Histogram::new(3)?),
            done: Cell::new(false),
            expected: Cell::new(u64::MAX),
            arrived: Notify::new(),
            failure: RefCell::new(None),
            failed: Notify::new(),
        }))
    }

    /// Records answers that arrived now, to messages sent at these times.
    pub(super) fn count(&self, sent: impl Iterator<Item = Instant>) {
        let (now, mut latency, mut count) = (Instant::now(), self.latency.borrow_mut(), 0);
        for sent in sent {
            // A run is far shorter than the histogram's range.
            let _ = latency.record(now.saturating_duration_since(sent).as_micros() as u64);
            count += 1;
        }
        self.add(count);
    }

    /// Records `count` answers without a send time.
    pub(super) fn add(&self, count: u64) {
        let answered = self.answered.get() + count;
        self.answered.set(answered);
        if answered >= self.expected.get() {
            self.arrived.notify_one();
        }
    }

    /// Runs a link's task; if it fails, so does the run.
    pub(super) fn spawn(self: &Rc<Self>, task: impl Future<Output = anyhow::Result<()>> + 'static) -> Task {
        let tally = Rc::clone(self);
        Task(tokio::task::spawn_local(async move {
            if let Err(error) = task.await
                && !tally.done.get()
            {
                tally.failure.borrow_mut().get_or_insert(error);
                tally.failed.notify_one();
            }
        }))
    }

    /// Waits for `work`, unless a link fails or there is no progress for `patience`.
    pub(super) async fn watch<T>(
        &self,
        patience: Duration,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        tokio::select! {
            done = work => done,
            () = self.failed.notified() => {
                Err(self.failure.borrow_mut().take().unwrap_or_else(|| anyhow!("a connection failed")))
            }
            error = self.silence(patience) => Err(error),
        }
    }

    /// Returns when nothing was answered for `patience`.
    async fn silence(&self, patience: Duration) -> anyhow::Error {
        let (mut last, mut since) = (self.answered.get(), Instant::now());
        while since.elapsed() < patience {
            tokio::time::sleep(LOOK.min(patience)).await;
            if self.answered.get() != last {
                (last, since) = (self.answered.get(), Instant::now());
            }
        }
        anyhow!(
            "nothing came back for {patience:?} after {last} answers: the server hangs, or does another job than the requested one"
        )
    }

    /// Starts the measured time here.
    pub(super) fn begin(&self) -> u64 {
        self.latency.borrow_mut().reset();
        self.answered.get()
    }
}

/// A link's task, aborted on drop.
pub(super) struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Checks a plan before anything is opened.
pub(super) fn check(connections: usize, at_once: usize) -> anyhow::Result<()> {
    if connections == 0 || at_once == 0 {
        bail!("there must be at least one connection and one message in flight");
    }
    Ok(())
}
