//! Outcomes of a publish, a command and a client, which tell the caller what to do next.

use std::time::Duration;

use agentbench_protocol::message::ErrorData;
use agentbench_protocol::{AckLevel, Epoch, Seq, Warning};

/// The outcome of a publish.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It is in the log.
    Stored {
        /// Its position in the session's log.
        seq: Seq,
        /// The epoch that `seq` belongs to.
        epoch: Option<Epoch>,
        /// What the ack guarantees.
        level: Option<AckLevel>,
        /// Whether it was in the log already, from an earlier send.
        duplicate: bool,
        /// Fields that readers will not understand; [`Config::strict`](crate::Config::strict) has such events refused.
        warnings: Vec<Warning>,
    },
    /// The server refused it: it is not in the log.
    Refused(ErrorData),
    /// The client gave up.
    Unknown {
        /// Why.
        why: GaveUp,
        /// Whether it was ever handed to a connection. If not, it is not in the log; otherwise it may be.
        sent: bool,
    },
}

impl Outcome {
    /// Whether it is in the log.
    pub fn is_stored(&self) -> bool {
        matches!(self, Self::Stored { .. })
    }
}

/// Why the client gave up on a publish.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GaveUp {
    /// No ack within `ack_timeout`.
    #[error("no ack in time")]
    AckTimeout,
    /// Refused too often, and an earlier send was never answered.
    #[error("refused too often: {}", .0.error)]
    Retries(ErrorData),
    /// Refused, but an earlier send on another connection was never answered.
    #[error("refused when it was sent again: {}", .0.error)]
    RefusedAgain(ErrorData),
    /// Eight consecutive connections broke soon after it was sent, before the server answered, the later ones while it was sent
    /// alone: something on the path cannot transmit it.
    #[error("each connection broke when it was sent: {detail}")]
    Breaks {
        /// How the last one ended.
        detail: String,
    },
    /// It made room for a later one.
    #[error("dropped to make room in the outbox")]
    Dropped,
    /// The session was left first.
    #[error("the session was left")]
    Left,
    /// The client has ended.
    #[error("{0}")]
    Ended(Ended),
}

/// Why a client has ended for good.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Ended {
    /// The user closed or dropped it.
    #[error("the client was closed")]
    Closed,
    /// The server asked the client not to reconnect.
    #[error("the server closed the connection for good ({}): {detail}", .code.map_or_else(|| "no code".to_owned(), |code| code.to_string()))]
    Dismissed {
        /// The close code, if there was one.
        code: Option<u16>,
        /// The server's reason.
        detail: String,
    },
    /// The server refused the upgrade permanently.
    #[error("the server answered with HTTP status {status}: {detail}")]
    Http {
        /// The status.
        status: u16,
        /// The start of the body.
        detail: String,
    },
    /// The attempts allowed by the backoff are used up.
    #[error("gave up after {attempts} attempts: {last}")]
    Attempts {
        /// Number of attempts.
        attempts: u32,
        /// Why the last one failed.
        last: String,
    },
    /// A new token was needed, but none was available.
    #[error("no new token: {0}")]
    Token(String),
}

/// Why a request to a client failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// The server refused it.
    #[error("{}: {}", .0.code, .0.error)]
    Refused(ErrorData),
    /// No reply in time; it may have been carried out.
    #[error("no reply within {0:?}; whether it was carried out is unknown")]
    TimedOut(Duration),
    /// The client has ended; what was sent before may have been carried out.
    #[error("{0}")]
    Ended(Ended),
    /// The first attempt to connect failed.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The outbox is full, and its policy is not to wait.
    #[error("the outbox is full")]
    OutboxFull,
    /// This client already follows the session.
    #[error("this client already follows the session")]
    AlreadyFollowing,
    /// The request is invalid.
    #[error("{0}")]
    Invalid(String),
    /// The server's reply does not belong to this command.
    #[error("unexpected reply from the server: {0}")]
    UnexpectedReply(String),
}

impl Error {
    /// Whether a retry without changes may succeed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.retryable,
            Self::TimedOut(_) | Self::OutboxFull | Self::Connect(_) => true,
            _ => false,
        }
    }
}
