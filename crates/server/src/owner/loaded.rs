//! A session in memory with its owner's state, and a session that is being loaded from its log.

use std::sync::Arc;

use agentbench_protocol::{Doubts, Priority, Seq, SystemMessage};
use agentbench_session::{Batch, ConnectionKey, Session};

use crate::clock::Moment;
use crate::intake::Permit;
use crate::letters::{Request, Requester};
use crate::session::catalog::{Entry, Reservation};

/// A session in memory.
pub(crate) struct LoadedSession {
    pub(crate) session: Session,
    pub(crate) entry: Arc<Entry>,
    /// Its reservation among live sessions, until the log has it.
    pub(crate) reservation: Option<Reservation>,
    /// Workers that have a feed of it, one bit each.
    pub(crate) mirrors: u64,
    /// The highest priority of the entries that wait for the log.
    pub(crate) priority: Priority,
    /// A change of participants that has not been announced yet.
    pub(crate) unannounced: Option<SystemMessage>,
    /// Seqs of queued events with doubtful fields: their acks carry warnings.
    pub(crate) doubtful: Vec<(Seq, Doubts)>,
    /// Its share of the commit backlog.
    pub(crate) permit: Permit,
    /// When the oldest event was accepted: of the entries that wait, and of those submitted to the log.
    pub(crate) opened: Option<Moment>,
    pub(crate) in_flight_since: Option<Moment>,
}

impl LoadedSession {
    /// A session without queued entries; `permit` holds no bytes.
    pub(super) fn new(session: Session, entry: Arc<Entry>, permit: Permit) -> Self {
        Self {
            session,
            entry,
            reservation: None,
            mirrors: 0,
            priority: Priority::Normal,
            unannounced: None,
            doubtful: Vec::new(),
            permit,
            opened: None,
            in_flight_since: None,
        }
    }

    /// Drops the progress of events that the log refused.
    pub(super) fn restore_progress(&mut self) {
        let known = self.entry.progress();
        self.session.set_progress(known);
    }

    /// The next frame for the log.
    pub(super) fn take_batch(&mut self, now: Moment) -> Option<Batch> {
        let batch = self.session.take_batch()?;
        // Entries that waited behind another frame were accepted at some earlier, unrecorded moment.
        self.in_flight_since = Some(self.opened.take().unwrap_or(now));
        Some(batch)
    }

    /// Whether the connection participates and receives the session's events.
    pub(super) fn is_followed_by(&self, connection: ConnectionKey) -> bool {
        self.session.participants.get(connection).is_some_and(|member| member.following)
    }
}

/// A session that is being loaded from its log, and the requests that wait for it.
#[derive(Default)]
pub(super) struct PendingLoad {
    pub(super) waiting: Vec<(Requester, Request)>,
    /// It has to expire once it is loaded.
    pub(super) expire: bool,
}
