//! Opens the log, or, if its hot part is damaged, only the archive of ended sessions.

use std::sync::Arc;

use agentbench_event_log::EventLog;
use agentbench_event_log_disk::faults::Faults;
use agentbench_event_log_disk::{ArchiveLog, DiskConfig, DiskLog, OpenError, RecoveryReport};

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
    /// The engine, for housekeeping; `None` if the log is read-only.
    pub(crate) disk: Option<Arc<DiskLog>>,
    pub(crate) recovery: RecoveryReport,
    pub(crate) condition: LogCondition,
}

/// Opens the log, or only its archive.
///
/// # Errors
/// [`OpenError`]: why the log cannot be opened, if the archive cannot be opened, either.
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
