//! A client: the product's machine, its wires, and the history of what it did and saw.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use agentbench_client::machine::{Action, Codec, FollowKey, Machine, Now, Output};
use agentbench_client::{Backoff, Config, Data, Event, Format, Item, Outcome, StartAt};
use agentbench_history::{ClientHistory, Content, Operation, Record, StopReason};
use agentbench_protocol::command::CreateSession;
use agentbench_protocol::{Command, GapCause, Outcome as TestOutcome, SessionId, SystemMessage};
use agentbench_server::simulation::START;
use agentbench_session::ConnectionKey;
use bytes::BytesMut;

/// An event that a client has published.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    pub(crate) session: SessionId,
    pub(crate) id: String,
    pub(crate) data: String,
    pub(crate) outcome: Option<Told>,
}

/// What a publisher was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Stored,
    NotStored,
    Unknown,
}

/// What the client waits for.
enum Purpose {
    Create,
    Follow(SessionId),
    Control,
}

/// A digest of an event's content, however it is spelt.
pub(crate) fn digest_of(data: &str) -> u32 {
    crc32c::crc32c(data.replace(": ", ":").replace(", \"", ",\"").as_bytes())
}

/// See the module.
pub(crate) struct Client {
    pub(crate) name: String,
    machine: Machine<usize>,
    codec: Codec,
    pub(crate) history: ClientHistory,
    /// The server that its next connection goes to, and its connection.
    pub(crate) node: usize,
    pub(crate) connection: Option<(usize, ConnectionKey)>,
    pub(crate) is_revoked: bool,
    /// Whether it waits for a connection.
    pub(crate) wants_connection: bool,
    /// Bytes on their way.
    pub(crate) up: BytesMut,
    pub(crate) down: BytesMut,
    pub(crate) published: Vec<Published>,
    follows: BTreeMap<SessionId, FollowKey>,
    waits: BTreeMap<u64, Purpose>,
    /// Sessions that it has created.
    pub(crate) created: VecDeque<SessionId>,
    /// Sentences about what it was told and must not be true.
    pub(crate) lies: Vec<(SessionId, String)>,
    last_key: u64,
}

impl Client {
    pub(crate) fn new(index: usize, node: usize, seed: [u8; 32]) -> Self {
        let backoff =
            Backoff { base: Duration::from_millis(50), max: Duration::from_millis(400), attempts: None };
        let format = if index.is_multiple_of(2) { Format::Json } else { Format::Msgpack };
        let config = Config::new("ws://simulation")
            .producer_id("p")
            .token("t")
            .backoff(backoff)
            .ack_timeout(None)
            .publish_retries(None)
            .heartbeat_interval(None)
            .command_timeout(Duration::from_secs(3_600))
            .compression(false)
            .format(format);
        let mut settings = config.into_settings();
        settings.host = "simulation".into();
        settings.target = "/".into();
        let name = format!("c{index}");
        Self {
            machine: Machine::new(settings, seed),
            codec: Codec::default(),
            history: ClientHistory { client: name.clone(), records: Vec::new() },
            name,
            node,
            connection: None,
            is_revoked: false,
            wants_connection: false,
            up: BytesMut::new(),
            down: BytesMut::new(),
            published: Vec::new(),
            follows: BTreeMap::new(),
            waits: BTreeMap::new(),
            created: VecDeque::new(),
            lies: Vec::new(),
            last_key: 0,
        }
    }

    pub(crate) fn now(at_ms: u64) -> Now {
        Now { since_start: Duration::from_millis(at_ms), unix_ms: START + at_ms }
    }

    pub(crate) fn start(&mut self, at: u64) {
        self.machine.start(Self::now(at));
        self.pump(at);
    }

    fn key(&mut self) -> u64 {
        self.last_key += 1;
        self.last_key
    }

    fn note(&mut self, at: u64, session: SessionId, operation: Operation) {
        self.history.records.push(Record { at: at * 1_000, session, operation });
    }

    pub(crate) fn create(&mut self, at: u64) {
        let key = self.key();
        let (project_id, test_id, agent_name) = ("p".to_owned(), "t".to_owned(), "a".to_owned());
        let session = CreateSession { project_id, test_id, agent_name, metadata: None, follow: false };
        if self.machine.create_session(Self::now(at), key, session).is_ok() {
            self.waits.insert(key, Purpose::Create);
        }
        self.pump(at);
    }

