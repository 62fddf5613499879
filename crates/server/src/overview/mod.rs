//! The server as a whole: readiness, statistics, metrics, and the liveness of its workers.

pub(crate) mod figures;
pub(crate) mod probe;
pub(crate) mod stats;

use agentbench_event_log::Health;
use agentbench_protocol::Priority;

use crate::opening::LogCondition;
use crate::shared::Shared;

/// Why the server is not ready, if it is not.
pub(crate) fn not_ready(shared: &Shared) -> Option<String> {
    if shared.gate.doors.are_closed() {
        return Some("draining".to_owned());
    }
    let stuck = shared.ops.liveness.stuck();
    if stuck > 0 {
        let of = shared.config.workers;
        return Some(format!("worker_stuck: {stuck} of {of} workers do not turn; restart the server"));
    }
    if shared.intake.memory.refuses(Priority::Normal) {
        return Some("memory_short: publishes are refused for want of memory (MEMORY_BUDGET)".to_owned());
    }
    if let LogCondition::ArchiveOnly(why) = &shared.storage.condition {
        return Some(format!(
            "log_unavailable: only ended sessions are served, read only, since the log of live sessions cannot be opened: {why}; \
             restore the data folder from a backup, or move segments/ and segments.witness away to go on without those sessions, then restart"
        ));
    }
    if let Some(why) = shared.ops.folder.not_ready().or_else(|| shared.ops.auditor.not_ready()) {
        return Some(why);
    }
    match shared.storage.log.health() {
        Health::Writable => None,
        Health::Full => Some("log_full: the disk has no room".to_owned()),
        Health::Failed(why) => Some(format!("log_failed: {why}; restart the server to recover the log")),
    }
}
