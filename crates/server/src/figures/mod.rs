//! Figures: counters, gauges and histograms, and the forms in which they are exposed.

pub(crate) mod exposition;
pub(crate) mod histogram;
pub(crate) mod meters;
pub(crate) mod metrics;
pub(crate) mod registry;
