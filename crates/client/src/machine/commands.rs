//! Commands that wait for their replies. Each is sent again, with the same id, on every new connection.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use agentbench_protocol::message::ErrorData;
use agentbench_protocol::{Seq, SessionId};

/// The purpose of a command.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The user waits for the reply, under this key.
    User(u64),
    /// The user creates a session: the reply is also a join.
    Create(u64),
    /// Joins a session on the current connection; a new connection sends a new one.
    Join(SessionId),
    /// The user waits until a newer token is accepted.
    Refresh {
        /// Key of the waiting user, if there is one.
        key: Option<u64>,
        /// The token, for the next connection.
        token: String,
    },
    /// Starts a replay; a user waits for the start of the first attempt.
    Replay { session: SessionId, key: Option<u64> },
    /// Stops a replay; the user waits under this key. `seq` is the last one received of it.
    StopReplay { session: SessionId, seq: Seq, key: u64 },
    /// Has no waiter.
    Nobody,
}

impl Purpose {
    /// Whether the command ends silently with its connection: joins, and commands without a waiter.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::Join(_) | Self::Nobody)
    }
}

pub(super) struct Pending {
    pub(super) purpose: Purpose,
    /// `data`, JSON.
    pub(super) data: String,
    pub(super) deadline: Option<Duration>,
    /// Earliest time to send it.
    pub(super) hold_until: Option<Duration>,
    /// Number of times it was sent.
    pub(super) sends: u32,
    pub(super) refusals: u32,
    pub(super) last_refusal: Option<ErrorData>,
}

/// All commands, by number.
#[derive(Default)]
pub(super) struct Commands {
    pending: BTreeMap<u64, Pending>,
    to_send: VecDeque<u64>,
}

impl Commands {
    pub(super) fn add(&mut self, number: u64, purpose: Purpose, data: String, deadline: Option<Duration>) {
        let pending =
            Pending { purpose, data, deadline, hold_until: None, sends: 0, refusals: 0, last_refusal: None };
        self.pending.insert(number, pending);
        self.to_send.push_back(number);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    pub(super) fn has_unsent(&self) -> bool {
        !self.to_send.is_empty()
    }

    /// The next one to send; counts it as sent.
    pub(super) fn next(&mut self) -> Option<(u64, &Pending)> {
        while let Some(number) = self.to_send.pop_front() {
            if self.pending.contains_key(&number) {
                let pending = self.pending.get_mut(&number)?;
                pending.sends += 1;
                return Some((number, pending));
            }
        }
        None
    }

    pub(super) fn take(&mut self, number: u64) -> Option<Pending> {
        self.pending.remove(&number)
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Pending> {
        self.pending.get_mut(&number)
    }

    /// The connection is lost: joins end with it, everything else must be sent again.
    pub(super) fn connection_lost(&mut self) {
        self.pending.retain(|_, pending| !pending.purpose.is_passing());
        for pending in self.pending.values_mut() {
            pending.hold_until = None;
        }
        self.to_send = self.pending.keys().copied().collect();
    }

    /// The connection is lost, and the replays that these should stop ended with it: they are done.
    pub(super) fn take_stops(&mut self) -> Vec<Pending> {
        let is_stop = |_: &u64, pending: &mut Pending| matches!(pending.purpose, Purpose::StopReplay { .. });
        self.pending.extract_if(.., is_stop).map(|(_, pending)| pending).collect()
    }

    /// Whether the server does not know a waiting command: it was not sent on this connection, or was
    /// refused temporarily.
    pub(super) fn is_unsent(&self, number: u64) -> bool {
        let is_held = self.pending.get(&number).is_some_and(|pending| pending.hold_until.is_some());
        is_held || self.to_send.contains(&number)
    }

    /// Number of commands sent on this connection without an answer yet.
    pub(super) fn unanswered(&self) -> usize {
        let is_sent =
            |number: &u64, pending: &Pending| pending.hold_until.is_none() && !self.to_send.contains(number);
        self.pending.iter().filter(|(number, pending)| is_sent(number, pending)).count()
    }

    /// Removes and returns the expired commands.
    pub(super) fn take_expired(&mut self, now: Duration) -> Vec<Pending> {
        let expired = self.pending.extract_if(.., |_, pending| pending.deadline.is_some_and(|at| at <= now));
        expired.map(|(_, pending)| pending).collect()
    }

    /// Releases commands whose delay after a refusal has passed. Returns the time of the next one.
    pub(super) fn release(&mut self, now: Duration) -> Option<Duration> {
        let mut next: Option<Duration> = None;
        for (number, pending) in &mut self.pending {
            match pending.hold_until {
                Some(until) if until <= now => {
                    pending.hold_until = None;
                    self.to_send.push_back(*number);
                }
                Some(until) => next = earlier(next, Some(until)),
                None => {}
            }
            next = earlier(next, pending.deadline);
        }
        next
    }

    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Pending> {
        self.to_send.clear();
        std::mem::take(&mut self.pending).into_values()
    }
}

/// The earlier of two optional times.
pub(super) fn earlier(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
