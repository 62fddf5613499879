//! One connection: who it is, and the driver that reads its socket.
//!
//! The driver is one task and stays boring: read what the socket has, decode every message in it, hand each on. It writes
//! only what the outbox could not write at once. One scratch buffer per worker serves all connections' reads.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use agentbench_audit::Record;
use agentbench_auth::{Grant, Permission};
use agentbench_protocol::message::Sender;
use agentbench_protocol::{CloseCode, ErrorCode, Priority, Refusal, SessionId};
use agentbench_session::ConnectionKey;
use agentbench_tls::Stream;
use agentbench_websocket::{Decoder, Input, Message, Opcode, encode_close, encode_frame};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::Semaphore;

use super::outbox::Outbox;
use crate::gate::places::Place;
use crate::gate::users::{User, UserPlace};
use crate::ops::audit::by;
use crate::ops::limits::Bucket;
use crate::session::render::Form;
use crate::worker::Worker;

/// Reads of one connection before others get their turn.
const READS_PER_TURN: usize = 8;
/// Replies that wait for a socket before its connection is not read any more.
const PAUSE_AT_BYTES: usize = 256 * 1024;
/// Commands of a connection that owners have not answered before it is not read any more.
const PAUSE_AT_REQUESTS: u32 = 1024;

/// Costly commands of one connection that are under way at the same time.
const COSTLY_COMMANDS: usize = 4;

/// Bytes of messages taken in before others get their turn: inflated, a few bytes of the socket can be very many.
const BYTES_PER_TURN: usize = 1024 * 1024;
/// From this size on a message is looked at only if its sender may publish: an array of as many commands as one may have is
/// smaller.
const LARGE_MESSAGE: usize = 256 * 1024;

fn may_send_large(grant: &Grant) -> bool {
    grant.allows(Permission::SessionPublish) || grant.allows(Permission::SessionReview)
}

/// What the handshake has settled about the bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wire {
    pub(crate) form: Form,
    /// The client asked for version 1: it may get coalesced acks.
    pub(crate) versioned: bool,
}

/// Whose connection it is.
pub(crate) struct Identity {
    pub(crate) places: (Place, UserPlace),
    pub(crate) who: Arc<Sender>,
    pub(crate) grant: Arc<Grant>,
    pub(crate) producer: Box<str>,
    pub(crate) address: IpAddr,
}

/// An event that was refused for now: later ones of its session wait for it.
pub(crate) struct Held {
    pub(crate) session: Box<str>,
    pub(crate) id: Box<str>,
    pub(crate) priority: Priority,
    /// Until then, ms by the steady clock.
    pub(crate) until: u64,
}

/// A message that has not arrived whole.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Unfinished {
    /// Its bytes, counted in the receive budget.
    pub(crate) bytes: usize,
    /// When it began, ms by the clock that only goes forward.
    since: u64,
    /// What it had when it was looked at last, and when.
    seen_bytes: usize,
    seen_at: u64,
}

/// Time between two looks at a message that has not arrived whole, ms.
const PROGRESS_MS: u64 = 10_000;
/// Bytes that have to come in that time, so that a message cannot be kept open for ever: 1 KiB a second.
const PROGRESS_BYTES: usize = 10 * 1024;
/// Messages up to this size may take as long as they like; the budget counts them all the same.
const PROGRESS_FREE: usize = 64 * 1024;

impl Unfinished {
    /// What is known when the message has `bytes`.
    fn grown_to(self, bytes: usize, now: u64) -> Self {
        if bytes == 0 || self.bytes == 0 || bytes < self.bytes {
            return Self { bytes, since: now, seen_bytes: bytes, seen_at: now };
        }
        Self { bytes, ..self }
    }

    /// Whether it has stopped coming. Called with every tick.
    fn has_stopped(&mut self, now: u64) -> bool {
        if self.bytes <= PROGRESS_FREE || now.saturating_sub(self.seen_at) < PROGRESS_MS {
            return false;
        }
        let came = self.bytes - self.seen_bytes;
        (self.seen_bytes, self.seen_at) = (self.bytes, now);
        came < PROGRESS_BYTES
    }
}

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    /// The close frame is on its way or sent; what still arrives is ignored. Ends at the time, ms by the steady clock.
    Closing {
        until: u64,
    },
    /// Nothing more to be done.
    Ended,
}

