//! Removes the evidence of removed sessions, and abandoned uploads.

use agentbench_protocol::SessionId;

use crate::clock;
use crate::shared::Shared;

/// Removes a session's evidence with the session.
pub(crate) fn remove(shared: &Shared, session: SessionId) {
    if let Err(error) = shared.storage.evidence.remove(session) {
        tracing::warn!(%session, %error, "cannot remove the evidence of a removed session; retrying within a day");
    }
}

/// Removes abandoned uploads, and the evidence of removed sessions.
pub(crate) fn sweep(shared: &Shared) {
    // Ages depend on the wall clock, and a removal cannot be undone.
    if shared.clock.held_for(shared.config.retention_hold).is_some() {
        return;
    }
    // A session with a damaged log is not listed but may be repaired, so its evidence must not count as orphaned.
    let all = shared.storage.is_damaged;
    let is_known = |session| {
        all || shared.storage.catalog.get(session).is_some() || shared.storage.log.head(session).is_some()
    };
    match shared.storage.evidence.sweep(clock::system(), is_known) {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "removed abandoned uploads and evidence of removed sessions"),
        Err(error) => tracing::warn!(%error, "cannot sweep evidence"),
    }
}
