//! A session in memory, as its owner keeps it, and one that is being read from its log.

use std::sync::Arc;

use agentbench_protocol::{Doubts, Priority, Seq, SystemMessage};
use agentbench_session::{Batch, ConnectionKey, Session};

use crate::clock::Moment;
use crate::intake::Permit;
use crate::letters::{Request, Requester};
use crate::session::catalog::{Entry, SessionPlace};

/// A session in memory.
pub(crate) struct LoadedSession {
    pub(crate) session: Session,
    pub(crate) entry: Arc<Entry>,
    /// Its place among live sessions, until the log has it.
    pub(crate) place: Option<SessionPlace>,
    /// Workers that have a feed of it, one bit each.
    pub(crate) mirrors: u64,
    /// The highest priority of what waits for the log.
    pub(crate) priority: Priority,
    /// A change of participants that was not announced yet.
    pub(crate) unannounced: Option<SystemMessage>,
    /// Seqs of queued events with doubtful fields: their acks say so.
    pub(crate) doubtful: Vec<(Seq, Doubts)>,
    /// What it holds of the commit backlog.
    pub(crate) permit: Permit,
    /// When the oldest event was taken of what waits for the log, and of what the log was given.
    pub(crate) opened: Option<Moment>,
    pub(crate) in_flight_since: Option<Moment>,
}

impl LoadedSession {
    /// A session without queued entries; `permit` holds no bytes.
    pub(super) fn new(session: Session, entry: Arc<Entry>, permit: Permit) -> Self {
        Self {
            session,
            entry,
            place: None,
            mirrors: 0,
            priority: Priority::Normal,
            unannounced: None,
            doubtful: Vec::new(),
            permit,
            opened: None,
            in_flight_since: None,
        }
    }

    /// Forgets the progress of events that the log did not take.
    pub(super) fn take_back_progress(&mut self) {
        let known = self.entry.progress();
        self.session.set_progress(known);
    }

    /// The next frame for the log.
    pub(super) fn take_batch(&mut self, now: Moment) -> Option<Batch> {
        let batch = self.session.take_batch()?;
        // Of what waited behind another frame it is only known to have been taken before.
        self.in_flight_since = Some(self.opened.take().unwrap_or(now));
        Some(batch)
    }

    /// Whether the connection takes part and gets the session's events.
    pub(super) fn is_followed_by(&self, connection: ConnectionKey) -> bool {
        self.session.participants.get(connection).is_some_and(|member| member.following)
    }
}

/// A session that is being read from its log, and the requests that wait for it.
#[derive(Default)]
pub(super) struct PendingLoad {
    pub(super) waiting: Vec<(Requester, Request)>,
    /// It has to expire once it is there.
    pub(super) expire: bool,
}
