//! The writing half of a connection: its socket, what it is owed, and writing that.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::Waker;

use agentbench_protocol::SessionId;
use agentbench_protocol::message::Sender;
use agentbench_session::ConnectionKey;

use super::Delivery;
use super::inspection::Subject;
use super::outbox::{BYTES_PER_PASS, MAX_SLICES, Outbox, Piece, Wanted};
use super::render::Form;
use super::socket::Socket;

/// Bytes apart from events that may wait for one reader.
const MAX_WAITING: usize = 8 * 1024 * 1024;

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

/// What the handshake has settled about the bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wire {
    pub(crate) form: Form,
    /// The client asked for version 1: it may get coalesced acks.
    pub(crate) versioned: bool,
}

/// See the module.
pub(crate) struct Reader {
    pub(crate) key: ConnectionKey,
    pub(crate) who: Arc<Sender>,
    /// How its messages are written.
    pub(crate) wire: Wire,
    pub(crate) socket: RefCell<Socket>,
    pub(crate) outbox: RefCell<Outbox>,
    /// Sessions that it has joined.
    pub(crate) sessions: RefCell<Vec<SessionId>>,
    pub(crate) phase: Cell<Phase>,
    /// What metrics and logs call the reason of its end.
    pub(crate) end_cause: Cell<&'static str>,
    /// Wakes the connection's driver.
    pub(crate) waker: RefCell<Option<Waker>>,
    /// The driver does not read until the outbox or the owners have caught up; when the server stops, not before it has
    /// said so: what is read then would still have to be logged, and there may be no end of it.
    pub(crate) paused: Cell<bool>,
}

/// What one flush leaves to do.
#[derive(Default)]
pub(crate) struct Flushed {
    /// Reads of logs that the reader needs.
    pub(crate) wanted: Vec<Wanted>,
    /// There is more to write, but others come first.
    pub(crate) more: bool,
    /// More waits than may.
    pub(crate) too_much: bool,
}

impl Reader {
    pub(crate) fn new(key: ConnectionKey, who: Arc<Sender>, wire: Wire, socket: Socket) -> Self {
        Self {
            key,
            who,
            wire,
            socket: RefCell::new(socket),
            outbox: RefCell::default(),
            sessions: RefCell::default(),
            phase: Cell::new(Phase::Open),
            end_cause: Cell::new("lost"),
            waker: RefCell::new(None),
            paused: Cell::new(false),
        }
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
        let behind = |follow: &super::outbox::Follow| {
            let feed = follow.feed.borrow();
            (feed.entry.id, (feed.head + 1).saturating_sub(follow.next))
        };
        outbox
            .follows()
            .map(|(_, follow)| behind(follow))
            .filter(|(_, lag)| *lag > 0)
            .max_by_key(|(_, lag)| *lag)
    }

    /// The connection as it is looked at.
    pub(crate) fn subject(&self) -> Subject<'_> {
        let Self { key, who, wire, sessions, .. } = self;
        Subject { key: *key, client_id: &who.client_id, form: wire.form, sessions }
    }

    fn end(&self, cause: &'static str) {
        if self.is_open() {
            self.end_cause.set(cause);
        }
        self.phase.set(Phase::Ended);
        self.wake();
    }

    /// Nothing could be written: the socket is full, or gone.
    fn handle_write_error(&self, delivery: &Delivery, outbox: &mut Outbox, error: &io::Error) {
        if error.kind() == io::ErrorKind::WouldBlock {
            outbox.blocked = true;
            outbox.blocked_since.get_or_insert_with(|| delivery.steady());
            self.wake();
        } else {
            self.end("lost");
        }
    }

    fn write(&self, pieces: &[Piece]) -> io::Result<usize> {
        let mut socket = self.socket.borrow_mut();
        if let [piece] = pieces {
            return socket.try_write(&piece.bytes);
        }
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        for (slice, piece) in slices.iter_mut().zip(pieces) {
            *slice = IoSlice::new(&piece.bytes);
        }
        socket.try_write_vectored(&slices[..pieces.len()])
    }

    /// Writes what the reader is owed until its socket is full, it has everything, or the pass is over.
    pub(crate) fn flush(&self, delivery: &Delivery) -> Flushed {
        let mut flushed = Flushed::default();
        let mut written = 0;
        loop {
            let mut outbox = self.outbox.borrow_mut();
            if outbox.blocked || self.phase.get() == Phase::Ended {
                break;
            }
            if !outbox.has_something() {
                // What TLS has encrypted and the socket has not taken.
                let pushed = self.socket.borrow_mut().push();
                match pushed {
                    Ok(()) => outbox.blocked_since = None,
                    Err(error) => self.handle_write_error(delivery, &mut outbox, &error),
                }
                break;
            }
            if written > BYTES_PER_PASS {
                flushed.more = true;
                break;
            }
            written += self.pass(delivery, &mut outbox, &mut flushed.wanted);
        }
        if written > 0 {
            delivery.metrics.bytes_sent.inc_by(written as u64);
        }
        self.finish(delivery);
        flushed.too_much = self.outbox.borrow().waiting() > MAX_WAITING;
        flushed
    }

    /// One write. Returns how many bytes the socket has taken.
    fn pass(&self, delivery: &Delivery, outbox: &mut Outbox, wanted: &mut Vec<Wanted>) -> usize {
        let inspection = &delivery.inspection;
        let is_looked_at = inspection.is_on() && inspection.next(&self.subject(), outbox.is_inside());
        if outbox.has_only_control() {
            let taken = self.socket.borrow_mut().try_write(&outbox.control);
            let Some(count) = self.taken(delivery, outbox, taken) else { return 0 };
            if is_looked_at {
                inspection.out(&self.subject(), delivery.now(), std::iter::once(&*outbox.control), count);
            }
            outbox.control_written(count);
            return count;
        }
        let pieces = outbox.gather(delivery, self.wire.form, wanted);
        if pieces.is_empty() {
            return 0;
        }
        let taken = self.write(&pieces);
        let is_end = matches!(taken, Ok(0));
        match self.taken(delivery, outbox, taken) {
            Some(count) => {
                if is_looked_at {
                    inspection.out(
                        &self.subject(),
                        delivery.now(),
                        pieces.iter().map(|piece| &*piece.bytes),
                        count,
                    );
                }
                outbox.account(delivery, pieces, count);
                count
            }
            None => {
                if !is_end {
                    outbox.put_back(pieces);
                }
                0
            }
        }
    }

    /// What became of a write: the bytes that the socket has taken, if it has taken any.
    fn taken(&self, delivery: &Delivery, outbox: &mut Outbox, taken: io::Result<usize>) -> Option<usize> {
        match taken {
            Ok(0) => {
                self.end("lost");
                None
            }
            Ok(count) => {
                outbox.blocked_since = None;
                Some(count)
            }
            Err(error) => {
                self.handle_write_error(delivery, outbox, &error);
                None
            }
        }
    }

    /// Ends the writing side when the close has gone out.
    fn finish(&self, delivery: &Delivery) {
        let mut outbox = self.outbox.borrow_mut();
        if !outbox.closing || !outbox.is_empty() || outbox.blocked {
            return;
        }
        // The peer reads our close, and its own end tells us so; the time limit is in the phase.
        let finished = self.socket.borrow_mut().finish();
        match finished {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.handle_write_error(delivery, &mut outbox, &error);
            }
            Err(_) => self.phase.set(Phase::Ended),
            Ok(()) => {}
        }
        self.wake();
    }
}
