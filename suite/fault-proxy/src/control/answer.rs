//! Request bodies and answers: refusals are JSON, too, with a text for people and a code for programs.

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::InvalidFault;

pub(super) type Answer = Result<(StatusCode, Json<Value>), Refusal>;

/// 200 with a body.
pub(super) fn ok(value: Value) -> (StatusCode, Json<Value>) {
    (StatusCode::OK, Json(value))
}

/// Why a request was refused.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    error: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, error: String) -> Self {
        Self { status, code, error }
    }

    pub(super) fn not_found(error: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", error.into())
    }

    pub(super) fn method() -> Self {
        let error = "this path does not support this method; see docs/fault-proxy.md".to_owned();
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", error)
    }

    pub(super) fn page() -> Self {
        let error = "requests from web pages (with an Origin header) are refused".to_owned();
        Self::new(StatusCode::FORBIDDEN, "from_a_page", error)
    }
}

impl From<InvalidFault> for Refusal {
    fn from(invalid: InvalidFault) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_fault", invalid.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.error, "code": self.code }))).into_response()
    }
}

/// Parses a JSON body, with any Content-Type; an error names the field.
pub(super) fn body<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, Refusal> {
    let body = body.map_err(|rejection| {
        let code = if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            "body_too_large"
        } else {
            "unreadable_body"
        };
        Refusal::new(rejection.status(), code, rejection.body_text())
    })?;
    let mut json = serde_json::Deserializer::from_slice(&body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let text = match error.path().to_string() {
            path if path == "." => error.inner().to_string(),
            path => format!("{path}: {}", error.inner()),
        };
        Refusal::new(StatusCode::BAD_REQUEST, "malformed_body", text)
    })?;
    json.end().map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, "malformed_body", error.to_string()))?;
    Ok(value)
}
