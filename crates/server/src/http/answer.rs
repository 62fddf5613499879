//! From refusals to HTTP answers: the protocol's error object, with the status that fits its code.

use agentbench_protocol::message::ErrorData;
use agentbench_protocol::{ErrorCode, Refusal};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// A refusal on its way to the client.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) refusal: Refusal,
    /// Another status than the code's own.
    pub(crate) status: Option<StatusCode>,
}

/// What handlers give.
pub(crate) type Answer<T> = Result<T, Refused>;

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, status: None }
    }
}

/// The status of a code (RFC 9110 §15; 429 is RFC 6585 §4).
pub(crate) fn status_of(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::MalformedJson
        | ErrorCode::InvalidMessage
        | ErrorCode::UnknownType
        | ErrorCode::UnknownCommand
        | ErrorCode::InvalidPosition
        | ErrorCode::ChecksumMismatch => StatusCode::BAD_REQUEST,
        ErrorCode::NotAuthenticated => StatusCode::UNAUTHORIZED,
        ErrorCode::Forbidden => StatusCode::FORBIDDEN,
        ErrorCode::SessionNotFound | ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::SessionClosed
        | ErrorCode::NotAParticipant
        | ErrorCode::IdConflict
        | ErrorCode::InvalidTransition => StatusCode::CONFLICT,
        ErrorCode::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::SessionLimit | ErrorCode::Overloaded | ErrorCode::LogUnavailable => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// `{"type": "error", "data": {…}}`, as on the socket.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct ErrorBody {
    /// Always `error`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// What is wrong.
    data: ErrorData,
}

impl From<Refusal> for ErrorBody {
    fn from(refusal: Refusal) -> Self {
        Self { kind: "error", data: refusal.into() }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let code = self.refusal.code;
        let retry_after = self.refusal.retry_after_ms;
        let body = ErrorBody::from(self.refusal);
        let mut response = json(self.status.unwrap_or_else(|| status_of(code)), &body);
        let headers = response.headers_mut();
        if code == ErrorCode::NotAuthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(ms) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000)));
        }
        response
    }
}

/// A body of our own types.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    // Own types have string keys and no failing parts.
    let bytes = serde_json::to_vec(body).expect("own types serialise");
    let kind = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, kind, bytes).into_response()
}
