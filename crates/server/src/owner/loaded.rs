//! A session in memory with its owner's state, and a session that is being loaded from its log.

use std::sync::Arc;

use agentbench_protocol::command::CreateSession;
use agentbench_protocol::{Doubts, Priority, Seq, SystemMessage};
use agentbench_session::{Batch, ConnectionKey, Session};

use crate::clock::Moment;
use crate::intake::Permit;
use crate::letters::{Request, Requester};
use crate::session::catalog::Reservation;
use crate::session::entry::Entry;

/// A session in memory.
pub(crate) struct LoadedSession {
    pub(crate) session: Session,
    pub(crate) entry: Arc<Entry>,
    /// Its reservation among live sessions, until the log has it.
    pub(crate) reservation: Option<Reservation>,
    /// The request that creates it, until the log has it.
    pub(crate) creation: Option<Box<Creation>>,
    /// Since when the outcome of a frame is in doubt.
    pub(crate) doubt_since: Option<Moment>,
    /// Whether its log is being read, since it may go on beyond the session's head.
    pub(crate) reading: LogRead,
    /// Requests that wait until the log was read.
    pub(crate) waiting: Vec<(Requester, Request)>,
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
            creation: None,
            doubt_since: None,
            reading: LogRead::No,
            waiting: Vec::new(),
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
        let is_again = self.session.is_in_doubt();
        let batch = self.session.take_batch()?;
        if !is_again {
            // Entries that waited behind another frame were accepted at some earlier, unrecorded moment.
            self.in_flight_since = Some(self.opened.take().unwrap_or(now));
        }
        Some(batch)
    }

    /// The log has to be read after this moment: what a read under way finds may be older.
    pub(super) fn outdate_read(&mut self) {
        if self.reading == LogRead::Running {
            self.reading = LogRead::Outdated;
        }
    }

    /// The frame in flight goes back to what waits.
    pub(super) fn return_flight(&mut self) {
        self.doubt_since = None;
        self.opened = self.in_flight_since.take().or(self.opened);
    }

    /// Whether the connection participates and receives the session's events.
    pub(super) fn is_followed_by(&self, connection: ConnectionKey) -> bool {
        self.session.participants.get(connection).is_some_and(|member| member.following)
    }
}

/// A read of a session's log for its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum LogRead {
    #[default]
    No,
    Running,
    /// It began before what has to be known.
    Outdated,
}

/// A request that creates a session.
pub(crate) struct Creation {
    pub(crate) requester: Requester,
    pub(crate) command: String,
    pub(crate) fields: CreateSession,
}

/// A session that is being loaded from its log, and the requests that wait for it.
#[derive(Default)]
pub(super) struct PendingLoad {
    pub(super) waiting: Vec<(Requester, Request)>,
    /// It has to expire once it is loaded.
    pub(super) expire: bool,
}
