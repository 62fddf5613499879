//! The logs that were removed last: an append to one of them that was under way meanwhile must not create it anew.
//!
//! Kept in memory only, and not all: nothing is under way across a restart, or for as long as thousands of removals take.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use agentbench_protocol::{Epoch, SessionId};

/// Number of logs that are remembered.
const REMEMBERED: usize = 4_096;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Removed {
    logs: Mutex<VecDeque<(SessionId, Epoch)>>,
}

impl Removed {
    pub(crate) fn add(&self, session: SessionId, epoch: Epoch) {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        if logs.len() == REMEMBERED {
            logs.pop_front();
        }
        logs.push_back((session, epoch));
    }

    /// Whether this incarnation was removed. Epochs are random, so nearly all logs are told apart by the epoch alone.
    pub(crate) fn holds(&self, session: SessionId, epoch: Epoch) -> bool {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        logs.iter().any(|removed| *removed == (session, epoch))
    }
}
