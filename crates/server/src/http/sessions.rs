//! Sessions: a page of them, and one with its participants.

use agentbench_auth::Permission;
use agentbench_protocol::command::GetSessionList;
use agentbench_protocol::limits::{DEFAULT_LIST_PAGE, MAX_LIST_PAGE, MAX_TEXT_CHARS};
use agentbench_protocol::{ErrorCode, Refusal, SessionInfo, Status};
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::access::Caller;
use super::answer::{Answer, json};
use super::api::{Api, segment};
use super::asking::{ask, one_answer};
use crate::clock;
use crate::letters::Request;
use crate::letters::exchange::{Exchange, ExchangeReply};
use crate::query::Query;
use crate::rules::{COST_OF_PAGE, COST_OF_SEARCH, parse_session_id};

/// A page of sessions, newest first.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionPage {
    /// The sessions; participants are not listed here.
    sessions: Vec<SessionInfo>,
    /// The `cursor` of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// `GET /api/v1/sessions`
pub(crate) async fn list(State(api): State<Api>, parts: Parts) -> Answer<Response> {
    let caller = Caller::of(&api, &parts)?;
    caller.needs(Permission::SessionList)?;
    let query = Query::parse(parts.uri.query())?;
    let words = Status::ALL.map(Status::as_str).join(", ");
    let by_name = |text: &str| Status::ALL.into_iter().find(|status| status.as_str() == text);
    let limit = query.number("limit", 1..=u64::from(MAX_LIST_PAGE))?;
    let asked = GetSessionList {
        status: query.word("status", &words, by_name)?,
        project_id: query.get("projectId").map(str::to_owned),
        q: search(&query)?,
        limit: limit.map_or(DEFAULT_LIST_PAGE, |limit| limit as u32),
        cursor: query.get("cursor").map(str::to_owned),
    };
    caller.charge(&api, if asked.q.is_some() { COST_OF_SEARCH } else { COST_OF_PAGE } - 1)?;
    let page = api.shared.storage.catalog.page(&asked, caller.grant.scope(), clock::now_ms());
    let page =
        page.ok_or_else(|| Refusal::invalid("cursor", "cursor must be the nextCursor of an earlier page"))?;
    let page = SessionPage { sessions: page.sessions, next_cursor: page.next_cursor };
    Ok(json(StatusCode::OK, &page))
}

/// What agent, test, project or name has to hold.
fn search(query: &Query) -> Answer<Option<String>> {
    let text = query.get("q").filter(|text| !text.is_empty());
    if text.is_some_and(|text| text.chars().count() > MAX_TEXT_CHARS) {
        let detail = format!("q must have at most {MAX_TEXT_CHARS} characters");
        return Err(Refusal::invalid("q", detail).into());
    }
    Ok(text.map(str::to_owned))
}

/// The part of an owner's message that is the answer here.
#[derive(Deserialize)]
struct InfoMessage<'a> {
    #[serde(borrow)]
    data: InfoData<'a>,
}

#[derive(Deserialize)]
struct InfoData<'a> {
    #[serde(borrow)]
    session: &'a RawValue,
}

/// `GET /api/v1/sessions/{sessionId}`
pub(crate) async fn one(State(api): State<Api>, parts: Parts) -> Answer<Response> {
    let caller = Caller::of(&api, &parts)?;
    let session = parse_session_id(segment(&parts, 3))?;
    caller.may_read(&api, session)?;
    let mut exchange = Exchange::open(&api.shared.post.exchanges, api.worker, 1);
    ask(&api, &caller, &exchange, session, Request::Info { command: "info".to_owned() });
    match one_answer(&mut exchange).await? {
        ExchangeReply::Message(message) => {
            let message: InfoMessage<'_> = serde_json::from_slice(&message)
                .map_err(|error| Refusal::new(ErrorCode::Internal, error.to_string()))?;
            Ok(json(StatusCode::OK, &message.data.session))
        }
        ExchangeReply::Refused(refusal) => Err(Refusal { original_message_id: None, ..refusal }.into()),
        other => Err(Refusal::new(ErrorCode::Internal, format!("an owner answered {other:?}")).into()),
    }
}
