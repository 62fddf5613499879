//! One worker: a thread with its own runtime, listener and connections, and the owner of the sessions that hash to it.
//!
//! Everything in here belongs to one thread and needs no lock. A turn of the runtime goes: sockets are read and events handed
//! to their sessions; [`Worker::commit`] gives all that came together to the log in one batch; when the log has answered
//! (through the [`mailbox`](crate::letters::mailbox)), acks are written and followers' sockets are filled.

pub(crate) mod connection;
mod follow;
mod owner;
mod post;
mod readers;
mod replay;
mod survey;
mod tick;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use agentbench_event_log::Append;
use agentbench_protocol::event::{write_error, write_system};
use agentbench_protocol::message::ErrorData;
use agentbench_protocol::{CloseCode, Refusal, SessionId, SystemMessage};
use agentbench_session::ConnectionKey;
use agentbench_websocket::{Inflater, encode_close};
use bytes::{Bytes, BytesMut};
use foldhash::{HashMap, HashMapExt};
use slab::Slab;
use tokio::sync::{Notify, Semaphore};

use crate::clock;
use crate::delivery::Delivery;
use crate::delivery::audience::Audience;
use crate::delivery::playing::Playing;
use crate::delivery::reader::Reader;
use crate::delivery::render::Renderer;
use crate::figures::meters::Meters;
use crate::letters::Letter;
use crate::letters::exchange::Answered;
use crate::names;
use crate::session::owned::{Loading, Owned};
use crate::shared::Shared;
use crate::worker::connection::{Connection, Dispatch};

/// Bytes read from a socket in one call; one buffer for all connections of a worker.
const SCRATCH: usize = 128 * 1024;

/// Replies over this many bytes are written at once, not at the end of the turn.
const LARGE_REPLY: usize = 1024;

pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) shared: Arc<Shared>,
    connections: RefCell<Slab<Rc<Connection>>>,
    serial: Cell<u64>,
    pub(crate) sessions: RefCell<HashMap<SessionId, Rc<RefCell<Owned>>>>,
    pub(crate) loading: RefCell<HashMap<SessionId, Loading>>,
    /// Sessions that connections here follow, or that are owned here.
    pub(crate) audiences: RefCell<HashMap<SessionId, Rc<RefCell<Audience>>>>,
    /// Bytes in the tails of all feeds; counted anew with each look at the sessions.
    pub(crate) tail_total: Cell<usize>,
    /// Large sessions in which somebody came or went and nobody was told yet.
    pub(crate) untold: RefCell<Vec<SessionId>>,
    /// Sessions with entries for the log.
    dirty: RefCell<Vec<SessionId>>,
    commit_due: Notify,
    /// Replays that run for connections here; few have any.
    pub(crate) replays: RefCell<HashMap<ConnectionKey, Vec<Rc<Playing>>>>,
    /// Readers with something to write.
    flush_queue: RefCell<Vec<Rc<Reader>>>,
    flush_due: Notify,
    pub(crate) scratch: RefCell<Box<[u8]>>,
    pub(crate) inflater: RefCell<Inflater>,
    pub(crate) delivery: Delivery,
    /// Who may answer a command that costs far more than a message.
    pub(crate) costly_turns: Semaphore,
    /// Serves connections that speak plain HTTP.
    pub(crate) router: axum::Router,
    /// Takes the messages of the others.
    pub(crate) dispatch: Dispatch<Self>,
    /// Batches that the log has not answered.
    pub(crate) commits_in_flight: Cell<usize>,
    /// Where small messages are written before they are framed.
    pub(crate) scribble: RefCell<BytesMut>,
    /// By how much the wall clock was ahead of the steady one at the last look, ms.
    wall_ahead: Cell<i64>,
    /// The revocations that the connections here have been held against.
    revocations_seen: Cell<u64>,
}