pub(crate) struct Connection {
    pub(crate) key: ConnectionKey,
    pub(crate) wire: Wire,
    pub(crate) who: Arc<Sender>,
    pub(crate) grant: RefCell<Arc<Grant>>,
    pub(crate) user: Arc<User>,
    /// Its places under `MAX_CONNECTIONS` and under the user's own limit, until it has ended.
    places: Cell<Option<(Place, UserPlace)>>,
    /// Where it comes from, as far as trusted proxies tell.
    pub(crate) address: IpAddr,
    pub(crate) held: RefCell<Vec<Held>>,
    pub(crate) producer: Box<str>,
    sender_json: OnceCell<Arc<str>>,
    pub(crate) stream: RefCell<Stream>,
    decoder: RefCell<Decoder>,
    pub(crate) outbox: RefCell<Outbox>,
    pub(crate) phase: Cell<Phase>,
    /// What metrics and logs call the reason of its end.
    pub(crate) end_cause: Cell<&'static str>,
    waker: RefCell<Option<Waker>>,
    malformed: Cell<u32>,
    rate: Cell<Bucket>,
    refused_by_rate: Cell<u32>,
    /// Sessions that it has joined.
    pub(crate) sessions: RefCell<Vec<SessionId>>,
    /// Commands that owners have not answered.
    pub(crate) pending: Cell<u32>,
    /// Costly commands that are under way for it: pages of history, lists.
    pub(crate) costly_commands: Semaphore,
    /// The message that has not arrived whole.
    unfinished: Cell<Unfinished>,
    /// What was read and not decoded yet: others come first.
    unread: Cell<Option<Box<[u8]>>>,
    pub(crate) connected_at: u64,
    pub(crate) last_heard: Cell<u64>,
    pub(crate) next_ping: Cell<u64>,
    pub(crate) unanswered_pings: Cell<u8>,
    /// The driver does not read until the outbox or the owners have caught up; when the server stops, not before it has
    /// said so: what is read then would still have to be logged, and there may be no end of it.
    paused: Cell<bool>,
}

impl Connection {
    pub(crate) fn new(
        key: ConnectionKey,
        stream: Stream,
        decoder: Decoder,
        wire: Wire,
        identity: Identity,
        rate: u64,
        now: u64,
    ) -> Self {
        Self {
            key,
            wire,
            who: identity.who,
            grant: RefCell::new(identity.grant),
            user: identity.places.1.account(),
            places: Cell::new(Some(identity.places)),
            address: identity.address,
            held: RefCell::new(Vec::new()),
            producer: identity.producer,
            sender_json: OnceCell::new(),
            stream: RefCell::new(stream),
            decoder: RefCell::new(decoder),
            outbox: RefCell::new(Outbox::default()),
            phase: Cell::new(Phase::Open),
            end_cause: Cell::new("lost"),
            waker: RefCell::new(None),
            malformed: Cell::new(0),
            rate: Cell::new(Bucket::new(rate, now)),
            refused_by_rate: Cell::new(0),
            sessions: RefCell::new(Vec::new()),
            pending: Cell::new(0),
            costly_commands: Semaphore::new(COSTLY_COMMANDS),
            unfinished: Cell::default(),
            unread: Cell::new(None),
            connected_at: now,
            last_heard: Cell::new(now),
            next_ping: Cell::new(0),
            unanswered_pings: Cell::new(0),
            paused: Cell::new(false),
        }
    }

    pub(crate) fn grant(&self) -> Arc<Grant> {
        Arc::clone(&self.grant.borrow())
    }

    /// What the audit log is told of a decision about it.
    pub(crate) fn record(&self, record: Record) -> Record {
        by(&self.who, self.address, record)
    }

    /// The `sender` of its events, written once.
    pub(crate) fn sender_json(&self) -> &Arc<str> {
        self.sender_json.get_or_init(|| agentbench_protocol::event::sender_json(&self.who).into())
    }

