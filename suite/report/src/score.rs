//! A number from 0 to 100. Promises count most; its formula is printed beside it.

use std::fmt::Write;

use serde::Serialize;

use crate::metric::Metric;
use crate::promises::Broken;
use crate::schema::{Category, Report, ScenarioResult, Status};

/// Maximum score of a run with a broken promise.
pub const CAP_BROKEN: u8 = 40;
/// Maximum score of a run that failed otherwise, or was interrupted.
pub const CAP_FAILED: u8 = 70;
/// Latency budget stated in the design: publish to delivery, 99 %, ms.
pub const GOAL_P99_MS: f64 = 2.0;

/// Size above which an event's transfer dominates its latency.
const LATENCY_UP_TO_BYTES: usize = 16 * 1024;

/// The formula, for people.
pub const FORMULA: &str = "score = weighted mean of the categories that were run (reliability 50, performance 30, \
    connection 20), rounded down. A category is the mean of its scenarios. Reliability: mean of session success rate \
    and 1 − error rate. Connection: mean of connection and reconnection success rate. Performance: mean of \
    1 − error rate and latency, which is 1 up to a p99 of 2 ms from publish to delivery and 2 ms ÷ p99 beyond; without \
    latency where the run is invalid, looks for the limit, or has events above 16 KiB. A broken promise caps the score at 40, another failure or an \
    interrupted run at 70.";

/// The score and its parts.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Score {
    /// 0 to 100; `None` if no scenario finished.
    pub points: Option<u8>,
    /// Each category that was run.
    pub parts: Vec<Part>,
    /// Categories that were not run and so have no weight.
    pub left_out: Vec<Category>,
    /// The cap, if one applies, and its reason.
    pub cap: Option<String>,
}

/// One category's share.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Part {
    /// The category.
    pub category: Category,
    /// Its weight before rescaling.
    pub weight: u8,
    /// 0 to 1.
    pub share: f64,
}

const WEIGHTS: [(Category, u8); 3] =
    [(Category::Reliability, 50), (Category::Performance, 30), (Category::Connection, 20)];

/// Computes the score of a report.
pub fn score(report: &Report) -> Score {
    let mut parts = Vec::new();
    let mut left_out = Vec::new();
    for (category, weight) in WEIGHTS {
        let of_category = report.scenarios.iter().filter(|result| result.scenario.category == category);
        match mean(of_category.map(share)) {
            Some(share) => parts.push(Part { category, weight, share }),
            None => left_out.push(category),
        }
    }
    let (most, cap) = cap(report);
    let points = points(&parts).map(|points| points.min(most));
    Score { points, parts, left_out, cap }
}

impl Score {
    /// The number, or a note that there is none.
    pub fn text(&self) -> String {
        self.points
            .map_or_else(|| "no score: no scenario was run".to_owned(), |points| format!("{points} of 100"))
    }

    /// How the number is made up: the categories' shares, the cap, and what is left out.
    pub fn explanation(&self) -> String {
        let mut text = String::new();
        for part in &self.parts {
            let separator = if text.is_empty() { "" } else { ", " };
            // Writing to a string does not fail.
            let _ = write!(
                text,
                "{separator}{} {:.1} % (weight {})",
                part.category.text(),
                part.share * 100.0,
                part.weight
            );
        }
        if let Some(cap) = &self.cap {
            let _ = write!(text, "; {cap}");
        }
        if !self.left_out.is_empty() {
            let names: Vec<&str> = self.left_out.iter().map(|category| category.text()).collect();
            let _ = write!(text, "; not run and without weight: {}", names.join(", "));
        }
        text
    }
}

fn points(parts: &[Part]) -> Option<u8> {
    let weights: f64 = parts.iter().map(|part| f64::from(part.weight)).sum();
    let sum: f64 = parts.iter().map(|part| f64::from(part.weight) * part.share).sum();
    // The small addition compensates for rounding: a perfect run must have 100.
    (weights > 0.0).then(|| (sum / weights * 100.0 + 1e-9).floor().clamp(0.0, 100.0) as u8)
}

