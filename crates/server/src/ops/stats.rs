//! The server's statistics as one JSON object: current counts, rates and percentiles of the last ten seconds.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::machine::{Disk, FileDescriptors, HostUsage, MemoryUsage};
use super::readers::SlowReader;
use crate::alerts::Firing;
use crate::clock;
use crate::figures::histogram::Snapshot;
use crate::figures::meters::Delays;
use crate::session::catalog::Census;

/// Time over which rates are computed, ms.
const WINDOW_MS: u64 = 10_000;
/// Time between samples, ms; the checks that take them may be more frequent.
const SAMPLE_MS: u64 = 500;
/// Pause between two counts of all sessions, and between two walks of the data folder, as a multiple of their duration.
const REST: u32 = 50;

/// The object of `GET /api/v1/stats`.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatsInfo {
    /// Open connections, WebSockets and streams.
    pub(crate) connected_clients: usize,
    /// Sessions that have not ended.
    pub(crate) active_sessions: usize,
    /// Events taken from publishers since the start.
    pub(crate) total_messages: u64,
    /// Events taken a second, over the last ten seconds.
    pub(crate) messages_per_second: f64,
    /// Mean time from taking an event to handing it to a reader's socket, ms, over the last ten seconds; 0 if there were none.
    pub(crate) average_latency: f64,
    /// Mean time from handing events to the log to its word, ms, over the last ten seconds; 0 if there were none.
    pub(crate) commit_latency: f64,
    /// Refused messages for each message (events and refusals), 0 to 1, over the last ten seconds; 0 if there were none.
    pub(crate) error_rate: f64,
    /// The process's memory.
    pub(crate) memory_usage: MemoryUsage,
    /// From taking an event to the log's word on it, over the last ten seconds.
    pub(crate) published: Delay,
    /// From taking an event to handing it to a follower's socket, over the last ten seconds; readers that catch up are left out.
    pub(crate) delivered: Delay,
    /// Open connections by how they are connected.
    pub(crate) connections_by_kind: ConnectionsByKind,
    /// Sessions by state, those in the archive included.
    pub(crate) sessions_by_state: BTreeMap<&'static str, u64>,
    /// Cores used, over the last ten seconds.
    pub(crate) cpu: f64,
    /// Open files.
    pub(crate) file_descriptors: FileDescriptors,
    /// Where the log lies.
    pub(crate) disk: Disk,
    /// What waits where, and how much may.
    pub(crate) queues: Vec<Queue>,
    /// The readers that are furthest behind, at most ten.
    pub(crate) slowest_readers: Vec<SlowReader>,
    /// Running sessions that have gone silent.
    pub(crate) stalled_sessions: u64,
    /// Alerts that fire.
    pub(crate) alerts: Vec<Firing>,
    /// Time since the server started, ms.
    pub(crate) uptime_ms: u64,
    /// The server's version.
    pub(crate) version: &'static str,
    /// The node's name.
    pub(crate) node: String,
}

/// Times of the last ten seconds.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Delay {
    /// Half of them took no longer, ms; at most 9 % too high; 0 if there were none.
    p50_ms: f64,
    /// 99 of a hundred took no longer, ms.
    p99_ms: f64,
    /// How many there were.
    count: u64,
}

impl Delay {
    pub(crate) fn of(all: &Snapshot) -> Self {
        let millis = |share| all.quantile(share).map_or(0.0, |seconds| seconds * 1_000.0);
        Self { p50_ms: millis(0.5), p99_ms: millis(0.99), count: all.count() }
    }
}

/// Open connections.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct ConnectionsByKind {
    /// WebSockets.
    pub(crate) websocket: u64,
    /// Streams of Server-Sent Events.
    pub(crate) stream: u64,
}

/// Something that waits.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct Queue {
    /// Its name.
    pub(crate) name: &'static str,
    /// What is in it.
    pub(crate) depth: u64,
    /// What may be.
    pub(crate) bound: u64,
}

/// Sums since the start.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) at: u64,
    pub(crate) messages: u64,
    pub(crate) errors: u64,
    pub(crate) refused: u64,
    pub(crate) opened: u64,
    pub(crate) lost: u64,
    pub(crate) gaps: u64,
    pub(crate) log_refused: u64,
    pub(crate) cpu_seconds: f64,
    pub(crate) delays: Delays,
}

/// The last measurement of values that are expensive to read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Measurement {
    pub(crate) machine: HostUsage,
    pub(crate) census: Census,
}

/// Samples from which rates are computed.
pub(crate) struct Stats {
    started: Instant,
    samples: Mutex<VecDeque<Sample>>,
    latest: Mutex<Measurement>,
    next_census: Throttle,
    next_walk: Throttle,
}

impl Stats {
    pub(crate) fn new() -> Self {
        let now = clock::instant();
        Self {
            started: now,
            samples: Mutex::default(),
            latest: Mutex::default(),
            next_census: Throttle(Mutex::new(now)),
            next_walk: Throttle(Mutex::new(now)),
        }
    }

    pub(crate) fn uptime(&self) -> Duration {
        clock::since(self.started)
    }

