//! The state of the issuer: when its keys were last fetched, whether it answers, and tasks that wait for a fetch. The job
//! that fetches is [`crate::housekeeping::issuer`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use crate::clock;
use crate::config::Jwks;

/// Time limit of one fetch.
pub(crate) const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// State shared by the workers and the fetching thread.
pub(crate) struct Issuer {
    pub(crate) settings: Jwks,
    pub(crate) wanted: Notify,
    /// Completed fetches, successful or not.
    ended: watch::Sender<u64>,
    last_began: Mutex<Option<Instant>>,
    is_fetching: AtomicBool,
    is_down: AtomicBool,
    /// Unused keys, as last logged.
    unused: Mutex<Vec<String>>,
    /// When keys were last received, initially the start.
    last_taken: Mutex<Instant>,
}

impl Issuer {
    pub(crate) fn new(settings: Jwks) -> Self {
        let ended = watch::Sender::new(0);
        let (is_fetching, is_down) = (AtomicBool::new(false), AtomicBool::new(false));
        let last_taken = Mutex::new(clock::instant());
        Self {
            settings,
            wanted: Notify::new(),
            ended,
            last_began: Mutex::new(None),
            is_fetching,
            is_down,
            unused: Mutex::default(),
            last_taken,
        }
    }

    /// Requests a fetch of the keys and waits for its end. Returns at once if they were just fetched, so that made-up key ids
    /// cannot cause more frequent fetches.
    pub(crate) async fn refetch_keys(&self) {
        let mut ended = self.ended.subscribe();
        if !self.is_fetching.load(Ordering::Acquire) {
            if self.wait_before_next() > Duration::ZERO {
                return;
            }
            self.wanted.notify_one();
        }
        // After a timeout the keys are unchanged.
        let _ = tokio::time::timeout(FETCH_TIMEOUT * 2, ended.changed()).await;
    }

    /// Logs which keys are not used and why, when that changes.
    pub(crate) fn log_unused(&self, url: &str, unused: Vec<String>) {
        let mut noted = self.unused.lock().unwrap_or_else(PoisonError::into_inner);
        if *noted != unused {
            for reason in &unused {
                tracing::warn!(url, reason, "a key of the issuer is not used");
            }
            *noted = unused;
        }
    }

    /// Time since keys were last received, or since the start.
    pub(crate) fn silent_for(&self) -> Duration {
        clock::since(*self.last_taken.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Time until the keys may be fetched again.
    pub(crate) fn wait_before_next(&self) -> Duration {
        let last = *self.last_began.lock().unwrap_or_else(PoisonError::into_inner);
        last.map_or(Duration::ZERO, |last| self.settings.min_interval.saturating_sub(clock::since(last)))
    }

    pub(crate) fn begin(&self) {
        self.is_fetching.store(true, Ordering::Release);
        *self.last_began.lock().unwrap_or_else(PoisonError::into_inner) = Some(clock::instant());
    }

    /// Records the end of a fetch, successful or not.
    pub(crate) fn end(&self) {
        self.is_fetching.store(false, Ordering::Release);
        self.ended.send_modify(|count| *count += 1);
    }

    /// Records a successful fetch.
    pub(crate) fn record_success(&self) {
        *self.last_taken.lock().unwrap_or_else(PoisonError::into_inner) = clock::instant();
        self.is_down.store(false, Ordering::Relaxed);
    }

    /// Records a failed fetch. Returns whether the previous one succeeded.
    pub(crate) fn record_failure(&self) -> bool {
        !self.is_down.swap(true, Ordering::Relaxed)
    }
}
