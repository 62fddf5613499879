//! The table of rules: what is read, which readings are bad, what it means. The rules for Prometheus are made from it, so
//! that both say the same.

use serde::Serialize;

use super::state::Direction::{self, Above, Below};

/// How soon somebody should look.
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

/// What rules are held against. Rates and percentiles are of the last ten seconds; `None` is not known.
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
    /// The level at which it clears, as a part of the threshold.
    pub(crate) margin: f64,
    pub(crate) reading: fn(&Readings) -> Option<f64>,
    pub(crate) unit: &'static str,
    /// What is wrong, in a few words.
    pub(crate) summary: &'static str,
    /// What it means, and what to do.
    pub(crate) description: &'static str,
    /// The reading in PromQL, for each instance.
    pub(crate) query: &'static str,
    /// What has to hold, too.
    pub(crate) only_if: Option<&'static str>,
}

impl Rule {
    /// The name of its setting.
    pub(crate) fn setting(&self) -> String {
        format!("alert-{}", self.name.replace('_', "-"))
    }
}

/// Causes of gaps that stand for events which are not there any more, or never will be.
pub(crate) const LOST: [&str; 4] = ["damaged", "overflow", "epoch", "diverged"];
/// Messages in ten seconds below which a share of them says nothing.
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
        unit: "refused a second",
        summary: "Connections are refused",
        description: "agentbench_connections_refused_total says why: bad tokens (bad_signature, expired: clients or the issuer), \
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
        unit: "opened a second",
        summary: "Clients connect again and again",
        description: "After a restart it passes within RECONNECT_SPREAD. Otherwise agentbench_connections_closed_total says why \
            they lose their connections, and GET /api/v1/connections/{clientId}/why says it of one.",
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
        description: "agentbench_errors_total says with which code. overloaded and log_unavailable are the server's, rate_limited \
            is a limit, the others are mistakes of clients.",
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
        summary: "Events reach their readers late",
        description: "If commit_time fires too, it is the disk. If not: CPU (agentbench_cpu_seconds_total against WORKERS), or \
            readers that do not keep up (agentbench_slow_reader_behind names ten).",
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
        summary: "Readers were told that events are gone",
        description: "agentbench_gaps_total says the cause. damaged: stored bytes fail their checksum, see the log and the disk's \
            health. epoch, diverged: the data folder is another one than the reader knew (restored, emptied). overflow: the reader was too far behind.",
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
        unit: "gaps a second",
        summary: "Readers miss events that were too old",
        description: "expired: events with a ttl that were not delivered in time, so readers are slow or the ttl is short. \
            retention: readers come back later than RETENTION_AGE allows.",
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
        unit: "frames not taken in ten seconds, and 1 while it takes none",
        summary: "The log does not take events",
        description: "/readyz says whether the disk is full (it recovers when there is room) or a write or fsync failed (restart the \
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
        unit: "(1 acknowledged events are missing, 2 only ended sessions can be read)",
        summary: "The log was found damaged at the start",
        description: "The log lines of the start name the files, and /readyz says if only ended sessions are served. Check the disk; damaged \
            bytes are kept in quarantine/ of the data folder. Restore a backup, or accept the loss: the next start does not say it again.",
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
        summary: "The audit log takes no lines",
        description: "Its disk is full, slow or broken: see the log line that names the file. Lines wait (agentbench_queue_depth{queue=\"audit\"}); \
            when the queue is full, what has to be written down is refused (AUDIT_WHEN_FULL=wait) or lines are lost and counted.",
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
        description: "Files of evidence are no longer what their hash says, by a read or by the scrub; the log names session and hash. They are \
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
        unit: "seconds that deletions are held",
        summary: "The wall clock was set",
        description: "Nothing is removed for its age before RETENTION_HOLD is over, so that a wrong clock deletes nothing. Check the clock \
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
        description: "Acks wait for it. Look at the disk (iostat -x 1): with ACK_LEVEL=synced this is the time of fsync, otherwise \
            the disk is busy with something else.",
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
        unit: "percent of what it may have",
        summary: "Memory runs out",
        description: "agentbench_queue_depth says what holds it: receive_buffer (large messages that do not end), commit_backlog \
            (a slow disk). Lower MAX_CONNECTIONS, TAIL_BUDGET, RECEIVE_BUDGET, or give it more.",
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
        summary: "The disk fills up",
        description: "When it is full, publishes are refused and reads go on. Make room, or have old sessions removed: RETENTION_AGE, \
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
        summary: "The certificate ends soon",
        description: "Renew it and replace the files of TLS_CERT and TLS_KEY: it is taken within seconds.",
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
        summary: "The issuer's keys grow old",
        description: "JWKS_URL has not answered with keys for so long. The known ones stay good, but a new key is not learned: \
            tokens signed with it are refused.",
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
        summary: "Running sessions are silent",
        description: "They run and have been silent for ten times their usual pace (at least STALL_AFTER): the agent hangs, or has \
            lost its connection. GET /api/v1/sessions?status=running says which (stalled).",
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
            another one; nothing acked is lost. Please report it, with the log's last lines.",
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
