//! Histograms with exponential buckets, after the specification of Prometheus native histograms (schema 3: eight buckets to
//! the factor two, each 9 % wide). Powers of two are bounds of such buckets, so the classic buckets that are served beside
//! them are exact, too, and one array of counts does for both.
//!
//! A [`Cells`] has one writer, the worker whose it is: adding is a load and a store, no lock and no locked instruction.
//! Whoever reads sees each count as it was at some moment, which is what a scrape is anyway.

use std::sync::atomic::{AtomicU64, Ordering};

/// The schema of native histograms: bounds are powers of 2^(2^-3).
pub(crate) const SCHEMA: i32 = 3;
/// Buckets to the factor two.
const PER_OCTAVE: i32 = 1 << SCHEMA;

/// What is measured, and how finely it is told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scale {
    /// Values up to 2 to this power count as zero.
    smallest: i32,
    /// Values above 2 to this power count as this.
    largest: i32,
    /// Classic bounds: 2 to these powers.
    classic: &'static [i32],
}

/// Times in seconds, from a microsecond to some minutes.
pub(crate) const SECONDS: Scale = Scale {
    smallest: -20,
    largest: 9,
    classic: &[-14, -13, -12, -11, -10, -9, -8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5],
};
/// Numbers of things.
pub(crate) const COUNT: Scale =
    Scale { smallest: -1, largest: 24, classic: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16] };
/// Sizes in bytes.
pub(crate) const BYTES: Scale =
    Scale { smallest: -1, largest: 40, classic: &[6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28] };

impl Scale {
    /// Buckets beside that of zero.
    fn len(&self) -> usize {
        ((self.largest - self.smallest) * PER_OCTAVE) as usize
    }

    /// Values up to this are in the zero bucket.
    pub(crate) fn zero_threshold(&self) -> f64 {
        2_f64.powi(self.smallest)
    }

    /// The place of a value's bucket, or `None` for the zero bucket.
    fn place(&self, value: f64) -> Option<usize> {
        if value.is_nan() || value <= self.zero_threshold() {
            return None;
        }
        let first = self.smallest * PER_OCTAVE + 1;
        let place = (index_of(value) - first).min(self.len() as i32 - 1);
        usize::try_from(place).ok()
    }

    /// The schema's index of the bucket at a place.
    fn index(&self, place: usize) -> i32 {
        self.smallest * PER_OCTAVE + 1 + place as i32
    }
}

/// The index of the bucket that holds a positive value: the smallest i with value ≤ 2^(i / 8).
fn index_of(value: f64) -> i32 {
    /// 2^(n / 8) for n from 0 to 7.
    const BOUNDS: [f64; PER_OCTAVE as usize] = [
        1.0,
        1.090_507_732_665_257_7,
        1.189_207_115_002_721,
        1.296_839_554_651_009_6,
        std::f64::consts::SQRT_2,
        1.542_210_825_407_940_7,
        1.681_792_830_507_429,
        1.834_008_086_409_342_4,
    ];
    let bits = value.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i32 - 1023;
    let mantissa = f64::from_bits((bits & ((1 << 52) - 1)) | (1023 << 52));
    let above = BOUNDS.iter().take_while(|bound| **bound < mantissa).count() as i32;
    exponent * PER_OCTAVE + above
}

/// One worker's counts.
#[derive(Debug)]
pub(crate) struct Cells {
    scale: &'static Scale,
    zero: AtomicU64,
    buckets: Box<[AtomicU64]>,
    /// The bits of an `f64`.
    sum: AtomicU64,
}

impl Cells {
    pub(crate) fn new(scale: &'static Scale) -> Self {
        let buckets = (0..scale.len()).map(|_| AtomicU64::new(0)).collect();
        Self { scale, zero: AtomicU64::new(0), buckets, sum: AtomicU64::new(0) }
    }

    /// Adds a value `times` over. Only the thread whose cells they are does this.
    pub(crate) fn add(&self, value: f64, times: u64) {
        let cell = self.scale.place(value).map_or(&self.zero, |place| &self.buckets[place]);
        cell.store(cell.load(Ordering::Relaxed) + times, Ordering::Relaxed);
        let sum = f64::from_bits(self.sum.load(Ordering::Relaxed)) + value * times as f64;
        self.sum.store(sum.to_bits(), Ordering::Relaxed);
    }
}

