//! The damage that was found since the log was opened: each frame is counted and logged once.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use agentbench_protocol::{Seq, SessionId};

/// Number of damaged frames that are remembered; beyond it, one may be counted again.
const REMEMBERED: usize = 65_536;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct DamageFound(Mutex<Found>);

#[derive(Debug, Default)]
struct Found {
    frames: HashSet<(SessionId, Seq), foldhash::fast::RandomState>,
    count: u64,
}

impl DamageFound {
    /// Counts a frame that cannot be read, by its first seq.
    pub(crate) fn note(&self, session: SessionId, first_seq: Seq, last_seq: Seq, place: &str, why: &str) {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if found.frames.len() >= REMEMBERED {
            found.frames.clear();
        }
        if !found.frames.insert((session, first_seq)) {
            return;
        }
        found.count += 1;
        drop(found);
        tracing::error!(%session, first_seq, last_seq, place, why, "events of the log are damaged; readers are told of a gap");
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).count
    }
}
