//! Opens the log with its engine. If the hot part of the embedded one is damaged, only the archive of ended sessions is
//! opened.

use std::sync::Arc;

use agentbench_event_log::EventLog;
use agentbench_event_log_disk::faults::Faults;
use agentbench_event_log_disk::{ArchiveLog, DiskConfig, DiskLog, Durability, OpenError, RecoveryReport};
use agentbench_protocol::AckLevel;

use crate::config::Config;

/// The engine of a server's log.
#[derive(Default)]
pub enum Engine {
    /// The embedded engine, in the data folder of the configuration.
    #[default]
    Embedded,
    /// The embedded engine on a disk with faults injected by a test.
    EmbeddedWithFaults(Arc<Faults>),
    /// A log that is open already. Other servers may write to it, each with a handle of its own.
    Opened(Arc<dyn EventLog>),
}

/// The condition of the log, as found when it was opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum LogCondition {
    /// No acknowledged event is known to be missing.
    #[default]
    Whole,
    /// The number of places in the log where acknowledged events are missing.
    Missing(usize),
    /// The hot log cannot be opened, and why: ended sessions are served, read only.
    ArchiveOnly(String),
}

impl LogCondition {
    /// The value for metrics and alerts.
    pub(crate) const fn level(&self) -> u8 {
        match self {
            Self::Whole => 0,
            Self::Missing(_) => 1,
            Self::ArchiveOnly(_) => 2,
        }
    }
}

/// An open log.
pub(crate) struct OpenedLog {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) recovery: RecoveryReport,
    pub(crate) condition: LogCondition,
}

impl Engine {
    /// Opens the log.
    ///
    /// # Errors
    /// As [`open_embedded`].
    pub(crate) fn open(self, config: &Config) -> Result<OpenedLog, OpenError> {
        let faults = match self {
            Self::Embedded => Arc::default(),
            Self::EmbeddedWithFaults(faults) => faults,
            Self::Opened(log) => {
                let (recovery, condition) = (RecoveryReport::default(), LogCondition::Whole);
                return Ok(OpenedLog { log, recovery, condition });
            }
        };
        let durability = match config.ack_level {
            AckLevel::Synced | AckLevel::Replicated => Durability::Synced,
            AckLevel::Received | AckLevel::Logged => Durability::Logged,
        };
        let disk = DiskConfig {
            durability,
            purge_threshold: config.hot_log_bytes,
            ..DiskConfig::new(&config.data_dir)
        };
        open_embedded(&disk, faults)
    }
}

/// Opens the log of the embedded engine, or only its archive.
///
/// # Errors
/// [`OpenError`]: why the log cannot be opened, if the archive cannot be opened, either.
fn open_embedded(config: &DiskConfig, faults: Arc<Faults>) -> Result<OpenedLog, OpenError> {
    let error = match DiskLog::open_with_faults(config.clone(), faults) {
        Ok((disk, recovery)) => {
            let condition = match recovery.missing.len() {
                0 => LogCondition::Whole,
                count => LogCondition::Missing(count),
            };
            return Ok(OpenedLog { log: Arc::new(disk), recovery, condition });
        }
        Err(error) if error.is_of_the_hot_log() => error,
        Err(error) => return Err(error),
    };
    match ArchiveLog::open(config, &error) {
        Ok((archive, recovery)) => {
            tracing::error!(
                %error,
                "the log of live sessions cannot be opened: only ended sessions are served, and nothing is taken. Restore the \
                 data folder from a backup, or move segments/ and segments.witness away to go on without those sessions, then restart"
            );
            let condition = LogCondition::ArchiveOnly(error.to_string());
            Ok(OpenedLog { log: Arc::new(archive), recovery, condition })
        }
        Err(of_archive) => {
            tracing::error!(error = %of_archive, "the archive cannot be opened, either");
            Err(error)
        }
    }
}
