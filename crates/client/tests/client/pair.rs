//! Both ends in one thread: a machine and a server, two queues of bytes that can be delayed and cut, one clock.

use std::collections::BTreeMap;
use std::time::Duration;

use agentbench_client::machine::{Action, Codec, FollowKey, Machine, Now, Output};
use agentbench_client::{
    Backoff, Config, ConnectionEvent, Data, Error, Event, Item, NewSession, Outcome, SessionId, Settings,
    StartAt, SystemMessage,
};
use agentbench_protocol::command::CreateSession;
use bytes::BytesMut;

use super::server::Server;

/// Everything that a machine has told.
#[derive(Default)]
pub(crate) struct Received {
    pub(crate) outcomes: BTreeMap<u64, Vec<Outcome>>,
    pub(crate) replies: BTreeMap<u64, Vec<Result<SystemMessage, Error>>>,
    pub(crate) items: BTreeMap<FollowKey, Vec<Item>>,
    pub(crate) ended: BTreeMap<FollowKey, Error>,
    pub(crate) finished: Vec<FollowKey>,
    pub(crate) connection: Vec<ConnectionEvent>,
}

pub(crate) struct Pair {
    pub(crate) machine: Machine<u64>,
    pub(crate) server: Server,
    pub(crate) heard: Received,
    pub(crate) at: Duration,
    /// Whether there is a socket.
    pub(crate) is_open: bool,
    /// Whether there is a server to be reached.
    pub(crate) is_reachable: bool,
    /// What the token provider gives.
    pub(crate) tokens: Vec<Result<String, String>>,
    up: BytesMut,
    down: BytesMut,
    codec: Codec,
    last_key: u64,
}

pub(crate) fn settings(change: impl FnOnce(Config) -> Config) -> Settings {
    let backoff = Backoff { base: Duration::from_millis(100), max: Duration::from_secs(2), attempts: None };
    let config = Config::new("ws://model").producer_id("p").token("t0").backoff(backoff).ack_timeout(None);
    let mut settings = change(config).into_settings();
    settings.host = "model".into();
    settings.target = "/".into();
    settings
}

impl Pair {
    pub(crate) fn new(settings: Settings) -> Self {
        let mut pair = Self {
            machine: Machine::new(settings, [7; 32]),
            server: Server::default(),
            heard: Received::default(),
            at: Duration::ZERO,
            is_open: false,
            is_reachable: true,
            tokens: Vec::new(),
            up: BytesMut::new(),
            down: BytesMut::new(),
            codec: Codec::default(),
            last_key: 0,
        };
        let now = pair.now();
        pair.machine.start(now);
        pair
    }

    pub(crate) fn plain() -> Self {
        let mut pair = Self::new(settings(|config| config));
        pair.settle();
        pair
    }

    pub(crate) fn now(&self) -> Now {
        Now { since_start: self.at, unix_ms: u64::try_from(self.at.as_millis()).unwrap() }
    }

    /// What a driver does between its waits.
    pub(crate) fn pump(&mut self) {
        loop {
            let before = self.up.len();
            let now = self.now();
            self.machine.transmit(now, &mut self.codec, &mut self.up, before + 1000);
            if !self.is_open {
                self.up.clear();
            }
            self.listen();
            match self.machine.poll_action() {
                Some(action) => self.act(action),
                None if self.up.len() == before => return,
                None => {}
            }
        }
    }

    fn act(&mut self, action: Action) {
        let now = self.now();
        match action {
            Action::Connect if self.is_reachable => {
                self.cut_wires();
                self.server.accept();
                self.is_open = true;
                self.machine.connected(now);
            }
            Action::Connect => self.machine.unreachable(now, "refused"),
            Action::Disconnect => {
                let last = self.up.split();
                self.server.received(&last);
                self.cut_wires();
            }
            Action::FetchToken => {
                let answer =
                    if self.tokens.is_empty() { Err("no more".into()) } else { self.tokens.remove(0) };
                self.machine.token(now, answer);
            }
        }
    }

    fn cut_wires(&mut self) {
        self.is_open = false;
        self.up.clear();
        self.down.clear();
        self.server.cut();
    }

    fn listen(&mut self) {
        while let Some(told) = self.machine.poll_event() {
            match told {
                Output::Published { ticket, outcome } => {
                    self.heard.outcomes.entry(ticket).or_default().push(outcome);
                }
                Output::Reply { key, reply } => {
                    self.heard.replies.entry(key).or_default().push(reply.map(|reply| *reply));
                }
                Output::Item { follow, item } => self.heard.items.entry(follow).or_default().push(item),
                Output::FollowEnded { follow, why } => {
                    assert!(self.heard.ended.insert(follow, why).is_none(), "a follow ends once");
                }
                Output::ReplayFinished { replay } => self.heard.finished.push(replay),
                Output::Connection(event) => self.heard.connection.push(event),
            }
        }
    }

