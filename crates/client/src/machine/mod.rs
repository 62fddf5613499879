//! The connection machine: everything that a client decides, without IO, clock or randomness of its own.
//!
//! It owns the outbox of every session, the commands that wait for replies, the place of every follow, the waits
//! between attempts and all deadlines. A driver owns the socket and the clock, and does what it is told:
//!
//! ```text
//!   connected, received, disconnected, unreachable, token ──►┌─────────┐──► poll_action    connect, disconnect, fetch a token
//!   publish, command, follow, close ────────────────────────►│ Machine │──► transmit       bytes for the socket
//!   timeout ────────────────────────────────────────────────►└─────────┘──► poll_event     outcomes, replies, items
//!                                                                       └─► next_timeout   when to call timeout
//! ```
//!
//! After every input the driver asks for all outputs until there are none.
//!
//! - `link`: where the client stands towards the server. `connect`: how it gets from one place to the next.
//! - `outbox`, `participation`, `follow`, `commands`: what it owes and is owed.
//! - `replay`: logs that are played again.
//! - `receive`, `inbound`: from bytes to what they mean. `transmit`, `outbound`: the other way.
//! - `verdict`: the table of what to do after a connection has ended.
//!
//! **Order.** The events of one session are sent in the order in which they were published, on every connection anew from
//! the first one that is not acked, and only after the join on that connection was answered. A refusal that is worth a
//! retry stops the session: when its wait is over, that event and all behind it are sent again.
//!
//! **Suspects.** A frame that the server cannot read names no event, and neither does a connection that breaks whenever something
//! is sent. The events in flight are suspects then and go one by one, each when nothing else waits for its answer, until the one
//! that is the cause is refused or given up; the others are stored.

mod commands;
mod connect;
mod follow;
mod inbound;
mod link;
mod outbound;
mod outbox;
mod participation;
mod receive;
mod replay;
mod transmit;
mod verdict;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use agentbench_protocol::command::CreateSession;
use agentbench_protocol::{Command, SessionId, StartAt, SystemMessage};
use agentbench_websocket::{Deflater, Inflater};
use bytes::BytesMut;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::config::{OutboxPolicy, Settings};
use crate::event::Event;
use crate::item::{Disconnected, Item};
use crate::outcome::{Ended, Error, GaveUp, Outcome};
use crate::stats::Stats;

use commands::{Commands, Purpose};
use follow::Following;
use link::{Connection, Link};
use outbox::{Entry, Left, Share};
use participation::{Join, Participation, Waiter};

pub use verdict::Lost;

/// A moment, on both clocks that matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Since any fixed moment, on a clock that never goes back.
    pub since_start: Duration,
    /// Of the wall clock, ms since 1970.
    pub unix_ms: u64,
}

/// Names a follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FollowKey(pub u64);

/// What the driver is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Connect; answer with `connected` or `unreachable`. Give up an attempt that is still under way.
    Connect,
    /// Write what [`Machine::transmit`] still gives, and close the socket, or give up the attempt to connect. No answer.
    Disconnect,
    /// Ask the token provider; answer with `token`.
    FetchToken,
}

/// Something about the connection that a user may want to know.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ConnectionEvent {
    /// Ready for use.
    Connected {
        /// The server's name for this connection.
        client_id: String,
        /// The node that serves it.
        node: String,
        /// How many attempts it took.
        attempt: u32,
    },
    /// Lost, or an attempt has failed.
    Disconnected(Disconnected),
    /// The next attempt begins after this time.
    Reconnecting {
        /// The wait.
        after: Duration,
    },
    /// The server refused something that cannot be told whose it was.
    ServerError(agentbench_protocol::message::ErrorData),
    /// The client has ended for good.
    Failed(Ended),
}

/// What the user is to be told.
#[derive(Debug)]
pub enum Told<T> {
    /// What became of a publish with an ack.
    Published {
        /// As given to [`Machine::publish`].
        ticket: T,
        /// What became of it.
        outcome: Outcome,
    },
    /// The reply to a command, a join or a follow.
    Reply {
        /// As given with the command.
        key: u64,
        /// The reply.
        reply: Result<Box<SystemMessage>, Error>,
    },
    /// The next item of a follow.
    Item {
        /// Whose.
        follow: FollowKey,
        /// The item.
        item: Item,
    },
    /// A follow is over.
    FollowEnded {
        /// Which.
        follow: FollowKey,
        /// Why.
        why: Error,
    },
    /// A replay has come to its end.
    ReplayFinished {
        /// Which.
        replay: FollowKey,
    },
    /// Something about the connection.
    Connection(ConnectionEvent),
}