    pub(crate) fn publish(&mut self, at: u64, session: SessionId) {
        let number = self.published.len();
        let id = format!("{}-{number}", self.name);
        let data = format!("{{\"n\":{number},\"fill\":\"{}\"}}", "x".repeat(number * 7 % 90));
        let event = Event::new(Data::raw(data.clone()).expect("it is JSON")).id(&*id);
        if !self.machine.make_room(session, data.len()) {
            return;
        }
        let digest = digest_of(&data);
        if self.machine.publish(Self::now(at), session, event, Some(number)).is_ok() {
            self.note(at, session, Operation::Invoke { message: (&*id).into(), digest });
            self.published.push(Published { session, id, data, outcome: None });
        }
        self.pump(at);
    }

    /// The event to be sent again: the oldest of the session that is not answered, or one that is stored.
    pub(crate) fn repeatable(&self, form: usize) -> Option<&Published> {
        let waiting = || self.published.iter().find(|event| event.outcome.is_none());
        let stored = || self.published.iter().rev().find(|event| event.outcome == Some(Told::Stored));
        if form.is_multiple_of(2) { waiting().or_else(stored) } else { stored().or_else(waiting) }
    }

    pub(crate) fn follow(&mut self, at: u64, session: SessionId) {
        let (key, follow) = (self.key(), FollowKey(self.key()));
        if self.machine.follow(Self::now(at), key, follow, session, StartAt::Start).is_ok() {
            self.waits.insert(key, Purpose::Follow(session));
            self.follows.insert(session, follow);
        }
        self.pump(at);
    }

    pub(crate) fn unfollow(&mut self, at: u64, session: SessionId) {
        let Some(follow) = self.follows.remove(&session) else { return };
        self.machine.unfollow(Self::now(at), session, follow);
        // Nothing more is told of it, not even that it was joined.
        self.waits.retain(|_, purpose| !matches!(purpose, Purpose::Follow(of) if *of == session));
        self.note(at, session, Operation::Stop { why: StopReason::Left });
        self.pump(at);
    }

    pub(crate) fn control(&mut self, at: u64, session: SessionId, kind: usize) {
        let session_id = session.to_string();
        let command = match kind {
            0 => Command::StartTest { session_id },
            1 => Command::PauseTest { session_id },
            2 => Command::ResumeTest { session_id },
            _ => Command::StopTest { session_id, outcome: TestOutcome::Completed, reason: None },
        };
        let key = self.key();
        if self.machine.command(Self::now(at), key, &command).is_ok() {
            self.waits.insert(key, Purpose::Control);
        }
        self.pump(at);
    }

    /// A socket to a server is there.
    pub(crate) fn connected(&mut self, at: u64, connection: (usize, ConnectionKey)) {
        self.wants_connection = false;
        self.connection = Some(connection);
        self.up.clear();
        self.down.clear();
        self.machine.connected(Self::now(at));
        self.pump(at);
    }

    pub(crate) fn unreachable(&mut self, at: u64) {
        self.wants_connection = false;
        self.machine.unreachable(Self::now(at), "refused");
        self.pump(at);
    }

    /// The connection is lost, and what was on its way.
    pub(crate) fn disconnected(&mut self, at: u64) {
        self.connection = None;
        self.up.clear();
        self.down.clear();
        self.machine.disconnected(Self::now(at), "cut");
        self.pump(at);
    }

    /// Bytes from the server.
    pub(crate) fn receive(&mut self, at: u64, bytes: &mut BytesMut) {
        self.machine.received(Self::now(at), bytes, &mut self.codec);
        self.pump(at);
    }

    /// Time has passed.
    pub(crate) fn wake(&mut self, at: u64) {
        if self.machine.next_timeout().is_some_and(|due| due <= Duration::from_millis(at)) {
            self.machine.timeout(Self::now(at));
            self.pump(at);
        }
    }

    /// What it waits for, for a finding.
    pub(crate) fn state(&self) -> String {
        let waiting = self.published.iter().find(|event| event.outcome.is_none());
        format!(
            "{} (connected: {}, {} events in its outbox, {} other answers due, first: {:?})",
            self.name,
            self.machine.is_connected(),
            self.machine.usage().messages,
            self.waits.len(),
            waiting.map(|event| &event.id)
        )
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.machine.is_idle() && self.machine.is_connected() && self.waits.is_empty()
    }

    /// What a driver does between its waits.
    fn pump(&mut self, at: u64) {
        loop {
            let before = self.up.len();
            let most = before + 64 * 1024;
            self.machine.transmit(Self::now(at), &mut self.codec, &mut self.up, most);
            if self.connection.is_none() {
                self.up.clear();
            }
            let went_on = self.up.len() != before;
            while let Some(output) = self.machine.poll_event() {
                self.take(at, output);
            }
            match self.machine.poll_action() {
                Some(Action::Connect) => self.wants_connection = true,
                // The wires are cut by the world: it knows the server.
                Some(Action::Disconnect) => self.connection = None,
                Some(Action::FetchToken) => self.machine.token(Self::now(at), Ok("t".to_owned())),
                None if !went_on => return,
                None => {}
            }
        }
    }