    pub(crate) fn is_open(&self) -> bool {
        self.phase.get() == Phase::Open
    }

    /// Has the driver look at the connection again.
    pub(crate) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Takes `count` messages' worth from the connection's rate.
    pub(crate) fn take_rate(&self, rate: u64, count: u64, now: u64) -> Result<(), u64> {
        let mut bucket = self.rate.get();
        let taken = bucket.take_many(rate, count, now);
        self.rate.set(bucket);
        match taken {
            Ok(()) => self.refused_by_rate.set(0),
            Err(_) => self.refused_by_rate.set(self.refused_by_rate.get().saturating_add(1)),
        }
        taken
    }

    /// Messages in a row that were refused by rate.
    pub(crate) fn refused_by_rate(&self) -> u32 {
        self.refused_by_rate.get()
    }

    /// Counts a malformed message, or a good one that ends the row. Returns the length of the row.
    pub(crate) fn count_malformed(&self, malformed: bool) -> u32 {
        let row = if malformed { self.malformed.get() + 1 } else { 0 };
        self.malformed.set(row);
        row
    }

    fn is_paused(&self) -> bool {
        self.outbox.borrow().waiting() > PAUSE_AT_BYTES || self.pending.get() > PAUSE_AT_REQUESTS
    }

    /// One turn of the driver. Ready when the connection has ended.
    fn poll(self: &Rc<Self>, worker: &Rc<Worker>, cx: &mut Context<'_>) -> Poll<()> {
        let known = self.waker.borrow().as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if !known {
            *self.waker.borrow_mut() = Some(cx.waker().clone());
        }
        self.poll_writable(worker, cx);
        self.poll_readable(worker, cx);
        match self.phase.get() {
            Phase::Ended => Poll::Ready(()),
            Phase::Closing { until } if worker.steady() >= until => Poll::Ready(()),
            Phase::Open | Phase::Closing { .. } => Poll::Pending,
        }
    }

    fn poll_writable(self: &Rc<Self>, worker: &Rc<Worker>, cx: &mut Context<'_>) {
        while self.outbox.borrow().is_blocked() {
            let ready = self.stream.borrow().poll_write_ready(cx);
            match ready {
                Poll::Pending => return,
                Poll::Ready(Err(_)) => return self.phase.set(Phase::Ended),
                Poll::Ready(Ok(())) => {
                    self.outbox.borrow_mut().unblock();
                    worker.flush(self);
                }
            }
        }
    }

    fn poll_readable(self: &Rc<Self>, worker: &Rc<Worker>, cx: &mut Context<'_>) {
        if self.has_unread() && self.is_open() && self.is_paused() {
            return self.paused.set(true);
        }
        if let Some(mut bytes) = self.unread.take() {
            if self.is_open() {
                self.decode(worker, &mut bytes, worker.now());
                worker.flush(self);
            }
            return cx.waker().wake_by_ref();
        }
        for _ in 0..READS_PER_TURN {
            if self.phase.get() == Phase::Ended {
                return;
            }
            if self.is_paused() || (self.is_open() && worker.shared.gate.doors.is_draining()) {
                return self.paused.set(true);
            }
            let mut scratch = worker.scratch.borrow_mut();
            let read = poll_read(&mut self.stream.borrow_mut(), cx, &mut scratch);
            match read {
                Poll::Pending => return,
                Poll::Ready(Ok(0) | Err(_)) => return self.phase.set(Phase::Ended),
                Poll::Ready(Ok(count)) => self.take_in(worker, &mut scratch[..count]),
            }
            if self.has_unread() {
                break;
            }
        }
        cx.waker().wake_by_ref();
    }

    /// Takes bytes from the socket.
    pub(crate) fn take_in(self: &Rc<Self>, worker: &Rc<Worker>, bytes: &mut [u8]) {
        worker.shared.metrics.bytes_received.inc_by(bytes.len() as u64);
        let now = worker.now();
        self.last_heard.set(now);
        self.unanswered_pings.set(0);
        if self.is_open() {
            self.decode(worker, bytes, now);
        }
        worker.flush(self);
    }