impl Worker {
    pub(crate) fn new(
        index: usize,
        shared: Arc<Shared>,
        router: axum::Router,
        dispatch: Dispatch<Self>,
    ) -> Rc<Self> {
        let config = &shared.config;
        let renderer = Renderer::new(config.compression_level, config.compression_threshold, shared.sabotage);
        let (clock, metrics) = (Arc::clone(&shared.clock), Arc::clone(&shared.metrics));
        let place = (index, config.workers);
        let delivery = Delivery::new(place, clock, metrics, Arc::clone(&shared.meters), renderer);
        Rc::new(Self {
            index,
            connections: RefCell::new(Slab::new()),
            serial: Cell::new(0),
            sessions: RefCell::new(HashMap::new()),
            loading: RefCell::new(HashMap::new()),
            audiences: RefCell::new(HashMap::new()),
            tail_total: Cell::new(0),
            untold: RefCell::new(Vec::new()),
            dirty: RefCell::new(Vec::new()),
            commit_due: Notify::new(),
            replays: RefCell::new(HashMap::new()),
            flush_queue: RefCell::new(Vec::new()),
            flush_due: Notify::new(),
            scratch: RefCell::new(vec![0; SCRATCH].into()),
            inflater: RefCell::new(Inflater::new()),
            delivery,
            costly_turns: Semaphore::new(1),
            router,
            dispatch,
            commits_in_flight: Cell::new(0),
            scribble: RefCell::new(BytesMut::new()),
            wall_ahead: Cell::new(0),
            revocations_seen: Cell::new(0),
            shared,
        })
    }

    /// See [`Delivery::next_number`].
    pub(crate) fn next_number(&self) -> u64 {
        self.delivery.next_number()
    }

    /// See [`Delivery::meters`].
    pub(crate) fn meters(&self) -> &Meters {
        self.delivery.meters()
    }

    /// ms since 1970.
    pub(crate) fn now(&self) -> u64 {
        self.delivery.now()
    }

    /// ms by a clock that only goes forward, at the pace of time: for everything that waits.
    pub(crate) fn steady(&self) -> u64 {
        self.delivery.steady()
    }

    /// The connection whose unfinished message began first.
    pub(crate) fn oldest_unfinished(&self) -> Option<Rc<Connection>> {
        let connections = self.connections.borrow();
        let open = connections.iter().map(|(_, connection)| connection).filter(|it| it.is_open());
        let begun = open.filter_map(|connection| Some((connection.unfinished_since()?, connection)));
        begun.min_by_key(|(since, _)| *since).map(|(_, connection)| Rc::clone(connection))
    }

