//! Hodges–Lehmann estimates, and intervals from the same ranks as the tests: an interval excludes exactly what the
//! test rejects. Values are logarithms, results are ratios.

use super::Interval;
use super::ranks::{sums_of_signs, sums_of_subsets};

/// Probability that each end of an interval may miss.
const TAIL: f64 = 0.025;
/// Larger sets are thinned evenly to this many values before all their pairs are formed.
const MOST_VALUES: usize = 60;

/// The median.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// Second by first: the median of all differences between the sets. Both must have values.
pub(super) fn of_two_sets(a: &[f64], b: &[f64]) -> (f64, Option<Interval>) {
    let (a, b) = (thinned(a), thinned(b));
    let differences: Vec<f64> = a.iter().flat_map(|a| b.iter().map(move |b| b - a)).collect();
    let ranks: Vec<usize> = (1..=a.len() + b.len()).collect();
    // The smallest sum of ranks corresponds to 0 pairs in the wrong order.
    let least = a.len() * (a.len() + 1) / 2;
    estimate(differences, &sums_of_subsets(&ranks, a.len())[least..])
}

/// The median of all means of two values. There must be a value.
pub(super) fn of_pairs(values: &[f64]) -> (f64, Option<Interval>) {
    let values = thinned(values);
    let means = (0..values.len()).flat_map(|x| (x..values.len()).map(move |y| (x, y)));
    let means: Vec<f64> = means.map(|(x, y)| (values[x] + values[y]) / 2.0).collect();
    let ranks: Vec<usize> = (1..=values.len()).collect();
    estimate(means, &sums_of_signs(&ranks))
}

/// `ways[k]` is the number of cases in which `k` of the differences lie on the wrong side.
fn estimate(mut differences: Vec<f64>, ways: &[f64]) -> (f64, Option<Interval>) {
    differences.sort_by(f64::total_cmp);
    let middle = median(&differences).unwrap_or(0.0).exp();
    let all: f64 = ways.iter().sum();
    let mut below = 0.0;
    let mut cut = 0;
    for (wrong, count) in ways.iter().enumerate() {
        below += count;
        if below / all > TAIL {
            break;
        }
        cut = wrong + 1;
    }
    let interval = (cut > 0 && 2 * cut <= differences.len()).then(|| Interval {
        low: differences[cut - 1].exp(),
        high: differences[differences.len() - cut].exp(),
    });
    (middle, interval)
}

fn thinned(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    if sorted.len() <= MOST_VALUES {
        return sorted;
    }
    (0..MOST_VALUES).map(|n| sorted[n * (sorted.len() - 1) / (MOST_VALUES - 1)]).collect()
}
