//! The figures that a page shows, as one JSON object: counts now, and rates over the last ten seconds.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::shared::Shared;

/// Time over which rates are told, ms.
const WINDOW_MS: u64 = 10_000;
/// Time between samples, ms; the tick that takes them may be quicker.
const SAMPLE_MS: u64 = 500;

/// The object of `GET /api/v1/stats`.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatsInfo {
    /// Open connections, WebSockets and streams.
    connected_clients: usize,
    /// Sessions that have not ended.
    active_sessions: usize,
    /// Events taken from publishers since the start.
    total_messages: u64,
    /// Events taken a second, over the last ten seconds.
    messages_per_second: f64,
    /// Mean time from handing events to the log to its word, ms, over the last ten seconds; 0 if there were none.
    average_latency: f64,
    /// Refused messages for each message (events and refusals), 0 to 1, over the last ten seconds; 0 if there were none.
    error_rate: f64,
    /// The process's memory.
    memory_usage: MemoryUsage,
}

/// Memory of the process as the kernel counts it, in bytes, under the names that Node.js uses.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct MemoryUsage {
    /// Resident memory (`VmRSS`).
    rss: u64,
    /// Heap and stacks, resident or not (`VmData`).
    heap_total: u64,
    /// Their resident part (`RssAnon`).
    heap_used: u64,
}

/// Sums since the start.
#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    at: u64,
    messages: u64,
    errors: u64,
    commits: u64,
    commit_micros: u64,
}

/// What rates are made of.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    commits: AtomicU64,
    commit_micros: AtomicU64,
    samples: Mutex<VecDeque<Sample>>,
}

impl Stats {
    /// The log has answered a batch.
    pub(crate) fn settled(&self, took: Duration) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.commit_micros.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
    }

    fn sums(&self, shared: &Shared, at: u64) -> Sample {
        Sample {
            at,
            messages: shared.metrics.events_received.get(),
            errors: shared.metrics.errors_sum(),
            commits: self.commits.load(Ordering::Relaxed),
            commit_micros: self.commit_micros.load(Ordering::Relaxed),
        }
    }

    /// Called with every tick of one worker.
    pub(crate) fn sample(&self, shared: &Shared, now: u64) {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.back().is_some_and(|last| now.saturating_sub(last.at) < SAMPLE_MS) {
            return;
        }
        samples.push_back(self.sums(shared, now));
        while samples.get(1).is_some_and(|second| now.saturating_sub(second.at) >= WINDOW_MS) {
            samples.pop_front();
        }
    }

    pub(crate) fn describe(&self, shared: &Shared) -> StatsInfo {
        let newest = self.sums(shared, crate::now_ms());
        let oldest = self.samples.lock().unwrap_or_else(PoisonError::into_inner).front().copied();
        let rates = rates(oldest.unwrap_or_default(), newest);
        StatsInfo {
            connected_clients: shared.connections(),
            active_sessions: shared.catalog.active(),
            total_messages: newest.messages,
            messages_per_second: rates.0,
            average_latency: rates.1,
            error_rate: rates.2,
            memory_usage: memory(&std::fs::read_to_string("/proc/self/status").unwrap_or_default()),
        }
    }
}

/// Messages a second, mean commit time in ms, and refusals for each message.
fn rates(oldest: Sample, newest: Sample) -> (f64, f64, f64) {
    let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    let messages = newest.messages - oldest.messages;
    let errors = newest.errors - oldest.errors;
    let per_second = share(messages * 1_000, newest.at.saturating_sub(oldest.at));
    let latency =
        share(newest.commit_micros - oldest.commit_micros, newest.commits - oldest.commits) / 1_000.0;
    (per_second, latency, share(errors, messages + errors))
}

/// Reads `/proc/self/status` (proc(5)).
fn memory(status: &str) -> MemoryUsage {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    };
    MemoryUsage { rss: field("VmRSS"), heap_total: field("VmData"), heap_used: field("RssAnon") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_what_came_between() {
        let oldest = Sample { at: 1_000, messages: 100, errors: 1, commits: 10, commit_micros: 5_000 };
        let newest = Sample { at: 11_000, messages: 190, errors: 11, commits: 12, commit_micros: 9_000 };
        assert_eq!(rates(oldest, newest), (9.0, 2.0, 0.1));
        assert_eq!(rates(newest, newest), (0.0, 0.0, 0.0));
    }

    #[test]
    fn memory_is_what_the_kernel_says() {
        let status = "Name:\tx\nVmRSS:\t    12 kB\nRssAnon:\t 5 kB\nVmData:\t 30 kB\n";
        let expected = MemoryUsage { rss: 12_288, heap_total: 30_720, heap_used: 5_120 };
        assert_eq!(memory(status), expected);
        assert_eq!(memory(""), MemoryUsage::default());
    }
}