/// State of a codec that all machines of a thread share, since each uses it for a moment only.
#[derive(Default)]
pub struct Codec {
    inflater: Inflater,
    deflater: Option<Deflater>,
    envelope: BytesMut,
    packed: BytesMut,
}

/// How full the outbox is, all sessions together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Events.
    pub messages: usize,
    /// Bytes of their `data`.
    pub bytes: usize,
}

/// What the outboxes of all sessions hold together.
#[derive(Debug, Default)]
struct Holdings {
    usage: Usage,
    /// Events of which one may be what the server cannot read, or what the connection breaks at. While there are any, an event
    /// is sent only when nothing else waits for its answer.
    suspects: usize,
}

impl Holdings {
    /// An event has left its outbox.
    fn release(&mut self, share: Share) {
        self.usage.messages -= 1;
        self.usage.bytes -= share.bytes;
        self.suspects -= usize::from(share.is_suspect);
    }
}

/// One client. `T` is what the driver wants back with the outcome of a publish.
pub struct Machine<T> {
    settings: Settings,
    rng: StdRng,
    /// 16 random digits in front of the ids that this machine makes.
    run: String,
    last_number: u64,
    link: Link,
    /// Attempts in a row without any progress.
    attempt: u32,
    has_connected: bool,
    token: Option<String>,
    /// The token comes from the provider and no connection was made with it so far.
    token_is_fresh: bool,
    refresh_at: Option<Duration>,
    sessions: BTreeMap<SessionId, Participation<T>>,
    replays: replay::Replays,
    holdings: Holdings,
    commands: Commands,
    /// Sessions with events to send, each once.
    ready: VecDeque<SessionId>,
    /// Sessions to be joined on this connection.
    joins: VecDeque<SessionId>,
    actions: VecDeque<Action>,
    told: VecDeque<Told<T>>,
    wake_at: Option<Duration>,
    last_words: BytesMut,
    is_paused: bool,
    ended: Option<Ended>,
    latency: Option<Duration>,
    stats: Stats,
}

impl<T> fmt::Debug for Machine<T> {
    /// Without contents and tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("holdings", &self.holdings)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl<T> Machine<T> {
    /// Not yet started. `seed` must be unforeseeable: ids and the masks of frames come from it.
    pub fn new(settings: Settings, seed: [u8; 32]) -> Self {
        let mut rng = StdRng::from_seed(seed);
        Self {
            token: settings.token.clone(),
            settings,
            run: format!("{:016x}", rng.next_u64()),
            rng,
            last_number: 0,
            link: Link::Idle,
            attempt: 0,
            has_connected: false,
            token_is_fresh: false,
            refresh_at: None,
            sessions: BTreeMap::new(),
            replays: replay::Replays::new(),
            holdings: Holdings::default(),
            commands: Commands::default(),
            ready: VecDeque::new(),
            joins: VecDeque::new(),
            actions: VecDeque::new(),
            told: VecDeque::new(),
            wake_at: None,
            last_words: BytesMut::new(),
            is_paused: false,
            ended: None,
            latency: None,
            stats: Stats::default(),
        }
    }

    /// What the driver has to do next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// What the user has to be told next.
    pub fn poll_event(&mut self) -> Option<Told<T>> {
        self.told.pop_front()
    }

    /// When [`Machine::timeout`] has to be called, at the latest.
    pub fn next_timeout(&self) -> Option<Duration> {
        self.wake_at
    }

    /// Why the client has ended, if it has.
    pub fn ended(&self) -> Option<&Ended> {
        self.ended.as_ref()
    }

    /// Whether a connection is ready for use.
    pub fn is_connected(&self) -> bool {
        matches!(&self.link, Link::Open(connection) if connection.is_live())
    }

