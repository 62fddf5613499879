//! Operations: the audit log, ended connections, the machine, profiles, statistics.

pub(crate) mod audit;
pub(crate) mod farewell;
pub(crate) mod folder;
pub(crate) mod liveness;
pub(crate) mod machine;
pub(crate) mod operations;
pub(crate) mod profile;
pub(crate) mod readers;
pub(crate) mod stats;
