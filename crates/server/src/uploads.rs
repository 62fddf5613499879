//! Checks whether the evidence that an event names was uploaded.

use std::sync::Arc;

use agentbench_evidence::{Found, Hash, Store};
use agentbench_protocol::{Doubtful, Doubts, SessionId};

/// Looks up the named evidence on a blocking thread. An upload in progress counts as uploaded, and an unresponsive disk
/// causes no warning.
pub(crate) async fn check(store: &Arc<Store>, session: SessionId, doubts: Doubts) -> Doubts {
    let Some(hash) = doubts.evidence.map(Hash::from_bytes) else { return doubts };
    let store = Arc::clone(store);
    let found = tokio::task::spawn_blocking(move || store.find(session, hash)).await;
    let mut checked = doubts;
    checked.evidence = None;
    checked.set(Doubtful::Upload, matches!(found, Ok(Ok(Found::Nothing))));
    checked
}
