//! A session in memory, as its owner keeps it, and one that is being read from its log.

use std::sync::Arc;

use agentbench_protocol::{Priority, SystemMessage};
use agentbench_session::{Batch, Session};

use super::catalog::Entry;
use crate::figures::meters::Moment;
use crate::intake::Permit;
use crate::letters::{Asker, Request};

/// A session in memory.
pub(crate) struct Owned {
    pub(crate) session: Session,
    pub(crate) entry: Arc<Entry>,
    /// Workers that have a feed of it, one bit each.
    pub(crate) mirrors: u64,
    /// The highest priority of what waits for the log.
    pub(crate) priority: Priority,
    /// A change of participants that was not told yet.
    pub(crate) untold: Option<SystemMessage>,
    /// What it holds of the commit backlog.
    pub(crate) permit: Permit,
    /// When the oldest event was taken of what waits for the log, and of what the log was given.
    pub(crate) opened: Option<Moment>,
    pub(crate) flying: Option<Moment>,
}

impl Owned {
    /// A session that nothing waits for.
    pub(crate) fn new(session: Session, entry: Arc<Entry>, permit: Permit) -> Self {
        Self {
            session,
            entry,
            mirrors: 0,
            priority: Priority::Normal,
            untold: None,
            permit,
            opened: None,
            flying: None,
        }
    }

    pub(crate) fn take_back_progress(&mut self) {
        let known = self.entry.progress();
        self.session.set_progress(known);
    }

    /// The next frame for the log.
    pub(crate) fn take_batch(&mut self, now: u64) -> Option<Batch> {
        let batch = self.session.take_batch()?;
        // Of what waited behind another frame it is only known to have been taken before.
        self.flying = Some(self.opened.take().unwrap_or_else(|| Moment::at(now)));
        Some(batch)
    }
}

/// A session that is being read from its log, and the requests that wait for it.
pub(crate) struct Loading {
    pub(crate) waiting: Vec<(Asker, Request)>,
    pub(crate) expire: bool,
}
