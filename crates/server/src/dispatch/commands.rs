//! Commands: their permissions, their costs, and their dispatch.

use std::rc::Rc;
use std::sync::Arc;

use agentbench_audit::Record;
use agentbench_protocol::command::GetSessionList;
use agentbench_protocol::{
    Command, Envelope, ErrorCode, Position, Refusal, Seq, SessionId, StartAt, SystemMessage,
};
use agentbench_session::Step;

use crate::letters::{Join, Request};
use crate::overview;
use crate::rules::{cost_of, derive_session_id, is_audited, parse_session_id, permission_for};
use crate::shared::Shared;
use crate::worker::Worker;
use crate::worker::connection::Connection;

use super::costly::{costly, history};
use super::tokens::refresh_token;

pub(super) fn take_command(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    envelope: &Envelope<'_>,
    now: u64,
) -> Result<(), Refusal> {
    let id = envelope.id.clone().into_owned();
    let command = Command::parse(envelope.data, envelope.session_id.as_deref())?;
    let needed = permission_for(&command);
    if needed.is_some_and(|permission| !connection.grant.borrow().allows(permission)) {
        let detail = format!("the token does not permit {}", command.name());
        return Err(Refusal::new(ErrorCode::Forbidden, detail));
    }
    take_cost(&worker.shared, connection, cost_of(&command) - 1, now)?;
    if is_audited(&command) {
        worker.shared.ops.auditor.check_room()?;
    }
    match command {
        Command::CreateSession(fields) => {
            if !connection.grant.borrow().may_access(&fields.project_id) {
                let detail = "the token does not permit sessions in this project";
                return Err(Refusal::new(ErrorCode::Forbidden, detail));
            }
            let session = derive_session_id(&connection.reader.who.user_id, &id);
            request(worker, connection, session, Request::Create { command: id, fields });
        }
        Command::JoinSession { session_id, follow, from, subscribe } => {
            send_join(worker, connection, parse_session_id(&session_id)?, id, follow, from, subscribe);
        }
        Command::LeaveSession { session_id, unsubscribe } => {
            request(
                worker,
                connection,
                parse_session_id(&session_id)?,
                Request::Leave { command: id, unsubscribe },
            );
        }
        Command::StartTest { session_id } => step(worker, connection, &session_id, id, Step::Start)?,
        Command::PauseTest { session_id } => step(worker, connection, &session_id, id, Step::Pause)?,
        Command::ResumeTest { session_id } => step(worker, connection, &session_id, id, Step::Resume)?,
        Command::StopTest { session_id, outcome, reason } => {
            step(worker, connection, &session_id, id, Step::Stop { outcome, reason })?;
        }
        Command::GetSessionInfo { session_id } => {
            request(worker, connection, parse_session_id(&session_id)?, Request::Info { command: id });
        }
        Command::GetSessionList(query) => list_sessions(worker, connection, id, query),
        Command::GetHistory { session_id, from_seq, limit } => {
            let session = readable(&worker.shared, connection, &session_id)?;
            audit_export(&worker.shared, connection, session, "get_history", from_seq, now);
            history(worker, connection, session, id, from_seq, limit);
        }
        Command::ReplaySession { session_id, speed, from_seq } => {
            let session = readable(&worker.shared, connection, &session_id)?;
            audit_export(&worker.shared, connection, session, "replay_session", from_seq, now);
            worker.replay(connection, session, id, speed, from_seq);
        }
        Command::StopReplay { session_id, original_message_id } => {
            worker.stop_replay(connection, id, &session_id, &original_message_id)?;
        }
        Command::GetStats => costly(worker, connection, id, |worker, connection, id| {
            worker.delivery.send_system(&connection.reader, &stats(&worker.shared, id));
            Ok(())
        }),
        Command::RefreshToken { token } => refresh_token(worker, connection, id, token, now)?,
    }
    Ok(())
}

