//! What the writer shares with the callers' threads and with the one that cleans up.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use agentbench_event_log::Health;

use crate::appender::Hot;
use crate::archive::Archive;
use crate::damage::DamageFound;
use crate::inbox::Inbox;
use crate::lock::DirLock;
use crate::reading::ReadFailure;
use crate::record::LogIdentity;
use crate::removed::Removed;
use crate::segment::{Segment, Segments};
use crate::stats::Counters;
use crate::table::{LiveLogs, Place};
use crate::tombstones::Tombstones;
use crate::witness::Extent;

/// See the module.
pub(crate) struct EngineState {
    pub(crate) segments: Arc<Segments>,
    pub(crate) hot: Arc<Hot>,
    pub(crate) live: LiveLogs,
    pub(crate) archive: Archive,
    pub(crate) inbox: Inbox,
    pub(crate) removed: Removed,
    pub(crate) tombstones: Tombstones,
    pub(crate) damage: DamageFound,
    pub(crate) health: RwLock<Health>,
    pub(crate) counters: Counters,
    /// Number of the newest segment, and its bytes up to which everything is promised.
    pub(crate) promised: Mutex<(u32, u64)>,
    /// Released last, when no thread uses the files any more.
    pub(crate) _lock: DirLock,
}

impl EngineState {
    pub(crate) fn health(&self) -> Health {
        let health = self.health.read().unwrap_or_else(PoisonError::into_inner).clone();
        match (health, self.hot.failure()) {
            (Health::Failed(reason), _) => Health::Failed(reason),
            // An fsync behind the writer failed; it will notice at its next commit.
            (_, Some(failure)) => Health::Failed(failure.to_owned()),
            (health, None) => health,
        }
    }

    pub(crate) fn set_health(&self, health: Health) {
        let mut now = self.health.write().unwrap_or_else(PoisonError::into_inner);
        // A failure lasts until the log is opened again.
        if *now != health && !matches!(*now, Health::Failed(_)) {
            if health != Health::Writable {
                tracing::error!(?health, "the log accepts no appends");
            }
            *now = health;
        }
    }

    /// Counts a frame that cannot be read, and keeps its segment as it is.
    pub(crate) fn note_damage(&self, log: &LogIdentity, place: &Place, why: &ReadFailure) {
        let ReadFailure::Damaged(why) = why else { return };
        if let Some(segment) = self.segments.get(place.segment) {
            segment.set_damaged();
        }
        let at = format!("segment {} at byte {}", place.segment, place.offset);
        self.damage.note(log.session, place.first_seq, place.last_seq(), &at, why);
    }

    /// All segments but the one that is written to.
    pub(crate) fn finished(&self) -> Vec<Arc<Segment>> {
        let mut all = self.segments.all();
        let active = self.promised.lock().unwrap_or_else(PoisonError::into_inner).0;
        all.retain(|segment| segment.number < active);
        all
    }

    /// The segments that there are, with what is promised.
    pub(crate) fn extent(&self) -> Extent {
        let newest = *self.promised.lock().unwrap_or_else(PoisonError::into_inner);
        let all = self.segments.all();
        let numbers = all.iter().filter(|segment| segment.written() > 0).map(|segment| segment.number);
        let segments = numbers.filter(|number| *number <= newest.0 || newest.0 == 0).collect();
        Extent { newest, segments }
    }
}