    fn take(&mut self, at: u64, output: Output<usize>) {
        match output {
            Output::Published { ticket, outcome } => self.settle(at, ticket, &outcome),
            Output::Reply { key, reply } => match (self.waits.remove(&key), reply) {
                (Some(Purpose::Create), Ok(message)) => {
                    if let SystemMessage::SessionCreated { session_id, .. } = *message {
                        self.created.push_back(session_id);
                    }
                }
                (Some(Purpose::Follow(session)), Ok(message)) => {
                    if let SystemMessage::SessionJoined(joined) = *message {
                        let (epoch, after) = (joined.epoch, joined.from.seq);
                        self.note(at, session, Operation::Read { epoch, after });
                    }
                }
                (Some(Purpose::Follow(session)), Err(_)) => drop(self.follows.remove(&session)),
                _ => {}
            },
            Output::Item { follow, item } => {
                let session = self.follows.iter().find(|(_, key)| **key == follow).map(|(id, _)| *id);
                if let Some(session) = session {
                    self.take_item(at, session, &item);
                }
            }
            Output::FollowEnded { follow, .. } => {
                let session = self.follows.iter().find(|(_, key)| **key == follow).map(|(id, _)| *id);
                if let Some(session) = session {
                    self.follows.remove(&session);
                    self.note(at, session, Operation::Stop { why: StopReason::Cut });
                }
            }
            Output::ReplayFinished { .. } | Output::Connection(_) => {}
        }
    }

    fn settle(&mut self, at: u64, ticket: usize, outcome: &Outcome) {
        let (session, message) = (self.published[ticket].session, (&*self.published[ticket].id).into());
        let (told, operation) = match outcome {
            Outcome::Stored { seq, epoch, duplicate, .. } => {
                let (seq, epoch, duplicate) = (*seq, *epoch, *duplicate);
                (Told::Stored, Operation::Ok { message, seq, epoch, duplicate })
            }
            Outcome::Refused(refusal) => (
                Told::NotStored,
                Operation::Fail { message, why: format!("{}: {}", refusal.code, refusal.error).into() },
            ),
            Outcome::Unknown { why, sent: false } => {
                (Told::NotStored, Operation::Fail { message, why: why.to_string().into() })
            }
            Outcome::Unknown { why, sent: true } => {
                (Told::Unknown, Operation::Unknown { message, why: why.to_string().into() })
            }
        };
        self.published[ticket].outcome = Some(told);
        self.note(at, session, operation);
    }

    fn take_item(&mut self, at: u64, session: SessionId, item: &Item) {
        let operation = match item {
            Item::Event(event) | Item::Late(event) => Operation::Delivery {
                seq: event.seq,
                message: (&*event.id()).into(),
                content: Content::Event(digest_of(event.data())),
            },
            Item::Lifecycle(lifecycle) => Operation::Delivery {
                seq: lifecycle.entry.seq,
                message: (&*lifecycle.entry.id()).into(),
                content: Content::Lifecycle,
            },
            Item::Gap(gap) if matches!(gap.cause, GapCause::Epoch | GapCause::Diverged) => return,
            Item::Gap(gap) => Operation::Gap { from: gap.from, to: gap.to, cause: gap.cause },
            Item::Resumed(resumed) => Operation::Read { epoch: resumed.from.epoch, after: resumed.from.seq },
            Item::NotRecovered { reason, was, from } => {
                let why = reason.map_or("no reason", |reason| reason.as_str());
                let lie = format!(
                    "{} was told that its position {} is not vouched for ({why}), and goes on after {}",
                    self.name, was.seq, from.seq
                );
                self.lies.push((session, lie));
                Operation::Read { epoch: from.epoch, after: from.seq }
            }
            Item::Violation(violation) => {
                let lie = format!(
                    "{} got seq {} where {} was due, and no gap was said",
                    self.name, violation.got, violation.expected
                );
                return self.lies.push((session, lie));
            }
            Item::Presence { .. } | Item::Disconnected(_) => return,
        };
        self.note(at, session, operation);
    }

    /// Ends its history: whoever follows and is connected was owed everything.
    pub(crate) fn finish(&mut self, at: u64) {
        let is_connected = self.machine.is_connected();
        for session in std::mem::take(&mut self.follows).into_keys() {
            let why = if is_connected { StopReason::CaughtUp } else { StopReason::Cut };
            self.note(at, session, Operation::Stop { why });
        }
    }
}
