//! Costly commands: few of a connection run at a time, and other connections get turns between them.

use std::rc::Rc;
use std::sync::Arc;

use agentbench_event_log::{Frame, ReadLimit};
use agentbench_protocol::{ErrorCode, GapCause, Refusal, Seq, SessionId, SystemMessage};
use serde_json::value::RawValue;

use crate::rules::no_such_session;
use crate::session::cursor::{ReadOutcome, interpret};
use crate::session::reading::ReadPermit;
use crate::shared::Shared;
use crate::worker::Worker;
use crate::worker::connection::Connection;

/// Bytes of one page of `get_history`.
const HISTORY_BYTES: usize = 1024 * 1024;

/// Answers a costly command. They run one at a time on a worker, and other connections get a turn between two of them.
pub(super) fn costly(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    command: String,
    answer: impl FnOnce(&Rc<Worker>, &Rc<Connection>, String) -> Result<(), Refusal> + 'static,
) {
    connection.requests.begin();
    let (worker, connection) = (Rc::clone(worker), Rc::clone(connection));
    tokio::task::spawn_local(async move {
        // Waits until the outbox has drained: answers are not produced for a connection that does not read them.
        let place = connection.requests.costly_turn().await;
        if place.is_none() {
            return;
        }
        worker.drain(&connection, || connection.is_open()).await;
        let turn = worker.costly_turns.acquire().await;
        if turn.is_ok() && connection.is_open() {
            if let Err(refusal) = answer(&worker, &connection, command.clone()) {
                worker.refuse(&connection, refusal.of(command), worker.now());
            }
            worker.end_request(&connection);
            tokio::task::yield_now().await;
        }
    });
}

pub(super) fn history(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    session: SessionId,
    command: String,
    from: Seq,
    limit: u32,
) {
    connection.requests.begin();
    let (worker, connection, shared) = (Rc::clone(worker), Rc::clone(connection), Arc::clone(&worker.shared));
    tokio::task::spawn_local(async move {
        let turn = connection.requests.costly_turn().await;
        if turn.is_none() || !connection.is_open() {
            return;
        }
        // Counts against the read budget until the page is written to the socket.
        let mut permit = None;
        let page = match shared.intake.may_read_more() {
            Ok(()) => read_page(&shared, session, from, limit as usize).await,
            Err(refusal) => Err(refusal),
        };
        // The token may have been replaced meanwhile by one without access to this session.
        let page = page.and_then(|page| check_still_readable(&shared, &connection, session).map(|()| page));
        match page {
            Ok((events, next_seq, memory)) => {
                permit = memory;
                let original_message_id = command;
                let message = SystemMessage::SessionHistory {
                    original_message_id,
                    session_id: session,
                    events,
                    next_seq,
                };
                worker.delivery.send_system(&connection.reader, &message);
            }
            Err(refusal) => worker.refuse(&connection, refusal.of(command), worker.now()),
        }
        worker.end_request(&connection);
        worker.drain(&connection, || permit.is_some() && connection.is_open()).await;
        drop(permit);
    });
}

/// Checks that the connection's token still permits the session that is being read.
fn check_still_readable(shared: &Shared, connection: &Connection, session: SessionId) -> Result<(), Refusal> {
    let entry = shared.storage.catalog.get(session);
    let is_readable =
        entry.is_none_or(|entry| connection.grant.borrow().may_access(&entry.summary().project_id));
    if is_readable { Ok(()) } else { Err(shared.storage.no_such_session()) }
}

type Page = (Vec<Box<RawValue>>, Option<Seq>, Option<ReadPermit>);

/// A page of a log as messages, and the seq at which the next page begins.
async fn read_page(shared: &Shared, session: SessionId, from: Seq, limit: usize) -> Result<Page, Refusal> {
    let head = shared.storage.catalog.get(session).ok_or_else(no_such_session)?.head().seq;
    if from > head {
        return Ok((Vec::new(), None, None));
    }
    let read =
        shared.storage.reader.step(session, from, ReadLimit { bytes: HISTORY_BYTES, events: limit }).await;
    let step = match interpret(session, from, read) {
        ReadOutcome::Frames(step) => step,
        ReadOutcome::Removed => return Err(no_such_session()),
        ReadOutcome::Gap { to, cause: GapCause::Retention } => {
            let detail = format!("the log begins at seq {}", to + 1);
            return Err(Refusal::new(ErrorCode::InvalidPosition, detail));
        }
        ReadOutcome::Gap { to, .. } => {
            let detail = format!("events {from} to {to} are damaged and never served; ask from {}", to + 1);
            return Err(Refusal::new(ErrorCode::LogUnavailable, detail));
        }
        ReadOutcome::NotYet(why) => {
            return Err(Refusal::new(ErrorCode::LogUnavailable, why).retry_after(1_000));
        }
    };
    let mut events = Vec::new();
    for (seq, record) in step.frames.iter().flat_map(Frame::records) {
        if seq >= from && events.len() < limit {
            let body = String::from_utf8_lossy(record.body).into_owned();
            let raw = RawValue::from_string(body);
            events.push(
                raw.map_err(|_| Refusal::new(ErrorCode::Internal, format!("event {seq} is not JSON")))?,
            );
        }
    }
    let next = from + events.len() as u64;
    Ok((events, (next <= step.head).then_some(next), Some(step.permit)))
}
