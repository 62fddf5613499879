//! Latencies in histograms, from the scheduled and from the actual send, side by side.
//!
//! A generator that is delayed sends late, and a figure from the actual send hides the wait that a real
//! client would have had ("coordinated omission"). The figure from the *scheduled* send includes it.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Longest latency that is distinguished from longer ones.
const LONGEST: Duration = Duration::from_secs(600);
/// Number of significant digits of the figures.
const DIGITS: u8 = 3;

/// Both histograms of one latency.
#[derive(Debug, Clone)]
pub struct LatencyRecorder {
    corrected: Histogram<u64>,
    raw: Histogram<u64>,
}

/// The figures of one histogram, µs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Percentiles {
    /// Number of values.
    pub count: u64,
    /// Smallest.
    pub min: u64,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: u64,
    /// 90 % are at most this.
    pub p90: u64,
    /// 99 % are at most this.
    pub p99: u64,
    /// 99.9 % are at most this.
    pub p999: u64,
    /// Largest.
    pub max: u64,
}

/// The figures of one latency, µs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Latency {
    /// From the scheduled send.
    pub corrected: Percentiles,
    /// From the actual send.
    pub raw: Percentiles,
}

impl Default for LatencyRecorder {
    fn default() -> Self {
        Self { corrected: histogram(), raw: histogram() }
    }
}

impl LatencyRecorder {
    /// Records a latency with its scheduled, actual and end time, all since the same origin.
    pub fn record(&mut self, planned: Duration, sent: Duration, done: Duration) {
        self.corrected.saturating_record(micros(done.saturating_sub(planned)));
        self.raw.saturating_record(micros(done.saturating_sub(sent)));
    }

    /// The figures.
    pub fn figures(&self) -> Latency {
        Latency { corrected: percentiles(&self.corrected), raw: percentiles(&self.raw) }
    }

    /// The curve from the scheduled send: quantiles (0 to 1) and values, µs.
    pub fn curve(&self) -> Vec<(f64, u64)> {
        curve(&self.corrected)
    }
}

/// One histogram of durations, for what has no schedule.
#[derive(Debug, Clone)]
pub struct DurationRecorder(Histogram<u64>);

impl Default for DurationRecorder {
    fn default() -> Self {
        Self(histogram())
    }
}

impl DurationRecorder {
    /// Records a duration.
    pub fn record(&mut self, took: Duration) {
        self.0.saturating_record(micros(took));
    }

    /// The figures.
    pub fn figures(&self) -> Percentiles {
        percentiles(&self.0)
    }

    /// The curve: quantiles (0 to 1) and values, µs.
    pub fn curve(&self) -> Vec<(f64, u64)> {
        curve(&self.0)
    }
}

/// Points of a curve, denser towards the slow end: five for each halving of the rest.
fn curve(histogram: &Histogram<u64>) -> Vec<(f64, u64)> {
    const POINTS_PER_HALVING: u32 = 5;
    let points = histogram.iter_quantiles(POINTS_PER_HALVING);
    points.map(|point| (point.quantile_iterated_to(), point.value_iterated_to())).collect()
}

fn histogram() -> Histogram<u64> {
    let longest = micros(LONGEST);
    // The bounds are constants: either always right or never.
    Histogram::new_with_bounds(1, longest, DIGITS).unwrap_or_else(|_| unreachable!("the bounds are valid"))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The figures of a histogram of µs.
pub(crate) fn percentiles(histogram: &Histogram<u64>) -> Percentiles {
    if histogram.is_empty() {
        return Percentiles::default();
    }
    Percentiles {
        count: histogram.len(),
        min: histogram.min(),
        mean: histogram.mean(),
        p50: histogram.value_at_quantile(0.5),
        p90: histogram.value_at_quantile(0.9),
        p99: histogram.value_at_quantile(0.99),
        p999: histogram.value_at_quantile(0.999),
        max: histogram.max(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_send_shows_in_the_corrected_figure_only() {
        let mut recorder = LatencyRecorder::default();
        let ms = Duration::from_millis;
        for n in 0..99 {
            recorder.record(ms(n), ms(n), ms(n + 1));
        }
        recorder.record(ms(100), ms(900), ms(901));
        let figures = recorder.figures();
        assert_eq!(figures.raw.count, 100);
        assert!((995..=1005).contains(&figures.raw.max), "{figures:?}");
        assert!((800_000..=802_000).contains(&figures.corrected.max), "{figures:?}");
        assert!((995..=1005).contains(&figures.corrected.p50), "{figures:?}");
    }

    #[test]
    fn a_curve_rises_to_the_slowest() {
        let mut recorder = DurationRecorder::default();
        (1..=10_000).for_each(|n| recorder.record(Duration::from_micros(n)));
        let curve = recorder.curve();
        assert!(curve.len() > 20 && curve.len() < 200, "{}", curve.len());
        assert!(curve.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1));
        assert_eq!(curve.last().map(|last| (last.0, last.1 >= 10_000)), Some((1.0, true)));
        assert!(DurationRecorder::default().curve().len() <= 1);
    }

    #[test]
    fn an_empty_histogram_has_zeros_and_a_long_one_is_held_to_the_bound() {
        assert_eq!(LatencyRecorder::default().figures(), Latency::default());
        let mut recorder = DurationRecorder::default();
        recorder.record(LONGEST * 10);
        assert!(recorder.figures().max >= micros(LONGEST));
    }
}
