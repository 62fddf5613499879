//! Changes of the log by other processes: the catalog follows them, and the owner is told if it has the session in memory.

use std::sync::atomic::Ordering;

use agentbench_event_log::{Change, Frame, Listed};
use agentbench_protocol::{Head, SessionId};
use agentbench_session::Summary;
use bytes::Bytes;

use super::catalog::Catalog;
use super::entry::Entry;
use crate::sabotage::{Defect, Sabotage};

/// Applies a change that was seen in the log at `now`. Returns the session if its owner has it in memory and has to be told.
pub(crate) fn apply_change(
    catalog: &Catalog,
    change: &Change,
    now: u64,
    sabotage: Sabotage,
) -> Option<SessionId> {
    match change {
        Change::Committed { session, head, frame, summary } => {
            let Some(entry) = catalog.get(*session).filter(|entry| entry.epoch == head.epoch) else {
                return discover(catalog, *session, *head, summary.as_ref(), now);
            };
            follow(catalog, &entry, frame, summary.as_ref(), now);
            entry.is_loaded().then_some(*session)
        }
        Change::Archived(session) => {
            if let Some(entry) = catalog.get(*session) {
                entry.archived.store(true, Ordering::Relaxed);
            }
            None
        }
        Change::Removed(..) if sabotage.is(Defect::BackFromRemoval) => None,
        Change::Removed(session, epoch) => {
            let entry = catalog.get(*session).filter(|entry| entry.epoch == *epoch);
            catalog.remove_life(*session, *epoch);
            let entry = entry?;
            // Whoever waits for the head to move reads the log, and finds that it is gone.
            entry.moved.notify_waiters();
            entry.is_loaded().then_some(*session)
        }
    }
}

/// A frame of a session that is not known: its first one has a summary. Without one the session is looked up when it is asked
/// for.
fn discover(
    catalog: &Catalog,
    session: SessionId,
    head: Head,
    summary: Option<&Bytes>,
    now: u64,
) -> Option<SessionId> {
    let replaced = catalog.get(session);
    let listed = Listed { session, head, summary: summary?.clone(), archived: false };
    catalog.insert_listed(&listed, now);
    // The owner has an earlier life of it in memory.
    replaced.filter(|entry| entry.is_loaded()).map(|_| session)
}

fn follow(catalog: &Catalog, entry: &Entry, frame: &Frame, summary: Option<&Bytes>, now: u64) {
    if let Some(summary) = summary.and_then(|bytes| Summary::from_bytes(bytes).ok()) {
        catalog.update(entry, frame.last_seq(), summary);
    }
    entry.last_used.fetch_max(now, Ordering::Relaxed);
    // Last: whoever sees the head finds the rest.
    entry.move_head(frame.last_seq());
}
