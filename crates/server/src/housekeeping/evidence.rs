//! Evidence whose session is gone, and uploads that nobody finishes.

use agentbench_protocol::SessionId;

use crate::clock;
use crate::shared::Shared;

/// Removes a session's evidence with the session.
pub(crate) fn remove(shared: &Shared, session: SessionId) {
    if let Err(error) = shared.storage.evidence.remove(session) {
        tracing::warn!(%session, %error, "the evidence of a removed session is still there; it is tried again within a day");
    }
}

/// Removes uploads that nobody went on with, and evidence of sessions that are no more.
pub(crate) fn sweep(shared: &Shared) {
    // Ages are by the wall clock, and what is removed is gone.
    if shared.clock.held_for(shared.config.retention_hold).is_some() {
        return;
    }
    // A session whose log is damaged is not listed, but it may be mended: then nobody's evidence is taken for nobody's.
    let all = shared.storage.is_damaged;
    let is_known = |session| {
        all || shared.storage.catalog.get(session).is_some() || shared.storage.log.head(session).is_some()
    };
    match shared.storage.evidence.sweep(clock::system(), is_known) {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "removed evidence that nobody finished or whose session is gone"),
        Err(error) => tracing::warn!(%error, "evidence could not be swept"),
    }
}
