//! Evidence over HTTP: uploads that can break off and go on, and downloads that no browser runs.
//!
//! The worker's thread never waits for the disk: bytes are collected up to a step and written by another thread, one step of
//! a request at a time, so a slow disk slows the client down and nobody else.

mod download;
mod range;
mod upload;

use std::sync::atomic::Ordering;

use agentbench_evidence::{EvidenceError, Hash, NoHash};
use agentbench_protocol::{ErrorCode, Refusal, SessionId};
use axum::http::StatusCode;
use axum::http::request::Parts;

use super::answer::{Answer, Refused};
use super::query::Query;
use super::segment;
use crate::rules::parse_session_id;
use crate::shared::Shared;

pub(crate) use download::download;
pub(crate) use range::{ContentRange, Ranged};
#[cfg(feature = "schema")]
pub(crate) use upload::{Received, StoredBody};
pub(crate) use upload::{progress, upload};

/// What a request is about.
#[derive(Clone, Copy)]
struct Piece {
    session: SessionId,
    hash: Hash,
}

impl Piece {
    fn of(parts: &Parts) -> Answer<Self> {
        let hash = segment(parts, 3).parse();
        let hash = hash.map_err(|error: NoHash| Refusal::invalid("hash", error.to_string()))?;
        let query = Query::parse(parts.uri.query())?;
        let session = query.get("sessionId").ok_or_else(|| {
            Refusal::invalid("sessionId", "name the session that the evidence belongs to: ?sessionId=…")
        })?;
        Ok(Self { session: parse_session_id(session)?, hash })
    }
}

/// Has another thread do what waits for the disk.
pub(super) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EvidenceError> + Send + 'static,
) -> Result<T, EvidenceError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(EvidenceError::Disk(std::io::Error::other(error))))
}

/// The answer to what went wrong, but for uploads in the wrong place ([`upload`] answers them).
pub(super) fn refused(error: &EvidenceError) -> Refused {
    let detail = error.to_string();
    let (code, status) = match error {
        EvidenceError::TooLarge { .. } | EvidenceError::SessionFull { .. } => {
            (ErrorCode::PayloadTooLarge, None)
        }
        EvidenceError::OutOfPlace { .. } | EvidenceError::Busy { .. } => {
            (ErrorCode::InvalidPosition, Some(StatusCode::CONFLICT))
        }
        EvidenceError::WrongSize { .. } => (ErrorCode::InvalidMessage, None),
        EvidenceError::WrongHash { .. } => {
            (ErrorCode::ChecksumMismatch, Some(StatusCode::UNPROCESSABLE_ENTITY))
        }
        EvidenceError::Damaged { .. } => {
            (ErrorCode::ChecksumMismatch, Some(StatusCode::INTERNAL_SERVER_ERROR))
        }
        EvidenceError::Gone => (ErrorCode::SessionNotFound, None),
        EvidenceError::Full => (ErrorCode::LogUnavailable, Some(StatusCode::INSUFFICIENT_STORAGE)),
        EvidenceError::Disk(_) => (ErrorCode::LogUnavailable, None),
    };
    let mut refusal = Refusal::new(code, detail);
    if matches!(error, EvidenceError::Full | EvidenceError::Disk(_)) {
        tracing::warn!(%error, "evidence could not be stored or read");
        refusal = refusal.retry_after(10_000);
    }
    Refused { refusal, status }
}

/// Removes a session's evidence with the session.
pub(crate) fn remove(shared: &Shared, session: SessionId) {
    if let Err(error) = shared.evidence.remove(session) {
        tracing::warn!(%session, %error, "the evidence of a removed session is still there; it is tried again within a day");
    }
}

/// Removes uploads that nobody went on with, and evidence of sessions that are no more.
pub(crate) fn sweep(shared: &Shared) {
    // Ages are by the wall clock, and what is removed is gone.
    if shared.clock.held_for(shared.config.retention_hold).is_some() {
        return;
    }
    // A session whose log is damaged is not listed, but it may be mended: then nobody's evidence is taken for nobody's.
    let all = shared.log_damaged.load(Ordering::Relaxed);
    let is_known =
        |session| all || shared.catalog.get(session).is_some() || shared.log.head(session).is_some();
    match shared.evidence.sweep(std::time::SystemTime::now(), is_known) {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "removed evidence that nobody finished or whose session is gone"),
        Err(error) => tracing::warn!(%error, "evidence could not be swept"),
    }
}
