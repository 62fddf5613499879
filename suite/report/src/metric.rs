//! Every named figure: its meaning, its unit, which way is better, and its place in a result.
//!
//! Thresholds ([`crate::fail_on`]), comparisons ([`crate::baseline`]) and the documentation use the same table, so a
//! name means the same everywhere.

use agentbench_load::latency::Percentiles;
use serde::{Deserialize, Serialize};

use crate::promises::Broken;
use crate::schema::{ProcessFigures, ScenarioResult};

/// The unit of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A plain number.
    Count,
    /// Milliseconds.
    Millis,
    /// Microseconds.
    Micros,
    /// A share from 0 to 1; also written in %.
    Share,
    /// A share of one core: 1.5 is one and a half cores; also written in %.
    Cores,
    /// Events per second.
    PerSecond,
    /// Megabytes, 10⁶ bytes.
    Megabytes,
    /// Points from 0 to 100.
    Points,
}

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Less is better.
    Lower,
    /// More is better.
    Higher,
}

/// A named figure.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its unit.
    pub unit: Unit,
    /// Which way is better.
    pub direction: Direction,
    /// Whether it is meaningless if the generator was the bottleneck.
    pub is_speed: bool,
    /// Its meaning, in a sentence.
    pub about: &'static str,
    value: fn(&ScenarioResult) -> Option<f64>,
}

impl Metric {
    /// The metric with this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        METRICS.iter().find(|metric| metric.name == name)
    }

    /// Its value, if the scenario measured it. An infinite or undefined figure counts as missing.
    pub fn value(&self, result: &ScenarioResult) -> Option<f64> {
        (self.value)(result).filter(|value| value.is_finite())
    }

    /// Its value, unless it is a speed figure of an invalid run.
    pub fn valid_value(&self, result: &ScenarioResult) -> Option<f64> {
        if self.is_speed && result.invalid.is_some() { None } else { self.value(result) }
    }
}

fn millis(figures: &Percentiles, part: fn(&Percentiles) -> u64) -> Option<f64> {
    (figures.count > 0).then(|| part(figures) as f64 / 1e3)
}

