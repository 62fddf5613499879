//! Thresholds that fail a run: `p99_ms>50, "Stress Test".p99_ms>80, performance.error_rate>1%`.
//!
//! A list of conditions, any of which fails the run: `[scope.]metric op number[unit]`, separated by commas. The scope is
//! a category or a scenario's name in quotes. `parse` parses it; [`FailOn::evaluate`] returns the thresholds that a report
//! exceeds. A threshold that no scenario could be checked against is a breach, too: a gate that checks nothing must not
//! pass.

use serde::Serialize;

use crate::figure;
use crate::metric::{Metric, Unit};
use crate::schema::{Category, Report, ScenarioResult};
use crate::score;

mod parse;

pub use parse::{ParseError, parse};

/// Conditions, any of which fails a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FailOn {
    conditions: Vec<Condition>,
}

/// One condition.
#[derive(Debug, Clone, PartialEq)]
struct Condition {
    scope: Scope,
    measure: Measure,
    operator: Operator,
    bound: f64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Scope {
    Everything,
    Category(Category),
    Scenario(String),
}

#[derive(Debug, Clone, Copy)]
enum Measure {
    /// A scenario's figure.
    Metric(&'static Metric),
    /// The whole report's score.
    Score,
}

impl PartialEq for Measure {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Measure {
    const fn name(&self) -> &'static str {
        match self {
            Self::Metric(metric) => metric.name,
            Self::Score => "score",
        }
    }

    const fn unit(&self) -> Unit {
        match self {
            Self::Metric(metric) => metric.unit,
            Self::Score => Unit::Points,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Above,
    AtLeast,
    Below,
    AtMost,
    Equal,
    Unequal,
}

impl Operator {
    fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Self::Above => value > bound,
            Self::AtLeast => value >= bound,
            Self::Below => value < bound,
            Self::AtMost => value <= bound,
            Self::Equal => value == bound,
            Self::Unequal => value != bound,
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Above => ">",
            Self::AtLeast => ">=",
            Self::Below => "<",
            Self::AtMost => "<=",
            Self::Equal => "=",
            Self::Unequal => "!=",
        }
    }
}

/// A threshold that a report exceeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Breach {
    /// The scenario; `None` for a figure of the whole report, and for a threshold that was not checked.
    pub scenario: Option<String>,
    /// The metric's name.
    pub metric: String,
    /// The figure; `None` if no scenario has one.
    pub value: Option<f64>,
    /// The bound.
    pub bound: f64,
    /// The breach as a sentence.
    pub sentence: String,
}

impl FailOn {
    /// Every threshold that the report exceeds, in the order in which they were written.
    pub fn evaluate(&self, report: &Report) -> Vec<Breach> {
        self.conditions.iter().flat_map(|condition| condition.evaluate(report)).collect()
    }
}

impl Condition {
    fn evaluate(&self, report: &Report) -> Vec<Breach> {
        let Measure::Metric(metric) = self.measure else {
            return self.evaluate_score(report);
        };
        let in_scope = report.scenarios.iter().filter(|result| self.covers(result));
        let measured: Vec<(&ScenarioResult, f64)> =
            in_scope.filter_map(|result| Some((result, metric.valid_value(result)?))).collect();
        if measured.is_empty() {
            return vec![self.unchecked(report)];
        }
        let broken = measured.into_iter().filter(|(_, value)| self.operator.holds(*value, self.bound));
        broken.map(|(result, value)| self.breach(Some(&result.scenario.name), value)).collect()
    }

    fn evaluate_score(&self, report: &Report) -> Vec<Breach> {
        match score::score(report).points.map(f64::from) {
            None => vec![self.unchecked(report)],
            Some(points) if self.operator.holds(points, self.bound) => vec![self.breach(None, points)],
            Some(_) => Vec::new(),
        }
    }

    fn covers(&self, result: &ScenarioResult) -> bool {
        match &self.scope {
            Scope::Everything => true,
            Scope::Category(category) => result.scenario.category == *category,
            Scope::Scenario(name) => result.scenario.name == *name,
        }
    }

    fn breach(&self, scenario: Option<&str>, value: f64) -> Breach {
        let figure = with_unit(value, self.measure.unit());
        let sentence = format!(
            "{}: {} is {figure}, which fails at {}",
            scenario.unwrap_or("the whole run"),
            self.measure.name(),
            self.bound_text()
        );
        Breach {
            scenario: scenario.map(str::to_owned),
            metric: self.measure.name().to_owned(),
            value: Some(value),
            bound: self.bound,
            sentence,
        }
    }

    fn unchecked(&self, report: &Report) -> Breach {
        let names: Vec<&str> = report.scenarios.iter().map(|result| result.scenario.name.as_str()).collect();
        let scope = match &self.scope {
            Scope::Everything => "no scenario".to_owned(),
            Scope::Category(category) => format!("no scenario of the category {}", category.text()),
            Scope::Scenario(name) => format!("no scenario {name:?}"),
        };
        let sentence = format!(
            "{} {} was not checked: {scope} has a valid figure (scenarios run: {})",
            self.measure.name(),
            self.bound_text(),
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        );
        Breach {
            scenario: None,
            metric: self.measure.name().to_owned(),
            value: None,
            bound: self.bound,
            sentence,
        }
    }

    fn bound_text(&self) -> String {
        format!("{} {}", self.operator.text(), with_unit(self.bound, self.measure.unit()))
    }
}

/// A value of a metric with its unit.
pub fn with_unit(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Count => figure::number(value),
        Unit::Millis => format!("{} ms", figure::number(value)),
        Unit::Micros => format!("{} µs", figure::number(value)),
        Unit::Share => figure::share(value),
        Unit::Cores => format!("{} of a core", figure::share(value)),
        Unit::PerSecond => format!("{}/s", figure::number(value)),
        Unit::Megabytes => format!("{} MB", figure::number(value)),
        Unit::Points => format!("{} points", figure::number(value)),
    }
}

#[cfg(test)]
mod tests;
