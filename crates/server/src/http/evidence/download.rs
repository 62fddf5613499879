//! `GET`: a file goes out as what it was said to be, under headers that let no browser make more of it.

use std::sync::Arc;

use agentbench_audit::Record;
use agentbench_evidence::{EvidenceError, Hash, MediaType, Reader, Stored};
use agentbench_protocol::{ErrorCode, Refusal};
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use super::piece::{Piece, aside, refused};
use super::range::Ranged;
use crate::http::access::Caller;
use crate::http::answer::{Answer, Refused};
use crate::http::api::Api;
use crate::http::head;
use crate::http::pipe::{self, Unread, Writer};
use crate::transport::plain::Link;

/// `GET /api/v1/evidence/{hash}`
pub(crate) async fn download(State(api): State<Api>, parts: Parts) -> Answer<Response> {
    let caller = Caller::of(&api, &parts)?;
    api.shared.audit_room().await?;
    let piece = Piece::of(&parts)?;
    caller.may_read(&api, piece.session)?;
    let store = Arc::clone(&api.shared.storage.evidence);
    let found =
        aside(move || store.read(piece.session, piece.hash)).await.map_err(|error| refused(&error))?;
    let reader =
        found.ok_or_else(|| Refusal::new(ErrorCode::NotFound, "the session has no such evidence"))?;
    let stored = reader.stored();
    let range = head::text(&parts.headers, header::RANGE.as_str());
    let range =
        range.filter(|_| is_of_this(head::text(&parts.headers, header::IF_RANGE.as_str()), piece.hash));
    let range = Ranged::of(range, stored.size);
    let mut headers = headers(stored);
    set(&mut headers, header::ETAG, &format!("\"{}\"", piece.hash));
    let (status, from, length) = match range {
        Ranged::Whole => (StatusCode::OK, 0, stored.size),
        Ranged::Bytes { from, length } => {
            let range = format!("bytes {from}-{}/{}", from + length - 1, stored.size);
            set(&mut headers, header::CONTENT_RANGE, &range);
            (StatusCode::PARTIAL_CONTENT, from, length)
        }
        Ranged::Unsatisfiable => return Ok(unsatisfiable(stored.size)),
    };
    set(&mut headers, header::CONTENT_LENGTH, &length.to_string());
    api.shared.audit(|| {
        let record = Record::allowed(api.now(), "get_evidence").detail(piece.hash.to_string());
        Record { session: piece.session.to_string(), ..caller.record(record) }
    });
    // The first piece is checked before anything is promised, so that most damage is an answer and not a broken one.
    let first = read(reader, from, length).await.map_err(|error| refused(&error))?;
    let (writer, body) = pipe::body(&api.shared, &Link::of(&parts));
    let writer = writer.while_good(&caller.grant);
    tokio::spawn(send(first, from, length, writer));
    Ok((status, headers, body).into_response())
}

/// What goes with every piece of evidence: a page that is made of it may load and run nothing.
fn headers(stored: Stored) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let kind = match stored.media_type {
        MediaType::Text => "text/plain; charset=utf-8",
        other => other.as_str(),
    };
    let fixed = [
        (header::CONTENT_TYPE, kind),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"),
        (header::CACHE_CONTROL, "private, max-age=31536000, immutable"),
        (header::ACCEPT_RANGES, "bytes"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !stored.media_type.is_picture() {
        headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    }
    headers
}

fn set(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    // Digits and words of our own.
    headers.insert(name, HeaderValue::from_str(value).expect("the value is a header's text"));
}

fn unsatisfiable(size: u64) -> Response {
    let refusal = Refusal::invalid("Range", format!("the evidence has {size} bytes"));
    let refused = Refused { refusal, status: Some(StatusCode::RANGE_NOT_SATISFIABLE) };
    let mut response = refused.into_response();
    set(response.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{size}"));
    response
}

/// Whether the client's part is of this file (RFC 9110 §13.1.5): no `If-Range`, or the very tag. A weak tag or a date
/// proves nothing, and the client gets the whole.
fn is_of_this(if_range: Option<&str>, hash: Hash) -> bool {
    if_range.is_none_or(|tag| {
        tag.trim().strip_prefix('"').and_then(|tag| tag.strip_suffix('"')) == Some(&hash.to_string())
    })
}

/// Reads the next bytes, checked, on a thread that may wait for the disk.
async fn read(mut reader: Reader, from: u64, most: u64) -> Result<(Reader, Bytes), EvidenceError> {
    aside(move || {
        let step = reader.read(from, most)?;
        Ok((reader, Bytes::from(step)))
    })
    .await
}

/// Sends the file at the client's pace. What cannot be read, or is not what was uploaded, ends the connection.
async fn send((mut reader, mut step): (Reader, Bytes), mut from: u64, length: u64, writer: Writer) {
    let end = from + length;
    loop {
        from += step.len() as u64;
        if step.is_empty() || from >= end {
            let _: Result<(), Unread> = writer.finish(step).await;
            return;
        }
        if writer.write(step).await.is_err() {
            return;
        }
        match read(reader, from, end - from).await {
            Ok(next) => (reader, step) = next,
            Err(error) => {
                tracing::warn!(%error, "a piece of evidence could not be sent to its end");
                return writer.fail().await;
            }
        }
    }
}
