//! The driver that reads a connection's socket.
//!
//! It is one simple task: it reads the available bytes, decodes every message in them, and dispatches each. It writes only
//! bytes that the outbox could not write at once. One scratch buffer per worker serves all connections' reads.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use agentbench_auth::{Grant, Permission};
use agentbench_protocol::{CloseCode, ErrorCode, Refusal};
use agentbench_websocket::{Input, Message, Opcode, encode_close, encode_frame};
use tokio::io::ReadBuf;

use crate::clock::Moment;
use crate::delivery::reader::Phase;
use crate::delivery::socket::Socket;
use crate::worker::Worker;
use crate::worker::connection::{Connection, Payload};
use crate::worker::farewells::record_client_close;

/// Reads of one connection before other connections get a turn.
const READS_PER_TURN: usize = 8;
/// Bytes of messages processed before other connections get a turn: a few compressed bytes can inflate to very many.
const BYTES_PER_TURN: usize = 1024 * 1024;
/// Bytes above which a message is processed only if its sender may publish: the largest permitted array of commands is
/// smaller.
const LARGE_MESSAGE: usize = 256 * 1024;

fn may_send_large(grant: &Grant) -> bool {
    grant.allows(Permission::SessionPublish) || grant.allows(Permission::SessionReview)
}

impl Connection {
    /// Runs one turn of the driver. Ready when the connection has ended.
    fn poll(self: &Rc<Self>, worker: &Rc<Worker>, cx: &mut Context<'_>) -> Poll<()> {
        let known = self.reader.waker.borrow().as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if !known {
            *self.reader.waker.borrow_mut() = Some(cx.waker().clone());
        }
        self.poll_writable(worker, cx);
        self.poll_readable(worker, cx);
        match self.reader.phase.get() {
            Phase::Ended => Poll::Ready(()),
            Phase::Closing { until } if worker.steady() >= until => Poll::Ready(()),
            Phase::Open | Phase::Closing { .. } => Poll::Pending,
        }
    }

    fn poll_writable(self: &Rc<Self>, worker: &Rc<Worker>, cx: &mut Context<'_>) {
        while self.reader.outbox.borrow().is_blocked() {
            let ready = self.reader.socket.borrow().poll_write_ready(cx);
            match ready {
                Poll::Pending => return,
                Poll::Ready(Err(_)) => return self.reader.phase.set(Phase::Ended),
                Poll::Ready(Ok(())) => {
                    self.reader.outbox.borrow_mut().unblock();
                    worker.flush(&self.reader);
                }
            }
        }
    }

    fn poll_readable(self: &Rc<Self>, worker: &Rc<Worker>, cx: &mut Context<'_>) {
        if self.input.is_suspended() {
            return;
        }
        if self.input.has_unread() && self.is_open() && self.is_paused() {
            return self.reader.paused.set(true);
        }
        if let Some(mut bytes) = self.input.take_unread() {
            if self.is_open() {
                self.decode(worker, &mut bytes, worker.delivery.moment());
                worker.flush(&self.reader);
            }
            return cx.waker().wake_by_ref();
        }
        for _ in 0..READS_PER_TURN {
            if self.reader.phase.get() == Phase::Ended {
                return;
            }
            if self.is_paused() || (self.is_open() && worker.shared.gate.doors.is_draining()) {
                return self.reader.paused.set(true);
            }
            let mut scratch = worker.scratch.borrow_mut();
            let read = poll_read(&mut self.reader.socket.borrow_mut(), cx, &mut scratch);
            match read {
                Poll::Pending => return,
                Poll::Ready(Ok(0) | Err(_)) => return self.reader.phase.set(Phase::Ended),
                Poll::Ready(Ok(count)) => self.receive(worker, &mut scratch[..count]),
            }
            if self.input.has_unread() || self.input.is_suspended() {
                break;
            }
        }
        cx.waker().wake_by_ref();
    }

    /// Processes bytes read from the socket.
    pub(crate) fn receive(self: &Rc<Self>, worker: &Rc<Worker>, bytes: &mut [u8]) {
        worker.shared.metrics.bytes_received.inc_by(bytes.len() as u64);
        let now = worker.delivery.moment();
        self.heartbeat.record_activity(now.millis);
        if self.is_open() {
            self.decode(worker, bytes, now);
        }
        worker.flush(&self.reader);
    }

