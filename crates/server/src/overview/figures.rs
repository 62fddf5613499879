//! Everything that `/metrics` serves.

use crate::figures::registry::Figure;
use crate::ops::stats::{Measurement, Queue};
use crate::shared::Shared;

use super::stats::{held_seconds, queues};

/// Everything that `/metrics` serves.
pub(crate) fn gather(shared: &Shared) -> Vec<Figure> {
    let mut figures = shared.metrics.gather();
    figures.extend(shared.meters.gather());
    figures.extend(of_machine(shared));
    figures.extend(of_sessions(shared));
    figures.extend(of_queues(shared));
    figures.push(shared.ops.alerts.gather());
    figures
}

fn of_machine(shared: &Shared) -> Vec<Figure> {
    let Measurement { machine, .. } = shared.ops.stats.latest();
    let bytes = |name, help, value: u64| Figure::gauge(name, help, Some("bytes"), value as f64);
    let mut figures = vec![
        bytes("memory_resident", "Resident memory of the process", machine.memory.rss),
        bytes("memory_limit", "Memory that the process may have", machine.memory_limit),
        Figure::counter(
            "cpu",
            "Time that cores have worked for the process",
            Some("seconds"),
            machine.cpu_seconds,
        ),
        Figure::gauge("file_descriptors", "Open files", None, machine.descriptors.used as f64),
        Figure::gauge(
            "file_descriptors_limit",
            "Files that may be open",
            None,
            machine.descriptors.limit as f64,
        ),
        bytes("disk_used", "Bytes of the data folder", machine.disk.used_bytes),
        bytes("disk_free", "Bytes that are free on the data folder's disk", machine.disk.free_bytes),
        bytes("disk_size", "Bytes of the data folder's disk", machine.disk.size_bytes),
        Figure::gauge(
            "uptime",
            "Time since the start",
            Some("seconds"),
            shared.ops.stats.uptime().as_secs_f64(),
        ),
        Figure::counter(
            "worker_turns",
            "Turns of the workers' own loops: twice a second each, or none if one hangs",
            None,
            shared.ops.liveness.turns() as f64,
        ),
        Figure::gauge(
            "workers_stuck",
            "Workers that have not turned for three seconds",
            None,
            shared.ops.liveness.stuck() as f64,
        ),
        Figure::gauge(
            "log_state",
            "0 takes events, 1 the disk is full, 2 a write has failed",
            None,
            log_state(shared),
        ),
    ];
    figures.push(Figure::gauge(
        "log_damage",
        "What is known of the log: 0 whole, 1 acknowledged events are missing or damaged, 2 only the archive can be read",
        None,
        log_damage(shared),
    ));
    let damaged_frames = shared.storage.log.damaged_frames() as f64;
    let help = "Frames of the log that were found damaged, by readers or by the slow scrub";
    figures.push(Figure::counter("log_damaged_frames", help, None, damaged_frames));
    figures.push(Figure::gauge(
        "deletions_held",
        "Time for which nothing is removed for its age, since the wall clock was set",
        Some("seconds"),
        held_seconds(shared),
    ));
    let damaged = shared.storage.evidence.damaged() as f64;
    figures.push(Figure::gauge(
        "evidence_damaged",
        "Files of evidence that are known to be damaged",
        None,
        damaged,
    ));
    let found = shared.storage.evidence.found_damaged() as f64;
    let help = "Times that stored evidence was found not to be what its name says";
    figures.push(Figure::counter("evidence_damage", help, None, found));
    let stuck = shared.ops.auditor.stuck_for().unwrap_or_default();
    let help = "Time for which the audit log has not taken a line that waits";
    figures.push(Figure::gauge("audit_stuck", help, Some("seconds"), stuck.as_secs_f64()));
    let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    figures.push(Figure::gauges(
        "build",
        "The version that runs",
        Some("info"),
        [(version, 1.0)].into_iter(),
    ));
    if let Some(end) = shared.gate.tls.as_ref().and_then(agentbench_tls::Acceptor::expires_at) {
        let help = "When the certificate ends, seconds since 1970";
        figures.push(Figure::gauge(
            "certificate_expiry_timestamp",
            help,
            Some("seconds"),
            end as f64 / 1_000.0,
        ));
    }
    if let Some(issuer) = &shared.gate.issuer {
        let help = "Time since the issuer last gave its keys";
        figures.push(Figure::gauge(
            "issuer_keys_age",
            help,
            Some("seconds"),
            issuer.silent_for().as_secs_f64(),
        ));
    }
    figures
}

/// What the start found, and what was found since.
pub(super) fn log_damage(shared: &Shared) -> f64 {
    let found = u8::from(shared.storage.log.damaged_frames() > 0);
    f64::from(shared.storage.condition.level().max(found))
}

fn log_state(shared: &Shared) -> f64 {
    use agentbench_event_log::Health;
    match shared.storage.log.health() {
        Health::Writable => 0.0,
        Health::Full => 1.0,
        Health::Failed(_) => 2.0,
    }
}

fn of_sessions(shared: &Shared) -> Vec<Figure> {
    let Measurement { census, .. } = shared.ops.stats.latest();
    let states = agentbench_protocol::Status::ALL.into_iter().zip(census.by_state);
    let states = states.map(|(status, count)| (vec![("state", status.as_str().to_owned())], count as f64));
    let kind = |kind: &str| vec![("kind", kind.to_owned())];
    let kinds = [
        (kind("websocket"), shared.metrics.connections.get() as f64),
        (kind("stream"), shared.streams.count() as f64),
    ];
    // The connection's id, not the user's: readers of this page need not be able to identify users.
    let readers = shared.ops.readers.slowest().into_iter().map(|reader| {
        (vec![("client", reader.client_id), ("session", reader.session_id.to_string())], reader.behind as f64)
    });
    let slow = "Events between the log's end and a reader's place: the ten that are furthest behind";
    vec![
        Figure::gauges("connections_by_kind", "Open connections, by kind", None, kinds.into_iter()),
        Figure::gauges("sessions", "Sessions, by state", None, states),
        Figure::gauge(
            "sessions_stalled",
            "Running sessions that have gone silent",
            None,
            census.stalled as f64,
        ),
        Figure::gauges("slow_reader_behind", slow, None, readers),
    ]
}

fn of_queues(shared: &Shared) -> Vec<Figure> {
    let queues = queues(shared);
    let of = |value: fn(&Queue) -> u64| {
        let label = |name: &str| vec![("queue", name.to_owned())];
        queues
            .iter()
            .map(move |queue| (label(queue.name), value(queue) as f64))
            .collect::<Vec<_>>()
            .into_iter()
    };
    vec![
        Figure::gauges("queue_depth", "What waits, by queue", None, of(|queue| queue.depth)),
        Figure::gauges("queue_bound", "What may wait, by queue", None, of(|queue| queue.bound)),
    ]
}
