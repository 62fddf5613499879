//! What operators need: figures, limits, and a way to stop.

pub(crate) mod addresses;
pub(crate) mod audit;
pub(crate) mod farewell;
pub(crate) mod inspection;
pub(crate) mod limits;
pub(crate) mod metrics;
pub(crate) mod probe;
pub(crate) mod profile;
pub(crate) mod stats;
