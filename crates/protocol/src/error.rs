//! Error codes: what went wrong, whether a retry helps, and an explanation for people.

use serde::{Deserialize, Serialize};

/// Every code that an `error` message can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The frame is not JSON (or not MessagePack).
    MalformedJson,
    /// A field is missing, of the wrong type or out of range; `field` names it.
    InvalidMessage,
    /// The envelope's `type` is not one that a client may send.
    UnknownType,
    /// `data.command` is unknown.
    UnknownCommand,
    /// There is no valid token.
    NotAuthenticated,
    /// The token does not permit this, or not in this project.
    Forbidden,
    /// There is no session with this id that the user may see.
    SessionNotFound,
    /// The session has ended or expired and accepts no events.
    SessionClosed,
    /// The limit of sessions is reached (`MAX_SESSIONS`, or a user's own limit).
    SessionLimit,
    /// Publishing requires participation: create or join the session first.
    NotAParticipant,
    /// The same producer has used this id for other content.
    IdConflict,
    /// The session's state does not allow this lifecycle step.
    InvalidTransition,
    /// The position cannot exist in any log.
    InvalidPosition,
    /// The message is larger than `maxPayload`.
    PayloadTooLarge,
    /// `metadata.checksum` does not match `data`.
    ChecksumMismatch,
    /// Sent faster than the limit allows.
    RateLimited,
    /// The server is overloaded.
    Overloaded,
    /// The log accepts no appends now (disk full or failed); reads continue.
    LogUnavailable,
    /// HTTP only: nothing exists under this name.
    NotFound,
    /// A bug in the server.
    Internal,
}

impl ErrorCode {
    /// Every code, in the order of the protocol's table.
    pub const ALL: [Self; 20] = [
        Self::MalformedJson,
        Self::InvalidMessage,
        Self::UnknownType,
        Self::UnknownCommand,
        Self::NotAuthenticated,
        Self::Forbidden,
        Self::SessionNotFound,
        Self::SessionClosed,
        Self::SessionLimit,
        Self::NotAParticipant,
        Self::IdConflict,
        Self::InvalidTransition,
        Self::InvalidPosition,
        Self::PayloadTooLarge,
        Self::ChecksumMismatch,
        Self::RateLimited,
        Self::Overloaded,
        Self::LogUnavailable,
        Self::NotFound,
        Self::Internal,
    ];

    /// The code as used on the wire and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MalformedJson => "malformed_json",
            Self::InvalidMessage => "invalid_message",
            Self::UnknownType => "unknown_type",
            Self::UnknownCommand => "unknown_command",
            Self::NotAuthenticated => "not_authenticated",
            Self::Forbidden => "forbidden",
            Self::SessionNotFound => "session_not_found",
            Self::SessionClosed => "session_closed",
            Self::SessionLimit => "session_limit",
            Self::NotAParticipant => "not_a_participant",
            Self::IdConflict => "id_conflict",
            Self::InvalidTransition => "invalid_transition",
            Self::InvalidPosition => "invalid_position",
            Self::PayloadTooLarge => "payload_too_large",
            Self::ChecksumMismatch => "checksum_mismatch",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::LogUnavailable => "log_unavailable",
            Self::NotFound => "not_found",
            Self::Internal => "internal",
        }
    }

    /// Whether the same message may succeed later without a change by the sender.
    pub const fn retryable(self) -> bool {
        matches!(
            self,
            Self::SessionLimit
                | Self::ChecksumMismatch
                | Self::RateLimited
                | Self::Overloaded
                | Self::LogUnavailable
                | Self::Internal
        )
    }

    /// Whether the input itself was malformed: such errors count towards `MALFORMED_LIMIT`.
    pub const fn is_malformed_input(self) -> bool {
        matches!(self, Self::MalformedJson | Self::InvalidMessage | Self::UnknownType | Self::UnknownCommand)
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The refusal of a message, with everything reported to its sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Refusal {
    /// The code.
    pub code: ErrorCode,
    /// An explanation for people. Contains no unvalidated input of the sender.
    pub detail: String,
    /// The id of the refused message, if it could be parsed.
    pub original_message_id: Option<String>,
    /// The invalid field, for `invalid_message`.
    pub field: Option<String>,
    /// When to try again, for retryable codes.
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    /// A refusal with only code and text.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), original_message_id: None, field: None, retry_after_ms: None }
    }

    /// `invalid_message` that names the field.
    pub fn invalid(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::new(ErrorCode::InvalidMessage, detail) }
    }

    /// For an event after one of the same producer that was temporarily refused.
    pub fn out_of_turn() -> Self {
        let detail =
            "an earlier event of this session was refused for now; it has to be sent again before later ones";
        Self::new(ErrorCode::Overloaded, detail).retry_after(100)
    }

    /// Adds the id of the refused message.
    #[must_use]
    pub fn of(mut self, id: impl Into<String>) -> Self {
        self.original_message_id = Some(id.into());
        self
    }

    /// Adds the time after which to try again.
    #[must_use]
    pub fn retry_after(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }
}

impl From<crate::json::JsonError> for Refusal {
    fn from(error: crate::json::JsonError) -> Self {
        Self::new(ErrorCode::MalformedJson, format!("the message is not valid JSON: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_listed_once_and_written_as_serde_writes_it() {
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
            assert_eq!(ErrorCode::ALL.iter().filter(|other| **other == code).count(), 1);
        }
    }
}
