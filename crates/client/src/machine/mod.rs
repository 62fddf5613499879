//! The connection machine: all decisions of a client, without IO, clock or randomness of its own.
//!
//! It owns the outbox of every session, the commands that wait for replies, the position of every follow, the delays
//! between attempts and all deadlines. A driver owns the socket and the clock, and carries out the actions:
//!
//! ```text
//!   connected, received, disconnected, unreachable, token ──►┌─────────┐──► poll_action    connect, disconnect, fetch a token
//!   publish, command, follow, close ────────────────────────►│ Machine │──► transmit       bytes for the socket
//!   timeout ────────────────────────────────────────────────►└─────────┘──► poll_event     outcomes, replies, items
//!                                                                       └─► next_timeout   when to call timeout
//! ```
//!
//! After every input the driver polls all outputs until there are none.
//!
//! - `link`: the client's relation to the server. `connect`: the transitions between its states.
//! - `outbox`, `participation`, `follow`, `commands`: what it owes and is owed.
//! - `replay`: replays of logs.
//! - `receive`, `inbound`: from bytes to their effects. `transmit`, `outbound`: the other direction.
//! - `verdict`: the table of what to do after a connection has ended.
//!
//! **Order.** The events of one session are sent in the order in which they were published, on every connection again from
//! the first unacked one, and only after the join on that connection was answered. A retryable refusal stops the
//! session: after the delay, that event and all later ones are sent again.
//!
//! **Suspects.** A frame that the server cannot read names no event, and neither does a connection that breaks whenever something
//! is sent. The events in flight then become suspects and are sent one by one, each when no other message waits for an answer,
//! until the culprit is refused or given up; the others are stored.

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
use follow::ActiveFollow;
use link::{Connection, Link};
use outbox::{Entry, RemovedEvent, Share};
use participation::{Join, Participation, Waiter};

pub use verdict::ConnectionLoss;

/// A moment, on both relevant clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Since any fixed moment, on a monotonic clock.
    pub since_start: Duration,
    /// Wall clock, ms since 1970.
    pub unix_ms: u64,
}

/// Identifies a follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FollowKey(pub u64);

/// An action for the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Connect; answer with `connected` or `unreachable`. Abort an attempt in progress.
    Connect,
    /// Write what [`Machine::transmit`] still returns, and close the socket, or abort the attempt to connect. No answer.
    Disconnect,
    /// Call the token provider; answer with `token`.
    FetchToken,
}

/// An event of the connection that may interest a user.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ConnectionEvent {
    /// Ready for use.
    Connected {
        /// The server's id of this connection.
        client_id: String,
        /// The node that serves it.
        node: String,
        /// Number of attempts needed.
        attempt: u32,
    },
    /// The connection was lost, or an attempt failed.
    Disconnected(Disconnected),
    /// The next attempt starts after a delay.
    Reconnecting {
        /// The delay.
        after: Duration,
    },
    /// The server refused something that cannot be attributed to a message.
    ServerError(agentbench_protocol::message::ErrorData),
    /// The client has ended for good.
    Failed(Ended),
}

/// An output for the user.
#[derive(Debug)]
pub enum Output<T> {
    /// The outcome of a publish with an ack.
    Published {
        /// As given to [`Machine::publish`].
        ticket: T,
        /// The outcome.
        outcome: Outcome,
    },
    /// The reply to a command, a join or a follow.
    Reply {
        /// The key given with the command.
        key: u64,
        /// The reply.
        reply: Result<Box<SystemMessage>, Error>,
    },
    /// The next item of a follow.
    Item {
        /// The follow.
        follow: FollowKey,
        /// The item.
        item: Item,
    },
    /// A follow has ended.
    FollowEnded {
        /// The follow.
        follow: FollowKey,
        /// The reason.
        why: Error,
    },
    /// A replay has reached its end.
    ReplayFinished {
        /// The replay.
        replay: FollowKey,
    },
    /// An event of the connection.
    Connection(ConnectionEvent),
}

/// Codec state that all machines of a thread share, since each uses it for a moment only.
#[derive(Default)]
pub struct Codec {
    inflater: Inflater,
    deflater: Option<Deflater>,
    envelope: BytesMut,
    packed: BytesMut,
}

/// Contents of the outbox, all sessions together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Events.
    pub messages: usize,
    /// Bytes of their `data`.
    pub bytes: usize,
}

