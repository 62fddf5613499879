//! Figures for `/metrics`. Counters are added to once for a batch, not once for an event.

use std::sync::atomic::AtomicU64;

use agentbench_protocol::ErrorCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Label of refusals.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct CodeLabel {
    code: &'static str,
}

/// Label of closed connections and other things that have a cause.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct CauseLabel {
    cause: &'static str,
}

/// Label of HTTP answers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct StatusLabel {
    status: &'static str,
}

/// Label of what ends in one of a few ways.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OutcomeLabel {
    outcome: &'static str,
}

/// Labels of what was read again while the server runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReloadLabels {
    what: &'static str,
    outcome: &'static str,
}

/// Every figure of one server.
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) connections: Gauge,
    pub(crate) connections_total: Counter,
    pub(crate) connections_refused: Family<CauseLabel, Counter>,
    pub(crate) connections_closed: Family<CauseLabel, Counter>,
    http_requests: Family<StatusLabel, Counter>,
    reloads: Family<ReloadLabels, Counter>,
    pub(crate) audit_lines: Counter,
    pub(crate) audit_lost: Counter,
    pub(crate) sessions_active: Gauge,
    pub(crate) sessions_stored: Gauge,
    pub(crate) sessions_loaded: Gauge,
    pub(crate) events_received: Counter,
    pub(crate) events_logged: Counter,
    pub(crate) events_duplicate: Counter,
    pub(crate) events_delivered: Counter,
    pub(crate) acks: Counter,
    pub(crate) gaps: Family<CauseLabel, Counter>,
    pub(crate) errors: Family<CodeLabel, Counter>,
    pub(crate) bytes_received: Counter,
    pub(crate) bytes_sent: Counter,
    pub(crate) commits: Counter,
    pub(crate) commit_seconds: Histogram,
    pub(crate) commit_events: Histogram,
    pub(crate) catch_up_reads: Counter,
    pub(crate) commit_backlog_bytes: Gauge,
    pub(crate) receive_buffer_bytes: Gauge,
    pub(crate) slowest_reader_lag: Gauge<u64, AtomicU64>,
    evidence_uploads: Family<OutcomeLabel, Counter>,
    pub(crate) evidence_bytes: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("agentbench"),
            connections: Gauge::default(),
            connections_total: Counter::default(),
            connections_refused: Family::default(),
            connections_closed: Family::default(),
            http_requests: Family::default(),
            reloads: Family::default(),
            audit_lines: Counter::default(),
            audit_lost: Counter::default(),
            sessions_active: Gauge::default(),
            sessions_stored: Gauge::default(),
            sessions_loaded: Gauge::default(),
            events_received: Counter::default(),
            events_logged: Counter::default(),
            events_duplicate: Counter::default(),
            events_delivered: Counter::default(),
            acks: Counter::default(),
            gaps: Family::default(),
            errors: Family::default(),
            bytes_received: Counter::default(),
            bytes_sent: Counter::default(),
            commits: Counter::default(),
            commit_seconds: Histogram::new(exponential_buckets(0.000_05, 2.0, 18)),
            commit_events: Histogram::new(exponential_buckets(1.0, 2.0, 14)),
            catch_up_reads: Counter::default(),
            commit_backlog_bytes: Gauge::default(),
            receive_buffer_bytes: Gauge::default(),
            slowest_reader_lag: Gauge::default(),
            evidence_uploads: Family::default(),
            evidence_bytes: Counter::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("connections", "Open WebSocket connections", self.connections.clone());
        registry.register(
            "connections_opened",
            "WebSocket connections accepted",
            self.connections_total.clone(),
        );
        registry.register(
            "connections_refused",
            "Connections refused, by cause",
            self.connections_refused.clone(),
        );
        registry.register(
            "connections_closed",
            "Connections ended, by cause",
            self.connections_closed.clone(),
        );
        registry.register(
            "http_requests",
            "HTTP requests answered, by class of status",
            self.http_requests.clone(),
        );
        registry.register(
            "reloads",
            "Certificates and keys read again, by what and outcome",
            self.reloads.clone(),
        );
        registry.register("audit_lines", "Lines given to the audit log", self.audit_lines.clone());
        registry.register("audit_lost", "Lines that the audit log did not take", self.audit_lost.clone());
        registry.register("sessions_active", "Sessions that have not ended", self.sessions_active.clone());
        registry.register(
            "sessions_stored",
            "Sessions in the log and the archive",
            self.sessions_stored.clone(),
        );
        registry.register(
            "sessions_loaded",
            "Sessions with their state in memory",
            self.sessions_loaded.clone(),
        );
        registry.register("events_received", "Events taken from publishers", self.events_received.clone());
        registry.register(
            "events_logged",
            "Entries that the log has, lifecycle included",
            self.events_logged.clone(),
        );
        registry.register(
            "events_duplicate",
            "Repeated events that were stored once",
            self.events_duplicate.clone(),
        );
        registry.register(
            "events_delivered",
            "Events handed to readers' sockets",
            self.events_delivered.clone(),
        );
        registry.register("acks", "Events acknowledged", self.acks.clone());
        registry.register("gaps", "Gaps said to readers, by cause", self.gaps.clone());
        registry.register("errors", "Messages refused, by code", self.errors.clone());
        registry.register_with_unit(
            "received",
            "Bytes read from sockets",
            Unit::Bytes,
            self.bytes_received.clone(),
        );
        registry.register_with_unit("sent", "Bytes written to sockets", Unit::Bytes, self.bytes_sent.clone());
        registry.register("commits", "Batches that the log was given", self.commits.clone());
        registry.register_with_unit(
            "log_commit",
            "Time from handing a batch to the log to its word",
            Unit::Seconds,
            self.commit_seconds.clone(),
        );
        registry.register("log_commit_events", "Entries of a batch", self.commit_events.clone());
        registry.register(
            "catch_up_reads",
            "Reads of the log for readers that were behind",
            self.catch_up_reads.clone(),
        );
        registry.register_with_unit(
            "commit_backlog",
            "Bytes that wait for the log",
            Unit::Bytes,
            self.commit_backlog_bytes.clone(),
        );
        registry.register_with_unit(
            "receive_buffer",
            "Bytes held for incomplete messages",
            Unit::Bytes,
            self.receive_buffer_bytes.clone(),
        );
        registry.register(
            "slowest_reader_lag",
            "Events between the head and the follower that is furthest behind",
            self.slowest_reader_lag.clone(),
        );
        registry.register(
            "evidence_uploads",
            "Requests that brought evidence, by outcome: stored, repeated, partly, refused",
            self.evidence_uploads.clone(),
        );
        registry.register_with_unit(
            "evidence_received",
            "Bytes of evidence written to the disk",
            Unit::Bytes,
            self.evidence_bytes.clone(),
        );
    }

    pub(crate) fn refused(&self, cause: &'static str) {
        self.connections_refused.get_or_create(&CauseLabel { cause }).inc();
    }

    /// Counts what was read again: `what` is certificate or keys, `outcome` taken or refused.
    pub(crate) fn reloads(&self, what: &'static str, outcome: &'static str) {
        self.reloads.get_or_create(&ReloadLabels { what, outcome }).inc();
    }

    pub(crate) fn closed(&self, cause: &'static str) {
        self.connections_closed.get_or_create(&CauseLabel { cause }).inc();
    }

    /// A request that brought evidence was answered.
    pub(crate) fn evidence(&self, outcome: &'static str) {
        self.evidence_uploads.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// An HTTP request was answered.
    pub(crate) fn http(&self, status: u16) {
        let status = match status / 100 {
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            5 => "5xx",
            _ => "1xx",
        };
        self.http_requests.get_or_create(&StatusLabel { status }).inc();
    }

    pub(crate) fn gap(&self, cause: &'static str) {
        self.gaps.get_or_create(&CauseLabel { cause }).inc();
    }

    pub(crate) fn error(&self, code: ErrorCode) {
        self.errors.get_or_create(&CodeLabel { code: code.as_str() }).inc();
    }

    /// Messages refused, of all codes.
    pub(crate) fn errors_sum(&self) -> u64 {
        let of =
            |code: ErrorCode| self.errors.get(&CodeLabel { code: code.as_str() }).map_or(0, |it| it.get());
        ErrorCode::ALL.into_iter().map(of).sum()
    }

    /// The Prometheus text form (OpenMetrics).
    pub(crate) fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}