    fn decode(self: &Rc<Self>, worker: &Rc<Worker>, bytes: &mut [u8], now: u64) {
        let mut input = Input::new(bytes);
        let mut decoder = self.decoder.borrow_mut();
        let mut inflater = worker.inflater.borrow_mut();
        let mut taken = 0;
        while self.is_open() {
            match decoder.next(&mut input, &mut inflater) {
                Ok(None) => break,
                Ok(Some(message)) => {
                    taken += message.size();
                    self.take_message(worker, message, now);
                    if taken > BYTES_PER_TURN && input.remaining() > 0 {
                        self.unread.set(Some(input.rest().into()));
                        self.wake();
                        break;
                    }
                }
                Err(error) => {
                    let code = CloseCode::from_u16(error.close_code()).unwrap_or(CloseCode::Protocol);
                    if code == CloseCode::TooBig {
                        let limit = worker.shared.config.max_payload;
                        let detail = format!("a message may have at most {limit} bytes");
                        worker.refuse(self, Refusal::new(ErrorCode::PayloadTooLarge, detail), now);
                    }
                    worker.close(self, code, &error.to_string(), None);
                }
            }
        }
        self.count_buffered(worker, decoder.buffered());
    }

    fn has_unread(&self) -> bool {
        let unread = self.unread.take();
        let has_some = unread.is_some();
        self.unread.set(unread);
        has_some
    }

    /// Keeps the receive budget's account. If it is broken, the message that has been coming for longest has to go; a user who
    /// has half of it for unfinished messages gets no more.
    fn count_buffered(self: &Rc<Self>, worker: &Rc<Worker>, buffered: usize) {
        let before = self.unfinished.get();
        if before.bytes == buffered {
            return;
        }
        self.unfinished.set(before.grown_to(buffered, worker.steady()));
        let budget = worker.shared.config.receive_budget;
        let total = worker.shared.intake.count_receiving(before.bytes, buffered);
        let of_user = self.count_of_user(before.bytes, buffered);
        if buffered <= before.bytes || !self.is_open() {
            return;
        }
        if of_user > budget / 2 {
            return self.turn_away(worker, "the user has too many incomplete messages");
        }
        if total > budget {
            let oldest = worker.oldest_unfinished().unwrap_or_else(|| Rc::clone(self));
            oldest.turn_away(worker, "the server holds too many incomplete messages");
            worker.flush_later(&oldest);
        }
    }

    /// Changes the user's part of the receive budget; returns the user's whole.
    fn count_of_user(&self, before: usize, after: usize) -> usize {
        let receiving = &self.user.receiving;
        if after >= before {
            receiving.fetch_add(after - before, Ordering::Relaxed) + (after - before)
        } else {
            receiving.fetch_sub(before - after, Ordering::Relaxed) - (before - after)
        }
    }

    /// Asks to come back later.
    fn turn_away(self: &Rc<Self>, worker: &Rc<Worker>, detail: &str) {
        worker.shared.metrics.clients_slow_to_send.inc();
        worker.refuse(self, Refusal::new(ErrorCode::Overloaded, detail).retry_after(1_000), worker.now());
        worker.close(self, CloseCode::TryLater, detail, Some(1_000));
    }

    /// When its unfinished message began, if it has one.
    pub(crate) fn unfinished_since(&self) -> Option<u64> {
        let unfinished = self.unfinished.get();
        (unfinished.bytes > 0).then_some(unfinished.since)
    }

    /// Whether its unfinished message has stopped coming.
    pub(crate) fn has_stopped_sending(&self, now: u64) -> bool {
        let mut unfinished = self.unfinished.get();
        let has_stopped = unfinished.has_stopped(now);
        self.unfinished.set(unfinished);
        has_stopped
    }