    /// Makes a connection and gives it its key.
    pub(crate) fn register(
        self: &Rc<Self>,
        make: impl FnOnce(ConnectionKey) -> Connection,
    ) -> Rc<Connection> {
        let mut connections = self.connections.borrow_mut();
        let serial = self.serial.get();
        self.serial.set(serial + 1);
        let place = connections.vacant_entry();
        let key = names::connection_key(self.index, place.key(), serial);
        let connection = Rc::new(make(key));
        let interval = self.shared.config.heartbeat_interval.as_millis() as u64;
        // A storm of connections should not become a storm of pings.
        let phase = (serial.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % (interval / 2 + 1);
        connection.next_ping.set(self.steady() + interval - phase);
        place.insert(Rc::clone(&connection));
        drop(connections);
        let metrics = &self.shared.metrics;
        metrics.connections.inc();
        metrics.connections_total.inc();
        if !connection.producer.is_empty() {
            self.claim_producer(&connection);
        }
        connection
    }

    /// Makes the connection its producer's; the one before has to go.
    fn claim_producer(&self, connection: &Connection) {
        let (user, producer) = (&connection.reader.who.user_id, &connection.producer);
        if let Some(connection) = self.shared.gate.producers.claim(user, producer, connection.reader.key) {
            let detail = "a newer connection of the same producer took over";
            let letter = Letter::Close { connection, code: CloseCode::Replaced, detail };
            self.shared.send(names::worker_of(connection), letter);
        }
    }

    /// The connection with this key, if it is still there.
    pub(crate) fn connection(&self, key: ConnectionKey) -> Option<Rc<Connection>> {
        let connections = self.connections.borrow();
        connections.get(names::place_of(key)).filter(|connection| connection.reader.key == key).cloned()
    }

    pub(crate) fn all_connections(&self) -> Vec<Rc<Connection>> {
        self.connections.borrow().iter().map(|(_, connection)| Rc::clone(connection)).collect()
    }

    pub(crate) fn has_connections(&self) -> bool {
        !self.connections.borrow().is_empty()
    }

    /// Whether events wait for the log or for their owner, or answers for their connections.
    pub(crate) fn has_uncommitted(&self) -> bool {
        self.commits_in_flight.get() > 0
            || !self.dirty.borrow().is_empty()
            || self.shared.intake.backlog() > 0
            || !self.shared.mailboxes[self.index].is_empty()
    }

    /// Takes leave of a connection whose driver has ended.
    pub(crate) fn disconnected(self: &Rc<Self>, connection: &Rc<Connection>) {
        self.leave_all(connection);
        connection.release(&self.shared.intake);
        if self.delivery.inspection.is_on() {
            self.delivery.inspection.gone(connection.reader.key);
        }
        self.connections.borrow_mut().try_remove(names::place_of(connection.reader.key));
        if !connection.producer.is_empty() {
            let (user, producer) = (&connection.reader.who.user_id, &connection.producer);
            self.shared.gate.producers.release(user, producer, connection.reader.key);
        }
        self.shared.metrics.connections.dec();
        self.shared.metrics.closed(connection.reader.end_cause.get());
        self.remember_lost(connection);
    }

    /// Says why, and ends the connection.
    pub(crate) fn close(
        &self,
        connection: &Rc<Connection>,
        code: CloseCode,
        detail: &str,
        after_ms: Option<u64>,
    ) {
        if !connection.is_open() {
            return;
        }
        connection.reader.end_cause.set(code.cause());
        self.remember_closed(connection, code, detail, after_ms);
        let message = SystemMessage::Disconnecting {
            code: code.as_u16(),
            cause: code.cause().to_owned(),
            detail: detail.to_owned(),
            reconnect: code.reconnect(),
            after_ms,
        };
        self.say(connection, &message);
        encode_close(connection.reader.outbox.borrow_mut().control(), Some((code.as_u16(), detail)), None);
        connection.begin_closing(self.steady());
    }

    /// Puts a message of the server's own into a connection's outbox.
    pub(crate) fn say(&self, connection: &Connection, message: &SystemMessage) {
        let mut json = BytesMut::new();
        write_system(&mut json, self.next_number(), self.now(), None, message);
        self.put(connection, &json);
    }

    /// Tells the sender that its message is refused.
    pub(crate) fn refuse(&self, connection: &Rc<Connection>, refusal: Refusal, now: u64) {
        self.shared.metrics.error(refusal.code);
        let malformed = refusal.code.is_malformed_input();
        let mut json = BytesMut::new();
        write_error(&mut json, self.next_number(), now, None, &ErrorData::from(refusal));
        self.put(connection, &json);
        if malformed && connection.count_malformed(true) >= self.shared.config.malformed_limit {
            self.close(connection, CloseCode::Policy, "too many malformed messages in a row", None);
        }
    }

    /// Puts a message, given as JSON, into a connection's outbox.
    pub(crate) fn put(&self, connection: &Connection, json: &[u8]) {
        if connection.is_open() {
            let mut outbox = connection.reader.outbox.borrow_mut();
            self.delivery.renderer.borrow_mut().message(outbox.control(), json, connection.wire.form);
        }
    }

    /// Puts a message, given as JSON, into the outbox of a connection on any worker. `settles` ends one of its requests.
    pub(crate) fn reply(self: &Rc<Self>, connection: ConnectionKey, json: Bytes, settles: bool) {
        if names::is_exchange(connection) {
            self.shared.exchanges.answer(connection, Answered::Message(json));
            return;
        }
        let worker = names::worker_of(connection);
        if worker != self.index {
            return self.shared.send(worker, Letter::Reply { connection, json, settles });
        }
        if let Some(connection) = self.connection(connection) {
            self.deliver_reply(&connection, &json, settles);
        }
    }

    /// A request of the connection has been answered: what was written goes out, and the connection is read on.
    pub(crate) fn end_request(self: &Rc<Self>, connection: &Connection) {
        connection.pending.set(connection.pending.get().saturating_sub(1));
        self.flush(&connection.reader);
        connection.reader.wake_if_paused();
    }

    pub(crate) fn deliver_reply(self: &Rc<Self>, connection: &Rc<Connection>, json: &[u8], settles: bool) {
        if settles {
            connection.pending.set(connection.pending.get().saturating_sub(1));
        }
        self.put(connection, json);
        if json.len() > LARGE_REPLY {
            // To many connections at once, these would take much memory until the end of the turn.
            self.flush(&connection.reader);
            connection.reader.wake_if_paused();
        } else {
            self.flush_later(&connection.reader);
        }
    }

    /// Writes what the reader is owed, and starts what that needs.
    pub(crate) fn flush(self: &Rc<Self>, reader: &Rc<Reader>) {
        let flushed = reader.flush(&self.delivery);
        for wanted in flushed.wanted {
            self.read_for(reader, wanted);
        }
        if flushed.more {
            self.flush_later(reader);
        }
        if flushed.too_much
            && let Some(connection) = self.connection(reader.key)
        {
            let detail = "too many messages wait for this connection";
            self.close(&connection, CloseCode::SlowConsumer, detail, None);
        }
    }

    /// Has the reader's outbox written at the end of this turn.
    pub(crate) fn flush_later(&self, reader: &Rc<Reader>) {
        let mut queue = self.flush_queue.borrow_mut();
        if queue.is_empty() {
            self.flush_due.notify_one();
        }
        queue.push(Rc::clone(reader));
    }

    fn flush_queued(self: &Rc<Self>) {
        let queue = std::mem::take(&mut *self.flush_queue.borrow_mut());
        for reader in &queue {
            self.flush(reader);
            // Its connection may have stopped reading since too much waited.
            reader.wake_if_paused();
        }
    }

    /// Notes that a session has entries for the log.
    pub(crate) fn mark_dirty(&self, session: SessionId) {
        let mut dirty = self.dirty.borrow_mut();
        if dirty.is_empty() {
            self.commit_due.notify_one();
        }
        if dirty.last() != Some(&session) {
            dirty.push(session);
        }
    }

    /// Gives the next frame of every session that has one to the log, in one batch.
    fn commit(self: &Rc<Self>) {
        let dirty = std::mem::take(&mut *self.dirty.borrow_mut());
        let (mut appends, mut sessions) = (Vec::with_capacity(dirty.len()), Vec::with_capacity(dirty.len()));
        let (mut events, mut bytes) = (0, 0);
        let now = self.now();
        for id in dirty {
            let Some(owned) = self.sessions.borrow().get(&id).cloned() else { continue };
            let Some(batch) = owned.borrow_mut().take_batch(now) else { continue };
            events += batch.frame.count();
            bytes += batch.frame.bytes().len();
            sessions.push(id);
            appends.push(Append {
                session: id,
                expected: batch.expected,
                frame: batch.frame,
                summary: batch.summary,
            });
        }
        if appends.is_empty() {
            return;
        }
        self.shared.metrics.commits.inc();
        self.meters().commit_events.add(events as f64, 1);
        self.meters().commit_bytes.add(bytes as f64, 1);
        self.commits_in_flight.set(self.commits_in_flight.get() + 1);
        let (shared, worker, submitted) = (Arc::clone(&self.shared), self.index, clock::instant());
        let done = move |outcomes: Vec<_>| {
            let outcomes = sessions.into_iter().zip(outcomes).collect();
            shared.send(worker, Letter::Settled { outcomes, submitted });
        };
        self.shared.log.submit(appends, Box::new(done));
    }

    /// Runs the worker's own loops; sockets are served by tasks beside it.
    pub(crate) async fn run(self: Rc<Self>) {
        let committing = async {
            loop {
                self.commit_due.notified().await;
                self.commit();
            }
        };
        let flushing = async {
            loop {
                self.flush_due.notified().await;
                self.flush_queued();
            }
        };
        let reading_post = async {
            let mut spare = Vec::new();
            loop {
                self.shared.mailboxes[self.index].filled.notified().await;
                spare = self.read_post(spare);
            }
        };
        tokio::join!(committing, flushing, reading_post, self.tick());
    }
}