fn cap(report: &Report) -> (u8, Option<String>) {
    let broken: u64 = report.scenarios.iter().map(|result| Broken::of(&result.verdict).all()).sum();
    let failed = report.scenarios.iter().filter(|result| result.status == Status::Failed).count();
    if broken > 0 {
        return (CAP_BROKEN, Some(format!("{broken} broken promises cap it at {CAP_BROKEN}")));
    }
    if failed > 0 {
        return (CAP_FAILED, Some(format!("{failed} failed scenarios cap it at {CAP_FAILED}")));
    }
    if report.interrupted.is_some() {
        return (CAP_FAILED, Some(format!("an interrupted run caps it at {CAP_FAILED}")));
    }
    (100, None)
}

fn share(result: &ScenarioResult) -> f64 {
    let value = |name: &str| Metric::named(name).and_then(|metric| metric.valid_value(result));
    let stored = value("error_rate").map(|rate| 1.0 - rate);
    let is_large = result.scenario.payload_bytes > LATENCY_UP_TO_BYTES;
    let latency = value("p99_ms").filter(|_| !is_large && result.search.is_none());
    let parts = match result.scenario.category {
        Category::Reliability => [value("session_success_rate"), stored],
        Category::Connection => [value("connection_success_rate"), value("reconnection_success_rate")],
        Category::Performance => [latency.map(|p99| GOAL_P99_MS / p99.max(GOAL_P99_MS)), stored],
    };
    // A scenario without measurements proves nothing.
    mean(parts.into_iter().flatten().map(|part| part.clamp(0.0, 1.0))).unwrap_or(0.0)
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

#[cfg(test)]
mod tests {
    use agentbench_history::{Kind, Verdict};
    use proptest::prelude::*;

    use super::*;
    use crate::sample::{perfect, sample};

    #[test]
    fn a_perfect_run_has_100_and_an_empty_one_has_none() {
        assert_eq!(score(&perfect()).points, Some(100));
        let mut empty = perfect();
        empty.scenarios.clear();
        let score = score(&empty);
        assert_eq!((score.points, score.left_out.len()), (None, 3));
    }

    #[test]
    fn a_single_broken_promise_caps_at_40() {
        let mut report = perfect();
        report.scenarios[0].verdict = Verdict { counts: [(Kind::Lost, 1)].into(), ..Verdict::default() };
        assert_eq!(score(&report).points, Some(CAP_BROKEN));
        assert!(score(&report).explanation().contains("1 broken promises cap it at 40"));
    }

    #[test]
    fn other_failures_and_interruptions_cap_at_70() {
        let mut failed = perfect();
        failed.scenarios[0].status = Status::Failed;
        let mut interrupted = perfect();
        interrupted.interrupted = Some("stopped by Ctrl-C".to_owned());
        assert_eq!((score(&failed).points, score(&interrupted).points), (Some(CAP_FAILED), Some(CAP_FAILED)));
    }

    #[test]
    fn categories_that_were_not_run_are_said() {
        let mut report = perfect();
        report.scenarios.retain(|result| result.scenario.category == Category::Performance);
        let score = score(&report);
        assert_eq!(score.points, Some(100));
        assert!(score.explanation().ends_with("not run and without weight: reliability, connection"));
    }

    proptest! {
        #[test]
        fn worse_figures_never_score_more(errors in 0.0f64..1.0, more in 0.0f64..1.0, p99 in 1u64..10_000_000, longer in 0u64..10_000_000, which in 0usize..6) {
            let mut report = sample();
            let which = which % report.scenarios.len();
            report.scenarios[which].figures.error_rate = errors;
            report.scenarios[which].figures.delivery.corrected.p99 = p99;
            let before = score(&report).points;
            report.scenarios[which].figures.error_rate = (errors + more).min(1.0);
            report.scenarios[which].figures.delivery.corrected.p99 = p99 + longer;
            prop_assert!(score(&report).points <= before);
            report.scenarios[which].status = Status::Failed;
            prop_assert!(score(&report).points <= before);
        }
    }
}
