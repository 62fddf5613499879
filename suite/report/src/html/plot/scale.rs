//! Axes: the position of a value, and the values at the marks.

/// Approximate number of marks on an axis.
const TICKS: f64 = 5.0;
/// Largest value on an axis: beyond it, steps lose their precision, and no figure of a run is that large.
const LEAST: f64 = 1e-6;
/// Smallest value on an axis.
const MOST: f64 = 1e15;
/// Decades of a logarithmic axis up to which 2 and 5 are marked, too.
const FEW_DECADES: f64 = 2.5;

/// An axis.
#[derive(Debug, Clone)]
pub enum Scale {
    /// Equal steps, from 0 to at least the largest value.
    Linear {
        /// The upper end.
        to: f64,
        /// Between marks.
        step: f64,
    },
    /// Equal factors.
    Logarithmic {
        /// The lower end, above 0.
        from: f64,
        /// The upper end.
        to: f64,
        /// Formats a value.
        label: fn(f64) -> String,
    },
    /// Quantiles as in HDR plots: each further nine takes as much space as the one before.
    Quantile,
}

/// The quantiles that are marked, up to the end of the axis.
const QUANTILES: [(f64, &str); 5] =
    [(0.0, "0"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %")];

impl Scale {
    /// An axis from 0 that fits all of the values.
    pub fn linear(values: impl Iterator<Item = f64>) -> Self {
        let most = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
        let most = if most > 0.0 { most.clamp(LEAST, MOST) } else { 1.0 };
        let step = round_step(most / TICKS);
        Self::Linear { to: (most / step).ceil() * step, step }
    }

    /// An axis from 0 to exactly this value: for time, which must not be stretched.
    pub fn until(to: f64) -> Self {
        let to = if to > 0.0 && to.is_finite() { to.clamp(LEAST, MOST) } else { 1.0 };
        Self::Linear { to, step: round_step(to / TICKS) }
    }

    /// Whole 1-2-5 steps around all values above 0.
    pub fn logarithmic(values: impl Iterator<Item = f64>, label: fn(f64) -> String) -> Self {
        let positive =
            values.filter(|value| value.is_finite() && *value > 0.0).map(|value| value.clamp(LEAST, MOST));
        let (least, most) =
            positive.fold((f64::MAX, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        if most == 0.0 {
            return Self::Logarithmic { from: 1.0, to: 10.0, label };
        }
        let (from, to) = (step_down(least), step_up(most));
        Self::Logarithmic { from, to: if to > from { to } else { from * 10.0 }, label }
    }

    /// The position of a value between two ends, clamped to the axis.
    pub fn place(&self, value: f64, low: f64, high: f64) -> f64 {
        let share = match self {
            Self::Linear { to, .. } => value / to,
            Self::Logarithmic { from, to, .. } => (value.max(*from) / from).ln() / (to / from).ln(),
            Self::Quantile => -(1.0 - value).max(1e-9).log10() / 4.0,
        };
        let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
        low + share * (high - low)
    }

    /// The values at the marks, with their labels.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        match self {
            Self::Linear { to, step } => {
                let count = (to / step + 1e-9).floor() as u32;
                (0..=count).map(|n| f64::from(n) * step).map(|value| (value, short(value))).collect()
            }
            Self::Logarithmic { from, to, label } => {
                let all = steps(*from, *to);
                let few = (to / from).log10() <= FEW_DECADES;
                let kept = all.into_iter().filter(|(_, is_decade)| few || *is_decade);
                kept.map(|(value, _)| (value, label(value))).collect()
            }
            Self::Quantile => QUANTILES.map(|(value, label)| (value, label.to_owned())).into(),
        }
    }
}

fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 => format!("{}M", trimmed(value / 1e6)),
        size if size >= 1e4 => format!("{}k", trimmed(value / 1e3)),
        _ => trimmed(value),
    }
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Formats microseconds as a label.
pub fn micros(value: f64) -> String {
    match value {
        _ if value >= 1e6 => format!("{} s", trimmed(value / 1e6)),
        _ if value >= 1e3 => format!("{} ms", trimmed(value / 1e3)),
        _ => format!("{} µs", trimmed(value)),
    }
}

/// The next 1, 2 or 5 times a power of ten.
fn round_step(value: f64) -> f64 {
    step_up(value)
}

fn step_up(value: f64) -> f64 {
    let decade = 10_f64.powf(value.log10().floor());
    // A value that is a step itself must not be raised by a rounding error.
    [1.0, 2.0, 5.0]
        .into_iter()
        .map(|part| part * decade)
        .find(|step| *step >= value * (1.0 - 1e-9))
        .unwrap_or(decade * 10.0)
}

fn step_down(value: f64) -> f64 {
    let decade = 10_f64.powf(value.log10().floor());
    [5.0, 2.0].into_iter().map(|part| part * decade).find(|step| *step <= value).unwrap_or(decade)
}

/// All 1-2-5 steps between two of them, and whether each is a power of ten.
fn steps(from: f64, to: f64) -> Vec<(f64, bool)> {
    let (first, last) = (from.log10().floor() as i32, to.log10().ceil() as i32);
    let all = (first..=last).flat_map(|power| {
        [(1.0, true), (2.0, false), (5.0, false)].map(|(part, whole)| (part * 10_f64.powi(power), whole))
    });
    all.filter(|(value, _)| *value >= from * 0.999 && *value <= to * 1.001).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn axes_end_at_round_values() {
        let scale = Scale::linear([3.0, 87.0].into_iter());
        assert!(matches!(scale, Scale::Linear { to: 100.0, step: 20.0 }));
        assert_eq!(scale.ticks().last().unwrap().1, "100");
        let scale = Scale::logarithmic([130.0, 1_900.0].into_iter(), micros);
        let labels: Vec<String> = scale.ticks().into_iter().map(|(_, label)| label).collect();
        assert_eq!(labels, ["100 µs", "200 µs", "500 µs", "1 ms", "2 ms"]);
    }

    #[test]
    fn each_nine_takes_the_same_room() {
        let place = |quantile| Scale::Quantile.place(quantile, 0.0, 400.0);
        for (quantile, expected) in [(0.0, 0.0), (0.9, 100.0), (0.99, 200.0), (0.9999, 400.0), (1.0, 400.0)] {
            assert!((place(quantile) - expected).abs() < 0.01, "{quantile}");
        }
    }

    proptest! {
        #[test]
        fn no_value_leaves_the_plot(values in prop::collection::vec(any::<f64>(), 0..20), value in any::<f64>()) {
            let scales = [Scale::linear(values.iter().copied()), Scale::logarithmic(values.iter().copied(), micros), Scale::Quantile];
            for scale in scales {
                let place = scale.place(value, 10.0, 20.0);
                prop_assert!((10.0..=20.0).contains(&place), "{scale:?} {place}");
                prop_assert!(scale.ticks().len() < 1_000);
            }
        }
    }
}
