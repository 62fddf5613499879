//! Who takes part in a session now. Not logged: presence ends with the connection.

use agentbench_protocol::Seq;
use agentbench_protocol::limits::MAX_PRESENCE_LIST;
use agentbench_protocol::message::Sender;
use agentbench_protocol::session::Participant;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One connection of the server, unique for the life of the process. The bits mean something only to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionKey(pub u64);

/// A participant's state.
#[derive(Debug, Clone)]
pub struct Member {
    /// Who it is; shared with the connection.
    pub who: Arc<Sender>,
    /// Whether it gets the session's events.
    pub following: bool,
    /// The highest seq that it acknowledged.
    pub acked: Option<Seq>,
    /// Its publisher sends a refused event again before later ones, so that order holds.
    pub in_order: bool,
    /// The event that was refused for now and has to come before any other new one, until this time, ms since 1970.
    pub held: Option<(String, u64)>,
}

/// All participants of one session, in the order of their keys.
#[derive(Debug, Default)]
pub struct Participants {
    members: BTreeMap<ConnectionKey, Member>,
}

impl Participants {
    /// Adds a connection, or changes whether it follows. Tells whether it is new here.
    pub fn join(&mut self, key: ConnectionKey, who: Arc<Sender>, following: bool) -> bool {
        if let Some(member) = self.members.get_mut(&key) {
            member.following = following;
            return false;
        }
        self.members.insert(key, Member { who, following, acked: None, in_order: false, held: None });
        true
    }

    /// Removes a connection.
    pub fn leave(&mut self, key: ConnectionKey) -> Option<Member> {
        self.members.remove(&key)
    }

    /// Records how far a participant has read; never goes back.
    pub fn acknowledge(&mut self, key: ConnectionKey, seq: Seq) -> bool {
        let Some(member) = self.members.get_mut(&key) else { return false };
        member.acked = member.acked.max(Some(seq));
        true
    }

    /// The wall clock was set by `by_ms`: who waits, waits on as long as before.
    pub fn clock_was_set(&mut self, by_ms: i64) {
        for (_, until) in self.members.values_mut().filter_map(|member| member.held.as_mut()) {
            *until = until.saturating_add_signed(by_ms);
        }
    }

    /// One participant, to be changed.
    pub fn get_mut(&mut self, key: ConnectionKey) -> Option<&mut Member> {
        self.members.get_mut(&key)
    }

    /// One participant.
    pub fn get(&self, key: ConnectionKey) -> Option<&Member> {
        self.members.get(&key)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (ConnectionKey, &Member)> {
        self.members.iter().map(|(key, member)| (*key, member))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The first of them as clients see them, at most [`MAX_PRESENCE_LIST`].
    pub fn list(&self) -> Vec<Participant> {
        self.members.values().take(MAX_PRESENCE_LIST).map(Member::describe).collect()
    }
}

impl Member {
    /// An event was refused for now: later ones wait for it until then, ms since 1970. An earlier one that others wait for already
    /// goes first, if it is not overdue.
    pub(crate) fn hold(&mut self, id: &str, until: u64, now: u64) {
        match &mut self.held {
            Some((_, waits_until)) if *waits_until > now => *waits_until = until.max(*waits_until),
            held => *held = Some((id.to_owned(), until)),
        }
    }

    /// The event came again.
    pub(crate) fn end_hold(&mut self, id: &str) {
        if self.held.as_ref().is_some_and(|(held, _)| held == id) {
            self.held = None;
        }
    }

    /// The participant as clients see it.
    pub fn describe(&self) -> Participant {
        Participant {
            client_id: self.who.client_id.clone(),
            user_id: self.who.user_id.clone(),
            username: self.who.username.clone(),
            role: self.who.role.clone(),
            following: self.following,
            acked_seq: self.acked,
        }
    }
}
