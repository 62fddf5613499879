//! What this process knows of one session of the log, shared by all workers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use agentbench_protocol::{Epoch, Head, Seq, SessionId, Status};
use agentbench_session::Summary;
use tokio::sync::Notify;

use super::pace::Pace;

/// One session.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: SessionId,
    pub(crate) epoch: Epoch,
    /// Name and epoch as text, which every ack carries.
    pub(crate) name: Box<str>,
    pub(crate) epoch_text: Box<str>,
    /// The last committed seq that this process knows of.
    head: AtomicU64,
    /// Workers that have a feed of it, one bit each; outlives the session's stay in memory.
    feeds: AtomicU64,
    /// Its owner has it in memory.
    is_loaded: AtomicBool,
    /// Bytes that were added to its log since this process knows it.
    bytes: AtomicU64,
    /// When it was last used, as far as this process knows; ms since 1970.
    pub(crate) last_used: AtomicU64,
    pub(crate) archived: AtomicBool,
    /// Wakes tasks that wait for the head to move without following a feed.
    pub(crate) moved: Notify,
    pub(crate) pace: Pace,
    /// The seq up to which the summary holds, and the summary.
    summary: RwLock<(Seq, Arc<Summary>)>,
    /// Percent of its newest `progress` event, as the bits of a float; NaN if there was none.
    progress: AtomicU64,
}

impl Entry {
    pub(crate) fn new(id: SessionId, head: Head, summary: Summary, now: u64) -> Arc<Self> {
        Arc::new(Self {
            id,
            epoch: head.epoch,
            name: id.to_string().into(),
            epoch_text: head.epoch.to_string().into(),
            head: AtomicU64::new(head.seq),
            feeds: AtomicU64::new(0),
            is_loaded: AtomicBool::new(false),
            bytes: AtomicU64::new(0),
            last_used: AtomicU64::new(now),
            archived: AtomicBool::new(false),
            moved: Notify::new(),
            progress: AtomicU64::new(summary.progress.unwrap_or(f64::NAN).to_bits()),
            pace: Pace::new(now),
            summary: RwLock::new((head.seq, Arc::new(summary))),
        })
    }

    /// The end of its log, as far as this process knows.
    pub(crate) fn head(&self) -> Head {
        Head { epoch: self.epoch, seq: self.head.load(Ordering::SeqCst) }
    }

    /// The log was seen to come as far as `seq`: by a commit of this process, or of another one. Never goes back, since the two
    /// are reported by different threads.
    pub(crate) fn move_head(&self, seq: Seq) {
        self.head.fetch_max(seq, Ordering::SeqCst);
        self.moved.notify_waiters();
    }

    /// Notes that a worker has a feed of the session, or has none any more. Only for the session's owner, which knows of joins
    /// that are on their way to the worker.
    pub(crate) fn set_feed(&self, worker: usize, has_feed: bool) {
        let feeds = self.feeds.load(Ordering::Relaxed) & !(1 << worker);
        self.feeds.store(feeds | u64::from(has_feed) << worker, Ordering::Relaxed);
    }

    /// Workers that have a feed of it.
    pub(crate) fn feeds(&self) -> impl Iterator<Item = usize> + use<> {
        let mut feeds = self.feeds.load(Ordering::Relaxed);
        std::iter::from_fn(move || {
            let worker = (feeds != 0).then(|| feeds.trailing_zeros() as usize);
            feeds &= feeds.wrapping_sub(1);
            worker
        })
    }

    /// Notes whether the owner has the session in memory. Set before the owner looks at the head, and read by others after they
    /// moved the head: so the owner either is told or sees it.
    pub(crate) fn set_loaded(&self, is_loaded: bool) {
        self.is_loaded.store(is_loaded, Ordering::SeqCst);
    }

    pub(crate) fn is_loaded(&self) -> bool {
        self.is_loaded.load(Ordering::SeqCst)
    }

    /// Adds to the bytes of its log. Returns the sum.
    pub(crate) fn add_bytes(&self, bytes: usize) -> u64 {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64
    }

    pub(crate) fn summary(&self) -> Arc<Summary> {
        Arc::clone(&self.summary.read().unwrap_or_else(PoisonError::into_inner).1)
    }

    /// Called when the wall clock was set by `by` ms to `now`: shifts earlier times accordingly.
    pub(crate) fn clock_was_set(&self, by: i64, now: u64) {
        let last_used = self.last_used.load(Ordering::Relaxed).saturating_add_signed(by).min(now);
        self.last_used.store(last_used, Ordering::Relaxed);
        self.pace.clock_was_set(by, now);
    }

    /// Percent of its newest `progress` event.
    pub(crate) fn progress(&self) -> Option<f64> {
        Some(f64::from_bits(self.progress.load(Ordering::Relaxed))).filter(|percent| !percent.is_nan())
    }

    /// Only for the session's owner.
    pub(crate) fn set_progress(&self, percent: Option<f64>) {
        self.progress.store(percent.unwrap_or(f64::NAN).to_bits(), Ordering::Relaxed);
    }

    /// Replaces the summary by that of `seq`, unless a later one is there already. Returns the status before it.
    pub(super) fn set_summary(&self, seq: Seq, summary: Summary) -> Option<Status> {
        let mut current = self.summary.write().unwrap_or_else(PoisonError::into_inner);
        if seq < current.0 {
            return None;
        }
        let before = current.1.status;
        *current = (seq, Arc::new(summary));
        Some(before)
    }
}
