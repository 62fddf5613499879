//! The writing half of a connection: its socket and its outbox.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::Waker;

use agentbench_protocol::SessionId;
use agentbench_protocol::message::Sender;
use agentbench_session::ConnectionKey;

use super::Delivery;
use super::inspection::Subject;
use super::outbox::{BYTES_PER_PASS, LogRead, MAX_SLICES, Outbox, Piece};
use super::render::Form;
use super::socket::Socket;

/// Bytes, without events, that may wait for one reader.
const MAX_WAITING: usize = 8 * 1024 * 1024;

/// The phase of a connection's lifecycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    /// The close frame is queued or sent; further input is ignored. Ends at `until`, ms by the steady clock.
    Closing {
        until: u64,
    },
    /// The connection has ended.
    Ended,
}

/// The format negotiated in the handshake.
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
    /// The negotiated format of its messages.
    pub(crate) wire: Wire,
    pub(crate) socket: RefCell<Socket>,
    pub(crate) outbox: RefCell<Outbox>,
    /// The sessions that it has joined.
    pub(crate) sessions: RefCell<Vec<SessionId>>,
    pub(crate) phase: Cell<Phase>,
    /// The reason for its end, as named in metrics and logs.
    pub(crate) end_cause: Cell<&'static str>,
    /// Wakes the connection's driver.
    pub(crate) waker: RefCell<Option<Waker>>,
    /// The driver has paused reading until the outbox or the owners have caught up. While the server is draining, reading
    /// stays paused, since new events would still have to be logged and could arrive without end.
    pub(crate) paused: Cell<bool>,
}

/// The work left after a flush.
#[derive(Default)]
pub(crate) struct FlushOutcome {
    /// Log reads that the reader needs.
    pub(crate) reads: Vec<LogRead>,
    /// More can be written after other connections had a turn.
    pub(crate) more: bool,
    /// More bytes wait than allowed.
    pub(crate) over_limit: bool,
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

    /// Wakes the driver to check the connection.
    pub(crate) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Wakes the driver if it had paused reading.
    pub(crate) fn wake_if_paused(&self) {
        // A superfluous wake costs one check.
        if self.paused.replace(false) {
            self.wake();
        }
    }

    /// The session in which it is furthest behind, and its lag in events; `None` if it is not behind.
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

    /// The connection, for an inspection.
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

    /// Handles a failed write: the socket is full or broken.
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

    /// Writes pending output until the socket is full, everything is written, or the pass's limit is reached.
    pub(crate) fn flush(&self, delivery: &Delivery) -> FlushOutcome {
        let mut flushed = FlushOutcome::default();
        let mut written = 0;
        loop {
            let mut outbox = self.outbox.borrow_mut();
            if outbox.blocked || self.phase.get() == Phase::Ended {
                break;
            }
            if !outbox.has_something() {
                // Bytes that TLS has encrypted and not yet written to the socket.
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
            written += self.pass(delivery, &mut outbox, &mut flushed.reads);
        }
        if written > 0 {
            delivery.metrics.bytes_sent.inc_by(written as u64);
        }
        self.finish(delivery);
        flushed.over_limit = self.outbox.borrow().waiting() > MAX_WAITING;
        flushed
    }

    /// Performs one write. Returns the number of bytes written.
    fn pass(&self, delivery: &Delivery, outbox: &mut Outbox, reads: &mut Vec<LogRead>) -> usize {
        let inspection = &delivery.inspection;
        let is_inspected =
            inspection.is_on() && inspection.prepare_write(&self.subject(), outbox.is_inside());
        if outbox.has_only_control() {
            let result = self.socket.borrow_mut().try_write(&outbox.control);
            let Some(count) = self.handle_write_result(delivery, outbox, result) else { return 0 };
            if is_inspected {
                inspection.record_written(
                    &self.subject(),
                    delivery.now(),
                    std::iter::once(&*outbox.control),
                    count,
                );
            }
            outbox.control_written(count);
            return count;
        }
        let pieces = outbox.gather(delivery, self.wire.form, reads);
        if pieces.is_empty() {
            return 0;
        }
        let result = self.write(&pieces);
        let is_end = matches!(result, Ok(0));
        match self.handle_write_result(delivery, outbox, result) {
            Some(count) => {
                if is_inspected {
                    inspection.record_written(
                        &self.subject(),
                        delivery.now(),
                        pieces.iter().map(|piece| &*piece.bytes),
                        count,
                    );
                }
                outbox.advance(delivery, pieces, count);
                count
            }
            None => {
                if !is_end {
                    outbox.restore(pieces);
                }
                0
            }
        }
    }

    /// Handles the result of a write. Returns the number of bytes written, if any.
    fn handle_write_result(
        &self,
        delivery: &Delivery,
        outbox: &mut Outbox,
        result: io::Result<usize>,
    ) -> Option<usize> {
        match result {
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

    /// Shuts down the writing side when the close has been sent.
    fn finish(&self, delivery: &Delivery) {
        let mut outbox = self.outbox.borrow_mut();
        if !outbox.closing || !outbox.is_empty() || outbox.blocked {
            return;
        }
        // The peer ends its side after it has read the close; the phase has the time limit.
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
