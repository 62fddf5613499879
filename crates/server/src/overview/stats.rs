//! The server's statistics as a whole: readings for alert rules, `GET /api/v1/stats`, and the depths of queues.

use agentbench_event_log::Health;
use agentbench_protocol::Status;

use super::figures::log_damage;
use crate::alerts::rules::{ENOUGH_MESSAGES, LOST, Readings};
use crate::figures::histogram::Snapshot;
use crate::letters::mailbox::Mailbox;
use crate::ops::stats::{ConnectionsByKind, Delay, Measurement, Queue, Sample, StatsInfo};
use crate::shared::Shared;

/// Measures the machine and the sessions, and samples the sums. Called by the monitoring thread.
pub(crate) fn measure(shared: &Shared, now: u64) {
    shared.ops.stats.measure(&shared.config.data_dir, || shared.storage.catalog.census(now));
    shared.ops.stats.sample(sums(shared));
}

fn sums(shared: &Shared) -> Sample {
    let metrics = &shared.metrics;
    let is_lost = |cause: &[&str; 1]| LOST.contains(&cause[0]);
    Sample {
        at: shared.clock.steady_ms(),
        messages: metrics.events_received.get(),
        errors: metrics.errors_sum(),
        refused: metrics.connections_refused.sum(),
        opened: metrics.connections_total.get(),
        lost: metrics.gaps.sum_of(is_lost),
        gaps: metrics.gaps.sum_of(|cause| !is_lost(cause)),
        log_refused: metrics.log_refused.get(),
        cpu_seconds: shared.ops.stats.latest().machine.cpu_seconds,
        delays: shared.meters.delays(),
    }
}

/// The readings that alert rules evaluate.
pub(crate) fn readings(shared: &Shared, now: u64) -> Readings {
    let recent = shared.ops.stats.recent(&sums(shared));
    let looked = shared.ops.stats.latest();
    let not_writable = u64::from(shared.storage.log.health() != Health::Writable);
    let certificate = shared.gate.tls.as_ref().and_then(agentbench_tls::Acceptor::expires_at);
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
        log_damage: Some(log_damage(shared)),
        audit_stuck_seconds: shared.ops.auditor.stuck_for().map(|stuck| stuck.as_secs_f64()),
        evidence_damaged: Some(shared.storage.evidence.damaged() as f64),
        held_seconds: Some(held_seconds(shared)),
        commit_p99_ms: millis(&recent.delays.commit),
        memory_percent: looked.machine.memory_percent(),
        disk_free_percent: looked.machine.free_percent(),
        certificate_days: certificate.map(days),
        issuer_seconds: shared.gate.issuer.as_ref().map(|issuer| issuer.silent_for().as_secs_f64()),
        stalled: Some(looked.census.stalled as f64),
        workers_stuck: Some(shared.ops.liveness.stuck() as f64),
    }
}

/// The reply to `get_stats` and `GET /api/v1/stats`.
pub(crate) fn describe(shared: &Shared) -> StatsInfo {
    let recent = shared.ops.stats.recent(&sums(shared));
    let Measurement { machine, census } = shared.ops.stats.latest();
    let mean = |all: &Snapshot| all.mean().map_or(0.0, |seconds| seconds * 1_000.0);
    let states = Status::ALL.into_iter().zip(census.by_state);
    let websocket = u64::try_from(shared.metrics.connections.get()).unwrap_or(0);
    StatsInfo {
        connected_clients: shared.gate.places.taken(),
        active_sessions: shared.storage.catalog.active(),
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
        slowest_readers: shared.ops.readers.slowest(),
        stalled_sessions: census.stalled,
        alerts: shared.ops.alerts.firing(),
        uptime_ms: shared.ops.stats.uptime().as_millis() as u64,
        version: env!("CARGO_PKG_VERSION"),
        node: shared.config.node_name.clone(),
    }
}

/// Seconds for which removal by age is still suspended.
pub(crate) fn held_seconds(shared: &Shared) -> f64 {
    shared.clock.held_for(shared.config.retention_hold).map_or(0.0, |rest| rest.as_secs_f64())
}

/// The depths and bounds of queues.
pub(crate) fn queues(shared: &Shared) -> Vec<Queue> {
    let config = &shared.config;
    let queue = |name, depth: usize, bound: usize| Queue { name, depth: depth as u64, bound: bound as u64 };
    let letters = shared.post.mailboxes.iter().map(Mailbox::commit_bytes);
    let (letters, room) = letters.fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
    let receiving = usize::try_from(shared.metrics.receive_buffer_bytes.get()).unwrap_or(0);
    let mut queues = vec![
        queue("connections", shared.gate.places.taken(), config.max_connections),
        queue("sessions", shared.storage.catalog.active(), config.max_sessions),
        queue("commit_backlog", shared.intake.backlog(), config.commit_backlog),
        queue("receive_buffer", receiving, config.receive_budget),
        queue("read_buffer", shared.storage.reader.budget.used().0, shared.storage.reader.budget.used().1),
        queue("mailboxes", letters, room),
    ];
    if let Some((depth, bound)) = shared.ops.auditor.depth() {
        queues.push(queue("audit", depth, bound));
    }
    if let Some(outgoing) = &shared.ops.alerts.outgoing {
        let (depth, bound) = outgoing.depth();
        queues.push(queue("alert_webhook", depth, bound));
    }
    queues
}
