//! `PUT` and `HEAD`: a file comes, at once or in parts, and its sender can ask how much of it has come.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use agentbench_audit::Record;
use agentbench_auth::Permission;
use agentbench_evidence::{Begun, Ended, EvidenceError, Found, MediaType, Part, Stored, Upload};
use agentbench_protocol::{ErrorCode, Refusal};
use axum::body::Body;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use serde::Serialize;

use super::piece::{Piece, aside, refused};
use super::range::ContentRange;
use crate::clock;
use crate::http::access::Caller;
use crate::http::answer::{Answer, ErrorBody, Refused, json};
use crate::http::api::Api;
use crate::http::head;
use crate::intake::Share;
use crate::shared::Shared;

/// Bytes that are collected before the disk is asked to take them.
const STEP_BYTES: usize = 64 * 1024;
/// Longest time without a byte of the body.
const IDLE: Duration = Duration::from_secs(30);
/// Time for which a request waits for another one that is uploading the same file, and between two looks.
const BUSY_PATIENCE: Duration = Duration::from_secs(5);
const BUSY_LOOK: Duration = Duration::from_millis(50);
/// How much of a file has been received.
const OFFSET: &str = "upload-offset";

/// A file that is stored.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct StoredBody {
    /// Its name: the BLAKE3 hash of its bytes.
    hash: String,
    /// Its bytes.
    size: u64,
    /// What they are.
    content_type: &'static str,
}

/// How much of a file has been received.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct Received {
    /// Bytes from the beginning; the next part begins there.
    received: u64,
    /// Why the part was not taken, if it was not.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    error: Option<ErrorBody>,
}

/// `HEAD /api/v1/evidence/{hash}`
pub(crate) async fn progress(State(api): State<Api>, parts: Parts) -> Answer<Response> {
    let caller = Caller::of(&api, &parts)?;
    // Who uploads has to know how far it has come, whether it may read or not.
    caller.needs(Permission::SessionPublish).or_else(|_| caller.needs(Permission::SessionRead))?;
    let piece = Piece::of(&parts)?;
    caller.reaches(&api, piece.session)?;
    let store = Arc::clone(&api.shared.storage.evidence);
    let found =
        aside(move || store.find(piece.session, piece.hash)).await.map_err(|error| refused(&error))?;
    match found {
        Found::Whole(stored) => {
            let headers = [
                (header::CONTENT_LENGTH, stored.size.to_string()),
                (header::CONTENT_TYPE, stored.media_type.as_str().to_owned()),
                (header::CACHE_CONTROL, "no-store".to_owned()),
            ];
            Ok((StatusCode::OK, headers).into_response())
        }
        Found::Partly(received) => {
            let headers =
                [(OFFSET, received.to_string()), (header::CACHE_CONTROL.as_str(), "no-store".to_owned())];
            Ok((StatusCode::NO_CONTENT, headers).into_response())
        }
        Found::Nothing => Err(Refusal::new(ErrorCode::NotFound, "the session has no such evidence").into()),
    }
}

/// `PUT /api/v1/evidence/{hash}`
pub(crate) async fn upload(State(api): State<Api>, parts: Parts, body: Body) -> Answer<Response> {
    let taken = take(&api, &parts, body).await;
    let outcome = match &taken {
        Ok(response) if response.status() == StatusCode::CREATED => "stored",
        Ok(response) if response.status() == StatusCode::OK => "repeated",
        Ok(response) if response.status() == StatusCode::ACCEPTED => "partly",
        Ok(_) | Err(_) => "refused",
    };
    api.shared.metrics.evidence(outcome);
    taken
}

