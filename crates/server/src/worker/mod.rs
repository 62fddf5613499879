//! One worker: a thread with its own runtime, listener and connections, and the owners of the sessions that hash to it.
//!
//! All of its state belongs to one thread and needs no lock. In a turn of the runtime, sockets are read and events passed to
//! their sessions; [`Worker::commit`] submits the collected events to the log in one batch; when the outcome arrives through
//! the [`mailbox`](crate::letters::mailbox), acks are written and followers' sockets are filled.

pub(crate) mod connection;
pub(crate) mod connections;
mod effects;
pub(crate) mod farewells;
mod follow;
pub(crate) mod heartbeat;
pub(crate) mod input;
mod post;
mod readers;
mod replay;
mod survey;
mod tick;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use agentbench_protocol::event::write_error;
use agentbench_protocol::message::ErrorData;
use agentbench_protocol::{CloseCode, Refusal, SystemMessage};
use agentbench_session::ConnectionKey;
use agentbench_websocket::{Inflater, encode_close};
use bytes::BytesMut;
use tokio::sync::{Notify, Semaphore};

use crate::delivery::Delivery;
use crate::delivery::audiences::{Audiences, TailLimits};
use crate::delivery::flushing::FlushQueue;
use crate::delivery::reader::Reader;
use crate::delivery::render::Renderer;
use crate::delivery::replays::Replays;
use crate::names::MessageNumbers;
use crate::owner::Owners;
use crate::shared::Shared;
use crate::worker::connection::{Connection, Dispatch};
use crate::worker::connections::Connections;
use crate::worker::farewells::{record_lost, record_server_close};

/// Bytes read from a socket in one call; one buffer for all connections of a worker.
const SCRATCH: usize = 128 * 1024;

/// Replies over this many bytes are written at once, not at the end of the turn.
const LARGE_REPLY: usize = 1024;

pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) connections: Connections,
    owners: RefCell<Owners>,
    commit_due: Notify,
    pub(crate) audiences: Audiences,
    pub(crate) replays: Replays,
    pub(crate) flush_queue: FlushQueue,
    pub(crate) scratch: RefCell<Box<[u8]>>,
    pub(crate) inflater: RefCell<Inflater>,
    pub(crate) delivery: Delivery,
    /// Permits for costly commands.
    pub(crate) costly_turns: Semaphore,
    /// Serves plain HTTP connections.
    pub(crate) router: axum::Router,
    /// Handles the messages of WebSocket connections.
    pub(crate) dispatch: Dispatch<Self>,
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
        let numbers = Rc::new(MessageNumbers::new(index, config.workers));
        let owners = Owners::new(shared.owner_parts(index, Rc::clone(&numbers)));
        let level = config.ack_level.as_str();
        let meters = Arc::clone(&shared.meters);
        let delivery = Delivery::new(index, clock, metrics, meters, numbers, renderer, level);
        let tails = TailLimits { session: config.tail_bytes, all: config.tail_budget / config.workers };
        Rc::new(Self {
            index,
            connections: Connections::new(index),
            owners: RefCell::new(owners),
            commit_due: Notify::new(),
            audiences: Audiences::new(tails),
            replays: Replays::default(),
            flush_queue: FlushQueue::default(),
            scratch: RefCell::new(vec![0; SCRATCH].into()),
            inflater: RefCell::new(Inflater::new()),
            delivery,
            costly_turns: Semaphore::new(1),
            router,
            dispatch,
            shared,
        })
    }

    /// ms since 1970.
    pub(crate) fn now(&self) -> u64 {
        self.delivery.now()
    }

    /// ms by a monotonic clock, for all timeouts.
    pub(crate) fn steady(&self) -> u64 {
        self.delivery.steady()
    }

    /// Registers a connection, created by `make` from its key.
    pub(crate) fn register(&self, make: impl FnOnce(ConnectionKey) -> Connection) -> Rc<Connection> {
        let interval = self.shared.config.heartbeat_interval.as_millis() as u64;
        let connection = self.connections.insert(|key, serial| {
            let connection = make(key);
            // Spreads the first pings, so that a burst of connections does not become a burst of pings.
            let phase = (serial.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % (interval / 2 + 1);
            connection.heartbeat.begin_at(self.steady() + interval - phase);
            connection
        });
        let metrics = &self.shared.metrics;
        metrics.connections.inc();
        metrics.connections_total.inc();
        connection
    }

    /// Whether events wait for the log or for their owner, or answers wait for their connections.
    pub(crate) fn has_uncommitted(&self) -> bool {
        self.owners.borrow().has_uncommitted()
            || self.shared.intake.backlog() > 0
            || !self.shared.post.mailboxes[self.index].is_empty()
    }

    /// Removes a connection whose driver has ended.
    pub(crate) fn on_disconnect(self: &Rc<Self>, connection: &Rc<Connection>) {
        self.leave_all(connection);
        connection.release();
        if self.delivery.inspection.is_on() {
            self.delivery.inspection.on_disconnect(connection.reader.key);
        }
        self.connections.remove(connection.reader.key);
        self.shared.metrics.connections.dec();
        self.shared.metrics.closed(connection.reader.end_cause.get());
        record_lost(&self.shared, connection);
    }

    /// Sends the client the reason and closes the connection.
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
        record_server_close(&self.shared, connection, code, detail, after_ms);
        let message = SystemMessage::Disconnecting {
            code: code.as_u16(),
            cause: code.cause().to_owned(),
            detail: detail.to_owned(),
            reconnect: code.reconnect(),
            after_ms,
        };
        self.delivery.send_system(&connection.reader, &message);
        encode_close(connection.reader.outbox.borrow_mut().control(), Some((code.as_u16(), detail)), None);
        connection.begin_closing(self.steady());
    }

    /// Sends the refusal of a message.
    pub(crate) fn refuse(&self, connection: &Rc<Connection>, refusal: Refusal, now: u64) {
        self.shared.metrics.error(refusal.code);
        let malformed = refusal.code.is_malformed_input();
        let mut json = BytesMut::new();
        write_error(&mut json, self.delivery.numbers.next(), now, None, &ErrorData::from(refusal));
        self.delivery.send_json(&connection.reader, &json);
        if malformed && connection.count_malformed(true) >= self.shared.config.malformed_limit {
            self.close(connection, CloseCode::Policy, "too many malformed messages in a row", None);
        }
    }

    /// Completes a request of the connection: flushes its outbox and resumes reading.
    pub(crate) fn end_request(self: &Rc<Self>, connection: &Connection) {
        connection.requests.end();
        self.flush(&connection.reader);
        connection.reader.wake_if_paused();
    }

    /// Sends an owner's reply. `settles` if it completes a request of the connection.
    fn reply(self: &Rc<Self>, connection: &Rc<Connection>, json: &[u8], settles: bool) {
        if settles {
            connection.requests.end();
        }
        self.delivery.send_json(&connection.reader, json);
        if json.len() > LARGE_REPLY {
            // Buffered for many connections until the end of the turn, large replies would use too much memory.
            self.flush(&connection.reader);
            connection.reader.wake_if_paused();
        } else {
            self.flush_queue.push(&connection.reader);
        }
    }

    /// Flushes the reader, and starts the log reads that it needs.
    pub(crate) fn flush(self: &Rc<Self>, reader: &Rc<Reader>) {
        let flushed = reader.flush(&self.delivery);
        for read in flushed.reads {
            self.read_for(reader, read);
        }
        if flushed.more {
            self.flush_queue.push(reader);
        }
        if flushed.over_limit
            && let Some(connection) = self.connections.get(reader.key)
        {
            let detail = "too many messages wait for this connection";
            self.close(&connection, CloseCode::SlowConsumer, detail, None);
        }
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
                for reader in &self.flush_queue.next().await {
                    self.flush(reader);
                    // Its connection may have paused reading because too many bytes were waiting.
                    reader.wake_if_paused();
                }
            }
        };
        let reading_post = async {
            let mut spare = Vec::new();
            loop {
                self.shared.post.mailboxes[self.index].filled.notified().await;
                spare = self.read_post(spare);
            }
        };
        tokio::join!(committing, flushing, reading_post, self.tick());
    }
}
