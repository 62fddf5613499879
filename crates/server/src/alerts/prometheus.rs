//! The same rules for Prometheus, with the thresholds and times of the settings' defaults.
//!
//! Prometheus has one threshold for firing and clearing and keeps a rule firing by time alone (`keep_firing_for`), so it may
//! clear a little earlier than the server does. Readings over the last ten seconds here are over the last minute there.

use std::fmt::Write;

use super::rules::{RULES, Rule};
use super::state::{Direction, Limit};

/// `docs/deploy/prometheus-rules.yml`.
#[must_use]
pub fn prometheus_rules() -> String {
    let mut page = String::from(
        "# Made from the code by `cargo xtask codegen`: the rules that the server holds its own figures against (docs/operating.md),\n\
         # with the defaults of its settings. Check changes with `promtool check rules`.\n\
         groups:\n  - name: agentbench\n    rules:\n",
    );
    for rule in RULES {
        // Every default is a limit; a test checks it.
        if let Some(limit) = default_of(rule) {
            write_rule(&mut page, rule, &limit);
        }
    }
    page
}

fn default_of(rule: &Rule) -> Option<Limit> {
    Limit::parse(crate::config::find(&rule.setting())?.default).ok().flatten()
}

/// Writing to a String cannot fail.
fn write_rule(page: &mut String, rule: &Rule, limit: &Limit) {
    let sign = match rule.direction {
        Direction::Above => '>',
        Direction::Below => '<',
    };
    let condition = format!("({}) {sign} {}", rule.query, limit.threshold);
    let condition =
        rule.only_if.map_or_else(|| condition.clone(), |also| format!("({condition}) and ({also})"));
    let _ = writeln!(page, "      - alert: {}\n        expr: {}", rule.title, quoted(&condition));
    let _ = writeln!(page, "        for: {}ms", limit.for_ms);
    let _ = writeln!(page, "        labels:\n          severity: {}", rule.severity.as_str());
    let _ = writeln!(page, "        annotations:\n          summary: {}", quoted(rule.summary));
    let value = format!("{{{{ $value | printf \"%.3g\" }}}} {} (threshold {}). ", rule.unit, limit.threshold);
    let _ = writeln!(page, "          description: {}", quoted(&(value + rule.description)));
    let anchor = format!("docs/troubleshooting.md#alert-{}", rule.name.replace('_', "-"));
    let _ = writeln!(page, "          runbook: {}", quoted(&anchor));
}

/// A YAML text in single quotation marks, in which nothing but they themselves has to be doubled.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
