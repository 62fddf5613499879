//! Whether two sets of measurements differ, and whether noise explains it. Pure functions, exact for small sets.
//!
//! Latencies and rates are products of many causes, so values are compared as ratios, by their logarithms. The ranks
//! decide (Mann–Whitney for two sets, Wilcoxon's signed ranks for pairs), because one run in ten on a shared machine
//! is an outlier and a mean would follow it. Nothing here is random: the distributions of the ranks are enumerated,
//! so the same values always give the same answer.
//!
//! - [`ranks`]: exact distributions of rank sums, ties included. [`interval`]: Hodges–Lehmann estimates with the
//!   intervals of those tests. [`holm`]: correction for many figures.
//! - [`difference`]: two sets. [`paired`]: interleaved pairs of one scenario.
//!
//! Source: Hollander, Wolfe, Chicken, *Nonparametric Statistical Methods*, chapters 3 and 4.

use serde::{Deserialize, Serialize};

use crate::metric::Direction;

pub mod holm;
pub mod interval;
pub mod ranks;

/// Accepted probability of a false alarm, for all figures of a comparison together.
pub const ALPHA: f64 = 0.05;
/// Relative change below which there is no verdict, however certain the change is.
pub const MINIMUM_EFFECT: f64 = 0.05;

/// The verdict on one figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// Better by at least the minimum effect, and noise does not explain it.
    Better,
    /// Worse by at least the minimum effect, and noise does not explain it.
    Worse,
    /// The change is certainly smaller than the minimum effect.
    Same,
    /// Inconclusive: too few runs or too much noise.
    CannotTell,
}

impl Judgement {
    /// The verdict as text.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Same => "same",
            Self::CannotTell => "inconclusive",
        }
    }
}

/// A ratio's confidence interval: it contains the true ratio in at least 95 of 100 repetitions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// How the second set differs from the first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// Second by first, the median of all ratios between the sets; `None` if a value is not positive.
    pub ratio: Option<f64>,
    /// The ratio's interval; `None` with too few values.
    pub interval: Option<Interval>,
    /// Two-sided p of Mann–Whitney's test; 1 if there is nothing to test.
    pub p: f64,
    /// Median of the first set and of the second.
    pub medians: (f64, f64),
}

/// Compares two sets. `None` if one of them has no finite value.
pub fn difference(a: &[f64], b: &[f64]) -> Option<Difference> {
    let (a, b) = (finite(a), finite(b));
    let medians = (interval::median(&a)?, interval::median(&b)?);
    let p = ranks::mann_whitney(&a, &b);
    let is_positive = |values: &[f64]| values.iter().all(|value| *value > 0.0);
    if !is_positive(&a) || !is_positive(&b) {
        return Some(Difference { ratio: None, interval: None, p, medians });
    }
    let (ratio, interval) = interval::of_two_sets(&logarithms(&a), &logarithms(&b));
    Some(Difference { ratio: Some(ratio), interval, p, medians })
}

/// The verdict on a ratio, given its p after correction.
pub fn judge(
    difference: &Difference,
    corrected_p: f64,
    direction: Direction,
    minimum_effect: f64,
) -> Judgement {
    let (a, b) = difference.medians;
    let is_large = match difference.ratio {
        Some(ratio) => ratio.ln().abs() >= (1.0 + minimum_effect).ln(),
        // A change from or to 0 has no ratio that could be small.
        None => (b - a).abs() > minimum_effect * a.abs().max(b.abs()),
    };
    if corrected_p <= ALPHA && is_large {
        let is_lower = difference.ratio.map_or(b < a, |ratio| ratio < 1.0);
        let is_better = is_lower == (direction == Direction::Lower);
        return if is_better { Judgement::Better } else { Judgement::Worse };
    }
    if is_surely_small(difference, minimum_effect) { Judgement::Same } else { Judgement::CannotTell }
}

fn is_surely_small(difference: &Difference, minimum_effect: f64) -> bool {
    match difference.interval {
        Some(interval) => {
            interval.low >= 1.0 / (1.0 + minimum_effect) && interval.high <= 1.0 + minimum_effect
        }
        // Counts that are 0 in every run, before and after.
        None => difference.ratio.is_none() && difference.medians == (0.0, 0.0) && difference.p >= 1.0,
    }
}

/// The ratio of interleaved pairs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PairedRatio {
    /// Pairs used: both values positive and finite.
    pub pairs: usize,
    /// Pairs left out.
    pub left_out: usize,
    /// Second by first: the median of all means of two pairs' ratios. 1 without a pair.
    pub ratio: f64,
    /// The ratio's interval; `None` below 6 pairs.
    pub interval: Option<Interval>,
    /// Two-sided p of Wilcoxon's signed rank test.
    pub p: f64,
    /// The verdict, at [`ALPHA`] and [`MINIMUM_EFFECT`].
    pub verdict: Judgement,
}

/// Compares interleaved runs of one figure pair by pair, so that what disturbs both runs of a pair cancels out. Values
/// beyond the shorter set are left out.
pub fn paired(a: &[f64], b: &[f64], direction: Direction) -> PairedRatio {
    let is_usable = |value: f64| value.is_finite() && value > 0.0;
    let usable = a.iter().zip(b).filter(|(a, b)| is_usable(**a) && is_usable(**b));
    let ratios: Vec<f64> = usable.map(|(a, b)| (b / a).ln()).collect();
    let left_out = a.len().max(b.len()) - ratios.len();
    if ratios.is_empty() {
        let verdict = Judgement::CannotTell;
        return PairedRatio { pairs: 0, left_out, ratio: 1.0, interval: None, p: 1.0, verdict };
    }
    let (ratio, interval) = interval::of_pairs(&ratios);
    let p = ranks::signed_ranks(&ratios);
    // A pair contributes only its ratio; the medians are those of the ratio itself.
    let difference = Difference { ratio: Some(ratio), interval, p, medians: (1.0, ratio) };
    let verdict = judge(&difference, p, direction, MINIMUM_EFFECT);
    PairedRatio { pairs: ratios.len(), left_out, ratio, interval, p, verdict }
}

fn finite(values: &[f64]) -> Vec<f64> {
    values.iter().copied().filter(|value| value.is_finite()).collect()
}

fn logarithms(values: &[f64]) -> Vec<f64> {
    values.iter().map(|value| value.ln()).collect()
}

#[cfg(test)]
mod tests;
