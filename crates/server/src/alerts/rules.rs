//! The table of alert rules: the reading, the condition, and what it means. The rules for Prometheus are generated from it, so
//! that both always agree.

use serde::Serialize;

use super::state::Direction::{self, Above, Below};

/// How soon somebody should act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(crate) enum Severity {
    /// Today.
    Warning,
    /// Now.
    Critical,
}

impl Severity {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// The values that rules are evaluated on. Rates and percentiles cover the last ten seconds; `None` means unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Readings {
    pub(crate) refused_per_second: Option<f64>,
    pub(crate) opened_per_second: Option<f64>,
    pub(crate) error_percent: Option<f64>,
    pub(crate) delivery_p99_ms: Option<f64>,
    pub(crate) lost: Option<f64>,
    pub(crate) gaps_per_second: Option<f64>,
    pub(crate) log_errors: Option<f64>,
    pub(crate) log_damage: Option<f64>,
    pub(crate) audit_stuck_seconds: Option<f64>,
    pub(crate) evidence_damaged: Option<f64>,
    pub(crate) held_seconds: Option<f64>,
    pub(crate) commit_p99_ms: Option<f64>,
    pub(crate) memory_percent: Option<f64>,
    pub(crate) disk_free_percent: Option<f64>,
    pub(crate) certificate_days: Option<f64>,
    pub(crate) issuer_seconds: Option<f64>,
    pub(crate) stalled: Option<f64>,
    pub(crate) workers_stuck: Option<f64>,
}

/// One rule.
pub(crate) struct Rule {
    /// Its name here; the setting is `alert-…` with dashes.
    pub(crate) name: &'static str,
    /// Its name in Prometheus.
    pub(crate) title: &'static str,
    pub(crate) severity: Severity,
    pub(crate) direction: Direction,
    /// The level at which it clears, as a factor of the threshold.
    pub(crate) margin: f64,
    pub(crate) reading: fn(&Readings) -> Option<f64>,
    pub(crate) unit: &'static str,
    /// What is wrong, in a few words.
    pub(crate) summary: &'static str,
    /// What it means, and what to do.
    pub(crate) description: &'static str,
    /// The reading in PromQL, per instance.
    pub(crate) query: &'static str,
    /// A further condition.
    pub(crate) only_if: Option<&'static str>,
}

impl Rule {
    /// The name of its setting.
    pub(crate) fn setting(&self) -> String {
        format!("alert-{}", self.name.replace('_', "-"))
    }
}

/// Causes of gaps for events that no longer exist, or never will.
pub(crate) const LOST: [&str; 4] = ["damaged", "overflow", "epoch", "diverged"];
/// Messages in ten seconds below which a percentage is meaningless.
pub(crate) const ENOUGH_MESSAGES: u64 = 20;

