//! Two reports, or two sets of repeated runs, side by side.
//!
//! Broken promises need no statistics: a finding in the second set that the first lacks is worse at once. Figures
//! are judged only where each side has enough runs; with one run each, there is a ratio but no verdict. All figures of
//! a comparison are judged together ([`crate::statistics::holm`]), so that a comparison of many scenarios does not
//! find a loss merely by testing often.

use std::collections::BTreeSet;

use agentbench_history::Kind;
use serde::{Deserialize, Serialize};

use crate::metric::{Direction, Metric};
use crate::schema::{Category, Report, ScenarioResult, Status};
use crate::statistics::{self, ALPHA, Difference, Interval, Judgement, MINIMUM_EFFECT, holm};

/// How two sets of runs differ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// Number of runs in the first set, the baseline.
    pub runs_a: usize,
    /// Number of runs in the second set.
    pub runs_b: usize,
    /// Accepted probability of at least one false alarm among all rows.
    pub alpha: f64,
    /// Relative change below which there is no verdict.
    pub minimum_effect: f64,
    /// Promises that the second set broke and the first did not.
    pub broken: Vec<Break>,
    /// Each scenario's figures.
    pub rows: Vec<Row>,
    /// Limits of the comparison, in sentences.
    pub notes: Vec<String>,
}

/// A promise that the second set broke and the first did not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Break {
    /// The scenario.
    pub scenario: String,
    /// Which promise was broken, and how often.
    pub what: String,
}

/// One figure of one scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Row {
    /// The scenario.
    pub scenario: String,
    /// The metric's name.
    pub metric: String,
    /// Which way is better.
    pub direction: Direction,
    /// Its values in the first set.
    pub a: Vec<f64>,
    /// Its values in the second.
    pub b: Vec<f64>,
    /// Ratio of the second to the first; `None` where a value is 0.
    pub ratio: Option<f64>,
    /// The ratio's 95 % interval; `None` with too few runs.
    pub interval: Option<Interval>,
    /// p after Holm's correction over all rows; `None` with one run each.
    pub p: Option<f64>,
    /// The verdict.
    pub verdict: Judgement,
}

impl Comparison {
    /// Whether the second set is worse in any promise or figure.
    pub fn has_worse(&self) -> bool {
        !self.broken.is_empty() || self.rows.iter().any(|row| row.verdict == Judgement::Worse)
    }

    /// The sentence above the table.
    pub fn summary(&self) -> String {
        let count = |verdict| self.rows.iter().filter(|row| row.verdict == verdict).count();
        let promises = match self.broken.len() {
            0 => "no promise broken that held before".to_owned(),
            count => format!("{count} promises broken that held before"),
        };
        format!(
            "{} against {} runs: {promises}; {} figures worse, {} better, {} the same, {} undecided",
            self.runs_b,
            self.runs_a,
            count(Judgement::Worse),
            count(Judgement::Better),
            count(Judgement::Same),
            count(Judgement::CannotTell)
        )
    }
}

/// The figures that are judged. They are few on purpose: each further one requires more runs for all of them.
const fn judged(category: Category) -> &'static [&'static str] {
    match category {
        Category::Performance => {
            &["p50_ms", "p99_ms", "ack_p99_ms", "delivered_per_second", "cpu_us_per_event", "memory_mb"]
        }
        Category::Connection => {
            &["connection_success_rate", "connect_p99_ms", "reconnection_success_rate", "recovery_p99_ms"]
        }
        Category::Reliability => &["error_rate", "session_success_rate", "p99_ms", "recovery_p99_ms"],
    }
}

/// Compares two sets of runs; `a` is the baseline. Scenarios are matched by name; those whose sizes differ, or that
/// only one side has run, are listed in the notes.
pub fn compare(a: &[Report], b: &[Report]) -> Comparison {
    let mut comparison = Comparison {
        runs_a: a.len(),
        runs_b: b.len(),
        alpha: ALPHA,
        minimum_effect: MINIMUM_EFFECT,
        broken: Vec::new(),
        rows: Vec::new(),
        notes: notes(a, b),
    };
    let mut found = Vec::new();
    for name in names(a, b) {
        let (of_a, of_b) = (results(a, &name), results(b, &name));
        if let Some(note) = hindrance(&name, &of_a, &of_b) {
            comparison.notes.push(note);
            continue;
        }
        comparison.broken.extend(breaks(&name, &of_a, &of_b));
        for name in judged(of_b[0].scenario.category) {
            let metric = Metric::named(name).unwrap_or_else(|| unreachable!("{name} is in the table"));
            found.extend(row(metric, &of_a, &of_b));
        }
    }
    judge(&mut found);
    comparison.notes.extend(too_few(&found, a.len(), b.len()));
    comparison.rows = found.into_iter().map(|(row, _)| row).collect();
    comparison
}

fn names(a: &[Report], b: &[Report]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let scenarios = a.iter().chain(b).flat_map(|report| &report.scenarios);
    let names = scenarios.map(|result| result.scenario.name.clone());
    names.filter(|name| seen.insert(name.clone())).collect()
}

fn results<'a>(reports: &'a [Report], name: &str) -> Vec<&'a ScenarioResult> {
    let all = reports.iter().flat_map(|report| &report.scenarios);
    all.filter(|result| result.scenario.name == name).collect()
}

