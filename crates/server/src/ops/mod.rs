//! What operators need: figures, limits, and a way to stop.

pub(crate) mod alerts;
pub(crate) mod audit;
pub(crate) mod cgroup;
pub(crate) mod exposition;
pub(crate) mod farewell;
pub(crate) mod folder;
pub(crate) mod histogram;
pub(crate) mod inspection;
pub(crate) mod limits;
pub(crate) mod liveness;
pub(crate) mod machine;
pub(crate) mod meters;
pub(crate) mod metrics;
pub(crate) mod profile;
pub(crate) mod readers;
pub(crate) mod registry;
pub(crate) mod stats;
