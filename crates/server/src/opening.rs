//! Opening the log: whole, or, where its hot part is damaged, the archive of ended sessions alone.

use std::sync::Arc;

use agentbench_event_log::EventLog;
use agentbench_event_log_disk::faults::Faults;
use agentbench_event_log_disk::{ArchiveLog, DiskConfig, DiskLog, OpenError, RecoveryReport};

/// What opening the log found, as long as the process lives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum LogCondition {
    /// Everything that was promised is there, as far as it can be told.
    #[default]
    Whole,
    /// So many places of the log lack what was promised.
    Missing(usize),
    /// The hot log cannot be opened, and why: ended sessions are served, read only.
    ArchiveOnly(String),
}

impl LogCondition {
    /// The figure for metrics and alerts.
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
    /// The engine, for housekeeping; none if nothing may be changed.
    pub(crate) disk: Option<Arc<DiskLog>>,
    pub(crate) recovery: RecoveryReport,
    pub(crate) condition: LogCondition,
}

/// Opens what can be opened.
///
/// # Errors
/// [`OpenError`]: why the log as a whole cannot be opened, where the archive cannot be, either.
pub(crate) fn open(config: &DiskConfig, faults: Arc<Faults>) -> Result<OpenedLog, OpenError> {
    let error = match DiskLog::open_with_faults(config.clone(), faults) {
        Ok((disk, recovery)) => {
            let disk = Arc::new(disk);
            let condition = match recovery.missing.len() {
                0 => LogCondition::Whole,
                count => LogCondition::Missing(count),
            };
            let log = Arc::clone(&disk) as Arc<dyn EventLog>;
            return Ok(OpenedLog { log, disk: Some(disk), recovery, condition });
        }
        Err(error) if error.is_of_the_hot_log() => error,
        Err(error) => return Err(error),
    };
    match ArchiveLog::open(config, &error) {
        Ok((archive, recovery)) => {
            tracing::error!(
                %error,
                "the log of live sessions cannot be opened: only ended sessions are served, and nothing is taken. Restore the \
                 data folder from a backup, or move hot/ and hot.witness away to go on without those sessions, then restart"
            );
            let condition = LogCondition::ArchiveOnly(error.to_string());
            Ok(OpenedLog { log: Arc::new(archive), disk: None, recovery, condition })
        }
        Err(of_archive) => {
            tracing::error!(error = %of_archive, "the archive cannot be opened, either");
            Err(error)
        }
    }
}