async fn take(api: &Api, parts: &Parts, body: Body) -> Answer<Response> {
    let caller = Caller::of(api, parts)?;
    api.shared.audit_room().await?;
    caller.needs(Permission::SessionPublish)?;
    let piece = Piece::of(parts)?;
    let media_type = media_type(parts)?;
    let (part, length) = part(parts)?;
    may_upload(api, &caller, piece)?;
    let share = api.shared.intake.receive_share();
    let mut body = Incoming { shared: Arc::clone(&api.shared), body, step: BytesMut::new(), share };
    match begin(api, piece, media_type, part).await {
        Ok(Begun::There(stored)) => {
            body.pass_over(api.shared.config.max_evidence_bytes).await;
            Ok(stored_answer(StatusCode::OK, piece, stored))
        }
        Ok(Begun::Upload(upload)) => {
            let ended = write(upload, &mut body, length).await?;
            Ok(match ended {
                Ended::Whole(stored) => {
                    api.shared.audit(|| {
                        let record =
                            Record::allowed(api.now(), "put_evidence").detail(piece.hash.to_string());
                        Record { session: piece.session.to_string(), ..caller.record(record) }
                    });
                    stored_answer(StatusCode::CREATED, piece, stored)
                }
                Ended::Partly(received) => received_answer(StatusCode::ACCEPTED, received, None),
            })
        }
        Err(error @ (EvidenceError::OutOfPlace { received } | EvidenceError::Busy { received })) => {
            body.pass_over(api.shared.config.max_evidence_bytes).await;
            let why = refused(&error).refusal;
            Ok(received_answer(StatusCode::CONFLICT, received, Some(ErrorBody::from(why))))
        }
        Err(error) => Err(refused(&error)),
    }
}

fn may_upload(api: &Api, caller: &Caller, piece: Piece) -> Answer<()> {
    let entry = caller.reaches(api, piece.session)?;
    // What is damaged may be mended whenever its bytes are still somewhere: that adds nothing to the session.
    let is_damaged = api.shared.storage.evidence.is_damaged(piece.session, piece.hash);
    if entry.summary().status.has_ended() && !is_damaged {
        return Err(
            Refusal::new(ErrorCode::SessionClosed, "the session has ended and takes no evidence").into()
        );
    }
    api.shared.gate.accepts_work()?;
    Ok(api.shared.gate.charge_message(&caller.grant.user_id, api.now())?)
}

fn media_type(parts: &Parts) -> Answer<MediaType> {
    let text = head::text(&parts.headers, header::CONTENT_TYPE.as_str());
    text.and_then(MediaType::parse).ok_or_else(|| {
        let known = MediaType::ALL.map(MediaType::as_str).join(", ");
        Refused {
            refusal: Refusal::invalid("Content-Type", format!("Content-Type must be one of {known}")),
            status: Some(StatusCode::UNSUPPORTED_MEDIA_TYPE),
        }
    })
}

/// What part of the file the body is, and how many bytes it has to have, if that was said.
fn part(parts: &Parts) -> Answer<(Part, Option<u64>)> {
    let header = |name: header::HeaderName| head::text(&parts.headers, name.as_str());
    let length = header(header::CONTENT_LENGTH).and_then(|text| text.parse().ok());
    if !parts.headers.contains_key(header::CONTENT_RANGE) {
        return Ok((Part::Whole(length), length));
    }
    let range = header(header::CONTENT_RANGE).and_then(ContentRange::parse).ok_or_else(|| {
        Refusal::invalid(
            "Content-Range",
            "Content-Range must be: bytes FIRST-LAST/TOTAL, all of them numbers",
        )
    })?;
    if length.is_some_and(|length| length != range.length) {
        let detail = "the body has not as many bytes as Content-Range says";
        return Err(Refusal::invalid("Content-Range", detail).into());
    }
    Ok((Part::Range { from: range.from, total: range.total }, Some(range.length)))
}

/// Begins, after having waited a little for another request that is uploading the same file.
async fn begin(api: &Api, piece: Piece, media_type: MediaType, part: Part) -> Result<Begun, EvidenceError> {
    let deadline = clock::timer() + BUSY_PATIENCE;
    loop {
        let store = Arc::clone(&api.shared.storage.evidence);
        let begun = aside(move || store.begin(piece.session, piece.hash, media_type, part)).await;
        match begun {
            Err(EvidenceError::Busy { .. }) if clock::timer() < deadline => {
                tokio::time::sleep(BUSY_LOOK).await;
            }
            other => return other,
        }
    }
}

