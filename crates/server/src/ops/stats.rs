//! The figures that a page shows, as one JSON object: counts now, rates and percentiles of the last ten seconds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use agentbench_event_log::Health;
use agentbench_protocol::Status;
use serde::Serialize;

use super::alerts::Firing;
use super::alerts::rules::{ENOUGH_MESSAGES, LOST, Readings};
use super::histogram::Snapshot;
use super::machine::{Disk, FileDescriptors, Machine, MemoryUsage};
use super::meters::Delays;
use super::readers::SlowReader;
use crate::session::catalog::Census;
use crate::shared::Shared;

/// Time over which rates are told, ms.
const WINDOW_MS: u64 = 10_000;
/// Time between samples, ms; the looks that take them may be quicker.
const SAMPLE_MS: u64 = 500;
/// Time between two counts of all sessions, and between two walks through the data folder: so many times what one took.
const REST: u32 = 50;

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
    /// Mean time from taking an event to handing it to a reader's socket, ms, over the last ten seconds; 0 if there were none.
    average_latency: f64,
    /// Mean time from handing events to the log to its word, ms, over the last ten seconds; 0 if there were none.
    commit_latency: f64,
    /// Refused messages for each message (events and refusals), 0 to 1, over the last ten seconds; 0 if there were none.
    error_rate: f64,
    /// The process's memory.
    memory_usage: MemoryUsage,
    /// From taking an event to the log's word on it, over the last ten seconds.
    published: Delay,
    /// From taking an event to handing it to a follower's socket, over the last ten seconds; readers that catch up are left out.
    delivered: Delay,
    /// Open connections by how they are connected.
    connections_by_kind: ConnectionsByKind,
    /// Sessions by state, those in the archive included.
    sessions_by_state: BTreeMap<&'static str, u64>,
    /// Cores used, over the last ten seconds.
    cpu: f64,
    /// Open files.
    file_descriptors: FileDescriptors,
    /// Where the log lies.
    disk: Disk,
    /// What waits where, and how much may.
    queues: Vec<Queue>,
    /// The readers that are furthest behind, at most ten.
    slowest_readers: Vec<SlowReader>,
    /// Running sessions that have gone silent.
    stalled_sessions: u64,
    /// Alerts that fire.
    alerts: Vec<Firing>,
    /// Time since the server started, ms.
    uptime_ms: u64,
    /// The server's version.
    version: &'static str,
    /// The node's name.
    node: String,
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
    fn of(all: &Snapshot) -> Self {
        let millis = |share| all.quantile(share).map_or(0.0, |seconds| seconds * 1_000.0);
        Self { p50_ms: millis(0.5), p99_ms: millis(0.99), count: all.count() }
    }
}

/// Open connections.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct ConnectionsByKind {
    /// WebSockets.
    websocket: u64,
    /// Streams of Server-Sent Events.
    stream: u64,
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
struct Sample {
    at: u64,
    messages: u64,
    errors: u64,
    refused: u64,
    opened: u64,
    lost: u64,
    gaps: u64,
    log_refused: u64,
    cpu_seconds: f64,
    delays: Delays,
}

/// What costs more than to read a number, as it was found last.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Looked {
    pub(crate) machine: Machine,
    pub(crate) census: Census,
}

/// What rates are made of.
pub(crate) struct Stats {
    started: Instant,
    samples: Mutex<VecDeque<Sample>>,
    looked: Mutex<Looked>,
    next_census: Mutex<Instant>,
    next_walk: Mutex<Instant>,
}

