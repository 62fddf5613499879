//! Connections: a page of them, one, its end, and why one has ended.

use agentbench_auth::Permission;
use agentbench_protocol::{CloseCode, ErrorCode, Refusal};
use agentbench_session::ConnectionKey;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use serde::Serialize;
use tokio::sync::oneshot;

use super::access::Caller;
use super::answer::{Answer, json};
use super::api::{Api, segment};
use crate::letters::connections::{ConnectionInfo, StreamClose};
use crate::letters::{Letter, Survey};
use crate::names;
use crate::query::Query;

/// Page size if none is asked for, and the largest.
const PAGE: u64 = 100;
const MAX_PAGE: u64 = 1_000;
const CLOSED: &str = "an administrator closed the connection";

/// A page of connections: by worker, the oldest first.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConnectionPage {
    connections: Vec<ConnectionInfo>,
    /// The `cursor` of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// A connection that was told to end.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Closing {
    /// Which one.
    client_id: String,
    /// The close code that it gets.
    code: u16,
}

fn no_such_connection() -> Refusal {
    Refusal::new(ErrorCode::NotFound, "there is no such connection; it may have ended: see its /why")
}

/// Asks workers in turn until there is enough.
async fn survey(
    api: &Api,
    after: Option<ConnectionKey>,
    only: bool,
    limit: usize,
    user: Option<&str>,
) -> Vec<(ConnectionKey, ConnectionInfo)> {
    let first = after.map_or(0, names::worker_of);
    let last = if only { first + 1 } else { api.shared.config.workers };
    let mut found = Vec::new();
    for worker in first..last {
        let (reply, answer) = oneshot::channel();
        let after = after.filter(|_| worker == first);
        let wanted = limit - found.len();
        let user = user.map(str::to_owned);
        api.shared.send(worker, Letter::Survey(Survey { after, only, limit: wanted, user, reply }));
        // A worker that has ended has no connections.
        found.extend(answer.await.unwrap_or_default());
        if found.len() >= limit {
            break;
        }
    }
    found
}

/// `GET /api/v1/connections`
pub(crate) async fn list(State(api): State<Api>, parts: Parts) -> Answer<Response> {
    Caller::of(&api, &parts)?.needs(Permission::ConnectionList)?;
    let query = Query::parse(parts.uri.query())?;
    let limit = query.number("limit", 1..=MAX_PAGE)?.unwrap_or(PAGE) as usize;
    let cursor = query.word("cursor", "the nextCursor of an earlier page", |text| {
        api.shared.post.names.connection_named(text)
    })?;
    // One more than asked for tells whether there is a next page.
    let mut found = survey(&api, cursor, false, limit + 1, query.get("userId")).await;
    let more = found.len() > limit;
    found.truncate(limit);
    let next_cursor = found.last().filter(|_| more).map(|(key, _)| api.shared.post.names.client_id(*key));
    let connections = found.into_iter().map(|(_, info)| info).collect();
    Ok(json(StatusCode::OK, &ConnectionPage { connections, next_cursor }))
}

pub(super) async fn find(api: &Api, parts: &Parts) -> Answer<(ConnectionKey, ConnectionInfo)> {
    let key = api.shared.post.names.connection_named(segment(parts, 3)).ok_or_else(no_such_connection)?;
    let found = survey(api, Some(key), true, 1, None).await.pop();
    found.ok_or_else(|| no_such_connection().into())
}

/// `GET /api/v1/connections/{clientId}`
pub(crate) async fn one(State(api): State<Api>, parts: Parts) -> Answer<Response> {
    Caller::of(&api, &parts)?.needs(Permission::ConnectionList)?;
    Ok(json(StatusCode::OK, &find(&api, &parts).await?.1))
}

/// `DELETE /api/v1/connections/{clientId}`
pub(crate) async fn close(State(api): State<Api>, parts: Parts) -> Answer<Response> {
    let caller = Caller::of(&api, &parts)?;
    api.shared.audit_room().await?;
    caller.administers(&api, Permission::ConnectionClose, "close_connection")?;
    let query = Query::parse(parts.uri.query())?;
    let code = query.word("reconnect", "now, never", |word| match word {
        "now" => Some(CloseCode::GoingAway),
        "never" => Some(CloseCode::Forbidden),
        _ => None,
    })?;
    let code = code.unwrap_or(CloseCode::Forbidden);
    let (key, info) = find(&api, &parts).await?;
    match api.shared.streams.get(key) {
        Some(stream) => stream.end(StreamClose { code, detail: CLOSED, after_ms: None }),
        None => {
            let letter = Letter::Close { connection: key, code, detail: CLOSED };
            api.shared.send(names::worker_of(key), letter);
        }
    }
    tracing::info!(client = info.client_id, code = code.as_u16(), "an administrator closes a connection");
    Ok(json(StatusCode::ACCEPTED, &Closing { client_id: info.client_id, code: code.as_u16() }))
}

/// `GET /api/v1/connections/{clientId}/why`
pub(crate) async fn why(State(api): State<Api>, parts: Parts) -> Answer<Response> {
    Caller::of(&api, &parts)?.needs(Permission::ConnectionList)?;
    let key = api.shared.post.names.connection_named(segment(&parts, 3));
    let farewell = key.and_then(|key| api.shared.ops.close_records.get(key, api.now()));
    let farewell = farewell.ok_or_else(|| {
        let detail = "no connection of this name has ended within the last hour";
        Refusal::new(ErrorCode::NotFound, detail)
    })?;
    Ok(json(StatusCode::OK, &farewell))
}
