//! Alerts: rules evaluated against the server's own metrics twice a second, so that operators learn of problems before users
//! do. Alerts are reported in the log, to a webhook, in `/metrics` and by `GET /api/v1/alerts`.
//!
//! - `rules` is the table, `state` the state machine that keeps one rule from flapping, `webhook` notifies other systems,
//!   `prometheus` writes the same rules for Prometheus.

pub(crate) mod prometheus;
pub(crate) mod rules;
pub(crate) mod state;
pub(crate) mod webhook;

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::config::Watch;
use crate::figures::registry::Figure;
use rules::{RULES, Readings, Rule, Severity};
use state::{RuleState, State};
use webhook::WebhookQueue;

/// Number of recent changes that are kept.
const MAX_CHANGES: usize = 100;

/// A rule with its state.
struct MonitoredRule {
    rule: &'static Rule,
    machine: RuleState,
    value: Option<f64>,
}

/// A rule that fires.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct Firing {
    /// The rule.
    name: &'static str,
    /// How soon somebody should look.
    severity: Severity,
    /// `firing`.
    state: State,
    /// Since when, ms since 1970.
    since: u64,
    /// What was read last; absent if it cannot be read now.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<f64>,
    /// What it is held against.
    threshold: f64,
    /// What is wrong.
    summary: &'static str,
}

/// A rule as it is shown.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct RuleInfo {
    /// Its name.
    name: &'static str,
    /// How soon somebody should look when it fires.
    severity: Severity,
    /// ok, pending or firing.
    state: State,
    /// Since when, ms since 1970; absent if it has never been anything but ok.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<u64>,
    /// What was read last; absent if it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<f64>,
    /// What it is held against.
    threshold: f64,
    /// The unit of both.
    unit: &'static str,
    /// What is wrong when it fires.
    summary: &'static str,
    /// What that means, and what to do.
    description: &'static str,
}

/// A rule has changed its state.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct Change {
    /// When, ms since 1970.
    at: u64,
    /// The rule.
    name: &'static str,
    /// The new state.
    state: State,
    /// What was read then.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<f64>,
}

/// The object of `GET /api/v1/alerts`.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct AlertsInfo {
    /// Every rule that is not turned off.
    rules: Vec<RuleInfo>,
    /// The last changes, newest first.
    changes: Vec<Change>,
}

struct Inner {
    watched: Vec<MonitoredRule>,
    changes: VecDeque<Change>,
}

/// All rules of a server.
pub(crate) struct Alerts {
    inner: Mutex<Inner>,
    pub(crate) outgoing: Option<WebhookQueue>,
}

impl Alerts {
    pub(crate) fn new(watch: &Watch, node: &str) -> Self {
        let watched = RULES.iter().filter_map(|rule| {
            let limit = watch.limit(rule.name)?;
            Some(MonitoredRule {
                rule,
                machine: RuleState::new(rule.direction, limit, rule.margin),
                value: None,
            })
        });
        let inner = Inner { watched: watched.collect(), changes: VecDeque::new() };
        let outgoing = watch.webhook.is_some().then(|| WebhookQueue::new(node));
        Self { inner: Mutex::new(inner), outgoing }
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Evaluates every rule with new readings. Rules that fire or clear are logged and queued for the webhook.
    pub(crate) fn evaluate(&self, now: u64, readings: &Readings) {
        let mut inner = self.inner();
        let Inner { watched, changes } = &mut *inner;
        for watched in watched {
            let (before, since) = (watched.machine.state, watched.machine.since);
            watched.value = (watched.rule.reading)(readings);
            if !watched.machine.step(now, watched.value) {
                continue;
            }
            let state = watched.machine.state;
            if changes.len() == MAX_CHANGES {
                changes.pop_back();
            }
            changes.push_front(Change { at: now, name: watched.rule.name, state, value: watched.value });
            match (before, state) {
                (_, State::Firing) => watched.log_firing(),
                (State::Firing, State::Ok) => watched.log_cleared(now, since),
                _ => continue,
            }
            if let Some(outgoing) = &self.outgoing {
                outgoing.push(now, watched.rule, &watched.machine, watched.value);
            }
        }
    }

    pub(crate) fn firing(&self) -> Vec<Firing> {
        let inner = self.inner();
        let firing = inner.watched.iter().filter(|it| it.machine.state == State::Firing);
        firing
            .map(|it| Firing {
                name: it.rule.name,
                severity: it.rule.severity,
                state: State::Firing,
                since: it.machine.since.unwrap_or(0),
                value: it.value,
                threshold: it.machine.threshold(),
                summary: it.rule.summary,
            })
            .collect()
    }

    pub(crate) fn describe(&self) -> AlertsInfo {
        let inner = self.inner();
        let rule = |it: &MonitoredRule| RuleInfo {
            name: it.rule.name,
            severity: it.rule.severity,
            state: it.machine.state,
            since: it.machine.since,
            value: it.value,
            threshold: it.machine.threshold(),
            unit: it.rule.unit,
            summary: it.rule.summary,
            description: it.rule.description,
        };
        let rules = inner.watched.iter().map(rule).collect();
        AlertsInfo { rules, changes: inner.changes.iter().cloned().collect() }
    }

    /// The states as a metric.
    pub(crate) fn gather(&self) -> Figure {
        let inner = self.inner();
        let values = inner.watched.iter().map(|it| {
            let level = match it.machine.state {
                State::Ok => 0.0,
                State::Pending => 1.0,
                State::Firing => 2.0,
            };
            let severity = it.rule.severity.as_str().to_owned();
            (vec![("alert", it.rule.name.to_owned()), ("severity", severity)], level)
        });
        let help = "State of an alert: 0 ok, 1 pending, 2 firing";
        Figure::gauges("alert_state", help, None, values.collect::<Vec<_>>().into_iter())
    }
}

impl MonitoredRule {
    fn log_firing(&self) {
        let (alert, value, threshold) = (self.rule.name, self.value, self.machine.threshold());
        let (summary, unit) = (self.rule.summary, self.rule.unit);
        match self.rule.severity {
            Severity::Critical => tracing::error!(alert, value, threshold, unit, "alert: {summary}"),
            Severity::Warning => tracing::warn!(alert, value, threshold, unit, "alert: {summary}"),
        }
    }

    fn log_cleared(&self, now: u64, since: Option<u64>) {
        let lasted_ms = since.map(|since| now.saturating_sub(since));
        let (alert, summary) = (self.rule.name, self.rule.summary);
        tracing::info!(alert, value = self.value, lasted_ms, "alert cleared: {summary}");
    }
}
