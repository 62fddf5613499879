//! Which piece of evidence a request is about, and what both ways have in common.

use agentbench_evidence::{EvidenceError, Hash, NoHash};
use agentbench_protocol::{ErrorCode, Refusal, SessionId};
use axum::http::StatusCode;
use axum::http::request::Parts;

use crate::http::answer::{Answer, Refused};
use crate::http::api::segment;
use crate::query::Query;
use crate::rules::parse_session_id;

/// What a request is about.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    pub(super) session: SessionId,
    pub(super) hash: Hash,
}

impl Piece {
    pub(super) fn of(parts: &Parts) -> Answer<Self> {
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
pub(crate) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EvidenceError> + Send + 'static,
) -> Result<T, EvidenceError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(EvidenceError::Disk(std::io::Error::other(error))))
}

/// The answer to what went wrong, but for uploads in the wrong place ([`super::upload()`] answers them).
pub(crate) fn refused(error: &EvidenceError) -> Refused {
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
