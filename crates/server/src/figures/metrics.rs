//! Figures for `/metrics`. Counters are added to once for a batch, not once for an event.

use agentbench_protocol::{ErrorCode, GapCause};

use super::registry::{Counter, Figure, Gauge, Labelled, Registry};

/// Makes the type of a table: each figure stands once, with its kind, how it starts, its name and help on `/metrics`.
macro_rules! metrics {
    ($($field:ident: $kind:ty = $start:expr, $name:literal, $unit:expr, $help:literal;)*) => {
        /// Every counter and gauge of one server.
        pub(crate) struct Metrics {
            registry: Registry,
            $(pub(crate) $field: $kind,)*
        }

        impl Metrics {
            pub(crate) fn new() -> Self {
                let mut registry = Registry::default();
                $(
                    let $field: $kind = $start;
                    registry.register($name, $help, $unit, $field.clone());
                )*
                Self { registry, $($field,)* }
            }
        }
    };
}

const BYTES: Option<&str> = Some("bytes");

metrics! {
    connections: Gauge = Gauge::default(), "connections", None, "Open WebSocket connections";
    connections_total: Counter = Counter::default(), "connections_opened", None, "WebSocket connections accepted";
    connections_refused: Labelled<1> = Labelled::new(["cause"]), "connections_refused", None, "Connections refused, by cause";
    connections_closed: Labelled<1> = Labelled::new(["cause"]), "connections_closed", None, "Connections ended, by cause";
    http_requests: Labelled<1> = Labelled::new(["status"]), "http_requests", None, "HTTP requests answered, by status class";
    reloads: Labelled<2> = Labelled::new(["what", "outcome"]), "reloads", None, "Reloads of certificates and keys, by kind and outcome";
    reads_refused: Counter = Counter::default(), "reads_refused", None, "Reads of past events that were refused for lack of memory";
    clients_slow_to_send: Counter = Counter::default(), "slow_messages", None, "Connections closed because a message stalled or used too much memory";
    audit_lines: Counter = Counter::default(), "audit_lines", None, "Lines passed to the audit log";
    audit_lost: Counter = Counter::default(), "audit_lost", None, "Lines that the audit log lost";
    audit_left_out: Counter = Counter::default(), "audit_left_out", None, "Refusals that were only counted in a later line of the audit log, not written individually";
    clock_jumps: Counter = Counter::default(), "clock_jumps", None, "Times that the wall clock was set";
    retention_rounds: Counter = Counter::default(), "retention_rounds", None, "Times that stored sessions were checked against RETENTION_AGE and RETENTION_BYTES";
    sessions_active: Gauge = Gauge::default(), "sessions_active", None, "Sessions that have not ended";
    sessions_stored: Gauge = Gauge::default(), "sessions_stored", None, "Sessions in the log and the archive";
    sessions_loaded: Gauge = Gauge::default(), "sessions_loaded", None, "Sessions with their state in memory";
    events_received: Counter = Counter::default(), "events_received", None, "Events received from publishers";
    events_logged: Counter = Counter::default(), "events_logged", None, "Entries written to the log, including lifecycle entries";
    events_duplicate: Counter = Counter::default(), "events_duplicate", None, "Repeated events that were stored only once";
    events_delivered: Counter = Counter::default(), "events_delivered", None, "Events written to readers' sockets";
    acks: Counter = Counter::default(), "acks", None, "Events acknowledged";
    gaps: Labelled<1> = Labelled::starting(["cause"], GapCause::ALL.into_iter().map(|cause| [cause.as_str()])), "gaps", None, "Gaps reported to readers, by cause";
    errors: Labelled<1> = Labelled::starting(["code"], ErrorCode::ALL.into_iter().map(|code| [code.as_str()])), "errors", None, "Messages refused, by code";
    bytes_received: Counter = Counter::default(), "received", BYTES, "Bytes read from sockets";
    bytes_sent: Counter = Counter::default(), "sent", BYTES, "Bytes written to sockets";
    commits: Counter = Counter::default(), "commits", None, "Batches passed to the log";
    catch_up_reads: Counter = Counter::default(), "catch_up_reads", None, "Log reads for readers that were behind";
    commit_backlog_bytes: Gauge = Gauge::default(), "commit_backlog", BYTES, "Bytes waiting for the log";
    receive_buffer_bytes: Gauge = Gauge::default(), "receive_buffer", BYTES, "Bytes held for incomplete messages";
    slowest_reader_lag: Gauge = Gauge::default(), "slowest_reader_lag", None, "Number of events by which the slowest follower is behind the head";
    evidence_uploads: Labelled<1> = Labelled::new(["outcome"]), "evidence_uploads", None, "Uploads of evidence, by outcome: stored, repeated, partly, refused";
    evidence_bytes: Counter = Counter::default(), "evidence_received", BYTES, "Bytes of evidence written to disk";
    log_refused: Counter = Counter::default(), "log_refused", None, "Frames refused by the log";
    log_in_doubt: Counter = Counter::default(), "log_in_doubt", None, "Frames whose outcome the log could not tell; they are sent again";
    log_behind: Counter = Counter::default(), "log_behind", None, "Times that another process had extended a session's log first";
    webhook: Labelled<1> = Labelled::new(["outcome"]), "alert_webhook", None, "Alerts sent to the webhook, by outcome";
}

impl Metrics {
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