    /// The last measurement.
    pub(crate) fn latest(&self) -> Measurement {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Measures the machine and stores the result. The disk and the sessions are measured less often, since that takes long.
    pub(crate) fn measure(&self, data_dir: &Path, census: impl FnOnce() -> Census) {
        let before = self.latest();
        let walk = self.next_walk.is_due();
        let machine = self.next_walk.timed(walk, || HostUsage::measure(data_dir, &before.machine, walk));
        let census =
            if self.next_census.is_due() { self.next_census.timed(true, census) } else { before.census };
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Measurement { machine, census };
    }

    /// Stores a sample, unless the last one is too recent.
    pub(crate) fn sample(&self, sample: Sample) {
        let now = sample.at;
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.back().is_some_and(|last| now.saturating_sub(last.at) < SAMPLE_MS) {
            return;
        }
        samples.push_back(sample);
        while samples.get(1).is_some_and(|second| now.saturating_sub(second.at) >= WINDOW_MS) {
            samples.pop_front();
        }
    }

    /// The differences over the last ten seconds, up to `newest`.
    pub(crate) fn recent(&self, newest: &Sample) -> RecentRates {
        let oldest = self.samples.lock().unwrap_or_else(PoisonError::into_inner).front().cloned();
        RecentRates::between(oldest.as_ref().unwrap_or(newest), newest)
    }
}

/// When an expensive operation may be repeated.
struct Throttle(Mutex<Instant>);

impl Throttle {
    fn is_due(&self) -> bool {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) <= clock::instant()
    }

    /// Runs it, and then rests for [`REST`] times as long as it took.
    fn timed<T>(&self, rests: bool, work: impl FnOnce() -> T) -> T {
        let began = clock::instant();
        let done = work();
        if rests {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
                clock::instant() + clock::since(began) * REST;
        }
        done
    }
}

/// Differences of two samples.
pub(crate) struct RecentRates {
    pub(crate) millis: u64,
    pub(crate) messages: u64,
    pub(crate) errors: u64,
    pub(crate) refused: u64,
    pub(crate) opened: u64,
    pub(crate) lost: u64,
    pub(crate) gaps: u64,
    pub(crate) log_refused: u64,
    /// Cores used.
    pub(crate) cpu: f64,
    pub(crate) delays: Delays,
}

impl RecentRates {
    fn between(oldest: &Sample, newest: &Sample) -> Self {
        let millis = newest.at.saturating_sub(oldest.at);
        let cpu = (newest.cpu_seconds - oldest.cpu_seconds).max(0.0) * 1_000.0;
        Self {
            millis,
            messages: newest.messages - oldest.messages,
            errors: newest.errors - oldest.errors,
            refused: newest.refused - oldest.refused,
            opened: newest.opened - oldest.opened,
            lost: newest.lost - oldest.lost,
            gaps: newest.gaps - oldest.gaps,
            log_refused: newest.log_refused - oldest.log_refused,
            cpu: if millis == 0 { 0.0 } else { cpu / millis as f64 },
            delays: Delays {
                published: newest.delays.published.since(&oldest.delays.published),
                delivered: newest.delays.delivered.since(&oldest.delays.delivered),
                commit: newest.delays.commit.since(&oldest.delays.commit),
            },
        }
    }

    /// Computed over at least one second: one event in the first millisecond is not a thousand a second.
    pub(crate) fn per_second(&self, count: u64) -> f64 {
        count as f64 * 1_000.0 / self.millis.max(1_000) as f64
    }

    pub(crate) fn error_rate(&self) -> f64 {
        let all = self.messages + self.errors;
        if all == 0 { 0.0 } else { self.errors as f64 / all as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::meters::AllMeters;

    #[test]
    fn rates_are_of_what_came_between() {
        let meters = AllMeters::new(1);
        meters.of(0).delivered.add(9.0, 1);
        let oldest = Sample {
            at: 1_000,
            messages: 100,
            errors: 1,
            refused: 0,
            opened: 5,
            lost: 0,
            gaps: 2,
            log_refused: 0,
            cpu_seconds: 1.0,
            delays: meters.delays(),
        };
        meters.of(0).delivered.add(0.004, 3);
        let then = oldest.clone();
        let newest = Sample {
            at: 11_000,
            messages: 190,
            errors: 11,
            opened: 25,
            lost: 1,
            cpu_seconds: 16.0,
            delays: meters.delays(),
            ..oldest
        };
        let recent = RecentRates::between(&then, &newest);
        assert_eq!((recent.per_second(recent.messages), recent.error_rate()), (9.0, 0.1));
        assert_eq!((recent.per_second(recent.opened), recent.lost, recent.gaps), (2.0, 1, 0));
        assert_eq!(recent.cpu, 1.5);
        let delay = Delay::of(&recent.delays.delivered);
        assert!(delay.count == 3 && (4.0..4.4).contains(&delay.p50_ms) && delay.p50_ms == delay.p99_ms);
        let nothing = RecentRates::between(&newest, &newest);
        assert_eq!(
            (nothing.per_second(nothing.messages), nothing.error_rate(), nothing.cpu),
            (0.0, 0.0, 0.0)
        );
    }
}
