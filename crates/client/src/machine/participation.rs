//! The client's part in one session: it publishes, follows, or both, with one join per connection.

use std::time::Duration;

use agentbench_protocol::{SessionId, StartAt};

use super::FollowKey;
use super::follow::ActiveFollow;
use super::outbox::Outbox;

/// The state of the join on the current connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Join {
    /// Not requested.
    No,
    /// Requested.
    Asked {
        /// The follow for which events were requested.
        follow: Option<FollowKey>,
        /// Number of the command; 0 until it is sent.
        number: u64,
    },
    /// Refused temporarily, to be requested again at this time.
    Held(Duration),
    /// Answered.
    Done {
        /// The follow that receives the events.
        follow: Option<FollowKey>,
    },
}

/// A user that waits for the join.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiter {
    pub(super) key: u64,
    pub(super) deadline: Duration,
    /// The follow that it waits for; `None` if any join will do.
    pub(super) follow: Option<FollowKey>,
}

#[derive(Debug)]
pub(super) struct Participation<T> {
    /// The session's id as text.
    pub(super) name: String,
    pub(super) join: Join,
    /// Consecutive refusals of the join.
    pub(super) join_refusals: u32,
    /// Whether the user wants to publish, now or later.
    pub(super) publisher: bool,
    pub(super) follow: Option<ActiveFollow>,
    pub(super) waiters: Vec<Waiter>,
    pub(super) outbox: Outbox<T>,
    /// Whether it is in the machine's list of sessions with something to send.
    pub(super) is_listed: bool,
}

impl<T> Participation<T> {
    pub(super) fn new(session: SessionId) -> Self {
        Self {
            name: session.to_string(),
            join: Join::No,
            join_refusals: 0,
            publisher: false,
            follow: None,
            waiters: Vec::new(),
            outbox: Outbox::default(),
            is_listed: false,
        }
    }

    /// Whether a join must be requested on a connection that is ready.
    pub(super) fn needs_join(&self) -> bool {
        match self.join {
            Join::No => self.is_wanted(),
            Join::Done { follow } => follow != self.follow_key(),
            Join::Asked { .. } | Join::Held(_) => false,
        }
    }

    pub(super) fn follow_key(&self) -> Option<FollowKey> {
        self.follow.as_ref().map(|follow| follow.key)
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.publisher || self.follow.is_some() || !self.outbox.is_empty()
    }

    /// The parameters of the join.
    pub(super) fn wanted(&self) -> (bool, StartAt) {
        self.follow.as_ref().map_or((false, StartAt::Live), |follow| (true, follow.from()))
    }

    /// Whether events may be sent now.
    pub(super) fn can_publish(&self, window: usize) -> bool {
        matches!(self.join, Join::Done { .. }) && self.outbox.is_ready(window)
    }
}
