//! The server's storage: the log of sessions with its catalog and readers, and the evidence.

use std::sync::Arc;

use agentbench_event_log::EventLog;
use agentbench_evidence::{Limits, Store};
use agentbench_protocol::{ErrorCode, Refusal};

use crate::config::Config;
use crate::opening::LogCondition;
use crate::rules;
use crate::session::catalog::Catalog;
use crate::session::reading::LogReader;

/// See the module.
pub(crate) struct Storage {
    pub(crate) log: Arc<dyn EventLog>,
    /// The condition of the log when it was opened.
    pub(crate) condition: LogCondition,
    /// The log was damaged when it was opened.
    pub(crate) is_damaged: bool,
    /// Reads the log for readers that are behind.
    pub(crate) reader: LogReader,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) evidence: Arc<Store>,
}

/// An open log and the report of its recovery.
pub(crate) struct Opened {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) condition: LogCondition,
    pub(crate) is_damaged: bool,
}

impl Storage {
    pub(crate) fn new(opened: Opened, config: &Config) -> Self {
        let Opened { log, condition, is_damaged } = opened;
        let limits = Limits { file: config.max_evidence_bytes, session: config.max_session_evidence_bytes };
        let stall_after = config.watch.stall_after.as_millis() as u64;
        let catalog = Arc::new(Catalog::new(stall_after, !log.is_shared()));
        Self {
            reader: LogReader::new(Arc::clone(&log), config.read_budget),
            log,
            condition,
            is_damaged,
            catalog,
            evidence: Store::new(config.data_dir.join("evidence"), limits),
        }
    }

    /// The refusal of an unknown session. If live sessions cannot be read, the session may still exist.
    pub(crate) fn no_such_session(&self) -> Refusal {
        if matches!(self.condition, LogCondition::ArchiveOnly(_)) {
            let detail =
                "the log of live sessions cannot be opened; only ended sessions are served, see /readyz";
            return Refusal::new(ErrorCode::LogUnavailable, detail).retry_after(30_000);
        }
        rules::no_such_session()
    }
}