/// Totals of the outboxes of all sessions.
#[derive(Debug, Default)]
struct Holdings {
    usage: Usage,
    /// Number of suspects: events of which one may be unreadable to the server, or break the connection. While there are any, an
    /// event is sent only when no other message waits for its answer.
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

/// One client. `T` is returned to the driver with the outcome of a publish.
pub struct Machine<T> {
    settings: Settings,
    rng: StdRng,
    /// 16 random digits that prefix the ids of this machine.
    run: String,
    last_number: u64,
    link: Link,
    /// Consecutive attempts without any progress.
    attempt: u32,
    has_connected: bool,
    token: Option<String>,
    /// Whether the token comes from the provider and has not been used for a connection.
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
    told: VecDeque<Output<T>>,
    wake_at: Option<Duration>,
    close_frame: BytesMut,
    is_paused: bool,
    ended: Option<Ended>,
    latency: Option<Duration>,
    stats: Stats,
}

impl<T> fmt::Debug for Machine<T> {
    /// Omits contents and tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("holdings", &self.holdings)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl<T> Machine<T> {
    /// A machine that is not started. `seed` must be unpredictable: ids and the masks of frames derive from it.
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
            close_frame: BytesMut::new(),
            is_paused: false,
            ended: None,
            latency: None,
            stats: Stats::default(),
        }
    }

    /// The driver's next action.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The next output for the user.
    pub fn poll_event(&mut self) -> Option<Output<T>> {
        self.told.pop_front()
    }

    /// The latest time to call [`Machine::timeout`].
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

    /// Contents of the outbox.
    pub fn usage(&self) -> Usage {
        self.holdings.usage
    }

    /// Whether nothing remains to be sent or answered.
    pub fn is_idle(&self) -> bool {
        self.holdings.usage.messages == 0 && self.commands.is_empty()
    }

    /// Makes room for an event with `bytes` of data, according to the policy. `false`: there is none.
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

    /// Adds an event to the outbox, after [`Machine::make_room`]. With a ticket, an ack is requested and the outcome is
    /// reported. The session is joined as a publisher if necessary.
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
        self.update_session(session);
        Ok(())
    }

    /// Sends a command; its reply is reported under `key`.
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

    /// Creates a session and joins it as a publisher; the reply is reported under `key`.
    ///
    /// # Errors
    /// [`Error::Ended`].
    pub fn create_session(&mut self, now: Now, key: u64, session: CreateSession) -> Result<(), Error> {
        self.command(now, key, &Command::CreateSession(session))
    }

    /// Joins a session as a publisher, until the client is closed; the join is reported under `key`.
    ///
    /// # Errors
    /// [`Error::Ended`].
    pub fn join(&mut self, now: Now, key: u64, session: SessionId) -> Result<(), Error> {
        self.check_open()?;
        let participation = self.sessions.entry(session).or_insert_with(|| Participation::new(session));
        participation.publisher = true;
        // An earlier join would do, but its reply is gone: join again.
        if matches!(participation.join, Join::Done { .. }) {
            participation.join = Join::No;
        }
        self.wait_for_join(now, key, session, None);
        Ok(())
    }

    /// Follows a session; the join is reported under `key`, the items under `follow`.
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
        participation.follow = Some(ActiveFollow::new(follow, start));
        self.wait_for_join(now, key, session, Some(follow));
        Ok(())
    }

    fn wait_for_join(&mut self, now: Now, key: u64, session: SessionId, follow: Option<FollowKey>) {
        let deadline = now.since_start + self.settings.command_timeout;
        if let Some(participation) = self.sessions.get_mut(&session) {
            participation.waiters.push(Waiter { key, deadline, follow });
        }
        self.wake_by(Some(deadline));
        self.update_session(session);
    }

    /// Ends a follow. Nothing more is reported about it.
    pub fn unfollow(&mut self, now: Now, session: SessionId, follow: FollowKey) {
        let Some(participation) = self.sessions.get_mut(&session) else { return };
        if participation.follow_key() != Some(follow) {
            return;
        }
        participation.follow = None;
        participation.waiters.retain(|waiter| waiter.follow != Some(follow));
        if participation.is_wanted() {
            return self.update_session(session);
        }
        let was_joined = !matches!(participation.join, Join::No | Join::Held(_));
        self.sessions.remove(&session);
        if was_joined && self.is_connected() {
            let leave = Command::LeaveSession { session_id: session.to_string(), unsubscribe: false };
            // Fails only on a client that has ended, which has left.
            let _ = self.send_command(now, Purpose::Nobody, &leave);
        }
    }

    /// Leaves a session: its unsent and unacked events are given up, and its follow ends. The reply is reported under `key`.
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

    /// Notifies all waiters and followers of a session that it is over.
    fn dissolve(&mut self, participation: Participation<T>, why: &Error) {
        for waiter in participation.waiters {
            self.told.push_back(Output::Reply { key: waiter.key, reply: Err(why.clone()) });
        }
        if let Some(follow) = participation.follow {
            self.told.push_back(Output::FollowEnded { follow: follow.key, why: why.clone() });
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

    /// A unique id: `mark` distinguishes events (`-`), commands (`c`) and heartbeats (`h`).
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

    /// Reacts to a change of a session: requests its join, or lists it for sending, if due.
    fn update_session(&mut self, session: SessionId) {
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
    fn settle(&mut self, left: RemovedEvent<T>) {
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
            self.told.push_back(Output::Published { ticket, outcome: left.outcome });
        }
    }

    /// Removes sent events without an ack at the front of the outbox; suspects are acked in any case.
    fn release_unacked(&mut self, session: SessionId) {
        let Some(participation) = self.sessions.get_mut(&session) else { return };
        while self.holdings.suspects == 0
            && let Some(share) = participation.outbox.pop_unacked()
        {
            self.holdings.release(share);
        }
    }

    /// Number of messages on this connection without an answer yet.
    fn unanswered(&self) -> usize {
        let events: usize = self.sessions.values().map(|found| found.outbox.in_flight()).sum();
        events + self.commands.unanswered()
    }

    /// Ensures that [`Machine::timeout`] is called by `at`.
    fn wake_by(&mut self, at: Option<Duration>) {
        self.wake_at = commands::earlier(self.wake_at, at);
    }

    fn emit(&mut self, event: ConnectionEvent) {
        self.told.push_back(Output::Connection(event));
    }

    fn connection(&mut self) -> Option<&mut Connection> {
        match &mut self.link {
            Link::Open(connection) => Some(connection),
            _ => None,
        }
    }
}
