//! Whether evidence that an event names was uploaded.

use std::sync::Arc;

use agentbench_evidence::{Found, Hash, Store};
use agentbench_protocol::{Doubtful, Doubts, SessionId};

/// Looks the evidence up that is named, on a thread that may wait for the disk. An upload that is under way counts, and a disk
/// that does not answer puts nothing in doubt.
pub(crate) async fn check(store: &Arc<Store>, session: SessionId, doubts: Doubts) -> Doubts {
    let Some(hash) = doubts.evidence.map(Hash::from_bytes) else { return doubts };
    let store = Arc::clone(store);
    let found = tokio::task::spawn_blocking(move || store.find(session, hash)).await;
    let mut checked = doubts;
    checked.evidence = None;
    checked.set(Doubtful::Upload, matches!(found, Ok(Ok(Found::Nothing))));
    checked
}
