//! Figures for `/metrics`. Counters are added to once for a batch, not once for an event.

use agentbench_protocol::{ErrorCode, GapCause};

use super::registry::{Counter, Figure, Gauge, Labelled, Registry};

/// Every figure of one server.
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) connections: Gauge,
    pub(crate) connections_total: Counter,
    pub(crate) connections_refused: Labelled<1>,
    pub(crate) connections_closed: Labelled<1>,
    http_requests: Labelled<1>,
    reloads: Labelled<2>,
    pub(crate) audit_lines: Counter,
    pub(crate) audit_lost: Counter,
    pub(crate) audit_left_out: Counter,
    pub(crate) clock_jumps: Counter,
    pub(crate) retention_rounds: Counter,
    pub(crate) sessions_active: Gauge,
    pub(crate) sessions_stored: Gauge,
    pub(crate) sessions_loaded: Gauge,
    pub(crate) events_received: Counter,
    pub(crate) events_logged: Counter,
    pub(crate) events_duplicate: Counter,
    pub(crate) events_delivered: Counter,
    pub(crate) acks: Counter,
    pub(crate) gaps: Labelled<1>,
    pub(crate) errors: Labelled<1>,
    pub(crate) bytes_received: Counter,
    pub(crate) bytes_sent: Counter,
    pub(crate) commits: Counter,
    pub(crate) catch_up_reads: Counter,
    pub(crate) reads_refused: Counter,
    pub(crate) clients_slow_to_send: Counter,
    pub(crate) commit_backlog_bytes: Gauge,
    pub(crate) receive_buffer_bytes: Gauge,
    evidence_uploads: Labelled<1>,
    pub(crate) evidence_bytes: Counter,
    pub(crate) slowest_reader_lag: Gauge,
    pub(crate) log_refused: Counter,
    pub(crate) webhook: Labelled<1>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            connections: Gauge::default(),
            connections_total: Counter::default(),
            connections_refused: Labelled::new(["cause"]),
            connections_closed: Labelled::new(["cause"]),
            http_requests: Labelled::new(["status"]),
            reloads: Labelled::new(["what", "outcome"]),
            audit_lines: Counter::default(),
            audit_lost: Counter::default(),
            audit_left_out: Counter::default(),
            clock_jumps: Counter::default(),
            retention_rounds: Counter::default(),
            sessions_active: Gauge::default(),
            sessions_stored: Gauge::default(),
            sessions_loaded: Gauge::default(),
            events_received: Counter::default(),
            events_logged: Counter::default(),
            events_duplicate: Counter::default(),
            events_delivered: Counter::default(),
            acks: Counter::default(),
            gaps: Labelled::starting(["cause"], GapCause::ALL.into_iter().map(|cause| [cause.as_str()])),
            errors: Labelled::starting(["code"], ErrorCode::ALL.into_iter().map(|code| [code.as_str()])),
            bytes_received: Counter::default(),
            bytes_sent: Counter::default(),
            commits: Counter::default(),
            catch_up_reads: Counter::default(),
            reads_refused: Counter::default(),
            clients_slow_to_send: Counter::default(),
            commit_backlog_bytes: Gauge::default(),
            receive_buffer_bytes: Gauge::default(),
            slowest_reader_lag: Gauge::default(),
            evidence_uploads: Labelled::new(["outcome"]),
            evidence_bytes: Counter::default(),
            log_refused: Counter::default(),
            webhook: Labelled::new(["outcome"]),
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
            "HTTP requests answered, by status class",
            self.http_requests.clone(),
        );
        registry.register(
            "reloads",
            "Reloads of certificates and keys, by kind and outcome",
            self.reloads.clone(),
        );
        registry.register(
            "reads_refused",
            "Reads of past events that were refused for lack of memory",
            self.reads_refused.clone(),
        );
        registry.register(
            "slow_messages",
            "Connections closed because a message stalled or used too much memory",
            self.clients_slow_to_send.clone(),
        );
        registry.register("audit_lines", "Lines passed to the audit log", self.audit_lines.clone());
        registry.register("audit_lost", "Lines that the audit log lost", self.audit_lost.clone());
        registry.register(
            "audit_left_out",
            "Refusals that were only counted in a later line of the audit log, not written individually",
            self.audit_left_out.clone(),
        );
        registry.register("clock_jumps", "Times that the wall clock was set", self.clock_jumps.clone());
        registry.register(
            "retention_rounds",
            "Times that stored sessions were checked against RETENTION_AGE and RETENTION_BYTES",
            self.retention_rounds.clone(),
        );
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
        registry.register("events_received", "Events received from publishers", self.events_received.clone());
        registry.register(
            "events_logged",
            "Entries written to the log, including lifecycle entries",
            self.events_logged.clone(),
        );
        registry.register(
            "events_duplicate",
            "Repeated events that were stored only once",
            self.events_duplicate.clone(),
        );
        registry.register(
            "events_delivered",
            "Events written to readers' sockets",
            self.events_delivered.clone(),
        );
        registry.register("acks", "Events acknowledged", self.acks.clone());
        registry.register("gaps", "Gaps reported to readers, by cause", self.gaps.clone());
        registry.register("errors", "Messages refused, by code", self.errors.clone());
        registry.register_with_unit(
            "received",
            "Bytes read from sockets",
            "bytes",
            self.bytes_received.clone(),
        );
        registry.register_with_unit("sent", "Bytes written to sockets", "bytes", self.bytes_sent.clone());
        registry.register("commits", "Batches passed to the log", self.commits.clone());
        registry.register(
            "catch_up_reads",
            "Log reads for readers that were behind",
            self.catch_up_reads.clone(),
        );
        registry.register_with_unit(
            "commit_backlog",
            "Bytes waiting for the log",
            "bytes",
            self.commit_backlog_bytes.clone(),
        );
        registry.register_with_unit(
            "receive_buffer",
            "Bytes held for incomplete messages",
            "bytes",
            self.receive_buffer_bytes.clone(),
        );
        registry.register(
            "slowest_reader_lag",
            "Number of events by which the slowest follower is behind the head",
            self.slowest_reader_lag.clone(),
        );
        registry.register(
            "evidence_uploads",
            "Uploads of evidence, by outcome: stored, repeated, partly, refused",
            self.evidence_uploads.clone(),
        );
        registry.register_with_unit(
            "evidence_received",
            "Bytes of evidence written to disk",
            "bytes",
            self.evidence_bytes.clone(),
        );
        registry.register("log_refused", "Frames refused by the log", self.log_refused.clone());
        registry.register("alert_webhook", "Alerts sent to the webhook, by outcome", self.webhook.clone());
    }

    pub(crate) fn refused(&self, cause: &'static str) {
        self.connections_refused.inc([cause]);
    }

    /// Counts what was read again: `what` is certificate or keys, `outcome` taken or refused.
    pub(crate) fn reloads(&self, what: &'static str, outcome: &'static str) {
        self.reloads.inc([what, outcome]);
    }

    pub(crate) fn closed(&self, cause: &'static str) {
        self.connections_closed.inc([cause]);
    }

    /// A request that brought evidence was answered.
    pub(crate) fn evidence(&self, outcome: &'static str) {
        self.evidence_uploads.inc([outcome]);
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
        self.http_requests.inc([status]);
    }

    pub(crate) fn gap(&self, cause: &'static str) {
        self.gaps.inc([cause]);
    }

    pub(crate) fn error(&self, code: ErrorCode) {
        self.errors.inc([code.as_str()]);
    }

    /// Messages refused, of all codes.
    pub(crate) fn errors_sum(&self) -> u64 {
        self.errors.sum()
    }

    /// What is counted here. The rest of what is served is worked out by [`crate::overview::figures::gather`].
    pub(crate) fn gather(&self) -> Vec<Figure> {
        self.registry.gather()
    }
}