/// Every rule.
pub(crate) const RULES: &[Rule] = &[
    Rule {
        name: "connection_failures",
        title: "AgentbenchConnectionFailures",
        severity: Severity::Warning,
        direction: Above,
        margin: 0.8,
        reading: |it| it.refused_per_second,
        unit: "refused per second",
        summary: "Connections are refused",
        description: "agentbench_connections_refused_total shows the cause: bad tokens (bad_signature, expired: clients or the issuer), \
            limits (max_connections, address_rate, user_connections), tls_failed, origin.",
        query: "sum by (instance) (rate(agentbench_connections_refused_total[1m]))",
        only_if: None,
    },
    Rule {
        name: "reconnect_storm",
        title: "AgentbenchReconnectStorm",
        severity: Severity::Warning,
        direction: Above,
        margin: 0.8,
        reading: |it| it.opened_per_second,
        unit: "opened per second",
        summary: "Clients keep reconnecting",
        description: "After a restart this passes within RECONNECT_SPREAD. Otherwise agentbench_connections_closed_total shows why \
            they lose their connections, and GET /api/v1/connections/{clientId}/why explains a single one.",
        query: "sum by (instance) (rate(agentbench_connections_opened_total[1m]))",
        only_if: None,
    },
    Rule {
        name: "error_rate",
        title: "AgentbenchErrorRate",
        severity: Severity::Warning,
        direction: Above,
        margin: 0.8,
        reading: |it| it.error_percent,
        unit: "percent of messages",
        summary: "Many messages are refused",
        description: "agentbench_errors_total shows the codes. overloaded and log_unavailable are the server's fault, rate_limited \
            is a limit, the others are errors of clients.",
        query: "100 * sum by (instance) (rate(agentbench_errors_total[1m])) / (sum by (instance) (rate(agentbench_events_received_total[1m])) \
            + sum by (instance) (rate(agentbench_errors_total[1m])))",
        only_if: Some(
            "sum by (instance) (rate(agentbench_events_received_total[1m])) + sum by (instance) (rate(agentbench_errors_total[1m])) > 2",
        ),
    },
    Rule {
        name: "delivery_lag",
        title: "AgentbenchDeliveryLag",
        severity: Severity::Critical,
        direction: Above,
        margin: 0.8,
        reading: |it| it.delivery_p99_ms,
        unit: "ms (p99)",
        summary: "Events reach readers late",
        description: "If commit_time fires too, the disk is the cause. Otherwise it is CPU (agentbench_cpu_seconds_total against WORKERS), or \
            readers that cannot keep up (agentbench_slow_reader_behind names ten).",
        query: "1000 * histogram_quantile(0.99, sum by (instance, le) (rate(agentbench_delivery_seconds_bucket[1m])))",
        only_if: None,
    },
    Rule {
        name: "events_lost",
        title: "AgentbenchEventsLost",
        severity: Severity::Critical,
        direction: Above,
        margin: 0.8,
        reading: |it| it.lost,
        unit: "gaps in ten seconds",
        summary: "Readers received gaps for lost events",
        description: "agentbench_gaps_total shows the cause. damaged: stored bytes fail their checksum, see the log and the disk's \
            health. epoch, diverged: the data folder is not the one that the reader knew (restored or emptied). overflow: the reader was too far behind.",
        query: "sum by (instance) (increase(agentbench_gaps_total{cause=~\"damaged|overflow|epoch|diverged\"}[1m]))",
        only_if: None,
    },
    Rule {
        name: "reader_gaps",
        title: "AgentbenchReaderGaps",
        severity: Severity::Warning,
        direction: Above,
        margin: 0.8,
        reading: |it| it.gaps_per_second,
        unit: "gaps per second",
        summary: "Readers miss events that had expired or been removed",
        description: "expired: events with a ttl that were not delivered in time, so readers are slow or the ttl is short. \
            retention: readers return later than RETENTION_AGE allows.",
        query: "sum by (instance) (rate(agentbench_gaps_total{cause=~\"expired|retention\"}[1m]))",
        only_if: None,
    },
    Rule {
        name: "log_errors",
        title: "AgentbenchLogErrors",
        severity: Severity::Critical,
        direction: Above,
        margin: 0.8,
        reading: |it| it.log_errors,
        unit: "frames refused in ten seconds, plus 1 while the log accepts none",
        summary: "The log refuses events",
        description: "/readyz shows whether the disk is full (the log recovers once there is space) or a write or fsync failed (restart the \
            server; check the disk first).",
        query: "max by (instance) (increase(agentbench_log_refused_total[1m])) + max by (instance) (agentbench_log_state)",
        only_if: None,
    },
    Rule {
        name: "log_damaged",
        title: "AgentbenchLogDamaged",
        severity: Severity::Critical,
        direction: Above,
        margin: 1.0,
        reading: |it| it.log_damage,
        unit: "(1: acknowledged events are missing or damaged, 2: only ended sessions can be read)",
        summary: "The log is damaged",
        description: "The log lines name the segments, sessions and events, and /readyz shows whether only ended sessions are served. Check the \
            disk; nothing damaged is overwritten. See all of it with `agentbench log check` on the stopped folder. Restore a backup, or accept \
            the loss: readers get gaps, and the next start reports only what is new.",
        query: "agentbench_log_damage",
        only_if: None,
    },
    Rule {
        name: "audit_stuck",
        title: "AgentbenchAuditStuck",
        severity: Severity::Critical,
        direction: Above,
        margin: 1.0,
        reading: |it| it.audit_stuck_seconds,
        unit: "seconds",
        summary: "The audit log cannot write lines",
        description: "Its disk is full, slow or broken: see the log line that names the file. Lines wait (agentbench_queue_depth{queue=\"audit\"}); \
            when the queue is full, operations that need an audit line are refused (AUDIT_WHEN_FULL=wait), or lines are lost and counted.",
        query: "agentbench_audit_stuck_seconds",
        only_if: None,
    },
    Rule {
        name: "evidence_damaged",
        title: "AgentbenchEvidenceDamaged",
        severity: Severity::Warning,
        direction: Above,
        margin: 1.0,
        reading: |it| it.evidence_damaged,
        unit: "files",
        summary: "Stored evidence is damaged",
        description: "A read or the scrub found files of evidence that no longer match their hash; the log names session and hash. They are \
            not served. Upload the same bytes again, or restore the file from a backup, and check the disk.",
        query: "agentbench_evidence_damaged",
        only_if: None,
    },
    Rule {
        name: "clock_jump",
        title: "AgentbenchClockJump",
        severity: Severity::Warning,
        direction: Above,
        margin: 1.0,
        reading: |it| it.held_seconds,
        unit: "seconds until deletions resume",
        summary: "The wall clock was set",
        description: "Nothing is removed for its age until RETENTION_HOLD has passed, so that a wrong clock deletes nothing. Check the clock \
            (timedatectl, chronyc tracking) and set it right before then.",
        query: "agentbench_deletions_held_seconds",
        only_if: None,
    },
    Rule {
        name: "commit_time",
        title: "AgentbenchCommitTime",
        severity: Severity::Warning,
        direction: Above,
        margin: 0.8,
        reading: |it| it.commit_p99_ms,
        unit: "ms (p99)",
        summary: "The log is slow",
        description: "Acks wait for it. Check the disk (iostat -x 1): with ACK_LEVEL=synced this is the time of fsync, otherwise \
            the disk is busy with other work.",
        query: "1000 * histogram_quantile(0.99, sum by (instance, le) (rate(agentbench_log_commit_seconds_bucket[1m])))",
        only_if: None,
    },
    Rule {
        name: "memory",
        title: "AgentbenchMemory",
        severity: Severity::Critical,
        direction: Above,
        margin: 1.0,
        reading: |it| it.memory_percent,
        unit: "percent of the memory limit",
        summary: "Memory is running out",
        description: "agentbench_queue_depth shows what uses it: receive_buffer (large incomplete messages), commit_backlog \
            (a slow disk). Lower MAX_CONNECTIONS, TAIL_BUDGET or RECEIVE_BUDGET, or add memory.",
        query: "100 * agentbench_memory_resident_bytes / agentbench_memory_limit_bytes",
        only_if: None,
    },
    Rule {
        name: "disk_free",
        title: "AgentbenchDiskFree",
        severity: Severity::Critical,
        direction: Below,
        margin: 1.0,
        reading: |it| it.disk_free_percent,
        unit: "percent free",
        summary: "The disk is filling up",
        description: "When it is full, publishes are refused and reads continue. Free some space, or have old sessions removed: RETENTION_AGE, \
            RETENTION_BYTES.",
        query: "100 * agentbench_disk_free_bytes / agentbench_disk_size_bytes",
        only_if: None,
    },
    Rule {
        name: "certificate_expiry",
        title: "AgentbenchCertificateExpiry",
        severity: Severity::Critical,
        direction: Below,
        margin: 1.0,
        reading: |it| it.certificate_days,
        unit: "days left",
        summary: "The certificate expires soon",
        description: "Renew it and replace the files of TLS_CERT and TLS_KEY: they are loaded within seconds.",
        query: "(agentbench_certificate_expiry_timestamp_seconds - time()) / 86400",
        only_if: None,
    },
    Rule {
        name: "issuer_silent",
        title: "AgentbenchIssuerSilent",
        severity: Severity::Warning,
        direction: Above,
        margin: 1.0,
        reading: |it| it.issuer_seconds,
        unit: "seconds",
        summary: "The issuer's keys are out of date",
        description: "JWKS_URL has not returned keys for this long. The known keys remain valid, but new ones are not fetched: \
            tokens signed with them are refused.",
        query: "agentbench_issuer_keys_age_seconds",
        only_if: None,
    },
    Rule {
        name: "stalled_sessions",
        title: "AgentbenchStalledSessions",
        severity: Severity::Warning,
        direction: Above,
        margin: 0.8,
        reading: |it| it.stalled,
        unit: "sessions",
        summary: "Running sessions have stalled",
        description: "They are running and sent nothing for ten times their usual interval (at least STALL_AFTER): the agent hangs, or has \
            lost its connection. GET /api/v1/sessions?status=running shows which (stalled).",
        query: "agentbench_sessions_stalled",
        only_if: None,
    },
    Rule {
        name: "worker_stuck",
        title: "AgentbenchWorkerStuck",
        severity: Severity::Critical,
        direction: Above,
        margin: 1.0,
        reading: |it| it.workers_stuck,
        unit: "workers",
        summary: "A worker thread hangs",
        description: "Its connections and sessions get no answers. The process ends after WORKER_TIMEOUT and its supervisor starts \
            a new one; nothing acked is lost. Please report it, with the log's last lines.",
        query: "max by (instance) (agentbench_workers_stuck)",
        only_if: None,
    },
];

#[cfg(test)]
mod tests {
    use super::super::state::Limit;
    use super::*;
    use crate::config::SETTINGS;

    #[test]
    fn every_rule_has_its_setting_and_every_setting_its_rule() {
        for rule in RULES {
            let setting = crate::config::find(&rule.setting());
            let setting = setting.unwrap_or_else(|| panic!("no setting {}", rule.setting()));
            assert!(matches!(Limit::parse(setting.default), Ok(Some(_))), "{}", rule.name);
        }
        let others = ["alert-webhook-url", "alert-webhook-secret", "alert-webhook-ca-file"];
        let of_alerts =
            SETTINGS.iter().filter(|it| it.name.starts_with("alert-") && !others.contains(&it.name));
        assert_eq!(of_alerts.count(), RULES.len());
    }

    #[test]
    fn each_rule_reads_something_of_its_own() {
        for (place, rule) in RULES.iter().enumerate() {
            assert_eq!((rule.reading)(&Readings::default()), None, "{}", rule.name);
            let same = |other: &Rule| other.name == rule.name || other.title == rule.title;
            assert!(!RULES[..place].iter().any(same), "{}", rule.name);
        }
    }
}