fn server(result: &ScenarioResult, part: fn(&ProcessFigures) -> f64) -> Option<f64> {
    result.figures.server.as_ref().map(part)
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn loss_rate(result: &ScenarioResult) -> Option<f64> {
    match &result.reliability {
        Some(figures) => Some(figures.loss_rate),
        None => share(Broken::of(&result.verdict).lost, result.counts.stored),
    }
}

fn connection_success(result: &ScenarioResult) -> Option<f64> {
    match &result.connection {
        Some(figures) => share(figures.established, figures.attempted),
        None => {
            let counts = &result.counts;
            share(counts.connections.saturating_sub(counts.connections_failed), counts.connections)
        }
    }
}

fn reconnection_success(result: &ScenarioResult) -> Option<f64> {
    let figures = result.connection.as_ref()?;
    share(figures.recovered, figures.cuts.values().sum())
}

fn recovery_p99(result: &ScenarioResult) -> Option<f64> {
    let of_cuts = result.connection.iter().flat_map(|figures| figures.recovery.values());
    let of_faults = result.reliability.iter().map(|figures| &figures.recovery);
    of_cuts.chain(of_faults).filter_map(|figures| millis(figures, |p| p.p99)).reduce(f64::max)
}

fn cpu_per_event(result: &ScenarioResult) -> Option<f64> {
    let server = result.figures.server.as_ref()?;
    share(server.cpu_ms.saturating_mul(1000), result.counts.stored)
}

macro_rules! metric {
    ($name:literal, $unit:ident, $direction:ident, $speed:literal, $about:literal, $value:expr) => {
        Metric {
            name: $name,
            unit: Unit::$unit,
            direction: Direction::$direction,
            is_speed: $speed,
            about: $about,
            value: $value,
        }
    };
}

macro_rules! latency {
    ($name:literal, $about:literal, $which:ident . $basis:ident, $part:ident) => {
        metric!($name, Millis, Lower, true, $about, |r| millis(&r.figures.$which.$basis, |p| p.$part))
    };
}

/// Every metric of a scenario. `score` is not included: it belongs to the whole report.
#[rustfmt::skip]
pub const METRICS: &[Metric] = &[
    metric!("loss", Count, Lower, false, "events acked but missing, or in the log but never delivered", |r| Some(Broken::of(&r.verdict).lost as f64)),
    metric!("duplicates", Count, Lower, false, "events delivered or stored twice", |r| Some(Broken::of(&r.verdict).duplicated as f64)),
    metric!("reordered", Count, Lower, false, "events out of order: at one reader, between readers or of one producer", |r| Some(Broken::of(&r.verdict).reordered as f64)),
    metric!("holes", Count, Lower, false, "log entries that a reader skipped without a gap record", |r| Some(Broken::of(&r.verdict).holes as f64)),
    metric!("findings", Count, Lower, false, "broken promises of every kind", |r| Some(Broken::of(&r.verdict).all() as f64)),
    metric!("error_rate", Share, Lower, false, "share of the planned events that were not stored", |r| (r.counts.planned > 0).then_some(r.figures.error_rate)),
    metric!("loss_rate", Share, Lower, false, "share of the acked events that are lost", loss_rate),
    latency!("p50_ms", "publish to delivery, from the scheduled send: median", delivery.corrected, p50),
    latency!("p90_ms", "the same: 90 % are at most this", delivery.corrected, p90),
    latency!("p99_ms", "the same: 99 % are at most this", delivery.corrected, p99),
    latency!("p999_ms", "the same: 99.9 % are at most this", delivery.corrected, p999),
    latency!("max_ms", "the same: the longest", delivery.corrected, max),
    latency!("ack_p50_ms", "publish to ack, from the scheduled send: median", ack.corrected, p50),
    latency!("ack_p90_ms", "the same: 90 % are at most this", ack.corrected, p90),
    latency!("ack_p99_ms", "the same: 99 % are at most this", ack.corrected, p99),
    latency!("ack_p999_ms", "the same: 99.9 % are at most this", ack.corrected, p999),
    latency!("ack_max_ms", "the same: the longest", ack.corrected, max),
    latency!("raw_p50_ms", "publish to delivery, from the actual send: median", delivery.raw, p50),
    latency!("raw_p90_ms", "the same: 90 % are at most this", delivery.raw, p90),
    latency!("raw_p99_ms", "the same: 99 % are at most this", delivery.raw, p99),
    latency!("raw_p999_ms", "the same: 99.9 % are at most this", delivery.raw, p999),
    latency!("raw_max_ms", "the same: the longest", delivery.raw, max),
    latency!("raw_ack_p50_ms", "publish to ack, from the actual send: median", ack.raw, p50),
    latency!("raw_ack_p90_ms", "the same: 90 % are at most this", ack.raw, p90),
    latency!("raw_ack_p99_ms", "the same: 99 % are at most this", ack.raw, p99),
    latency!("raw_ack_p999_ms", "the same: 99.9 % are at most this", ack.raw, p999),
    latency!("raw_ack_max_ms", "the same: the longest", ack.raw, max),
    metric!("acked_per_second", PerSecond, Higher, true, "events acked per second, from the first scheduled send to the last ack", |r| (r.counts.stored > 0).then_some(r.figures.acked_per_second)),
    metric!("delivered_per_second", PerSecond, Higher, true, "events delivered per second, from the first scheduled send to the last delivery", |r| (r.counts.delivered > 0).then_some(r.figures.delivered_per_second)),
    metric!("connect_p99_ms", Millis, Lower, true, "a connection with its first message: 99 % take at most this", |r| millis(&r.figures.connect, |p| p.p99)),
    metric!("recovery_p99_ms", Millis, Lower, true, "from a cut or fault to the resumed session: 99 % take at most this; of the slowest kind of cut", recovery_p99),
    metric!("connection_success_rate", Share, Higher, false, "share of the first connections that were established", connection_success),
    metric!("reconnection_success_rate", Share, Higher, false, "share of the cut connections that recovered", reconnection_success),
    metric!("session_success_rate", Share, Higher, false, "share of the sessions in which every promise held and everything was stored", |r| r.reliability.as_ref().map(|f| f.session_success_rate)),
    metric!("memory_mb", Megabytes, Lower, true, "peak resident memory of the server's process", |r| server(r, |s| s.peak_resident as f64 / 1e6)),
    metric!("cpu_share", Cores, Lower, true, "CPU of the server's process as a share of one core", |r| server(r, |s| s.cpu_share)),
    metric!("cpu_us_per_event", Micros, Lower, true, "CPU of the server's process per stored event, user and system", cpu_per_event),
    metric!("retries", Count, Lower, false, "events sent again", |r| Some(r.counts.retried as f64)),
    metric!("reconnects", Count, Lower, false, "connections opened again after a loss", |r| Some(r.counts.reconnects as f64)),
    metric!("peak_reconnects_per_second", Count, Lower, false, "maximum number of reconnects within one second", |r| Some(r.counts.peak_reconnects_per_second as f64)),
    metric!("invalid", Count, Lower, false, "1 if the generator was the bottleneck, else 0", |r| Some(f64::from(u8::from(r.invalid.is_some())))),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::sample::sample;

    #[test]
    fn names_are_unique_and_found() {
        let names: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), METRICS.len());
        for name in names {
            assert_eq!(Metric::named(name).unwrap().name, name);
        }
        assert!(Metric::named("speed").is_none());
    }

    #[test]
    fn every_metric_is_documented() {
        let page = include_str!("../../../docs/reports.md");
        for metric in METRICS {
            assert!(page.contains(&format!("| `{}` |", metric.name)), "{}", metric.name);
        }
    }

    #[test]
    fn every_metric_is_measured_somewhere_in_the_sample() {
        let report = sample();
        for metric in METRICS {
            let measured = report.scenarios.iter().any(|scenario| metric.value(scenario).is_some());
            assert!(measured, "{}", metric.name);
        }
    }

    #[test]
    fn what_was_not_measured_has_no_value_and_invalid_speed_is_none() {
        let mut result = sample().scenarios.remove(0);
        let p99 = Metric::named("p99_ms").unwrap();
        assert!(p99.valid_value(&result).is_some());
        result.invalid = Some("late".to_owned());
        assert!(p99.valid_value(&result).is_none());
        assert!(Metric::named("loss").unwrap().valid_value(&result).is_some());
        result.figures.delivery = Default::default();
        assert!(p99.value(&result).is_none());
    }
}