    fn take_message(self: &Rc<Self>, worker: &Rc<Worker>, message: Message<'_>, now: u64) {
        if worker.inspection.is_on() {
            worker.inspect_in(self, &message);
        }
        if message.size() > LARGE_MESSAGE && !may_send_large(&self.grant.borrow()) {
            let detail = "the token permits no messages of this size: it may not publish";
            return worker.refuse(self, Refusal::new(ErrorCode::Forbidden, detail), now);
        }
        match message {
            Message::Text(text) => worker.take_text(self, text, now),
            Message::Binary(bytes) => worker.take_binary(self, bytes, now),
            Message::Ping(payload) => {
                let mut outbox = self.outbox.borrow_mut();
                encode_frame(outbox.control(), Opcode::Pong, false, payload, None);
            }
            Message::Pong(_) => {}
            Message::Close(close) => {
                let code = close.map(|close| (close.code, ""));
                encode_close(self.outbox.borrow_mut().control(), code, None);
                self.end_cause.set("client");
                worker.remember_left(self, close.map(|close| close.code));
                self.begin_closing(worker);
            }
        }
    }

    /// Nothing but what is in the outbox goes out any more; the socket ends when it is empty, or after a while.
    pub(crate) fn begin_closing(&self, worker: &Worker) {
        /// Time that the last bytes have, and the client's own close.
        const CLOSING_MS: u64 = 3_000;
        self.phase.set(Phase::Closing { until: worker.steady() + CLOSING_MS });
        self.outbox.borrow_mut().close_after();
        self.wake();
    }

    /// What remains to be given back when the driver has ended.
    pub(crate) fn release(&self, worker: &Worker) {
        self.places.take();
        let counted = self.unfinished.replace(Unfinished::default()).bytes;
        if counted > 0 {
            worker.shared.intake.count_receiving(counted, 0);
            self.count_of_user(counted, 0);
        }
    }
}

fn poll_read(stream: &mut Stream, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(scratch);
    match Pin::new(stream).poll_read(cx, &mut buffer) {
        Poll::Pending => Poll::Pending,
        Poll::Ready(Ok(())) => Poll::Ready(Ok(buffer.filled().len())),
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
    }
}

/// Runs one connection to its end.
pub(crate) async fn drive(worker: Rc<Worker>, connection: Rc<Connection>) {
    poll_fn(|cx| connection.poll(&worker, cx)).await;
    worker.disconnected(&connection);
}

impl Connection {
    /// Has the driver read on if it had stopped for what waits in the outbox or with owners.
    pub(crate) fn wake_if_paused(&self) {
        // The driver only checks; a wake too many costs one look.
        if self.paused.replace(false) {
            self.wake();
        }
    }

    /// The session in which it is furthest behind, if it is, and by how many events.
    pub(crate) fn furthest_behind(&self) -> Option<(SessionId, u64)> {
        let outbox = self.outbox.borrow();
        let behind = |follow: &super::Follow| {
            let feed = follow.feed.borrow();
            (feed.entry.id, (feed.head + 1).saturating_sub(follow.next))
        };
        outbox
            .follows()
            .map(|(_, follow)| behind(follow))
            .filter(|(_, lag)| *lag > 0)
            .max_by_key(|(_, lag)| *lag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What counts at ten thousands of connections; the budget of 4 KB is for all that belongs to one. With the counts of its
    /// `Rc` it fills an allocator's class of 768 bytes.
    #[test]
    fn a_connection_is_small() {
        assert!(size_of::<Connection>() <= 768 - 16, "{}", size_of::<Connection>());
    }

    #[test]
    fn a_message_that_stops_coming_is_seen_at_the_next_look() {
        let mut message = Unfinished::default().grown_to(1_000_000, 5_000);
        assert!(!message.has_stopped(14_999));
        assert!(message.has_stopped(15_000), "it did not go on");
        let mut slow = message.grown_to(1_000_000 + PROGRESS_BYTES, 20_000);
        assert!(!slow.has_stopped(25_000), "a slow line is no attack");
        let mut slower = slow.grown_to(1_000_000 + 2 * PROGRESS_BYTES - 1, 30_000);
        assert!(slower.has_stopped(35_000));
        let mut small = Unfinished::default().grown_to(PROGRESS_FREE, 0);
        assert!(!small.has_stopped(1_000_000));
        let next = slower.grown_to(100, 40_000);
        assert_eq!((next.since, next.bytes), (40_000, 100), "another message");
    }
}
