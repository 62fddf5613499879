//! What a fleet counts while it runs, for progress and for the report.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use agentbench_load::latency::{DurationRecorder, LatencyRecorder};

/// Counters and histograms, shared by all clients of a run.
#[derive(Debug)]
pub struct Meters {
    begin: Instant,
    counters: [AtomicU64; Counter::COUNT],
    last_ack: AtomicU64,
    last_delivery: AtomicU64,
    histograms: Mutex<Histograms>,
}

/// The histograms.
#[derive(Debug, Clone, Default)]
pub struct Histograms {
    /// Publish to ack.
    pub ack: LatencyRecorder,
    /// Publish to delivery at the follower.
    pub delivery: LatencyRecorder,
    /// From the planned to the real moment of sending: how well the generator keeps its schedule.
    pub lag: DurationRecorder,
    /// A connection: TCP, upgrade and the server's first message.
    pub connect: DurationRecorder,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// Connections made at the beginning.
    Connected,
    /// Connections that failed at the beginning.
    ConnectFailed,
    /// Publishes begun.
    Sent,
    /// Publishes acked.
    Acked,
    /// Of those, the ones that the log had already.
    Duplicates,
    /// Publishes refused.
    Refused,
    /// Publishes that were given up before they were handed to a connection.
    NeverSent,
    /// Publishes whose outcome is not known.
    Unknown,
    /// Events delivered to followers.
    Delivered,
    /// Connections made again.
    Reconnects,
    /// Events sent again.
    Retried,
    /// Bytes that the clients received.
    BytesIn,
    /// Bytes that the clients sent.
    BytesOut,
}

impl Counter {
    const COUNT: usize = Self::BytesOut as usize + 1;
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            begin: Instant::now(),
            counters: Default::default(),
            last_ack: AtomicU64::new(0),
            last_delivery: AtomicU64::new(0),
            histograms: Mutex::default(),
        }
    }
}

impl Meters {
    /// Time since the run began: the clock of all its clients.
    pub fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    /// When the run began.
    pub fn begin(&self) -> Instant {
        self.begin
    }

    /// Counts.
    pub fn add(&self, counter: Counter, count: u64) {
        self.counters[counter as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn get(&self, counter: Counter) -> u64 {
        self.counters[counter as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn acked(&self, planned: Duration, sent: Duration) {
        let now = self.now();
        self.add(Counter::Acked, 1);
        self.last_ack.fetch_max(now.as_micros() as u64, Ordering::Relaxed);
        self.histograms().ack.record(planned, sent, now);
    }

    pub(crate) fn delivered(&self, planned: Duration, sent: Duration) {
        let now = self.now();
        self.add(Counter::Delivered, 1);
        self.last_delivery.fetch_max(now.as_micros() as u64, Ordering::Relaxed);
        self.histograms().delivery.record(planned, sent, now);
    }

    /// When the last ack came.
    pub fn last_ack(&self) -> Duration {
        Duration::from_micros(self.last_ack.load(Ordering::Relaxed))
    }

    /// When the last event was delivered.
    pub fn last_delivery(&self) -> Duration {
        Duration::from_micros(self.last_delivery.load(Ordering::Relaxed))
    }

    /// The histograms.
    pub fn histograms(&self) -> MutexGuard<'_, Histograms> {
        self.histograms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
