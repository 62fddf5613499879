//! `GET`: a file goes out as what it was said to be, under headers that let no browser make more of it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use agentbench_audit::Record;
use agentbench_evidence::{MediaType, Stored};
use agentbench_protocol::{ErrorCode, Refusal};
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use super::{Piece, Ranged, aside, refused};
use crate::http::access::{Caller, header_text};
use crate::http::answer::{Answer, Refused};
use crate::http::pipe::{self, Unread, Writer};
use crate::http::{Api, Link};

/// Bytes that are read at once.
const STEP_BYTES: u64 = 128 * 1024;

/// `GET /api/v1/evidence/{hash}`
pub(crate) async fn download(State(api): State<Api>, parts: Parts) -> Answer<Response> {
    let caller = Caller::of(&api, &parts)?;
    let piece = Piece::of(&parts)?;
    caller.may_read(&api, piece.session)?;
    let store = Arc::clone(&api.shared.evidence);
    let found =
        aside(move || store.read(piece.session, piece.hash)).await.map_err(|error| refused(&error))?;
    let (file, stored) =
        found.ok_or_else(|| Refusal::new(ErrorCode::NotFound, "the session has no such evidence"))?;
    let range = Ranged::of(header_text(&parts.headers, header::RANGE.as_str()), stored.size);
    let mut headers = headers(stored);
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
    let (writer, body) = pipe::body(&api.shared, &Link::of(&parts));
    tokio::spawn(send(file, from, length, writer));
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

/// Reads the file at the client's pace, on a thread that may wait for the disk.
async fn send(mut file: File, from: u64, length: u64, writer: Writer) {
    let mut left = length;
    let mut seek = Some(from);
    while left > 0 {
        let count = left.min(STEP_BYTES);
        let read = aside(move || {
            if let Some(from) = seek {
                file.seek(SeekFrom::Start(from))?;
            }
            let mut step = vec![0; count as usize];
            file.read_exact(&mut step)?;
            Ok((file, Bytes::from(step)))
        });
        match read.await {
            Ok((same, step)) => {
                file = same;
                if writer.write(step).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a piece of evidence could not be read to its end");
                return writer.fail().await;
            }
        }
        seek = None;
        left -= count;
    }
    let _: Result<(), Unread> = writer.finish(Bytes::new()).await;
}