    /// Round trip of the last heartbeat.
    pub fn latency(&self) -> Option<Duration> {
        self.latency
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// How full the outbox is.
    pub fn usage(&self) -> Usage {
        self.holdings.usage
    }

    /// Whether nothing is left to be sent or answered.
    pub fn is_idle(&self) -> bool {
        self.holdings.usage.messages == 0 && self.commands.is_empty()
    }

    /// Makes room for an event with `bytes` of data, as the policy says. `false`: there is none.
    pub fn make_room(&mut self, session: SessionId, bytes: usize) -> bool {
        while !self.has_room(bytes) {
            if self.settings.outbox_policy != OutboxPolicy::DropOldestUnsent {
                return false;
            }
            let participation = self.sessions.get_mut(&session);
            let Some(left) = participation.and_then(|found| found.outbox.drop_oldest_unsent()) else {
                return false;
            };
            self.settle(left);
        }
        true
    }

    fn has_room(&self, bytes: usize) -> bool {
        let usage = &self.holdings.usage;
        let fits = usage.messages < self.settings.outbox_messages
            && usage.bytes.saturating_add(bytes) <= self.settings.outbox_bytes;
        fits || usage.messages == 0
    }

    /// Takes an event into the outbox; room was made before. With a ticket, an ack is wanted, and what becomes of the event
    /// is told. The session is joined as a publisher if it is not.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Ended`].
    pub fn publish(
        &mut self,
        now: Now,
        session: SessionId,
        mut event: Event,
        ticket: Option<T>,
    ) -> Result<(), Error> {
        self.check_open()?;
        event.check()?;
        let id = event.id.take().unwrap_or_else(|| self.new_id('-'));
        let deadline = self.settings.ack_timeout.map(|limit| now.since_start + limit);
        self.holdings.usage.messages += 1;
        self.holdings.usage.bytes += event.data.bytes().len();
        self.stats.published += 1;
        let participation = self.sessions.entry(session).or_insert_with(|| Participation::new(session));
        participation.publisher = true;
        participation.outbox.push(Entry::new(id, event, now.unix_ms, deadline, ticket));
        self.wake_by(deadline);
        self.attend(session);
        Ok(())
    }

    /// Sends a command; its reply is told under `key`.
    ///
    /// # Errors
    /// [`Error::Ended`].
    pub fn command(&mut self, now: Now, key: u64, command: &Command) -> Result<(), Error> {
        let purpose = match command {
            Command::CreateSession(_) => Purpose::Create(key),
            Command::RefreshToken { token } => Purpose::Refresh { key: Some(key), token: token.clone() },
            _ => Purpose::User(key),
        };
        self.send_command(now, purpose, command)
    }

    /// Creates a session and becomes its publisher; the reply is told under `key`.
    ///
    /// # Errors
    /// [`Error::Ended`].
    pub fn create_session(&mut self, now: Now, key: u64, session: CreateSession) -> Result<(), Error> {
        self.command(now, key, &Command::CreateSession(session))
    }

    /// Joins a session as a publisher, for as long as the client lives; the join is told under `key`.
    ///
    /// # Errors
    /// [`Error::Ended`].
    pub fn join(&mut self, now: Now, key: u64, session: SessionId) -> Result<(), Error> {
        self.check_open()?;
        let participation = self.sessions.entry(session).or_insert_with(|| Participation::new(session));
        participation.publisher = true;
        // A join that was answered before answers this one too, but its reply is gone: ask again.
        if matches!(participation.join, Join::Done { .. }) {
            participation.join = Join::No;
        }
        self.wait_for_join(now, key, session, None);
        Ok(())
    }

    /// Follows a session; the join is told under `key`, the items under `follow`.
    ///
    /// # Errors
    /// [`Error::Ended`], [`Error::AlreadyFollowing`].
    pub fn follow(
        &mut self,
        now: Now,
        key: u64,
        follow: FollowKey,
        session: SessionId,
        start: StartAt,
    ) -> Result<(), Error> {
        self.check_open()?;
        let participation = self.sessions.entry(session).or_insert_with(|| Participation::new(session));
        if participation.follow.is_some() {
            return Err(Error::AlreadyFollowing);
        }
        participation.follow = Some(Following::new(follow, start));
        self.wait_for_join(now, key, session, Some(follow));
        Ok(())
    }

    fn wait_for_join(&mut self, now: Now, key: u64, session: SessionId, follow: Option<FollowKey>) {
        let deadline = now.since_start + self.settings.command_timeout;
        if let Some(participation) = self.sessions.get_mut(&session) {
            participation.waiters.push(Waiter { key, deadline, follow });
        }
        self.wake_by(Some(deadline));
        self.attend(session);
    }

    /// Ends a follow. Nothing is told of it any more.
    pub fn unfollow(&mut self, now: Now, session: SessionId, follow: FollowKey) {
        let Some(participation) = self.sessions.get_mut(&session) else { return };
        if participation.follow_key() != Some(follow) {
            return;
        }
        participation.follow = None;
        participation.waiters.retain(|waiter| waiter.follow != Some(follow));
        if participation.is_wanted() {
            return self.attend(session);
        }
        let was_joined = !matches!(participation.join, Join::No | Join::Held(_));
        self.sessions.remove(&session);
        if was_joined && self.is_connected() {
            let leave = Command::LeaveSession { session_id: session.to_string(), unsubscribe: false };
            // Fails only on a client that has ended, which has left.
            let _ = self.send_command(now, Purpose::Nobody, &leave);
        }
    }

    /// Leaves a session: what waits to be published there is given up, its follow ends. The reply is told under `key`.
    ///
    /// # Errors
    /// [`Error::Ended`].
    pub fn leave(&mut self, now: Now, key: u64, session: SessionId) -> Result<(), Error> {
        self.check_open()?;
        if let Some(mut participation) = self.sessions.remove(&session) {
            for left in participation.outbox.give_up_all(&GaveUp::Left) {
                self.settle(left);
            }
            let left = || Error::Invalid("the session was left".into());
            self.dissolve(participation, &left());
        }
        let leave = Command::LeaveSession { session_id: session.to_string(), unsubscribe: false };
        self.command(now, key, &leave)
    }

    /// Tells all who wait for a session, or follow it, that this is over.
    fn dissolve(&mut self, participation: Participation<T>, why: &Error) {
        for waiter in participation.waiters {
            self.told.push_back(Told::Reply { key: waiter.key, reply: Err(why.clone()) });
        }
        if let Some(follow) = participation.follow {
            self.told.push_back(Told::FollowEnded { follow: follow.key, why: why.clone() });
        }
    }

    fn check_open(&self) -> Result<(), Error> {
        self.ended.clone().map_or(Ok(()), |ended| Err(Error::Ended(ended)))
    }

    fn send_command(&mut self, now: Now, purpose: Purpose, command: &Command) -> Result<(), Error> {
        self.check_open()?;
        let deadline = match purpose {
            Purpose::Join(_) | Purpose::Nobody => None,
            _ => Some(now.since_start + self.settings.command_timeout),
        };
        self.last_number += 1;
        self.commands.add(self.last_number, purpose, command.to_data().to_string(), deadline);
        self.wake_by(deadline);
        Ok(())
    }

    /// An id that no other message has: `mark` tells events (`-`), commands (`c`) and heartbeats (`h`) apart.
    fn new_id(&mut self, mark: char) -> String {
        self.last_number += 1;
        self.id_of(mark, self.last_number)
    }

    fn id_of(&self, mark: char, number: u64) -> String {
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(number);
        let mut id = String::with_capacity(self.run.len() + 1 + digits.len());
        id.push_str(&self.run);
        id.push(mark);
        id.push_str(digits);
        id
    }

    /// The number in an id of this machine with this mark.
    fn number_in(&self, mark: char, id: &str) -> Option<u64> {
        id.strip_prefix(&*self.run)?.strip_prefix(mark)?.parse().ok()
    }

    /// Whatever has changed about a session: asks for its join, or lists it for sending, where that is due.
    fn attend(&mut self, session: SessionId) {
        if !self.is_connected() {
            return;
        }
        let Some(participation) = self.sessions.get_mut(&session) else { return };
        if participation.needs_join() {
            participation.join = Join::Asked { follow: None, number: 0 };
            self.joins.push_back(session);
        } else if !participation.is_listed && participation.can_publish(self.settings.in_flight) {
            participation.is_listed = true;
            self.ready.push_back(session);
        }
    }

    /// An event has left the outbox.
    fn settle(&mut self, left: Left<T>) {
        self.holdings.release(left.share);
        match &left.outcome {
            Outcome::Stored { duplicate, .. } => {
                self.stats.acked += 1;
                self.stats.duplicates += u64::from(*duplicate);
            }
            Outcome::Refused(_) => self.stats.refused += 1,
            Outcome::Unknown { .. } => self.stats.unknown += 1,
        }
        if let Some(ticket) = left.ticket {
            self.told.push_back(Told::Published { ticket, outcome: left.outcome });
        }
    }

    /// Events without an ack that are done when they are sent and nothing is before them; among suspects they are acked, too.
    fn release_unacked(&mut self, session: SessionId) {
        let Some(participation) = self.sessions.get_mut(&session) else { return };
        while self.holdings.suspects == 0
            && let Some(share) = participation.outbox.pop_unacked()
        {
            self.holdings.release(share);
        }
    }

    /// How many messages of this connection wait for their answers.
    fn unanswered(&self) -> usize {
        let events: usize = self.sessions.values().map(|found| found.outbox.in_flight()).sum();
        events + self.commands.unanswered()
    }

    /// [`Machine::timeout`] is to be called at `at`, or before.
    fn wake_by(&mut self, at: Option<Duration>) {
        self.wake_at = commands::earlier(self.wake_at, at);
    }

    fn tell(&mut self, event: ConnectionEvent) {
        self.told.push_back(Told::Connection(event));
    }

    fn connection(&mut self) -> Option<&mut Connection> {
        match &mut self.link {
            Link::Open(connection) => Some(connection),
            _ => None,
        }
    }
}
