//! Compares two builds by pairs of runs: the ratio of each pair, the median, and its confidence interval.
//!
//! A machine with other work has fast and slow minutes. Consecutive runs share the same minute, so their ratio is steadier
//! than either figure; the order of the two alternates. The interval is the bootstrap's (Efron 1979, percentile method):
//! medians of pairs drawn repeatedly with replacement.

use std::fmt;

/// Number of draws of the bootstrap.
const DRAWS: usize = 2_000;
/// Any seed works; a fixed one gives the same interval for the same figures.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// The ratio new ÷ old from pairs of figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// Median of the old build's figures.
    pub old: f64,
    /// Median of the new build's figures.
    pub new: f64,
    /// Median of the pairs' ratios, new ÷ old.
    pub median: f64,
    /// The 95 % interval of that median.
    pub interval: (f64, f64),
    /// Number of pairs.
    pub pairs: usize,
}

impl Ratio {
    /// Compares pairs of (old, new). `None` without a pair whose old figure is above 0.
    pub fn of(pairs: &[(f64, f64)]) -> Option<Self> {
        let pairs: Vec<(f64, f64)> = pairs.iter().copied().filter(|(old, _)| *old > 0.0).collect();
        let ratios: Vec<f64> = pairs.iter().map(|(old, new)| new / old).collect();
        let mut random = SplitMix(SEED);
        let mut medians = Vec::with_capacity(DRAWS);
        for _ in 0..DRAWS {
            let draw = (0..ratios.len()).map(|_| ratios[random.below(ratios.len())]).collect();
            medians.push(median(draw)?);
        }
        medians.sort_by(f64::total_cmp);
        let at = |share: f64| medians[((DRAWS - 1) as f64 * share).round() as usize];
        Some(Self {
            old: median(pairs.iter().map(|(old, _)| *old).collect())?,
            new: median(pairs.iter().map(|(_, new)| *new).collect())?,
            median: median(ratios)?,
            interval: (at(0.025), at(0.975)),
            pairs: pairs.len(),
        })
    }

    /// Whether the whole interval is above a ratio, so that the new build certainly costs more than that.
    pub fn is_above(&self, ratio: f64) -> bool {
        self.interval.0 > ratio
    }
}

impl fmt::Display for Ratio {
    /// Cells of a Markdown table: old, new, ratio, interval, pairs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { old, new, median, interval: (low, high), pairs } = self;
        write!(f, "{old:.3} | {new:.3} | {median:.3} | {low:.3}–{high:.3} | {pairs}")
    }
}

/// The head of a table of ratios.
pub const TABLE_HEAD: &str =
    "| what | old | new | new ÷ old | 95 % interval | pairs | |\n|---|---|---|---|---|---|---|";

/// The machine's load average, to print beside the figures: they mean less on a busy machine.
pub fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let words: Vec<&str> = text.split_whitespace().take(3).collect();
    if words.is_empty() { "unknown".to_owned() } else { words.join(" ") }
}

/// The median; the mean of the two middle figures if their number is even.
pub fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len() % 2 == 1 {
        return figures.get(middle).copied();
    }
    Some(figures.get(middle)?.midpoint(*figures.get(middle.checked_sub(1)?)?))
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct SplitMix(u64);

impl SplitMix {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) % bound.max(1) as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_numbers() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
    }

    #[test]
    fn a_machine_that_slows_down_does_not_hide_a_difference() {
        // Each pair is twice as slow as the one before; the new build takes 10 % more.
        let pairs: Vec<_> = (0..20).map(|n| f64::from(1 << n)).map(|old| (old, old * 1.1)).collect();
        let ratio = Ratio::of(&pairs).unwrap();
        assert!((ratio.median - 1.1).abs() < 1e-9 && ratio.is_above(1.03));
        assert_eq!(ratio.pairs, 20);
    }

    #[test]
    fn noise_alone_is_no_difference() {
        let noise = [0.9, 1.1, 0.95, 1.05, 1.0, 0.97, 1.03, 1.2, 0.85, 1.01];
        let pairs: Vec<_> = noise.iter().map(|factor| (2.0, 2.0 * factor)).collect();
        let ratio = Ratio::of(&pairs).unwrap();
        let (low, high) = ratio.interval;
        assert!(low < 1.0 && 1.0 < high && !ratio.is_above(1.0), "{ratio:?}");
        assert_eq!(Ratio::of(&pairs), Some(ratio), "the same figures give the same interval");
    }

    #[test]
    fn without_a_pair_there_is_no_ratio() {
        assert_eq!(Ratio::of(&[]), None);
        assert_eq!(Ratio::of(&[(0.0, 1.0)]), None);
    }
}
