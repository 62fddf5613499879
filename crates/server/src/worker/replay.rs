//! Replays a session's log to one connection, at its original pace times a factor.
//!
//! A task reads the log in steps and queues each event in the outbox when it is due. It stops at the log's end as of the
//! start, with the connection, or on the client's request. Replays include expired events.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use agentbench_event_log::Frame;
use agentbench_protocol::event::write_replayed;
use agentbench_protocol::{ErrorCode, GapCause, Refusal, Seq, SessionId, SystemMessage};
use bytes::BytesMut;
use tokio::sync::Notify;

use crate::delivery::replays::ActiveReplay;
use crate::session::cursor::{Cursor, ReadOutcome};
use crate::session::reading::Step;
use crate::worker::Worker;
use crate::worker::connection::Connection;

/// Before a pause longer than this, the events that were read are dropped from memory.
const KEEP_FOR: Duration = Duration::from_secs(2);
/// Bytes in the outbox above which a replay pauses.
const PAUSE_AT_BYTES: usize = 256 * 1024;
/// Concurrent replays of one connection.
const MAX_REPLAYS: usize = 4;
/// Time between checks whether the outbox has drained.
const DRAIN_POLL: Duration = Duration::from_millis(20);
/// Longest pause before one event, at any speed. It cuts days of silence, and jumps of a clock that was set while the
/// session was recorded.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

struct Replay {
    active: Rc<ActiveReplay>,
    speed: f64,
    last: Seq,
    /// `receivedAt` of the previous event.
    clock: Option<u64>,
}

impl Worker {
    pub(crate) fn replay(
        self: &Rc<Self>,
        connection: &Rc<Connection>,
        session: SessionId,
        command: String,
        speed: f64,
        from_seq: Seq,
    ) {
        if let Err(refusal) = self.shared.intake.may_read_more() {
            return self.refuse(connection, refusal.of(command), self.now());
        }
        if self.replays.sessions_of(connection.reader.key).len() >= MAX_REPLAYS {
            let detail = format!("a connection may have {MAX_REPLAYS} replays at the same time");
            let refusal = Refusal::new(ErrorCode::RateLimited, detail).retry_after(1_000).of(command);
            return self.refuse(connection, refusal, self.now());
        }
        let to_seq = self.shared.storage.catalog.get(session).map_or(0, |entry| entry.head().seq);
        let original_message_id = command.clone();
        let started = SystemMessage::ReplayStarted {
            original_message_id,
            session_id: session,
            from_seq,
            to_seq,
            speed,
            longest_pause_ms: LONGEST_PAUSE.as_millis() as u64,
        };
        self.delivery.send_system(&connection.reader, &started);
        let active = Rc::new(ActiveReplay {
            session,
            command,
            next: Cell::new(from_seq),
            is_stopped: Cell::new(false),
            stopped: Notify::new(),
        });
        self.replays.add(connection.reader.key, &active);
        let (worker, connection) = (Rc::clone(self), Rc::clone(connection));
        let mut replay = Replay { active, speed, last: to_seq, clock: None };
        tokio::task::spawn_local(async move {
            worker.run_replay(&connection, &mut replay).await;
            worker.replays.take(connection.reader.key, |active| Rc::ptr_eq(active, &replay.active));
        });
    }

    /// Stops the connection's replay that the command `began` started. Events already in the outbox are sent before the
    /// reply.
    pub(crate) fn stop_replay(
        &self,
        connection: &Rc<Connection>,
        command: String,
        session: &str,
        began: &str,
    ) -> Result<(), Refusal> {
        let named: Option<SessionId> = session.parse().ok();
        let is_it = |active: &Rc<ActiveReplay>| Some(active.session) == named && active.command == began;
        // A client may have used the id twice; both replays are stopped.
        let stopped = self.replays.take(connection.reader.key, is_it);
        let Some(last) = stopped.iter().map(|active| active.next.get() - 1).max() else {
            let detail = "this connection has no replay of the session under the id in data.originalMessageId; it may have finished";
            return Err(Refusal::invalid("data.originalMessageId", detail));
        };
        for active in &stopped {
            active.is_stopped.set(true);
            active.stopped.notify_one();
        }
        let session_id = stopped[0].session;
        self.delivery.send_system(
            &connection.reader,
            &SystemMessage::ReplayStopped { original_message_id: command, session_id, seq: last },
        );
        Ok(())
    }

