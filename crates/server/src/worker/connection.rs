//! One connection: who it is, its rates and limits, and what of its input is not decoded yet. The driver that reads its
//! socket is [`crate::transport::driver`].

use std::cell::{Cell, OnceCell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use agentbench_audit::Record;
use agentbench_auth::Grant;
use agentbench_protocol::Priority;
use agentbench_protocol::message::Sender;
use agentbench_session::ConnectionKey;
use agentbench_tls::Stream;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::clock::Moment;
use crate::delivery::reader::{Phase, Reader, Wire};
use crate::delivery::socket::Socket;
use crate::gate::places::Place;
use crate::gate::producers::ProducerClaim;
use crate::gate::users::{User, UserPlace};
use crate::limits::Bucket;
use crate::ops::audit::by;
use crate::worker::heartbeat::Heartbeat;
use crate::worker::input::Input;

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
    pub(crate) claims: Claims,
    pub(crate) who: Arc<Sender>,
    pub(crate) grant: Arc<Grant>,
    pub(crate) producer: Box<str>,
    pub(crate) address: IpAddr,
    pub(crate) strict: bool,
}

/// An event that was refused for now: later ones of its session wait for it.
pub(crate) struct HeldTurn {
    pub(crate) session: Box<str>,
    pub(crate) id: Box<str>,
    pub(crate) priority: Priority,
    /// Until then, ms by the steady clock.
    pub(crate) until: u64,
}

/// What a connection holds until it has ended: its places under `MAX_CONNECTIONS` and under the user's own limit, and the
/// claim of its producer's name.
pub(crate) struct Claims {
    pub(crate) places: (Place, UserPlace),
    pub(crate) _producer: Option<ProducerClaim>,
}

/// The rate of messages, and how many in a row were beyond it.
pub(crate) struct MessageRate {
    bucket: Cell<Bucket>,
    refused_in_row: Cell<u32>,
}

impl MessageRate {
    fn new(rate: u64, now: u64) -> Self {
        Self { bucket: Cell::new(Bucket::new(rate, now)), refused_in_row: Cell::new(0) }
    }

    /// Takes `count` messages' worth, or returns after how many ms there will be so many.
    pub(crate) fn take(&self, rate: u64, count: u64, now: u64) -> Result<(), u64> {
        let mut bucket = self.bucket.get();
        let taken = bucket.take_many(rate, count, now);
        self.bucket.set(bucket);
        let row = if taken.is_ok() { 0 } else { self.refused_in_row().saturating_add(1) };
        self.refused_in_row.set(row);
        taken
    }

    /// Messages in a row that were refused.
    pub(crate) fn refused_in_row(&self) -> u32 {
        self.refused_in_row.get()
    }
}

/// Requests that are under way.
pub(crate) struct Requests {
    /// Commands that owners have not answered.
    pending: Cell<u32>,
    /// Costly commands: pages of history, lists.
    costly: Semaphore,
}

impl Requests {
    fn new() -> Self {
        Self { pending: Cell::new(0), costly: Semaphore::new(COSTLY_COMMANDS) }
    }

    /// A request begins that will be answered once: the connection is not read further if too many are under way.
    pub(crate) fn begin(&self) {
        self.pending.set(self.pending.get() + 1);
    }

    /// A request was answered.
    pub(crate) fn end(&self) {
        self.pending.set(self.pending.get().saturating_sub(1));
    }

    pub(crate) fn pending(&self) -> u32 {
        self.pending.get()
    }

    /// Waits until few costly commands of the connection are under way. `None` never comes while the connection is there.
    pub(crate) async fn costly_turn(&self) -> Option<SemaphorePermit<'_>> {
        self.costly.acquire().await.ok()
    }
}

pub(crate) struct Connection {
    /// Its writing half.
    pub(crate) reader: Rc<Reader>,
    pub(crate) input: Input,
    pub(crate) grant: RefCell<Arc<Grant>>,
    pub(crate) user: Arc<User>,
    claims: Cell<Option<Box<Claims>>>,
    /// Where it comes from, as far as trusted proxies tell.
    pub(crate) address: IpAddr,
    pub(crate) turns: RefCell<Vec<HeldTurn>>,
    pub(crate) producer: Box<str>,
    /// Events with fields that readers will not understand are refused.
    pub(crate) strict: bool,
    sender_json: OnceCell<Arc<str>>,
    malformed: Cell<u32>,
    pub(crate) rate: MessageRate,
    pub(crate) requests: Requests,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) connected_at: u64,
}

impl Connection {
    pub(crate) fn new(
        key: ConnectionKey,
        stream: Stream,
        wire: Wire,
        input: Input,
        identity: Identity,
        rate: u64,
        now: u64,
    ) -> Self {
        Self {
            reader: Rc::new(Reader::new(key, identity.who, wire, Socket::Stream(stream))),
            input,
            grant: RefCell::new(identity.grant),
            user: identity.claims.places.1.account(),
            claims: Cell::new(Some(Box::new(identity.claims))),
            address: identity.address,
            turns: RefCell::new(Vec::new()),
            producer: identity.producer,
            strict: identity.strict,
            sender_json: OnceCell::new(),
            malformed: Cell::new(0),
            rate: MessageRate::new(rate, now),
            requests: Requests::new(),
            heartbeat: Heartbeat::new(now),
            connected_at: now,
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

    pub(crate) fn is_open(&self) -> bool {
        self.reader.is_open()
    }

    /// Counts a malformed message, or a good one that ends the row. Returns the length of the row.
    pub(crate) fn count_malformed(&self, malformed: bool) -> u32 {
        let row = if malformed { self.malformed.get() + 1 } else { 0 };
        self.malformed.set(row);
        row
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.reader.outbox.borrow().waiting() > PAUSE_AT_BYTES || self.requests.pending() > PAUSE_AT_REQUESTS
    }

    /// Nothing but what is in the outbox goes out any more; the socket ends when it is empty, or after a while.
    pub(crate) fn begin_closing(&self, steady: u64) {
        /// Time that the last bytes have, and the client's own close.
        const CLOSING_MS: u64 = 3_000;
        self.reader.phase.set(Phase::Closing { until: steady + CLOSING_MS });
        self.reader.outbox.borrow_mut().close_after();
        self.reader.wake();
    }

    /// Gives back what the connection holds: its driver has ended.
    pub(crate) fn release(&self) {
        self.claims.take();
        self.input.end();
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
}
