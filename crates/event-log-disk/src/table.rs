//! The live logs in memory, with their first and last positions. The writer changes them, all threads read them.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use agentbench_protocol::{Epoch, Head, Seq, SessionId};

/// One live log.
#[derive(Debug, Clone)]
pub(crate) struct LiveLog {
    /// Its number in the hot log.
    pub(crate) number: u64,
    pub(crate) epoch: Epoch,
    /// The last committed seq.
    pub(crate) head: Seq,
    /// The ordinal of the frame that contains it.
    pub(crate) head_ordinal: u64,
    /// The oldest seq that may be read.
    pub(crate) first_seq: Seq,
    /// The ordinal of the oldest stored frame.
    pub(crate) first_ordinal: u64,
    /// The last seq in flight, or `head`.
    pub(crate) tail: Seq,
    /// The ordinal of the frame that contains it.
    pub(crate) tail_ordinal: u64,
    /// Why appends are refused, if they are.
    pub(crate) shut: Option<&'static str>,
}

impl LiveLog {
    /// Its head; `None` while its first frame is in flight.
    pub(crate) fn head(&self) -> Option<Head> {
        (self.head > 0).then_some(Head { epoch: self.epoch, seq: self.head })
    }
}

pub(crate) type Logs = HashMap<SessionId, LiveLog, foldhash::fast::RandomState>;

/// All live logs.
#[derive(Default)]
pub(crate) struct LiveLogs(RwLock<Logs>);

impl LiveLogs {
    pub(crate) fn new(logs: Logs) -> Self {
        Self(RwLock::new(logs))
    }

    // Every change under the lock is a few assignments, so a panic elsewhere on the thread leaves nothing half done.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Logs> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Logs> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log of a session, if its first frame is committed.
    pub(crate) fn get(&self, session: SessionId) -> Option<LiveLog> {
        self.read().get(&session).filter(|log| log.head > 0).cloned()
    }
}