    fn decode(self: &Rc<Self>, worker: &Rc<Worker>, bytes: &mut [u8], now: Moment) {
        let mut input = Input::new(bytes);
        let mut decoder = self.input.decoder.borrow_mut();
        let mut inflater = worker.inflater.borrow_mut();
        let mut taken = 0;
        while self.is_open() {
            match decoder.next(&mut input, &mut inflater) {
                Ok(None) => break,
                Ok(Some(message)) => {
                    taken += message.size();
                    self.take_message(worker, message, now);
                    if self.input.is_suspended() || (taken > BYTES_PER_TURN && input.remaining() > 0) {
                        if input.remaining() > 0 {
                            self.input.store_unread(input.rest());
                        }
                        self.reader.wake();
                        break;
                    }
                }
                Err(error) => {
                    let code = CloseCode::from_u16(error.close_code()).unwrap_or(CloseCode::Protocol);
                    if code == CloseCode::TooBig {
                        let limit = worker.shared.config.max_payload;
                        let detail = format!("a message may have at most {limit} bytes");
                        worker.refuse(self, Refusal::new(ErrorCode::PayloadTooLarge, detail), now.millis);
                    }
                    worker.close(self, code, &error.to_string(), None);
                }
            }
        }
        self.count_buffered(worker, decoder.buffered());
    }

    /// Updates the receive budget. If it is exceeded, the connection with the oldest unfinished message is closed; a user may
    /// use at most half of it.
    fn count_buffered(self: &Rc<Self>, worker: &Rc<Worker>, buffered: usize) {
        let Some(receiving) = self.input.grow(buffered, worker.steady()).filter(|_| self.is_open()) else {
            return;
        };
        let budget = worker.shared.config.receive_budget;
        if receiving.of_user > budget / 2 {
            return self.close_overloaded(worker, "the user has too many incomplete messages");
        }
        if receiving.of_all > budget {
            let oldest = worker.connections.oldest_unfinished().unwrap_or_else(|| Rc::clone(self));
            oldest.close_overloaded(worker, "the server holds too many incomplete messages");
            worker.flush_queue.push(&oldest.reader);
        }
    }

    /// Refuses the message as overloaded, and closes the connection with a time to reconnect.
    fn close_overloaded(self: &Rc<Self>, worker: &Rc<Worker>, detail: &str) {
        worker.shared.metrics.clients_slow_to_send.inc();
        worker.refuse(self, Refusal::new(ErrorCode::Overloaded, detail).retry_after(1_000), worker.now());
        worker.close(self, CloseCode::TryLater, detail, Some(1_000));
    }

    fn take_message(self: &Rc<Self>, worker: &Rc<Worker>, message: Message<'_>, now: Moment) {
        if worker.delivery.inspection.is_on() {
            worker.delivery.inspection.record_incoming(&self.reader.subject(), now.millis, &message);
        }
        if message.size() > LARGE_MESSAGE && !may_send_large(&self.grant.borrow()) {
            let detail = "the token permits no messages of this size: it may not publish";
            return worker.refuse(self, Refusal::new(ErrorCode::Forbidden, detail), now.millis);
        }
        match message {
            Message::Text(text) => (worker.dispatch)(worker, self, Payload::Text(text), now),
            Message::Binary(bytes) => (worker.dispatch)(worker, self, Payload::Binary(bytes), now),
            Message::Ping(payload) => {
                let mut outbox = self.reader.outbox.borrow_mut();
                encode_frame(outbox.control(), Opcode::Pong, false, payload, None);
            }
            Message::Pong(_) => {}
            Message::Close(close) => {
                let code = close.map(|close| (close.code, ""));
                encode_close(self.reader.outbox.borrow_mut().control(), code, None);
                self.reader.end_cause.set("client");
                record_client_close(&worker.shared, self, close.map(|close| close.code));
                self.begin_closing(worker.steady());
            }
        }
    }
}

fn poll_read(socket: &mut Socket, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(scratch);
    let read = socket.poll_read(cx, &mut buffer);
    read.map_ok(|()| buffer.filled().len())
}

/// Runs one connection to its end.
pub(crate) async fn drive(worker: Rc<Worker>, connection: Rc<Connection>) {
    poll_fn(|cx| connection.poll(&worker, cx)).await;
    worker.on_disconnect(&connection);
}
