//! Counters of a running fleet, for progress and for the report.

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
    /// When connections recovered, since the start of the run.
    returns: Mutex<Vec<Duration>>,
}

/// The histograms.
#[derive(Debug, Clone, Default)]
pub struct Histograms {
    /// Publish to ack.
    pub ack: LatencyRecorder,
    /// Publish to delivery at the follower.
    pub delivery: LatencyRecorder,
    /// From the scheduled to the actual send: how well the generator keeps its schedule.
    pub lag: DurationRecorder,
    /// A connection: TCP, upgrade and the server's first message.
    pub connect: DurationRecorder,
}

/// The counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// Connections established at the start.
    Connected,
    /// Connections that failed at the start.
    ConnectFailed,
    /// Publishes started.
    Sent,
    /// Publishes acked.
    Acked,
    /// Acked publishes that were already in the log.
    Duplicates,
    /// Publishes refused.
    Refused,
    /// Publishes abandoned before they reached a connection.
    NeverSent,
    /// Publishes with an unknown outcome.
    Unknown,
    /// Events delivered to followers.
    Delivered,
    /// Reconnects.
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
            returns: Mutex::default(),
        }
    }
}

impl Meters {
    /// Time since the start of the run: the clock of all its clients.
    pub fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    /// The start of the run.
    pub fn begin(&self) -> Instant {
        self.begin
    }

    /// Adds to a counter.
    pub fn add(&self, counter: Counter, count: u64) {
        self.counters[counter as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// The value of a counter.
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

    pub(crate) fn came_back(&self) {
        let now = self.now();
        self.returns.lock().unwrap_or_else(PoisonError::into_inner).push(now);
    }

    /// The maximum number of connections that recovered within one second.
    pub fn peak_returns(&self) -> u64 {
        let mut returns = self.returns.lock().unwrap_or_else(PoisonError::into_inner).clone();
        returns.sort_unstable();
        peak(&returns, Duration::from_secs(1))
    }

    /// The time of the last ack.
    pub fn last_ack(&self) -> Duration {
        Duration::from_micros(self.last_ack.load(Ordering::Relaxed))
    }

    /// The time of the last delivery.
    pub fn last_delivery(&self) -> Duration {
        Duration::from_micros(self.last_delivery.load(Ordering::Relaxed))
    }

    /// The histograms.
    pub fn histograms(&self) -> MutexGuard<'_, Histograms> {
        self.histograms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The maximum number of moments in a window that starts at one of them. `moments` is sorted.
fn peak(moments: &[Duration], window: Duration) -> u64 {
    let within = |(first, moment): (usize, &Duration)| {
        moments.partition_point(|later| *later < *moment + window) - first
    };
    moments.iter().enumerate().map(within).max().unwrap_or(0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_of_any_second() {
        let moments = [0, 900, 1_100, 1_500, 1_899, 1_900, 5_000].map(Duration::from_millis);
        assert_eq!(peak(&moments, Duration::from_secs(1)), 4);
        assert_eq!(peak(&[], Duration::from_secs(1)), 0);
    }
}
