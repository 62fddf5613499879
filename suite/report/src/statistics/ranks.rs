//! Exact distributions of rank sums, with ties, by counting every way in which chance could assign the ranks.
//!
//! Ranks are doubled, so that the mean ranks of ties are whole numbers.

/// Number of values up to which the distribution is enumerated; beyond it, the normal approximation is as good.
const EXACT_UP_TO: usize = 60;

/// Two-sided p of Mann–Whitney's rank sum test: the probability that sets without any difference differ as much.
pub fn mann_whitney(a: &[f64], b: &[f64]) -> f64 {
    if a.is_empty() || b.is_empty() {
        return 1.0;
    }
    let all: Vec<f64> = a.iter().chain(b).copied().collect();
    let ranks = doubled_ranks(&all);
    let sum: usize = ranks[..a.len()].iter().sum();
    if all.len() <= EXACT_UP_TO {
        two_sided(&sums_of_subsets(&ranks, a.len()), sum)
    } else {
        let (n, total) = (all.len() as f64, ranks.iter().sum::<usize>() as f64);
        let mean = total / n;
        let squares: f64 = ranks.iter().map(|rank| (*rank as f64 - mean).powi(2)).sum();
        let (x, y) = (a.len() as f64, b.len() as f64);
        normal_two_sided(sum as f64 - x * mean, x * y / (n * (n - 1.0)) * squares)
    }
}

/// Two-sided p of Wilcoxon's signed rank test: the probability that values around 0 lie as far on one side.
/// Zeros belong to neither side and are left out.
pub fn signed_ranks(values: &[f64]) -> f64 {
    let values: Vec<f64> = values.iter().copied().filter(|value| *value != 0.0).collect();
    if values.is_empty() {
        return 1.0;
    }
    let sizes: Vec<f64> = values.iter().map(|value| value.abs()).collect();
    let ranks = doubled_ranks(&sizes);
    let sum: usize = ranks.iter().zip(&values).filter(|(_, value)| **value > 0.0).map(|(rank, _)| rank).sum();
    if values.len() <= EXACT_UP_TO {
        two_sided(&sums_of_signs(&ranks), sum)
    } else {
        let mean = ranks.iter().sum::<usize>() as f64 / 2.0;
        let variance: f64 = ranks.iter().map(|rank| (*rank as f64 / 2.0).powi(2)).sum();
        normal_two_sided(sum as f64 - mean, variance)
    }
}

/// The number of subsets of `size` ranks for each sum.
pub(super) fn sums_of_subsets(ranks: &[usize], size: usize) -> Vec<f64> {
    let most: usize = ranks.iter().sum();
    let mut ways = vec![vec![0.0; most + 1]; size + 1];
    ways[0][0] = 1.0;
    for rank in ranks {
        for taken in (1..=size).rev() {
            let (fewer, more) = ways.split_at_mut(taken);
            for (sum, way) in more[0].iter_mut().enumerate().skip(*rank) {
                *way += fewer[taken - 1][sum - rank];
            }
        }
    }
    ways.swap_remove(size)
}

/// The number of choices of signs for each sum of the positive ranks.
pub(super) fn sums_of_signs(ranks: &[usize]) -> Vec<f64> {
    let most: usize = ranks.iter().sum();
    let mut ways = vec![0.0; most + 1];
    ways[0] = 1.0;
    for rank in ranks {
        for sum in (*rank..=most).rev() {
            ways[sum] += ways[sum - rank];
        }
    }
    ways
}

/// Ranks from 2 in steps of 2, with the mean of their ranks for ties.
fn doubled_ranks(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|x, y| values[*x].total_cmp(&values[*y]));
    let mut ranks = vec![0; values.len()];
    let mut first = 0;
    while first < order.len() {
        let same = order[first..].iter().take_while(|place| values[**place] == values[order[first]]).count();
        for place in &order[first..first + same] {
            ranks[*place] = 2 * first + same + 1;
        }
        first += same;
    }
    ranks
}

fn two_sided(ways: &[f64], sum: usize) -> f64 {
    let all: f64 = ways.iter().sum();
    let below: f64 = ways[..=sum].iter().sum();
    let above: f64 = ways[sum..].iter().sum();
    (2.0 * below.min(above) / all).min(1.0)
}

/// The normal distribution's two tails, by the complementary error function (Abramowitz and Stegun 7.1.26, exact to 10⁻⁷).
fn normal_two_sided(distance: f64, variance: f64) -> f64 {
    if variance <= 0.0 {
        return 1.0;
    }
    let x = (distance.abs() / variance.sqrt()) / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let series = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    let polynomial = series.iter().fold(0.0, |sum, factor| (sum + factor) * t);
    (polynomial * (-x * x).exp()).clamp(0.0, 1.0)
}
