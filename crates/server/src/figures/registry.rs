//! Figures by name: what is counted while the server runs, and what all of it looks like when somebody asks.
//!
//! Labels have few values, all chosen by the program; what follows from people (the slowest readers) is at most ten series.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::histogram::Snapshot;

/// Something that only grows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counter(Arc<AtomicU64>);

impl Counter {
    pub(crate) fn inc(&self) {
        self.inc_by(1);
    }

    pub(crate) fn inc_by(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Something that comes and goes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gauge(Arc<AtomicI64>);

impl Gauge {
    pub(crate) fn inc(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn dec(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Each combination of label values that was counted, with its count.
type Counts<const N: usize> = Vec<([&'static str; N], u64)>;

/// Counters told apart by labels whose values are words of the program.
#[derive(Debug, Clone)]
pub(crate) struct Labelled<const N: usize> {
    names: [&'static str; N],
    counts: Arc<Mutex<Counts<N>>>,
}

impl<const N: usize> Labelled<N> {
    pub(crate) fn new(names: [&'static str; N]) -> Self {
        Self { names, counts: Arc::default() }
    }

    /// Begins with zeros, so that a first step up can be seen: a series that was not there before has no rate.
    pub(crate) fn starting(
        names: [&'static str; N],
        values: impl Iterator<Item = [&'static str; N]>,
    ) -> Self {
        Self { names, counts: Arc::new(Mutex::new(values.map(|values| (values, 0)).collect())) }
    }

    pub(crate) fn inc(&self, values: [&'static str; N]) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.iter_mut().find(|(known, _)| *known == values) {
            Some((_, count)) => *count += 1,
            None => counts.push((values, 1)),
        }
    }

    /// The counts of those whose label values are `wanted`.
    pub(crate) fn sum_of(&self, wanted: impl Fn(&[&'static str; N]) -> bool) -> u64 {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().filter(|(values, _)| wanted(values)).map(|(_, count)| count).sum()
    }

    pub(crate) fn sum(&self) -> u64 {
        self.sum_of(|_| true)
    }

    fn samples(&self) -> Vec<Sample> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let labels = |values: [&'static str; N]| self.names.iter().copied().zip(values.map(str::to_owned));
        let sample = |(values, count)| Sample { labels: labels(values).collect(), value: Value::of(count) };
        counts.into_iter().map(sample).collect()
    }
}

/// What a figure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// An event by which a bucket can be understood: the trace that its sender named.
#[derive(Debug, Clone)]
pub(crate) struct Exemplar {
    pub(crate) trace: String,
    pub(crate) value: f64,
    /// ms since 1970.
    pub(crate) at: u64,
}

/// One value of a figure.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Number(f64),
    /// With the newest exemplars, if they are kept, by value.
    Histogram(Box<Snapshot>, Vec<Exemplar>),
}

impl Value {
    #[expect(clippy::cast_precision_loss, reason = "the formats know no other numbers")]
    pub(crate) fn of(count: u64) -> Self {
        Self::Number(count as f64)
    }
}

/// A value with its labels.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) labels: Vec<(&'static str, String)>,
    pub(crate) value: Value,
}

/// A figure as it is served. The name has its prefix and unit, and no `_total`.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) help: &'static str,
    pub(crate) unit: Option<&'static str>,
    pub(crate) kind: Kind,
    pub(crate) samples: Vec<Sample>,
}

impl Figure {
    fn new(
        name: &str,
        help: &'static str,
        unit: Option<&'static str>,
        kind: Kind,
        samples: Vec<Sample>,
    ) -> Self {
        let name = unit.map_or_else(|| format!("{PREFIX}_{name}"), |unit| format!("{PREFIX}_{name}_{unit}"));
        Self { name, help, unit, kind, samples }
    }

    /// A gauge that is worked out when somebody asks.
    pub(crate) fn gauge(name: &str, help: &'static str, unit: Option<&'static str>, value: f64) -> Self {
        let sample = Sample { labels: Vec::new(), value: Value::Number(value) };
        Self::new(name, help, unit, Kind::Gauge, vec![sample])
    }

    /// A gauge for each value of some labels.
    pub(crate) fn gauges(
        name: &str,
        help: &'static str,
        unit: Option<&'static str>,
        values: impl Iterator<Item = (Vec<(&'static str, String)>, f64)>,
    ) -> Self {
        let sample = |(labels, value)| Sample { labels, value: Value::Number(value) };
        Self::new(name, help, unit, Kind::Gauge, values.map(sample).collect())
    }

    pub(crate) fn counter(name: &str, help: &'static str, unit: Option<&'static str>, value: f64) -> Self {
        Self { kind: Kind::Counter, ..Self::gauge(name, help, unit, value) }
    }

    pub(crate) fn histogram(
        name: &str,
        help: &'static str,
        unit: Option<&'static str>,
        all: Snapshot,
        exemplars: Vec<Exemplar>,
    ) -> Self {
        let sample = Sample { labels: Vec::new(), value: Value::Histogram(Box::new(all), exemplars) };
        Self::new(name, help, unit, Kind::Histogram, vec![sample])
    }
}

/// What every name begins with.
const PREFIX: &str = "agentbench";

/// Where a registered figure's values come from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    Counter(Counter),
    Gauge(Gauge),
    ByOne(Labelled<1>),
    ByTwo(Labelled<2>),
}

impl From<Counter> for Source {
    fn from(counter: Counter) -> Self {
        Self::Counter(counter)
    }
}

impl From<Gauge> for Source {
    fn from(gauge: Gauge) -> Self {
        Self::Gauge(gauge)
    }
}

impl From<Labelled<1>> for Source {
    fn from(counters: Labelled<1>) -> Self {
        Self::ByOne(counters)
    }
}

impl From<Labelled<2>> for Source {
    fn from(counters: Labelled<2>) -> Self {
        Self::ByTwo(counters)
    }
}

/// A figure's name, what it says, its unit, and where its values come from.
type Entry = (&'static str, &'static str, Option<&'static str>, Source);

/// What is counted while the server runs.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    entries: Vec<Entry>,
}

impl Registry {
    pub(crate) fn register(
        &mut self,
        name: &'static str,
        help: &'static str,
        unit: Option<&'static str>,
        source: impl Into<Source>,
    ) {
        self.entries.push((name, help, unit, source.into()));
    }

    pub(crate) fn gather(&self) -> Vec<Figure> {
        let one = |value| vec![Sample { labels: Vec::new(), value }];
        let figure = |(name, help, unit, source): &Entry| {
            let (kind, samples) = match source {
                Source::Counter(counter) => (Kind::Counter, one(Value::of(counter.get()))),
                Source::Gauge(gauge) => (Kind::Gauge, one(Value::Number(gauge.get() as f64))),
                Source::ByOne(counters) => (Kind::Counter, counters.samples()),
                Source::ByTwo(counters) => (Kind::Counter, counters.samples()),
            };
            Figure::new(name, help, *unit, kind, samples)
        };
        self.entries.iter().map(figure).collect()
    }
}