/// A request that will be answered once: the connection is not read further if too many are under way.
fn request(worker: &Rc<Worker>, connection: &Rc<Connection>, session: SessionId, request: Request) {
    connection.requests.begin();
    worker.send(connection, session, request);
}

fn step(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    name: &str,
    command: String,
    step: Step,
) -> Result<(), Refusal> {
    request(worker, connection, parse_session_id(name)?, Request::Control { command, step });
    Ok(())
}

/// Takes what a command costs beyond one message from the connection's and the user's rates.
fn take_cost(shared: &Shared, connection: &Connection, count: u64, now: u64) -> Result<(), Refusal> {
    if count == 0 {
        return Ok(());
    }
    let taken = connection
        .rate
        .take(shared.config.connection_rate, count, now)
        .and_then(|()| shared.gate.users.take_rate(&connection.user, count, now));
    taken.map_err(|wait| {
        let detail = "asked for more than the limit allows: such a command counts as many messages";
        Refusal::new(ErrorCode::RateLimited, detail).retry_after(wait)
    })
}

fn list_sessions(worker: &Rc<Worker>, connection: &Rc<Connection>, command: String, query: GetSessionList) {
    costly(worker, connection, command, move |worker, connection, original_message_id| {
        let page = worker.shared.storage.catalog.page(&query, connection.grant().scope(), worker.now());
        let page = page.ok_or_else(|| {
            Refusal::invalid("data.cursor", "data.cursor must be the nextCursor of an earlier page")
        })?;
        let (sessions, next_cursor) = (page.sessions, page.next_cursor);
        let list = SystemMessage::SessionList { original_message_id, sessions, next_cursor };
        worker.delivery.send_system(&connection.reader, &list);
        Ok(())
    });
}

fn stats(shared: &Shared, original_message_id: String) -> SystemMessage {
    let stats = serde_json::to_value(overview::stats::describe(shared));
    // The type has string keys, so it always serializes to an object.
    let stats = stats.ok().and_then(|value| value.as_object().cloned()).unwrap_or_default();
    SystemMessage::Stats { original_message_id, stats }
}

/// A session whose log this connection may read.
fn readable(shared: &Shared, connection: &Connection, name: &str) -> Result<SessionId, Refusal> {
    let id = parse_session_id(name)?;
    let entry = shared.storage.catalog.get(id).ok_or_else(|| shared.storage.no_such_session())?;
    if !connection.grant.borrow().may_access(&entry.summary().project_id) {
        return Err(shared.storage.no_such_session());
    }
    Ok(id)
}

/// Sends a join to the session's owner. An id at the reader's position is looked up first, so that the owner does not wait
/// for the disk.
fn send_join(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    session: SessionId,
    command: String,
    follow: bool,
    from: StartAt,
    subscribe: bool,
) {
    connection.requests.begin();
    let named = match &from {
        StartAt::After(Position { seq, last_id: Some(_), .. }) if *seq > 0 => Some(*seq),
        _ => None,
    };
    let known = named.and_then(|seq| worker.audiences.id_at(session, seq));
    let Some(seq) = named.filter(|_| known.is_none()) else {
        let request = Request::Join(Join {
            command,
            follow,
            from,
            id_at_position: known,
            subscribe,
            log_was_read: false,
        });
        return worker.send(connection, session, request);
    };
    let (worker, connection, shared) = (Rc::clone(worker), Rc::clone(connection), Arc::clone(&worker.shared));
    tokio::task::spawn_local(async move {
        let id_at_position = shared.storage.reader.id_at(session, seq).await;
        if connection.is_open() {
            let request =
                Request::Join(Join { command, follow, from, id_at_position, subscribe, log_was_read: false });
            worker.send(&connection, session, request);
        }
    });
}

/// Records the export of a session's log in the audit log.
fn audit_export(
    shared: &Shared,
    connection: &Connection,
    session: SessionId,
    action: &'static str,
    from: Seq,
    now: u64,
) {
    shared.audit(|| Record {
        session: session.to_string(),
        ..connection.record(Record::allowed(now, action).detail(format!("from seq {from}")))
    });
}
