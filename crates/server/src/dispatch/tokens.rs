//! New tokens for open connections.

use std::rc::Rc;
use std::sync::Arc;

use agentbench_audit::Record;
use agentbench_auth::Grant;
use agentbench_protocol::{ErrorCode, Refusal, SessionId, SystemMessage};

use crate::session::catalog::Catalog;
use crate::shared::Shared;
use crate::worker::Worker;
use crate::worker::connection::Connection;

/// Refreshes a token; one with an unknown key waits for the issuer's keys.
pub(super) fn refresh_token(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    command: String,
    token: String,
    now: u64,
) -> Result<(), Refusal> {
    let refused = worker.shared.gate.keys().verify(&token, now).err();
    if refused.and_then(|error| worker.shared.gate.issuer_may_know(error)).is_none() {
        return refresh_now(worker, connection, command, &token, now);
    }
    connection.requests.begin();
    let (worker, connection) = (Rc::clone(worker), Rc::clone(connection));
    tokio::task::spawn_local(async move {
        if let Some(issuer) = &worker.shared.gate.issuer {
            issuer.refetch_keys().await;
        }
        let now = worker.now();
        if connection.is_open()
            && let Err(refusal) = refresh_now(&worker, &connection, command.clone(), &token, now)
        {
            worker.refuse(&connection, refusal.of(command), now);
        }
        worker.end_request(&connection);
    });
    Ok(())
}

fn refresh_now(
    worker: &Worker,
    connection: &Connection,
    command: String,
    token: &str,
    now: u64,
) -> Result<(), Refusal> {
    let replayed = worker.replays.sessions_of(connection.reader.key);
    let refreshed = refresh(&worker.shared, connection, replayed, command, token, now)?;
    worker.delivery.send_system(&connection.reader, &refreshed);
    Ok(())
}

/// Replaces the connection's token. Returns the reply.
fn refresh(
    shared: &Shared,
    connection: &Connection,
    replayed: Vec<SessionId>,
    original_message_id: String,
    token: &str,
    now: u64,
) -> Result<SystemMessage, Refusal> {
    let refused = |code| shared.audit(|| connection.record(Record::refused(now, "refresh_token", code)));
    let grant = shared.gate.authenticate(token, now).map_err(|error| {
        refused(error.as_str());
        Refusal::new(ErrorCode::NotAuthenticated, format!("the new token is not accepted: {error}"))
    })?;
    if grant.user_id != connection.reader.who.user_id {
        return Err(Refusal::new(ErrorCode::Forbidden, "the new token names another user"));
    }
    let mut sessions = replayed;
    sessions.extend(&*connection.reader.sessions.borrow());
    if participates_outside(&shared.storage.catalog, &sessions, &grant) {
        let detail = "the connection takes part in a session of a project that the new token does not permit; leave it first";
        return Err(Refusal::new(ErrorCode::Forbidden, detail));
    }
    let token_expires_at = grant.expires_at;
    let token_id = grant.token_id.clone().unwrap_or_default();
    shared.audit(|| connection.record(Record::allowed(now, "refresh_token").detail(token_id)));
    *connection.grant.borrow_mut() = Arc::new(grant);
    Ok(SystemMessage::TokenRefreshed { original_message_id, token_expires_at })
}

/// Whether one of the sessions belongs to a project that `grant` does not permit.
fn participates_outside(catalog: &Catalog, sessions: &[SessionId], grant: &Grant) -> bool {
    let outside = |session: &SessionId| {
        catalog.get(*session).is_some_and(|entry| !grant.may_access(&entry.summary().project_id))
    };
    sessions.iter().any(outside)
}