    async fn run_replay(self: &Rc<Self>, connection: &Rc<Connection>, replay: &mut Replay) {
        let active = Rc::clone(&replay.active);
        while active.next.get() <= replay.last && active.is_wanted(&connection.reader) {
            let cursor = Cursor { session: active.session, next: active.next.get(), last: replay.last };
            let read = cursor.step(&self.shared.storage.reader).await;
            if active.is_stopped.get() {
                break;
            }
            match read {
                Ok(ReadOutcome::Frames(step)) => self.play(connection, replay, step).await,
                Ok(ReadOutcome::Gap { to, cause }) => self.skip(connection, &active, to, cause),
                // A cursor with an end reports these as a gap and as an error.
                Ok(ReadOutcome::Removed | ReadOutcome::NotYet(_)) => break,
                Err(error) => {
                    let refusal = Refusal::new(ErrorCode::LogUnavailable, error);
                    self.refuse(connection, refusal.of(&active.command), self.now());
                    self.flush(&connection.reader);
                    return;
                }
            }
        }
        if active.is_stopped.get() {
            // The client has its reply.
            return;
        }
        let original_message_id = active.command.clone();
        let to_seq = active.next.get().saturating_sub(1);
        let finished =
            SystemMessage::ReplayFinished { original_message_id, session_id: active.session, to_seq };
        self.delivery.send_system(&connection.reader, &finished);
        self.flush(&connection.reader);
    }

    /// Sends the events of a step, each when it is due. Their memory is held until they are written to the socket; before a
    /// long pause it is released, and the rest is read again afterwards.
    async fn play(self: &Rc<Self>, connection: &Rc<Connection>, replay: &mut Replay, step: Step) {
        let active = Rc::clone(&replay.active);
        let mut long_pause = None;
        for (seq, record) in step.frames.iter().flat_map(Frame::records) {
            if seq < active.next.get() || seq > replay.last {
                continue;
            }
            let pause = record.received_at.saturating_sub(replay.clock.unwrap_or(record.received_at));
            replay.clock = Some(record.received_at);
            if pause > 0 {
                self.flush(&connection.reader);
                let pause = Duration::from_secs_f64(pause as f64 / 1000.0 / replay.speed).min(LONGEST_PAUSE);
                if pause > KEEP_FOR {
                    long_pause = Some(pause);
                    break;
                }
                active.pause(&connection.reader, pause).await;
            }
            self.drain(connection, || active.is_wanted(&connection.reader)).await;
            if !active.is_wanted(&connection.reader) {
                return;
            }
            let mut json = BytesMut::with_capacity(record.body.len() + 16);
            write_replayed(&mut json, record.body);
            self.delivery.send_json(&connection.reader, &json);
            drop(json);
            active.next.set(seq + 1);
        }
        self.flush(&connection.reader);
        if let Some(pause) = long_pause {
            drop(step);
            return active.pause(&connection.reader, pause).await;
        }
        // Events still in the outbox count against the read budget.
        self.drain(connection, || active.is_wanted(&connection.reader)).await;
    }

    /// Waits until a connection's outbox has nearly drained, while `is_wanted` returns true.
    pub(crate) async fn drain(self: &Rc<Self>, connection: &Rc<Connection>, is_wanted: impl Fn() -> bool) {
        while is_wanted() && connection.reader.outbox.borrow().waiting() > PAUSE_AT_BYTES {
            self.flush(&connection.reader);
            tokio::time::sleep(DRAIN_POLL).await;
        }
    }

    fn skip(self: &Rc<Self>, connection: &Rc<Connection>, active: &ActiveReplay, to: Seq, cause: GapCause) {
        self.shared.metrics.gap(cause.as_str());
        let gap = SystemMessage::Gap {
            session_id: active.session,
            from_seq: active.next.get(),
            to_seq: to,
            cause,
            history: false,
        };
        self.delivery.send_system(&connection.reader, &gap);
        active.next.set(to + 1);
    }
}
