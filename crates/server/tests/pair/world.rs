//! A node without a runtime: workers with their owners, audiences and mailboxes, and the log. The asynchronous steps of a
//! server (letters, commits, reads, loads, ticks) are triggered by the test.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use agentbench_event_log::memory::MemoryLog;
use agentbench_event_log::{Append, Appended, EventLog};
use agentbench_protocol::command::CreateSession;
use agentbench_protocol::envelope::read_frame;
use agentbench_protocol::event::{EventBody, sender_json};
use agentbench_protocol::{Head, SessionId, StartAt};
use agentbench_session::{ConnectionKey, Context as SessionContext, Publish, Step};
use serde_json::{Value, json};

use super::client::Client;
use crate::clock::Clock;
use crate::config::Config;
use crate::delivery::Delivery;
use crate::delivery::audiences::{Audiences, CatchUp, TailLimits};
use crate::delivery::reader::Reader;
use crate::delivery::render::Renderer;
use crate::figures::meters::AllMeters;
use crate::figures::metrics::Metrics;
use crate::intake::Intake;
use crate::letters::exchange::ExchangeReply;
use crate::letters::{Acks, Join, Letter, Origin, OwnedEvent, Request};
use crate::names::{self, MessageNumbers, Names};
use crate::owner::loading::read_tail;
use crate::owner::{Effect, OwnerParts, Owners, Reporting, SessionLimits};
use crate::rules::{derive_session_id, no_such_session};
use crate::sabotage::Sabotage;
use crate::session::catalog::{Catalog, archive_now};
use crate::session::cursor::{STEP, interpret};
use crate::session::reading::{ReadBudget, Step as Chunk};

/// The time at which a world begins, ms since 1970.
pub(crate) const START: u64 = 1_700_000_000_000;
/// Idle time after which a session expires, ms.
pub(crate) const TIMEOUT: u64 = 120_000;
/// Entries that a session remembers.
const WINDOW: usize = 64;

/// The parameters of a world.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) workers: usize,
    pub(crate) tails: TailLimits,
    pub(crate) of_user: usize,
    pub(crate) of_all: usize,
}

impl Default for Plan {
    fn default() -> Self {
        let tails = TailLimits { session: 1 << 20, all: 1 << 24 };
        Self { workers: 1, tails, of_user: 0, of_all: 100 }
    }
}

/// One worker.
struct Node {
    owners: RefCell<Owners>,
    audiences: Audiences,
    delivery: Delivery,
    serial: RefCell<u64>,
}

type Outcomes = Arc<Mutex<Vec<Appended>>>;

