//! The disk engine against the conformance suite, at both levels of durability.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::Arc;

use agentbench_event_log::conformance::Storage;
use agentbench_event_log_disk::faults::Faults;
use agentbench_event_log_disk::{Damage, DiskConfig, DiskLog, Durability};
use tempfile::TempDir;

struct OnDisk {
    dir: TempDir,
    durability: Durability,
    faults: Arc<Faults>,
}

impl OnDisk {
    fn new(durability: Durability) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), durability, faults: Arc::default() }
    }
}

impl OnDisk {
    fn open_anyway(&self) -> (DiskLog, Vec<Damage>) {
        let config = DiskConfig { durability: self.durability, ..DiskConfig::new(self.dir.path()) };
        let (log, report) = DiskLog::open_with_faults(config, Arc::clone(&self.faults)).unwrap();
        assert_eq!(report.missing, []);
        (log, report.damage)
    }
}

impl Storage for OnDisk {
    type Log = DiskLog;

    fn open(&self) -> DiskLog {
        let (log, damage) = self.open_anyway();
        assert_eq!(damage, []);
        log
    }

    /// A write that fails half-way, or an fsync that fails after a complete one, leaves the outcome to the next start.
    fn lose_outcome(&self, _: &DiskLog, is_stored: bool) {
        if is_stored && self.durability == Durability::Synced {
            self.faults.fail_syncs(true);
        } else {
            self.faults.cut_writes(true);
        }
    }

    fn recover(&self, log: DiskLog) -> DiskLog {
        drop(log);
        self.faults.fail_syncs(false);
        self.faults.cut_writes(false);
        // Half a write is told.
        self.open_anyway().0
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
