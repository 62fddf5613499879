//! The records of one client, one for each action or observation.

use agentbench_protocol::{Epoch, GapCause, Seq, SessionId};
use serde::{Deserialize, Serialize};

/// All actions and observations of one client, in order. The client is the producer of what it publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientHistory {
    /// Its name, unique in the run.
    pub client: String,
    /// Its records, in the order in which they happened.
    pub records: Vec<Record>,
}

/// One action or observation of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When, µs since the start of the run, on the clock that all clients of the run share.
    pub at: u64,
    /// The session.
    pub session: SessionId,
    /// The action or observation.
    #[serde(flatten)]
    pub operation: Operation,
}

/// The content of a delivered entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// An event, with a digest of its `data`'s bytes.
    Event(u32),
    /// A change of the session's lifecycle, which the server writes.
    Lifecycle,
}

/// An action or observation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Operation {
    /// A publish starts.
    Invoke {
        /// Id of the message.
        message: Box<str>,
        /// Digest of its `data`'s bytes.
        digest: u32,
    },
    /// The publish was acked.
    Ok {
        /// Id of the message.
        message: Box<str>,
        /// Its position according to the ack.
        seq: Seq,
        /// The epoch of the log, if the ack named it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epoch: Option<Epoch>,
        /// Whether it was already in the log, according to the ack.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        duplicate: bool,
    },
    /// The publish was refused: it is not in the log.
    Fail {
        /// Id of the message.
        message: Box<str>,
        /// The reason.
        why: Box<str>,
    },
    /// It is unknown whether the message is in the log.
    Unknown {
        /// Id of the message.
        message: Box<str>,
        /// The reason.
        why: Box<str>,
    },
    /// A read starts, or continues after a reconnect, after this position. The granted position is the requested one, or
    /// has another epoch.
    Read {
        /// The epoch of the log.
        epoch: Epoch,
        /// The last seq that the reader has.
        after: Seq,
    },
    /// An entry of the log arrived.
    Delivery {
        /// Its position.
        seq: Seq,
        /// Id of the message.
        message: Box<str>,
        /// Its content.
        content: Content,
    },
    /// The number of entries that the client dropped because they were repeated or late. Recorded where the
    /// read ends.
    Dropped {
        /// The number.
        count: u64,
    },
    /// The server reported that these entries will not arrive.
    Gap {
        /// First seq.
        from: Seq,
        /// Last seq.
        to: Seq,
        /// The cause.
        cause: GapCause,
    },
    /// The read ends.
    Stop {
        /// The reason, which decides whether missing entries count against the server.
        why: StopReason,
    },
    /// The whole log is read again, from its beginning, after everything else. Deliveries follow, then a
    /// `Stop`.
    FinalRead {
        /// The epoch of the log.
        epoch: Epoch,
    },
}

/// Why a reader ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// It was connected and waited long enough: everything was owed to it.
    CaughtUp,
    /// It left on its own: later entries were not owed to it.
    Left,
    /// Its server was gone: missing entries prove nothing.
    Cut,
}