/// Writes the body to the disk, step by step. What has come before the body breaks off is kept.
async fn write(mut upload: Upload, body: &mut Incoming, length: Option<u64>) -> Answer<Ended> {
    let begun_at = upload.received();
    loop {
        let arrived = body.step().await;
        let (step, broken) = match arrived {
            Ok(Some(step)) => (step, None),
            Ok(None) => break,
            Err((step, broken)) => (step, Some(broken)),
        };
        let (count, taken) = (step.len(), upload.received() - begun_at);
        if length.is_some_and(|length| taken + count as u64 > length) {
            return Err(
                Refusal::invalid("Content-Range", "the body has more bytes than Content-Range says").into()
            );
        }
        let written = aside(move || upload.write(&step).map(|()| upload)).await;
        upload = written.map_err(|error| refused(&error))?;
        body.shared.metrics.evidence_bytes.inc_by(count as u64);
        if let Some(broken) = broken {
            return Err(broken);
        }
    }
    if length.is_some_and(|length| upload.received() - begun_at < length) {
        return Err(
            Refusal::invalid("Content-Range", "the body has fewer bytes than Content-Range says").into()
        );
    }
    aside(move || upload.end()).await.map_err(|error| refused(&error))
}

/// A body that is taken step by step. What is held of it is in the receive budget.
struct Incoming {
    shared: Arc<Shared>,
    body: Body,
    step: BytesMut,
    share: Share,
}

impl Incoming {
    /// The next bytes; `None` at the end. If it breaks off, what had come is handed out with the reason.
    async fn step(&mut self) -> Result<Option<Bytes>, (Bytes, Refused)> {
        while self.step.len() < STEP_BYTES {
            match self.frame().await {
                Ok(Some(data)) => {
                    self.step.extend_from_slice(&data);
                    if self.share.set(self.step.len()) > self.shared.config.receive_budget {
                        let detail = "the server holds too many incomplete messages";
                        let refusal = Refusal::new(ErrorCode::Overloaded, detail).retry_after(1_000);
                        return Err((self.take_step(), refusal.into()));
                    }
                }
                Ok(None) if self.step.is_empty() => return Ok(None),
                Ok(None) => break,
                Err(broken) => return Err((self.take_step(), broken)),
            }
        }
        Ok(Some(self.take_step()))
    }

    fn take_step(&mut self) -> Bytes {
        self.share.set(0);
        self.step.split().freeze()
    }

    async fn frame(&mut self) -> Answer<Option<Bytes>> {
        let next = poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx));
        let next = tokio::time::timeout(IDLE, pin!(next)).await.map_err(|_| Refused {
            refusal: Refusal::new(ErrorCode::InvalidMessage, "the body did not arrive in time"),
            status: Some(StatusCode::REQUEST_TIMEOUT),
        })?;
        match next {
            None => Ok(None),
            Some(Ok(frame)) => Ok(Some(frame.into_data().unwrap_or_default())),
            Some(Err(_)) => {
                Err(Refusal::new(ErrorCode::InvalidMessage, "the body did not arrive whole").into())
            }
        }
    }

    /// Reads what nobody wants, within bounds: an answer to a client that is still sending would be lost with a reset.
    async fn pass_over(&mut self, most: u64) {
        let mut passed = 0;
        while passed <= most
            && let Ok(Some(data)) = self.frame().await
        {
            passed += data.len() as u64;
        }
    }
}

fn stored_answer(status: StatusCode, piece: Piece, stored: Stored) -> Response {
    let (size, content_type) = (stored.size, stored.media_type.as_str());
    json(status, &StoredBody { hash: piece.hash.to_string(), size, content_type })
}

fn received_answer(status: StatusCode, received: u64, error: Option<ErrorBody>) -> Response {
    let mut response = json(status, &Received { received, error });
    response.headers_mut().insert(OFFSET, HeaderValue::from(received));
    response
}
