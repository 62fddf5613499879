//! The disk engine against the conformance suite, at both levels of durability.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use agentbench_event_log::conformance::Storage;
use agentbench_event_log_disk::{DiskConfig, DiskLog, Durability};
use tempfile::TempDir;

struct OnDisk {
    dir: TempDir,
    durability: Durability,
}

impl OnDisk {
    fn new(durability: Durability) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), durability }
    }
}

impl Storage for OnDisk {
    type Log = DiskLog;

    fn open(&self) -> DiskLog {
        let config = DiskConfig { durability: self.durability, ..DiskConfig::new(self.dir.path()) };
        let (log, report) = DiskLog::open(config).unwrap();
        assert_eq!(report.damage, []);
        log
    }
}

mod logged {
    use super::{Durability, OnDisk};

    agentbench_event_log::conformance_tests!(OnDisk::new(Durability::Logged));
    agentbench_event_log::durable_conformance_tests!(OnDisk::new(Durability::Logged));
}

mod synced {
    use super::{Durability, OnDisk};

    agentbench_event_log::conformance_tests!(OnDisk::new(Durability::Synced));
    agentbench_event_log::durable_conformance_tests!(OnDisk::new(Durability::Synced));
}
