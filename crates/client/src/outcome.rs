//! What becomes of a publish, a command and a client, said so that the caller knows what it may do now.

use std::time::Duration;

use agentbench_protocol::message::ErrorData;
use agentbench_protocol::{AckLevel, Epoch, Seq};

/// What became of a publish.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The log has it.
    Stored {
        /// Its place in the session's log.
        seq: Seq,
        /// The life of the log that `seq` counts in.
        epoch: Option<Epoch>,
        /// What the ack vouches for.
        level: Option<AckLevel>,
        /// The log had it already, from an earlier send.
        duplicate: bool,
    },
    /// The server refused it: it is not in the log.
    Refused(ErrorData),
    /// The client gave up.
    Unknown {
        /// Why.
        why: GaveUp,
        /// Whether it was ever handed to a connection. If not, it is not in the log; else it may be.
        sent: bool,
    },
}

impl Outcome {
    /// Whether the log has it.
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
    /// Eight connections in a row broke soon after it was sent, before the server had answered, the later ones when it was sent
    /// alone: something on the way does not carry it.
    #[error("each connection broke at it: {detail}")]
    Breaks {
        /// How the last one ended.
        detail: String,
    },
    /// Made room for a later one.
    #[error("dropped to make room in the outbox")]
    Dropped,
    /// The session was left before.
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
    /// The server said not to come back.
    #[error("the server closed the connection for good ({}): {detail}", .code.map_or_else(|| "no code".to_owned(), |code| code.to_string()))]
    Dismissed {
        /// The close code, if there was one.
        code: Option<u16>,
        /// What the server said.
        detail: String,
    },
    /// The server refused the upgrade in a way that will not change.
    #[error("the server answered with HTTP status {status}: {detail}")]
    Http {
        /// The status.
        status: u16,
        /// The beginning of the body.
        detail: String,
    },
    /// The attempts allowed by the backoff are used up.
    #[error("gave up after {attempts} attempts: {last}")]
    Attempts {
        /// How many.
        attempts: u32,
        /// What ended the last one.
        last: String,
    },
    /// A new token was needed and there was none.
    #[error("no new token: {0}")]
    Token(String),
}

/// Why something that was asked of a client was not done.
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
    /// There is a follow of this session on this client already.
    #[error("this client follows the session already")]
    AlreadyFollowing,
    /// What was asked for makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The server's reply is not one to this command.
    #[error("the server answered with something else: {0}")]
    UnexpectedReply(String),
}

impl Error {
    /// Whether the same may succeed later without a change.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.retryable,
            Self::TimedOut(_) | Self::OutboxFull | Self::Connect(_) => true,
            _ => false,
        }
    }
}
