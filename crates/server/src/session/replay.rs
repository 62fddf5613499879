//! A session's log again, at its own pace times a factor, to one connection.
//!
//! A task of its own reads the log in steps and puts events into the outbox when their time has come. It stops where the
//! log ended when it began, or with the connection. Replays say every event, expired ones too.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use agentbench_event_log::{Frame, LogError, ReadLimit};
use agentbench_protocol::event::write_replayed;
use agentbench_protocol::{ErrorCode, GapCause, Refusal, Seq, SessionId, SystemMessage};
use bytes::BytesMut;

use crate::transport::Connection;
use crate::worker::Worker;

/// Bytes read in one step.
const STEP_BYTES: usize = 256 * 1024;
/// Bytes that wait in the outbox before a replay holds.
const HOLD_AT_BYTES: usize = 256 * 1024;
/// Replays of one connection at the same time.
const MAX_REPLAYS: u32 = 4;
/// Time between looks whether the outbox has drained.
const HOLD: Duration = Duration::from_millis(20);
/// Time between looks whether the connection is still there.
const LOOK: Duration = Duration::from_millis(500);

/// Waits, but not for a connection that has ended: it would be kept until then, with its socket.
async fn pause_while_open(connection: &Connection, mut rest: Duration) {
    while !rest.is_zero() && connection.is_open() {
        let step = rest.min(LOOK);
        tokio::time::sleep(step).await;
        rest -= step;
    }
}

struct Replay {
    session: SessionId,
    command: String,
    speed: f64,
    next: Seq,
    last: Seq,
    /// `receivedAt` of the event before.
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
        let running = connection.replays.get();
        if running >= MAX_REPLAYS {
            let detail = format!("a connection may have {MAX_REPLAYS} replays at the same time");
            let refusal = Refusal::new(ErrorCode::RateLimited, detail).retry_after(1_000).of(command);
            return self.refuse(connection, refusal, self.now());
        }
        let to_seq = self.shared.catalog.get(session).map_or(0, |entry| entry.head().seq);
        let original_message_id = command.clone();
        let started = SystemMessage::ReplayStarted {
            original_message_id,
            session_id: session,
            from_seq,
            to_seq,
            speed,
        };
        self.say(connection, &started);
        connection.replays.set(running + 1);
        let (worker, connection) = (Rc::clone(self), Rc::clone(connection));
        let mut replay = Replay { session, command, speed, next: from_seq, last: to_seq, clock: None };
        tokio::task::spawn_local(async move {
            worker.run_replay(&connection, &mut replay).await;
            connection.replays.set(connection.replays.get() - 1);
        });
    }

    async fn run_replay(self: &Rc<Self>, connection: &Rc<Connection>, replay: &mut Replay) {
        while replay.next <= replay.last && connection.is_open() {
            match self.read_step(replay).await {
                Ok(frames) if frames.is_empty() => break,
                Ok(frames) => self.play(connection, replay, &frames).await,
                Err(LogError::Damaged { to, .. }) => self.skip(connection, replay, to, GapCause::Damaged),
                Err(LogError::Trimmed { first_seq }) => {
                    self.skip(connection, replay, first_seq - 1, GapCause::Retention);
                }
                Err(error) => {
                    let refusal = Refusal::new(ErrorCode::LogUnavailable, error.to_string());
                    self.refuse(connection, refusal.of(&replay.command), self.now());
                    self.flush(connection);
                    return;
                }
            }
        }
        let original_message_id = replay.command.clone();
        let to_seq = replay.next.saturating_sub(1);
        let finished =
            SystemMessage::ReplayFinished { original_message_id, session_id: replay.session, to_seq };
        self.say(connection, &finished);
        self.flush(connection);
    }

    async fn read_step(&self, replay: &Replay) -> Result<Vec<Frame>, LogError> {
        let (shared, session, from) = (Arc::clone(&self.shared), replay.session, replay.next);
        let limit = ReadLimit { bytes: STEP_BYTES, events: usize::MAX };
        let read = tokio::task::spawn_blocking(move || shared.log.read(session, from, limit)).await;
        read.unwrap_or_else(|error| Err(LogError::Unavailable(error.to_string())))
            .map(|reading| reading.frames)
    }

    async fn play(self: &Rc<Self>, connection: &Rc<Connection>, replay: &mut Replay, frames: &[Frame]) {
        for (seq, record) in frames.iter().flat_map(Frame::records) {
            if seq < replay.next || seq > replay.last {
                continue;
            }
            let pause = record.received_at.saturating_sub(replay.clock.unwrap_or(record.received_at));
            replay.clock = Some(record.received_at);
            if pause > 0 {
                self.flush(connection);
                pause_while_open(connection, Duration::from_secs_f64(pause as f64 / 1000.0 / replay.speed))
                    .await;
            }
            while connection.is_open() && connection.outbox.borrow().waiting() > HOLD_AT_BYTES {
                self.flush(connection);
                tokio::time::sleep(HOLD).await;
            }
            if !connection.is_open() {
                return;
            }
            let mut json = BytesMut::with_capacity(record.body.len() + 16);
            write_replayed(&mut json, record.body);
            self.put(connection, &json);
            replay.next = seq + 1;
        }
        self.flush(connection);
    }

    fn skip(self: &Rc<Self>, connection: &Rc<Connection>, replay: &mut Replay, to: Seq, cause: GapCause) {
        self.shared.metrics.gap(cause.as_str());
        let gap = SystemMessage::Gap {
            session_id: replay.session,
            from_seq: replay.next,
            to_seq: to,
            cause,
            history: false,
        };
        self.say(connection, &gap);
        replay.next = to + 1;
    }
}
