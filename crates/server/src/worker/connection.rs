//! One connection: its identity, rates, limits and undecoded input. Its socket is read by [`crate::transport::driver`].

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

/// Bytes of unsent replies above which a connection is not read.
const PAUSE_AT_BYTES: usize = 256 * 1024;
/// Number of unanswered commands above which a connection is not read.
const PAUSE_AT_REQUESTS: u32 = 1024;

/// Concurrent costly commands of one connection.
const COSTLY_COMMANDS: usize = 4;

/// The payload of a received message.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Payload<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
}

/// Handles a message received on a connection of a worker.
pub(crate) type Dispatch<Worker> = fn(&Rc<Worker>, &Rc<Connection>, Payload<'_>, Moment);

/// The authenticated user of a connection.
pub(crate) struct Identity {
    pub(crate) claims: Claims,
    pub(crate) who: Arc<Sender>,
    pub(crate) grant: Arc<Grant>,
    pub(crate) producer: Box<str>,
    pub(crate) address: IpAddr,
    pub(crate) strict: bool,
}

/// A session in which an event was temporarily refused: later events wait until that one is sent again.
pub(crate) struct BlockedSession {
    pub(crate) session: Box<str>,
    pub(crate) id: Box<str>,
    pub(crate) priority: Priority,
    /// When the wait ends, ms by the steady clock.
    pub(crate) until: u64,
}

/// Resources that a connection holds until its end: its places under `MAX_CONNECTIONS` and the user's own limit, and the
/// claim to its producer's name.
pub(crate) struct Claims {
    pub(crate) places: (Place, UserPlace),
    pub(crate) _producer: Option<ProducerClaim>,
}

/// The message rate, and the number of consecutive messages beyond it.
pub(crate) struct MessageRate {
    bucket: Cell<Bucket>,
    refused_in_row: Cell<u32>,
}

impl MessageRate {
    fn new(rate: u64, now: u64) -> Self {
        Self { bucket: Cell::new(Bucket::new(rate, now)), refused_in_row: Cell::new(0) }
    }

    /// Takes `count` tokens, or returns the time in ms until they are available.
    pub(crate) fn take(&self, rate: u64, count: u64, now: u64) -> Result<(), u64> {
        let mut bucket = self.bucket.get();
        let taken = bucket.take_many(rate, count, now);
        self.bucket.set(bucket);
        let row = if taken.is_ok() { 0 } else { self.refused_in_row().saturating_add(1) };
        self.refused_in_row.set(row);
        taken
    }

    /// Consecutive refused messages.
    pub(crate) fn refused_in_row(&self) -> u32 {
        self.refused_in_row.get()
    }
}

/// Requests in progress.
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

    /// Counts a request that will get one answer. The connection is not read while too many are in progress.
    pub(crate) fn begin(&self) {
        self.pending.set(self.pending.get() + 1);
    }

    /// Counts an answered request.
    pub(crate) fn end(&self) {
        self.pending.set(self.pending.get().saturating_sub(1));
    }

    pub(crate) fn pending(&self) -> u32 {
        self.pending.get()
    }

    /// Waits for a permit to run a costly command. Never `None` while the connection exists.
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
    /// The client's address, as reported by trusted proxies.
    pub(crate) address: IpAddr,
    pub(crate) blocked_sessions: RefCell<Vec<BlockedSession>>,
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
            blocked_sessions: RefCell::new(Vec::new()),
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

    /// Adds the connection's user and address to an audit record.
    pub(crate) fn record(&self, record: Record) -> Record {
        by(self.who(), self.address, record)
    }

    /// The `sender` of its events, serialized once.
    pub(crate) fn sender_json(&self) -> &Arc<str> {
        self.sender_json.get_or_init(|| agentbench_protocol::event::sender_json(self.who()).into())
    }

    pub(crate) fn who(&self) -> &Arc<Sender> {
        &self.reader.who
    }

    pub(crate) fn is_open(&self) -> bool {
        self.reader.is_open()
    }

    /// Counts consecutive malformed messages; a valid one resets the count. Returns the count.
    pub(crate) fn count_malformed(&self, malformed: bool) -> u32 {
        let row = if malformed { self.malformed.get() + 1 } else { 0 };
        self.malformed.set(row);
        row
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.reader.outbox.borrow().waiting() > PAUSE_AT_BYTES || self.requests.pending() > PAUSE_AT_REQUESTS
    }

    /// Starts closing: only the contents of the outbox are still sent; the socket ends when it is empty or time is up.
    pub(crate) fn begin_closing(&self, steady: u64) {
        /// Time limit for sending the last bytes and receiving the client's close.
        const CLOSING_MS: u64 = 3_000;
        self.reader.phase.set(Phase::Closing { until: steady + CLOSING_MS });
        self.reader.outbox.borrow_mut().close_after();
        self.reader.wake();
    }

    /// Releases the connection's resources, when its driver has ended.
    pub(crate) fn release(&self) {
        self.claims.take();
        self.input.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size matters with tens of thousands of connections; the budget of 4 KB covers everything that belongs to one.
    /// Together with the counts of its `Rc` it fits the allocator's size class of 768 bytes.
    #[test]
    fn a_connection_is_small() {
        assert!(size_of::<Connection>() <= 768 - 16, "{}", size_of::<Connection>());
    }
}