/// The counts of all workers at one moment, or those of a time.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    scale: &'static Scale,
    zero: u64,
    buckets: Vec<u64>,
    pub(crate) sum: f64,
}

/// Buckets that stand side by side in a native histogram.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// The index of the first one; from the second span on, the distance to the end of the span before.
    pub(crate) offset: i32,
    pub(crate) length: u32,
}

impl Snapshot {
    /// # Panics
    /// Cells of different scales are a mistake of ours.
    pub(crate) fn of<'a>(scale: &'static Scale, cells: impl Iterator<Item = &'a Cells>) -> Self {
        let mut all = Self { scale, zero: 0, buckets: vec![0; scale.len()], sum: 0.0 };
        for cells in cells {
            assert!(std::ptr::eq(cells.scale, scale) || *cells.scale == *scale, "one scale");
            all.zero += cells.zero.load(Ordering::Relaxed);
            for (sum, cell) in all.buckets.iter_mut().zip(&cells.buckets) {
                *sum += cell.load(Ordering::Relaxed);
            }
            all.sum += f64::from_bits(cells.sum.load(Ordering::Relaxed));
        }
        all
    }

    pub(crate) fn count(&self) -> u64 {
        self.zero + self.buckets.iter().sum::<u64>()
    }

    /// What came after an earlier snapshot of the same cells.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let buckets = self.buckets.iter().zip(&earlier.buckets).map(|(now, then)| now - then).collect();
        let (zero, sum) = (self.zero - earlier.zero, self.sum - earlier.sum);
        Self { scale: self.scale, zero, buckets, sum }
    }

    /// The value that a share of all values does not exceed: the upper bound of its bucket, so at most 9 % too high.
    /// `None` without values.
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        let count = self.count();
        let rank = (share * count as f64).ceil().max(1.0) as u64;
        if count == 0 {
            return None;
        }
        let mut seen = self.zero;
        if seen >= rank {
            return Some(0.0);
        }
        for (place, bucket) in self.buckets.iter().enumerate() {
            seen += bucket;
            if seen >= rank {
                return Some(2_f64.powf(f64::from(self.scale.index(place)) / f64::from(PER_OCTAVE)));
            }
        }
        None
    }

    /// The mean; `None` without values.
    pub(crate) fn mean(&self) -> Option<f64> {
        let count = self.count();
        (count > 0).then(|| self.sum / count as f64)
    }

    pub(crate) fn zero(&self) -> u64 {
        self.zero
    }

    pub(crate) fn zero_threshold(&self) -> f64 {
        self.scale.zero_threshold()
    }

    /// Classic buckets: bound and the number of values up to it. The last, infinite one is [`Snapshot::count`].
    pub(crate) fn classic(&self) -> Vec<(f64, u64)> {
        let up_to = |power: i32| {
            let buckets = ((power - self.scale.smallest) * PER_OCTAVE) as usize;
            self.zero + self.buckets[..buckets].iter().sum::<u64>()
        };
        self.scale.classic.iter().map(|power| (2_f64.powi(*power), up_to(*power))).collect()
    }

    /// Native buckets: spans of those that hold something, and each one's count less that of the one before it. Short holes
    /// are filled with zeros, since a span costs more than they do.
    pub(crate) fn native(&self) -> (Vec<Span>, Vec<i64>) {
        const LONGEST_HOLE: i32 = 2;
        let (mut spans, mut deltas): (Vec<Span>, Vec<i64>) = (Vec::new(), Vec::new());
        let (mut next, mut before) = (0, 0);
        for (place, count) in self.buckets.iter().enumerate().filter(|(_, count)| **count > 0) {
            let (index, count) = (self.scale.index(place), *count as i64);
            let hole = index - next;
            match spans.last_mut() {
                Some(span) if hole <= LONGEST_HOLE => {
                    for _ in 0..hole {
                        deltas.push(-before);
                        before = 0;
                    }
                    span.length += hole as u32 + 1;
                }
                _ => spans.push(Span { offset: hole, length: 1 }),
            }
            deltas.push(count - before);
            (next, before) = (index + 1, count);
        }
        (spans, deltas)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn snapshot(scale: &'static Scale, values: &[f64]) -> Snapshot {
        let cells = Cells::new(scale);
        values.iter().for_each(|value| cells.add(*value, 1));
        Snapshot::of(scale, std::iter::once(&cells))
    }

    /// Buckets by index, as a reader of spans and deltas makes them.
    fn read(spans: &[Span], deltas: &[i64]) -> Vec<(i32, i64)> {
        let (mut found, mut index, mut count) = (Vec::new(), 0, 0);
        let mut deltas = deltas.iter();
        for span in spans {
            index += span.offset;
            for _ in 0..span.length {
                count += deltas.next().expect("a delta for each bucket");
                found.push((index, count));
                index += 1;
            }
        }
        assert!(deltas.next().is_none(), "a bucket for each delta");
        found.into_iter().filter(|(_, count)| *count != 0).collect()
    }

    #[test]
    fn bounds_belong_to_the_bucket_below() {
        assert_eq!((index_of(1.0), index_of(2.0), index_of(0.25)), (0, 8, -16));
        assert_eq!((index_of(1.000_001), index_of(2.1), index_of(1.999_999)), (1, 9, 8));
        assert_eq!(index_of(2_f64.powf(0.125)), 1);
    }

    #[test]
    fn spans_and_deltas_say_what_was_counted() {
        let all = snapshot(&COUNT, &[0.0, 1.0, 1.0, 1.05, 1.5, 64.0, 64.0, 64.0]);
        let (spans, deltas) = all.native();
        let expected =
            [Span { offset: 0, length: 2 }, Span { offset: 3, length: 1 }, Span { offset: 42, length: 1 }];
        assert_eq!(spans, expected);
        assert_eq!(deltas, [2, -1, 0, 2]);
        assert_eq!(read(&spans, &deltas), [(0, 2), (1, 1), (5, 1), (48, 3)]);
        assert_eq!((all.zero(), all.count(), all.sum), (1, 8, 196.55));
        assert_eq!(snapshot(&COUNT, &[]).native(), (vec![], vec![]));
    }

    #[test]
    fn a_short_hole_is_filled() {
        let (spans, deltas) = snapshot(&COUNT, &[1.0, 1.25]).native();
        assert_eq!((spans, &deltas[..]), (vec![Span { offset: 0, length: 4 }], &[1, -1, 0, 1][..]));
    }

    #[test]
    fn quantiles_are_of_the_time_between() {
        let cells = Cells::new(&SECONDS);
        cells.add(5.0, 100);
        let before = Snapshot::of(&SECONDS, std::iter::once(&cells));
        cells.add(0.001, 98);
        cells.add(0.1, 2);
        let between = Snapshot::of(&SECONDS, std::iter::once(&cells)).since(&before);
        let near = |value: f64, expected: f64| (expected..expected * 1.1).contains(&value);
        assert!(near(between.quantile(0.5).unwrap(), 0.001) && near(between.quantile(0.99).unwrap(), 0.1));
        assert_eq!(between.count(), 100);
        assert!((between.mean().unwrap() - 0.002_98).abs() < 1e-9);
        assert_eq!(before.since(&before).quantile(0.99), None);
        assert_eq!(snapshot(&SECONDS, &[0.0]).quantile(0.5), Some(0.0));
    }

    #[test]
    fn what_is_out_of_range_is_not_lost() {
        let all = snapshot(&SECONDS, &[f64::NAN, -1.0, 1e-9, 1e9]);
        assert_eq!((all.zero(), all.count()), (3, 4));
    }

    proptest! {
        #[test]
        fn every_value_is_in_the_bucket_that_the_rule_names(value in 1e-6_f64..500.0) {
            let (spans, deltas) = snapshot(&SECONDS, &[value]).native();
            let (index, count) = read(&spans, &deltas)[0];
            let bound = |index: i32| 2_f64.powf(f64::from(index) / 8.0);
            prop_assert_eq!(count, 1);
            prop_assert!(value <= bound(index) * (1.0 + 1e-12) && value > bound(index - 1) * (1.0 - 1e-12));
        }

        #[test]
        fn classic_and_native_buckets_agree(values in prop::collection::vec(0.0_f64..100.0, 0..200)) {
            let all = snapshot(&SECONDS, &values);
            for (bound, count) in all.classic() {
                prop_assert_eq!(count, values.iter().filter(|value| **value <= bound).count() as u64);
            }
            let (spans, deltas) = all.native();
            let native: i64 = read(&spans, &deltas).iter().map(|(_, count)| count).sum();
            prop_assert_eq!(native as u64 + all.zero(), values.len() as u64);
        }
    }
}