impl Stats {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self {
            started: now,
            samples: Mutex::default(),
            looked: Mutex::default(),
            next_census: Mutex::new(now),
            next_walk: Mutex::new(now),
        }
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// What was found last.
    pub(crate) fn looked(&self) -> Looked {
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at machine and sessions; called by the thread that watches. What takes long is done rarely.
    pub(crate) fn look(&self, shared: &Shared, now: u64) {
        let before = self.looked();
        let due =
            |next: &Mutex<Instant>| *next.lock().unwrap_or_else(PoisonError::into_inner) <= Instant::now();
        let rest = |next: &Mutex<Instant>, began: Instant| {
            let until = Instant::now() + began.elapsed() * REST;
            *next.lock().unwrap_or_else(PoisonError::into_inner) = until;
        };
        let (walk, began) = (due(&self.next_walk), Instant::now());
        let machine = Machine::look(&shared.config.data_dir, &before.machine, walk);
        if walk {
            rest(&self.next_walk, began);
        }
        let (count, began) = (due(&self.next_census), Instant::now());
        let census = if count { shared.catalog.census(now) } else { before.census };
        if count {
            rest(&self.next_census, began);
        }
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Looked { machine, census };
        self.sample(shared, shared.clock.steady_ms());
    }

    fn sums(&self, shared: &Shared, at: u64) -> Sample {
        let metrics = &shared.metrics;
        let is_lost = |cause: &[&str; 1]| LOST.contains(&cause[0]);
        Sample {
            at,
            messages: metrics.events_received.get(),
            errors: metrics.errors_sum(),
            refused: metrics.connections_refused.sum(),
            opened: metrics.connections_total.get(),
            lost: metrics.gaps.sum_of(is_lost),
            gaps: metrics.gaps.sum_of(|cause| !is_lost(cause)),
            log_refused: metrics.log_refused.get(),
            cpu_seconds: self.looked().machine.cpu_seconds,
            delays: shared.meters.delays(),
        }
    }

    fn sample(&self, shared: &Shared, now: u64) {
        let sample = self.sums(shared, now);
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.back().is_some_and(|last| now.saturating_sub(last.at) < SAMPLE_MS) {
            return;
        }
        samples.push_back(sample);
        while samples.get(1).is_some_and(|second| now.saturating_sub(second.at) >= WINDOW_MS) {
            samples.pop_front();
        }
    }

    /// What happened over the last ten seconds, up to now.
    fn recent(&self, shared: &Shared) -> Recent {
        let newest = self.sums(shared, shared.clock.steady_ms());
        let oldest = self.samples.lock().unwrap_or_else(PoisonError::into_inner).front().cloned();
        let oldest = oldest.unwrap_or_else(|| newest.clone());
        Recent::between(&oldest, &newest)
    }

    /// What rules are held against.
    pub(crate) fn readings(&self, shared: &Shared, now: u64) -> Readings {
        let recent = self.recent(shared);
        let looked = self.looked();
        let not_writable = u64::from(shared.log.health() != Health::Writable);
        let certificate = shared.tls.as_ref().and_then(agentbench_tls::Acceptor::expires_at);
        let days = |end: u64| (end as f64 - now as f64) / 86_400_000.0;
        let millis = |all: &Snapshot| all.quantile(0.99).map(|seconds| seconds * 1_000.0);
        let enough = recent.messages + recent.errors >= ENOUGH_MESSAGES;
        Readings {
            refused_per_second: Some(recent.per_second(recent.refused)),
            opened_per_second: Some(recent.per_second(recent.opened)),
            error_percent: enough.then(|| recent.error_rate() * 100.0),
            delivery_p99_ms: millis(&recent.delays.delivered),
            lost: Some(recent.lost as f64),
            gaps_per_second: Some(recent.per_second(recent.gaps)),
            log_errors: Some((recent.log_refused + not_writable) as f64),
            log_damage: Some(f64::from(shared.log_condition.level())),
            audit_stuck_seconds: shared.auditor.stuck_for().map(|stuck| stuck.as_secs_f64()),
            evidence_damaged: Some(shared.evidence.damaged() as f64),
            held_seconds: Some(held_seconds(shared)),
            commit_p99_ms: millis(&recent.delays.commit),
            memory_percent: looked.machine.memory_percent(),
            disk_free_percent: looked.machine.free_percent(),
            certificate_days: certificate.map(days),
            issuer_seconds: shared.issuer.as_ref().map(|issuer| issuer.silent_for().as_secs_f64()),
            stalled: Some(looked.census.stalled as f64),
            workers_stuck: Some(shared.liveness.stuck() as f64),
        }
    }

    pub(crate) fn describe(&self, shared: &Shared) -> StatsInfo {
        let recent = self.recent(shared);
        let Looked { machine, census } = self.looked();
        let mean = |all: &Snapshot| all.mean().map_or(0.0, |seconds| seconds * 1_000.0);
        let states = Status::ALL.into_iter().zip(census.by_state);
        let websocket = u64::try_from(shared.metrics.connections.get()).unwrap_or(0);
        StatsInfo {
            connected_clients: shared.connections(),
            active_sessions: shared.catalog.active(),
            total_messages: shared.metrics.events_received.get(),
            messages_per_second: recent.per_second(recent.messages),
            average_latency: mean(&recent.delays.delivered),
            commit_latency: mean(&recent.delays.commit),
            error_rate: recent.error_rate(),
            memory_usage: machine.memory,
            published: Delay::of(&recent.delays.published),
            delivered: Delay::of(&recent.delays.delivered),
            connections_by_kind: ConnectionsByKind { websocket, stream: shared.streams.count() as u64 },
            sessions_by_state: states.map(|(status, count)| (status.as_str(), count)).collect(),
            cpu: recent.cpu,
            file_descriptors: machine.descriptors,
            disk: machine.disk,
            queues: queues(shared),
            slowest_readers: shared.readers.slowest(),
            stalled_sessions: census.stalled,
            alerts: shared.alerts.firing(),
            uptime_ms: self.uptime().as_millis() as u64,
            version: env!("CARGO_PKG_VERSION"),
            node: shared.config.node_name.clone(),
        }
    }
}

/// Seconds for which nothing is removed for its age yet.
pub(crate) fn held_seconds(shared: &Shared) -> f64 {
    shared.clock.held_for(shared.config.retention_hold).map_or(0.0, |rest| rest.as_secs_f64())
}

/// What waits where.
pub(crate) fn queues(shared: &Shared) -> Vec<Queue> {
    let config = &shared.config;
    let queue = |name, depth: usize, bound: usize| Queue { name, depth: depth as u64, bound: bound as u64 };
    let letters = shared.mailboxes.iter().map(crate::letters::mailbox::Mailbox::commit_bytes);
    let (letters, room) = letters.fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
    let receiving = usize::try_from(shared.metrics.receive_buffer_bytes.get()).unwrap_or(0);
    let mut queues = vec![
        queue("connections", shared.connections(), config.max_connections),
        queue("sessions", shared.catalog.active(), config.max_sessions),
        queue("commit_backlog", shared.backlog(), config.commit_backlog),
        queue("receive_buffer", receiving, config.receive_budget),
        queue("read_buffer", shared.reading.used().0, shared.reading.used().1),
        queue("mailboxes", letters, room),
    ];
    if let Some((depth, bound)) = shared.auditor.depth() {
        queues.push(queue("audit", depth, bound));
    }
    if let Some(outgoing) = &shared.alerts.outgoing {
        let (depth, bound) = outgoing.depth();
        queues.push(queue("alert_webhook", depth, bound));
    }
    queues
}

/// Differences of two samples.
struct Recent {
    millis: u64,
    messages: u64,
    errors: u64,
    refused: u64,
    opened: u64,
    lost: u64,
    gaps: u64,
    log_refused: u64,
    /// Cores used.
    cpu: f64,
    delays: Delays,
}

impl Recent {
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

    /// Over a second at least: one thing in the first millisecond is not a thousand a second.
    fn per_second(&self, count: u64) -> f64 {
        count as f64 * 1_000.0 / self.millis.max(1_000) as f64
    }

    fn error_rate(&self) -> f64 {
        let all = self.messages + self.errors;
        if all == 0 { 0.0 } else { self.errors as f64 / all as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::meters::AllMeters;

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
        let recent = Recent::between(&then, &newest);
        assert_eq!((recent.per_second(recent.messages), recent.error_rate()), (9.0, 0.1));
        assert_eq!((recent.per_second(recent.opened), recent.lost, recent.gaps), (2.0, 1, 0));
        assert_eq!(recent.cpu, 1.5);
        let delay = Delay::of(&recent.delays.delivered);
        assert!(delay.count == 3 && (4.0..4.4).contains(&delay.p50_ms) && delay.p50_ms == delay.p99_ms);
        let nothing = Recent::between(&newest, &newest);
        assert_eq!(
            (nothing.per_second(nothing.messages), nothing.error_rate(), nothing.cpu),
            (0.0, 0.0, 0.0)
        );
    }
}
