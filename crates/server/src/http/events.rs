//! A session's events by range, and its export: one JSON document a line (NDJSON), read from the log in steps at the
//! client's pace.
//!
//! Line breaks between tokens of an event's `data` become blanks, since a line is an event; nothing else is changed. What
//! the log cannot serve is a line, too: the `gap` message that a follower would get.

use std::sync::Arc;

use agentbench_audit::Record;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use super::access::Caller;
use super::answer::Answer;
use super::api::{Api, segment};
use super::pipe::{self, Unread, Writer};
use super::range::Range;
use crate::query::Query;
use crate::rules::{COST_OF_PAGE, parse_session_id};
use crate::shared::Shared;
use crate::transport::plain::Link;

/// Media type of one JSON document a line.
pub(crate) const NDJSON: &str = "application/x-ndjson";

/// `GET /api/v1/sessions/{sessionId}/events`
pub(crate) async fn range(State(api): State<Api>, parts: Parts) -> Answer<Response> {
    serve(&api, &parts, false).await
}

/// `GET /api/v1/sessions/{sessionId}/export`
pub(crate) async fn export(State(api): State<Api>, parts: Parts) -> Answer<Response> {
    match Query::parse(parts.uri.query())?.word("format", "jsonl, html", Format::parse)? {
        Some(Format::Html) => super::page_export::export(&api, &parts).await,
        Some(Format::JsonLines) | None => serve(&api, &parts, true).await,
    }
}

/// What a session is exported as.
enum Format {
    JsonLines,
    Html,
}

impl Format {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "jsonl" => Some(Self::JsonLines),
            "html" => Some(Self::Html),
            _ => None,
        }
    }
}

async fn serve(api: &Api, parts: &Parts, export: bool) -> Answer<Response> {
    let caller = Caller::of(api, parts)?;
    api.shared.audit_room().await?;
    let session = parse_session_id(segment(parts, 3))?;
    let entry = caller.may_read(api, session)?;
    let query = Query::parse(parts.uri.query())?;
    let head = entry.head();
    let (mut next, mut last) = (1, head.seq);
    if !export {
        next = query.number("fromSeq", 1..=u64::MAX)?.unwrap_or(1);
        last = last.min(query.number("toSeq", 1..=u64::MAX)?.unwrap_or(u64::MAX));
        let limit = query.number("limit", 1..=u64::MAX)?.unwrap_or(u64::MAX);
        last = last.min(next.saturating_add(limit - 1));
    }
    let action = if export { "export" } else { "get_history" };
    api.shared.audit(|| {
        let record = Record::allowed(api.now(), action).detail(format!("from seq {next}"));
        Record { session: session.to_string(), ..caller.record(record) }
    });
    caller.charge(api, COST_OF_PAGE - 1)?;
    api.shared.intake.may_read_more()?;
    let (writer, body) = pipe::body(&api.shared, &Link::of(parts));
    let writer = writer.while_good(&caller.grant).of_log();
    let range = Range::new(session, next, last);
    tokio::spawn(write_range(Arc::clone(&api.shared), range, writer));
    let headers = [
        (header::CONTENT_TYPE.as_str(), NDJSON.to_owned()),
        (header::CACHE_CONTROL.as_str(), "no-store".to_owned()),
        ("agentbench-epoch", head.epoch.to_string()),
        ("agentbench-head-seq", head.seq.to_string()),
    ];
    let mut response = (StatusCode::OK, headers, body).into_response();
    if export {
        let name = format!("attachment; filename=\"{session}.ndjson\"");
        // A session's name has hexadecimal digits and hyphens only.
        let value = name.parse().expect("the name is a header's text");
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

async fn write_range(shared: Arc<Shared>, mut range: Range, writer: Writer) {
    loop {
        let lines = match range.step(&shared).await {
            Ok(Some(lines)) => lines,
            Ok(None) => break,
            Err(error) => {
                tracing::warn!(session = %range.session(), error, "a range of events could not be read to its end");
                return writer.fail().await;
            }
        };
        if writer.write(lines).await.is_err() {
            return;
        }
    }
    let _: Result<(), Unread> = writer.finish(Bytes::new()).await;
}
