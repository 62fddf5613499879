//! One connection: who it is, its rates and limits, and what of its input is not decoded yet. The driver that reads its
//! socket is [`crate::transport::driver`].

use std::cell::{Cell, OnceCell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use agentbench_audit::Record;
use agentbench_auth::Grant;
use agentbench_protocol::Priority;
use agentbench_protocol::message::Sender;
use agentbench_session::ConnectionKey;
use agentbench_tls::Stream;
use agentbench_websocket::Decoder;
use tokio::sync::Semaphore;

use crate::clock::Moment;
use crate::delivery::reader::{Phase, Reader, Wire};
use crate::gate::places::Place;
use crate::gate::users::{User, UserPlace};
use crate::intake::Intake;
use crate::limits::Bucket;
use crate::ops::audit::by;

/// Replies that wait for a socket before its connection is not read any more.
const PAUSE_AT_BYTES: usize = 256 * 1024;
/// Commands of a connection that owners have not answered before it is not read any more.
const PAUSE_AT_REQUESTS: u32 = 1024;

/// Costly commands of one connection that are under way at the same time.
const COSTLY_COMMANDS: usize = 4;

/// A message that a connection has brought.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Received<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
}

/// Takes the messages of connections: of a worker, for a connection, at a moment.
pub(crate) type Dispatch<Worker> = fn(&Rc<Worker>, &Rc<Connection>, Received<'_>, Moment);

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
    pub(crate) fn grown_to(self, bytes: usize, now: u64) -> Self {
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

pub(crate) struct Connection {
    /// Its writing half.
    pub(crate) reader: Rc<Reader>,
    pub(crate) grant: RefCell<Arc<Grant>>,
    pub(crate) user: Arc<User>,
    /// Its places under `MAX_CONNECTIONS` and under the user's own limit, until it has ended.
    places: Cell<Option<(Place, UserPlace)>>,
    /// Where it comes from, as far as trusted proxies tell.
    pub(crate) address: IpAddr,
    pub(crate) held: RefCell<Vec<Held>>,
    pub(crate) producer: Box<str>,
    sender_json: OnceCell<Arc<str>>,
    pub(crate) decoder: RefCell<Decoder>,
    malformed: Cell<u32>,
    rate: Cell<Bucket>,
    refused_by_rate: Cell<u32>,
    /// Commands that owners have not answered.
    pub(crate) pending: Cell<u32>,
    /// Costly commands that are under way for it: pages of history, lists.
    pub(crate) costly_commands: Semaphore,
    /// The message that has not arrived whole.
    pub(crate) unfinished: Cell<Unfinished>,
    /// What was read and not decoded yet: others come first.
    pub(crate) unread: Cell<Option<Box<[u8]>>>,
    pub(crate) connected_at: u64,
    pub(crate) last_heard: Cell<u64>,
    pub(crate) next_ping: Cell<u64>,
    pub(crate) unanswered_pings: Cell<u8>,
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
            reader: Rc::new(Reader::new(key, identity.who, wire, stream)),
            grant: RefCell::new(identity.grant),
            user: identity.places.1.account(),
            places: Cell::new(Some(identity.places)),
            address: identity.address,
            held: RefCell::new(Vec::new()),
            producer: identity.producer,
            sender_json: OnceCell::new(),
            decoder: RefCell::new(decoder),
            malformed: Cell::new(0),
            rate: Cell::new(Bucket::new(rate, now)),
            refused_by_rate: Cell::new(0),
            pending: Cell::new(0),
            costly_commands: Semaphore::new(COSTLY_COMMANDS),
            unfinished: Cell::default(),
            unread: Cell::new(None),
            connected_at: now,
            last_heard: Cell::new(now),
            next_ping: Cell::new(0),
            unanswered_pings: Cell::new(0),
        }
    }

    pub(crate) fn grant(&self) -> Arc<Grant> {
        Arc::clone(&self.grant.borrow())
    }

    /// What the audit log is told of a decision about it.
    pub(crate) fn record(&self, record: Record) -> Record {
        by(self.who(), self.address, record)
    }

    /// The `sender` of its events, written once.
    pub(crate) fn sender_json(&self) -> &Arc<str> {
        self.sender_json.get_or_init(|| agentbench_protocol::event::sender_json(self.who()).into())
    }

    pub(crate) fn who(&self) -> &Arc<Sender> {
        &self.reader.who
    }

    /// A request begins that will be answered once: the connection is not read further if too many are under way.
    pub(crate) fn begin_request(&self) {
        self.pending.set(self.pending.get() + 1);
    }

    /// A request was answered.
    pub(crate) fn end_request(&self) {
        self.pending.set(self.pending.get().saturating_sub(1));
    }

    pub(crate) fn is_open(&self) -> bool {
        self.reader.is_open()
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

    pub(crate) fn is_paused(&self) -> bool {
        self.reader.outbox.borrow().waiting() > PAUSE_AT_BYTES || self.pending.get() > PAUSE_AT_REQUESTS
    }

    pub(crate) fn has_unread(&self) -> bool {
        let unread = self.unread.take();
        let has_some = unread.is_some();
        self.unread.set(unread);
        has_some
    }

    /// Changes the user's part of the receive budget; returns the user's whole.
    pub(crate) fn count_of_user(&self, before: usize, after: usize) -> usize {
        let receiving = &self.user.receiving;
        if after >= before {
            receiving.fetch_add(after - before, Ordering::Relaxed) + (after - before)
        } else {
            receiving.fetch_sub(before - after, Ordering::Relaxed) - (before - after)
        }
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

    /// Nothing but what is in the outbox goes out any more; the socket ends when it is empty, or after a while.
    pub(crate) fn begin_closing(&self, steady: u64) {
        /// Time that the last bytes have, and the client's own close.
        const CLOSING_MS: u64 = 3_000;
        self.reader.phase.set(Phase::Closing { until: steady + CLOSING_MS });
        self.reader.outbox.borrow_mut().close_after();
        self.reader.wake();
    }

    /// What remains to be given back when the driver has ended.
    pub(crate) fn release(&self, intake: &Intake) {
        self.places.take();
        let counted = self.unfinished.replace(Unfinished::default()).bytes;
        if counted > 0 {
            intake.count_receiving(counted, 0);
            self.count_of_user(counted, 0);
        }
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