    /// Lets up to `most` bytes through to the server.
    pub(crate) fn carry_up(&mut self, most: usize) {
        self.pump();
        let bytes = self.up.split_to(most.min(self.up.len()));
        self.server.received(&bytes);
        if std::mem::take(&mut self.server.has_broken) {
            return self.cut();
        }
        let output = self.server.take_output();
        self.down.extend_from_slice(&output);
    }

    /// Lets up to `most` bytes through to the client.
    pub(crate) fn carry_down(&mut self, most: usize) {
        let output = self.server.take_output();
        self.down.extend_from_slice(&output);
        let mut bytes = self.down.split_to(most.min(self.down.len()));
        let now = self.now();
        if !bytes.is_empty() {
            self.machine.received(now, &mut bytes, &mut self.codec);
        }
        self.pump();
    }

    /// Cuts the connection; what was on its way is lost.
    pub(crate) fn cut(&mut self) {
        if self.is_open {
            self.cut_wires();
            let now = self.now();
            self.machine.disconnected(now, "cut");
        }
        self.pump();
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.at += time;
        let now = self.now();
        self.machine.timeout(now);
        self.pump();
    }

    /// Carries everything both ways, without any time passing, until nothing moves.
    pub(crate) fn settle(&mut self) {
        self.pump();
        for _ in 0..10_000 {
            self.carry_up(usize::MAX);
            self.carry_down(usize::MAX);
            if self.up.is_empty() && self.down.is_empty() {
                return;
            }
        }
        panic!("there is no end to it");
    }

    /// Settles, letting time pass to every timeout on the way, for at most `limit`.
    pub(crate) fn settle_within(&mut self, limit: Duration) {
        let end = self.at + limit;
        self.settle();
        while !(self.machine.is_idle() && self.machine.is_connected()) && self.machine.ended().is_none() {
            let Some(next) = self.machine.next_timeout().filter(|next| *next <= end) else { return };
            self.pass(next.saturating_sub(self.at));
            self.settle();
        }
    }

    fn key(&mut self) -> u64 {
        self.last_key += 1;
        self.last_key
    }

    pub(crate) fn create(&mut self) -> SessionId {
        let key = self.begin_create();
        self.settle_within(Duration::from_secs(60));
        self.created(key)
    }

    pub(crate) fn begin_create(&mut self) -> u64 {
        let (key, now) = (self.key(), self.now());
        let new = NewSession::new("p", "t", "a");
        let command = CreateSession {
            project_id: new.project_id,
            test_id: new.test_id,
            agent_name: new.agent_name,
            metadata: None,
            follow: false,
        };
        self.machine.create_session(now, key, command).unwrap();
        key
    }

    pub(crate) fn created(&self, key: u64) -> SessionId {
        match &*self.heard.replies[&key] {
            [Ok(SystemMessage::SessionCreated { session_id, .. })] => *session_id,
            other => panic!("{other:?}"),
        }
    }

    /// Publishes event `e<number>`; the number is the ticket.
    pub(crate) fn publish(&mut self, session: SessionId, number: u64) {
        let data =
            Data::json(&serde_json::json!({"number": number, "fill": "x".repeat(number as usize % 50)}))
                .unwrap();
        self.publish_event(session, Event::new(data).id(format!("e{number}")), number);
    }

    pub(crate) fn publish_event(&mut self, session: SessionId, event: Event, ticket: u64) {
        let now = self.now();
        assert!(self.machine.make_room(session, event.data.bytes().len()));
        self.machine.publish(now, session, event, Some(ticket)).unwrap();
        self.pump();
    }

    pub(crate) fn follow(&mut self, session: SessionId, start: StartAt) -> (u64, FollowKey) {
        let (key, now) = (self.key(), self.now());
        let follow = FollowKey(self.key());
        self.machine.follow(now, key, follow, session, start).unwrap();
        self.pump();
        (key, follow)
    }

    pub(crate) fn join(&mut self, session: SessionId) -> u64 {
        let (key, now) = (self.key(), self.now());
        self.machine.join(now, key, session).unwrap();
        self.pump();
        key
    }

    pub(crate) fn command(&mut self, command: &agentbench_protocol::Command) -> u64 {
        let (key, now) = (self.key(), self.now());
        self.machine.command(now, key, command).unwrap();
        self.pump();
        key
    }

    pub(crate) fn outcome(&self, ticket: u64) -> &Outcome {
        match &*self.heard.outcomes[&ticket] {
            [one] => one,
            other => panic!("ticket {ticket}: {other:?}"),
        }
    }

    /// Seqs of the log's entries that a follow got, and everything else that it was told.
    pub(crate) fn items(&self, follow: FollowKey) -> (Vec<u64>, Vec<&Item>) {
        let items = self.heard.items.get(&follow).map(Vec::as_slice).unwrap_or_default();
        let seqs = items.iter().filter_map(Item::seq).collect();
        (seqs, items.iter().filter(|item| item.seq().is_none()).collect())
    }
}