/// See the module.
pub(crate) struct World {
    pub(crate) log: Arc<MemoryLog>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) intake: Intake,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clients: Vec<Client>,
    /// Answers to exchanges.
    pub(crate) answers: Vec<(ConnectionKey, ExchangeReply)>,
    plan: Plan,
    time: Arc<AtomicU64>,
    skew: Arc<AtomicI64>,
    clock: Arc<Clock>,
    names: Names,
    budget: ReadBudget,
    nodes: Vec<Rc<Node>>,
    letters: Vec<VecDeque<Letter>>,
    /// Batches that have not been submitted to the log yet.
    commits: VecDeque<(usize, Vec<Append>)>,
    loads: VecDeque<(usize, SessionId)>,
    reads: Rc<RefCell<VecDeque<(usize, CatchUp)>>>,
}

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        let metrics = Arc::new(Metrics::new());
        let config = Config::embedded("unused", "a secret");
        let (time, skew) = (Arc::<AtomicU64>::default(), Arc::<AtomicI64>::default());
        let clock = Arc::new(Clock::by_hand(START, Arc::clone(&time), Arc::clone(&skew)));
        let mut world = Self {
            log: Arc::new(MemoryLog::new()),
            catalog: Arc::new(Catalog::new(1_000)),
            intake: Intake::new(&config, Arc::clone(&metrics)),
            metrics,
            clients: Vec::new(),
            answers: Vec::new(),
            plan,
            time,
            skew,
            clock,
            names: Names::new(1, plan.workers),
            budget: ReadBudget::new(1 << 24),
            nodes: Vec::new(),
            letters: Vec::new(),
            commits: VecDeque::new(),
            loads: VecDeque::new(),
            reads: Rc::default(),
        };
        world.start();
        world
    }

    fn start(&mut self) {
        let meters = Arc::new(AllMeters::new(self.plan.workers));
        self.nodes = (0..self.plan.workers).map(|index| Rc::new(self.node(index, &meters))).collect();
        self.letters = (0..self.plan.workers).map(|_| VecDeque::new()).collect();
    }

    /// Restarts the process on the same log: connections, sessions in memory and requests in progress are lost.
    pub(crate) fn restart(&mut self) {
        for client in &mut self.clients {
            client.is_connected = false;
        }
        self.commits.clear();
        self.loads.clear();
        self.reads.borrow_mut().clear();
        self.letters.clear();
        self.nodes.clear();
        self.catalog = Arc::new(Catalog::new(1_000));
        let unreadable = self.catalog.load(self.log.list().expect("a log that lists"), self.now());
        assert!(unreadable.is_empty());
        self.start();
    }

    fn node(&self, index: usize, meters: &Arc<AllMeters>) -> Node {
        let numbers = Rc::new(MessageNumbers::new(index, self.plan.workers));
        let (clock, metrics) = (Arc::clone(&self.clock), Arc::clone(&self.metrics));
        let renderer = Renderer::new(0, usize::MAX, Sabotage::default());
        let level = "logged";
        let delivery =
            Delivery::new(index, clock, metrics, Arc::clone(meters), Rc::clone(&numbers), renderer, level);
        let mut epochs = 1_000 * (index as u64 + 1) + self.time.load(Ordering::Relaxed);
        let parts = OwnerParts {
            worker: index,
            catalog: Arc::clone(&self.catalog),
            metrics: Arc::clone(&self.metrics),
            meters: Arc::clone(meters),
            numbers,
            sessions: SessionContext { seed: 7, window: WINDOW },
            limits: SessionLimits {
                of_user: self.plan.of_user,
                of_all: self.plan.of_all,
                timeout_ms: TIMEOUT,
                bytes: None,
            },
            permit: self.intake.no_permit(),
            reporting: Reporting::default(),
            no_such_session: no_such_session(),
            random: Box::new(move || {
                epochs += 1;
                epochs
            }),
            sabotage: Sabotage::default(),
        };
        Node {
            owners: RefCell::new(Owners::new(parts)),
            audiences: Audiences::new(self.plan.tails),
            delivery,
            serial: RefCell::new(0),
        }
    }

    pub(crate) fn now(&self) -> u64 {
        self.clock.wall_ms()
    }

    /// Advances both clocks.
    pub(crate) fn pass(&self, ms: u64) {
        self.time.fetch_add(ms, Ordering::Relaxed);
    }

    /// Sets the wall clock.
    pub(crate) fn set_clock(&self, by_ms: i64) {
        self.skew.fetch_add(by_ms, Ordering::Relaxed);
        for node in &self.nodes {
            node.owners.borrow_mut().clock_was_set(by_ms, self.now());
        }
        self.catalog.each_live(|entry| entry.clock_was_set(by_ms, self.now()));
    }

    pub(crate) fn owner_of(&self, session: SessionId) -> usize {
        self.names.owner_of(session)
    }

    pub(crate) fn is_loaded(&self, session: SessionId) -> bool {
        self.nodes[self.owner_of(session)].owners.borrow().has(session)
    }

    pub(crate) fn head(&self, session: SessionId) -> Head {
        self.log.head(session).expect("the log has the session")
    }

    /// Opens a connection on a worker. Returns its index among the clients.
    pub(crate) fn connect(&mut self, worker: usize, user: &str, versioned: bool) -> usize {
        let mut serial = self.nodes[worker].serial.borrow_mut();
        *serial += 1;
        let key = names::connection_key(worker, *serial as usize, *serial);
        self.clients.push(Client::new(key, user, versioned));
        self.clients.len() - 1
    }

    /// Ends the connection.
    pub(crate) fn disconnect(&mut self, client: usize) {
        self.clients[client].is_connected = false;
        let reader = Rc::clone(&self.clients[client].reader);
        let sessions = std::mem::take(&mut *reader.sessions.borrow_mut());
        for session in sessions {
            self.nodes[self.clients[client].worker()].audiences.remove(&reader, session);
            self.ask(client, session, Request::Disconnect);
        }
    }

    fn ask(&mut self, client: usize, session: SessionId, request: Request) {
        let (requester, from) = (self.clients[client].requester(), self.clients[client].worker());
        let owner = self.owner_of(session);
        self.post(from, owner, Letter::Request { session, requester, request });
    }

    pub(crate) fn create(&mut self, client: usize, command: &str, follow: bool) -> SessionId {
        let session = derive_session_id(&self.clients[client].reader.who.user_id, command);
        let (project_id, test_id, agent_name) = ("p".to_owned(), "t".to_owned(), "a".to_owned());
        let fields = CreateSession { project_id, test_id, agent_name, metadata: None, follow };
        self.ask(client, session, Request::Create { command: command.to_owned(), fields });
        session
    }

    pub(crate) fn join(&mut self, client: usize, session: SessionId, from: StartAt) {
        let command = format!("join-{}", self.clients[client].received.len());
        let join = Join { command, follow: true, from, id_at_position: None, subscribe: false };
        self.ask(client, session, Request::Join(join));
    }

    pub(crate) fn leave(&mut self, client: usize, session: SessionId) {
        let request = Request::Leave { command: "leave".to_owned(), unsubscribe: false };
        self.ask(client, session, request);
    }

    pub(crate) fn step(&mut self, client: usize, session: SessionId, command: &str, step: Step) {
        self.ask(client, session, Request::Control { command: command.to_owned(), step });
    }

    /// Publishes an event as a socket would: straight to an owner on the same worker, by letter to another. `ttl` in ms, 0 for
    /// none.
    pub(crate) fn publish(&mut self, client: usize, session: SessionId, id: &str, data: &Value, ttl: u64) {
        let text = json!({
            "id": id,
            "type": "test_event",
            "timestamp": START,
            "sessionId": session.to_string(),
            "data": data,
            "metadata": {"requiresAck": true, "ttl": if ttl == 0 { Value::Null } else { json!(ttl) }},
        })
        .to_string();
        let requester = self.clients[client].requester();
        let versioned = self.clients[client].reader.wire.versioned;
        let (from, owner) = (self.clients[client].worker(), self.owner_of(session));
        let (now, mut letter) = (self.clock.moment(), None);
        let read = read_frame(&text, |envelope| {
            let envelope = envelope.expect("a sound envelope");
            let mut admitted =
                self.intake.admit(&requester.grant, &envelope, false, || Ok(())).expect("room for an event");
            let (sender, producer) = (sender_json(&requester.who), "producer");
            if owner == from {
                let publish = Publish {
                    connection: Some(requester.connection),
                    user: &requester.who.user_id,
                    producer,
                    body: EventBody {
                        id: &envelope.id,
                        timestamp: envelope.timestamp,
                        data: envelope.data,
                        metadata: envelope.metadata.raw,
                        sender: &sender,
                    },
                    ttl_ms: envelope.metadata.ttl_ms,
                    requires_ack: true,
                    in_order: versioned,
                };
                let mut owners = self.nodes[owner].owners.borrow_mut();
                match owners.publish(now, session, &publish, envelope.metadata.priority, admitted) {
                    Ok(()) => return,
                    Err(back) => admitted = back,
                }
            }
            let sender = sender.into();
            let origin = Origin { producer, sender: &sender, requires_ack: true, in_order: versioned };
            letter = Some(OwnedEvent::new(&envelope, origin, admitted));
        });
        read.expect("a sound frame");
        match letter {
            Some(event) => self.ask(client, session, Request::Publish(event)),
            None => self.carry_out(owner),
        }
    }

    /// Sends a letter, or processes it at once if it is for the sender.
    fn post(&mut self, from: usize, to: usize, letter: Letter) {
        if from == to { self.act(to, letter) } else { self.letters[to].push_back(letter) }
    }

    /// Carries out the effects of a worker's owners.
    fn carry_out(&mut self, worker: usize) {
        let effects = self.nodes[worker].owners.borrow_mut().take_effects();
        for effect in effects {
            match effect {
                Effect::Post { worker: to, letter } => self.post(worker, to, letter),
                Effect::Answer { exchange, reply } => self.answers.push((exchange, reply)),
                Effect::Load(session) => self.loads.push_back((worker, session)),
                Effect::Archive(session) => archive_now(&*self.log, &self.catalog, session, self.now()),
                Effect::Audit(_) | Effect::Trace { .. } | Effect::Release { .. } => {}
            }
        }
    }

    fn with_owners(&mut self, worker: usize, call: impl FnOnce(&mut Owners)) {
        let node = Rc::clone(&self.nodes[worker]);
        call(&mut node.owners.borrow_mut());
        self.carry_out(worker);
    }

    fn client_of(&self, key: ConnectionKey) -> Option<Rc<Reader>> {
        let found = self.clients.iter().find(|client| client.key() == key && client.is_connected);
        found.map(|client| Rc::clone(&client.reader))
    }

    fn act(&mut self, worker: usize, letter: Letter) {
        let (node, now) = (Rc::clone(&self.nodes[worker]), self.clock.moment());
        let reads = Rc::clone(&self.reads);
        let flush = |reader: &Rc<Reader>| flush(worker, &node, reader, &reads);
        match letter {
            Letter::Outcomes { outcomes, submitted } => {
                let took = now.instant.saturating_duration_since(submitted);
                self.with_owners(worker, |owners| owners.apply_outcomes(now, outcomes, took));
            }
            Letter::Request { session, requester, request } => {
                self.with_owners(worker, |owners| owners.handle(now, session, requester, request));
            }
            Letter::Loaded { session, tail } => {
                self.with_owners(worker, |owners| owners.finish_load(now, session, tail));
            }
            Letter::Disconnect { session, connection } => {
                self.with_owners(worker, |owners| owners.on_disconnect(now.millis, session, connection));
            }
            Letter::Commit { session, frame, priority, opened } => {
                node.audiences.commit(session, frame, priority, opened, flush);
            }
            Letter::Reply { connection, json, .. } => {
                if let Some(reader) = self.client_of(connection) {
                    node.delivery.send_json(&reader, &json);
                    flush(&reader);
                }
            }
            Letter::Acks { connection, entry, acks } => {
                if let Some(reader) = self.client_of(connection) {
                    let last = match &acks {
                        Acks::Run(run) => run.records().last().map_or(0, |(seq, _)| seq),
                        Acks::Single(ack) => ack.seq,
                    };
                    let head = self.log.head(entry.id).expect("what is acked has a log").seq;
                    assert!(last <= head, "an ack never lies");
                    node.delivery.send_acks(&reader, &entry, &acks);
                    flush(&reader);
                }
            }
            Letter::Joined { connection, entry, json, gap, follow, head } => {
                let Some(reader) = self.client_of(connection) else {
                    let (session, owner) = (entry.id, self.owner_of(entry.id));
                    return self.letters[owner].push_back(Letter::Disconnect { session, connection });
                };
                node.audiences.remove(&reader, entry.id);
                node.delivery.send_json(&reader, &json);
                if let Some(gap) = gap {
                    node.delivery.send_json(&reader, &gap);
                }
                reader.sessions.borrow_mut().push(entry.id);
                if let Some(after) = follow {
                    node.audiences.add(&entry, head, &reader, after + 1, now.instant);
                }
                flush(&reader);
            }
            Letter::Left { connection, session, json } => {
                if let Some(reader) = self.client_of(connection) {
                    node.audiences.remove(&reader, session);
                    node.delivery.send_json(&reader, &json);
                    flush(&reader);
                }
            }
            Letter::Survey(_)
            | Letter::Inspect { .. }
            | Letter::EndInspection { .. }
            | Letter::Close { .. } => {
                unreachable!("no test sends it")
            }
        }
    }

    /// Lets the client's socket accept `bytes` more, and flushes it.
    pub(crate) fn make_room(&mut self, client: usize, bytes: usize) {
        let reader = Rc::clone(&self.clients[client].reader);
        self.clients[client].pipe.make_room(bytes);
        reader.outbox.borrow_mut().unblock();
        let worker = self.clients[client].worker();
        flush(worker, &self.nodes[worker], &reader, &self.reads);
    }

    /// Processes one letter of a worker's mailbox. Returns whether there was one.
    pub(crate) fn read_letter(&mut self, worker: usize) -> bool {
        let letter = self.letters[worker].pop_front();
        letter.map(|letter| self.act(worker, letter)).is_some()
    }

    /// Drops the commits in a worker's mailbox, as when it is full: their sessions are read from the log.
    pub(crate) fn miss_commits(&mut self, worker: usize) {
        let mut missed = Vec::new();
        self.letters[worker].retain(|letter| match letter {
            Letter::Commit { session, .. } => {
                missed.push(*session);
                false
            }
            _ => true,
        });
        let node = Rc::clone(&self.nodes[worker]);
        for session in missed {
            node.audiences.resync(session, |reader| flush(worker, &node, reader, &self.reads));
        }
    }

    /// Makes a batch of a worker's queued entries.
    pub(crate) fn commit(&mut self, worker: usize) -> bool {
        let appends = self.nodes[worker].owners.borrow_mut().take_batches(self.clock.moment());
        let has_some = !appends.is_empty();
        if has_some {
            self.commits.push_back((worker, appends));
        }
        has_some
    }

    /// Submits the oldest batch to the log, and delivers its outcome.
    pub(crate) fn log_answers(&mut self) -> bool {
        let Some((worker, appends)) = self.commits.pop_front() else { return false };
        let sessions: Vec<_> = appends.iter().map(|append| append.session).collect();
        let outcomes = Outcomes::default();
        let told = Arc::clone(&outcomes);
        self.log.submit(appends, Box::new(move |outcomes| *told.lock().unwrap() = outcomes));
        let outcomes = std::mem::take(&mut *outcomes.lock().unwrap());
        assert_eq!(outcomes.len(), sessions.len(), "the log answers at once");
        let outcomes = sessions.into_iter().zip(outcomes).collect();
        let submitted = self.clock.instant();
        self.letters[worker].push_back(Letter::Outcomes { outcomes, submitted });
        true
    }

    /// Completes the oldest load of a session.
    pub(crate) fn load(&mut self) -> bool {
        let Some((worker, session)) = self.loads.pop_front() else { return false };
        let tail = read_tail(&*self.log, WINDOW, session);
        self.letters[worker].push_back(Letter::Loaded { session, tail });
        true
    }

    /// Completes the oldest read for a reader that is behind.
    pub(crate) fn read(&mut self) -> bool {
        let read = self.reads.borrow_mut().pop_front();
        let Some((worker, catch_up)) = read else { return false };
        let Poll::Ready(permit) =
            pin!(self.budget.acquire(STEP.bytes)).poll(&mut Context::from_waker(Waker::noop()))
        else {
            panic!("readers hold no more than there is");
        };
        let read = self.log.read(catch_up.session, catch_up.from, STEP);
        let chunk = read.map(|it| Chunk { frames: it.frames, head: it.head.seq, permit });
        let found = interpret(catch_up.session, catch_up.from, chunk);
        let node = Rc::clone(&self.nodes[worker]);
        catch_up.finish(&node.delivery, found, |reader| flush(worker, &node, reader, &self.reads));
        true
    }

    /// Runs a tick's work on sessions. `sweeps` if sessions that are not in memory are checked, too.
    pub(crate) fn tick(&mut self, sweeps: bool) {
        let now = self.now();
        for worker in 0..self.nodes.len() {
            let node = Rc::clone(&self.nodes[worker]);
            self.with_owners(worker, |owners| {
                owners.announce_changes(now);
                owners.check_sessions(now);
            });
            let owners = node.owners.borrow();
            node.audiences.retain(|session| owners.has(session));
            drop(owners);
            let mut unused = Vec::new();
            self.catalog.each_live(|entry| {
                let is_unused = now.saturating_sub(entry.last_used.load(Ordering::Relaxed)) > TIMEOUT;
                if sweeps && is_unused && self.owner_of(entry.id) == worker {
                    unused.push(entry.id);
                }
            });
            self.with_owners(worker, |owners| owners.expire_all(unused, now));
        }
    }

    /// Completes everything in progress; clients read all messages.
    pub(crate) fn settle(&mut self) {
        loop {
            let mut went_on = false;
            for worker in 0..self.nodes.len() {
                while self.read_letter(worker) {
                    went_on = true;
                }
                went_on |= self.commit(worker);
            }
            went_on |= self.log_answers() | self.load() | self.read();
            if !went_on {
                break;
            }
        }
        self.clients.iter_mut().for_each(Client::receive);
    }

    /// Checks that all resources were released.
    pub(crate) fn assert_nothing_is_held(&self) {
        assert_eq!(self.intake.backlog(), 0, "room in the backlog comes back");
        assert!(self.nodes.iter().all(|node| !node.owners.borrow().has_uncommitted()));
        let mut live = 0;
        self.catalog.each_live(|_| live += 1);
        assert_eq!(self.catalog.active(), live, "places of sessions come back");
    }
}

/// Flushes a reader, and queues the log reads that it needs.
fn flush(worker: usize, node: &Node, reader: &Rc<Reader>, reads: &RefCell<VecDeque<(usize, CatchUp)>>) {
    loop {
        let flushed = reader.flush(&node.delivery);
        for read in flushed.reads {
            if let Some(catch_up) = node.audiences.request_read(reader, read) {
                reads.borrow_mut().push_back((worker, catch_up));
            }
        }
        if !flushed.more {
            return;
        }
    }
}