fn hindrance(name: &str, a: &[&ScenarioResult], b: &[&ScenarioResult]) -> Option<String> {
    let (Some(first), Some(second)) = (a.first(), b.first()) else {
        let side = if a.is_empty() { "the baseline" } else { "the new set" };
        return Some(format!("{name} is not in {side}: not compared"));
    };
    let differs = a.iter().chain(b).any(|result| !is_same_work(first, result));
    differs.then(|| {
        let size = |result: &ScenarioResult| {
            let setup = &result.scenario;
            format!(
                "{} clients × {} events of {} B over {} ms at failure rate {}",
                setup.clients, setup.messages, setup.payload_bytes, setup.spread_ms, setup.failure_rate
            )
        };
        format!("{name} was run in different sizes ({}; {}): not compared", size(first), size(second))
    })
}

fn is_same_work(a: &ScenarioResult, b: &ScenarioResult) -> bool {
    let size = |result: &ScenarioResult| {
        let setup = &result.scenario;
        (setup.category, setup.clients, setup.messages, setup.payload_bytes, setup.spread_ms)
    };
    size(a) == size(b) && a.scenario.failure_rate == b.scenario.failure_rate
}

fn breaks(name: &str, a: &[&ScenarioResult], b: &[&ScenarioResult]) -> Vec<Break> {
    let most = |results: &[&ScenarioResult], kind: Kind| {
        results.iter().map(|result| result.verdict.count(kind)).max().unwrap_or(0)
    };
    let scenario = name.to_owned();
    let new = Kind::ALL.into_iter().filter(|kind| most(a, *kind) == 0 && most(b, *kind) > 0);
    let mut breaks: Vec<Break> = new
        .map(|kind| Break {
            scenario: scenario.clone(),
            what: format!("{}: {} in a run", kind.text(), most(b, kind)),
        })
        .collect();
    let has_failed = |result: &&&ScenarioResult| result.status == Status::Failed;
    if breaks.is_empty()
        && !a.iter().any(|result| has_failed(&result))
        && let Some(failed) = b.iter().find(has_failed)
    {
        breaks.push(Break { scenario, what: format!("failed: {}", failed.reasons.join("; ")) });
    }
    breaks
}

/// A row without its verdict, and the data for the verdict.
fn row(metric: &Metric, a: &[&ScenarioResult], b: &[&ScenarioResult]) -> Option<(Row, Difference)> {
    let values = |results: &[&ScenarioResult]| -> Vec<f64> {
        results.iter().filter_map(|result| metric.valid_value(result)).collect()
    };
    let (values_a, values_b) = (values(a), values(b));
    let found = statistics::difference(&values_a, &values_b)?;
    let row = Row {
        scenario: b[0].scenario.name.clone(),
        metric: metric.name.to_owned(),
        direction: metric.direction,
        a: values_a,
        b: values_b,
        ratio: found.ratio,
        interval: found.interval,
        p: None,
        verdict: Judgement::CannotTell,
    };
    Some((row, found))
}

fn judge(rows: &mut [(Row, Difference)]) {
    let is_repeated = |row: &Row| row.a.len() > 1 && row.b.len() > 1;
    let repeated: Vec<usize> = (0..rows.len()).filter(|index| is_repeated(&rows[*index].0)).collect();
    let ps: Vec<f64> = repeated.iter().map(|index| rows[*index].1.p).collect();
    for (index, p) in repeated.into_iter().zip(holm::corrected(&ps)) {
        let (row, found) = &mut rows[index];
        row.p = Some(p);
        row.verdict = statistics::judge(found, p, row.direction, MINIMUM_EFFECT);
    }
}

/// Whether so few runs could not show even the clearest loss.
fn too_few(rows: &[(Row, Difference)], a: usize, b: usize) -> Option<String> {
    if a.min(b) < 2 {
        return Some(
            "one run per side cannot tell noise from change: the ratios have no verdict; repeat both sides in turn"
                .to_owned(),
        );
    }
    let possible = |a: usize, b: usize| 2.0 * (1..=a).fold(1.0, |p, n| p * n as f64 / (b + n) as f64);
    let needed = |runs: usize| possible(runs, runs) * rows.len() as f64 <= ALPHA;
    if rows.is_empty() || possible(a, b) * rows.len() as f64 <= ALPHA {
        return None;
    }
    let enough = (2..=30).find(|runs| needed(*runs))?;
    Some(format!(
        "{a} and {b} runs are too few to judge {} figures at once: run each side {enough} times, or compare one scenario",
        rows.len()
    ))
}

fn notes(a: &[Report], b: &[Report]) -> Vec<String> {
    let all = || a.iter().chain(b);
    let mut notes = Vec::new();
    let machines: BTreeSet<String> =
        all().map(|report| format!("{} cores, {}", report.machine.cores, report.machine.platform)).collect();
    if machines.len() > 1 {
        let machines: Vec<String> = machines.into_iter().collect();
        notes.push(format!(
            "the runs are from different machines ({}): speed figures are not comparable",
            machines.join("; ")
        ));
    }
    if all().any(|report| !report.machine.optimised) {
        notes.push("a run does not use a release build: its speed figures mean little".to_owned());
    }
    let interrupted = all().filter(|report| report.interrupted.is_some()).count();
    if interrupted > 0 {
        notes.push(format!("{interrupted} runs were interrupted: only their finished scenarios count"));
    }
    let invalid =
        all().flat_map(|report| &report.scenarios).filter(|result| result.invalid.is_some()).count();
    if invalid > 0 {
        notes.push(format!(
            "{invalid} results are invalid (the generator was the bottleneck): their speed figures are left out"
        ));
    }
    notes
}

#[cfg(test)]
mod tests;
