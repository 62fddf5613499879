//! What one client writes down, one record for each thing that it does or sees.

use agentbench_protocol::{Epoch, GapCause, Seq, SessionId};
use serde::{Deserialize, Serialize};

/// All that one client did and saw, in order. The client is the producer of what it publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientHistory {
    /// Its name, unique in the run.
    pub client: String,
    /// Its records, in the order in which they happened.
    pub records: Vec<Record>,
}

/// One thing that a client did or saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When, µs since the run began, on the clock that all clients of the run share.
    pub at: u64,
    /// The session.
    pub session: SessionId,
    /// What it was.
    #[serde(flatten)]
    pub operation: Operation,
}

/// What a delivered entry of a log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// An event, with a digest of its `data`'s bytes.
    Event(u32),
    /// A change of the session's lifecycle, which the server writes.
    Lifecycle,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Operation {
    /// A publish begins.
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
        /// Its place, as the ack said.
        seq: Seq,
        /// The life of the log, if the ack said it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epoch: Option<Epoch>,
        /// The ack said that the log had it already.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        duplicate: bool,
    },
    /// The publish was refused: it is not in the log.
    Fail {
        /// Id of the message.
        message: Box<str>,
        /// Why.
        why: Box<str>,
    },
    /// Nobody knows whether the log has it.
    Unknown {
        /// Id of the message.
        message: Box<str>,
        /// Why.
        why: Box<str>,
    },
    /// Reading begins, or goes on after a reconnect, behind this place. What was asked for and what was
    /// granted are the same, or the epoch is another one.
    Read {
        /// The life of the log.
        epoch: Epoch,
        /// The last seq that the reader has.
        after: Seq,
    },
    /// An entry of the log arrived.
    Delivery {
        /// Its place.
        seq: Seq,
        /// Id of the message.
        message: Box<str>,
        /// What it holds.
        content: Content,
    },
    /// The client dropped so many entries that came again or too late, before anybody saw which. Noted where
    /// the reading ends.
    Dropped {
        /// How many.
        count: u64,
    },
    /// The server said that these will not arrive.
    Gap {
        /// First seq.
        from: Seq,
        /// Last seq.
        to: Seq,
        /// Why.
        cause: GapCause,
    },
    /// Reading ends.
    Stop {
        /// Why: it decides whether what did not arrive is held against the server.
        why: StoppedBecause,
    },
    /// The whole log is read once more, from its beginning, after everything else. Deliveries follow, then a
    /// `Stop`.
    FinalRead {
        /// The life of the log.
        epoch: Epoch,
    },
}

/// Why a reader ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoppedBecause {
    /// It was connected and has waited long enough: everything was owed to it.
    CaughtUp,
    /// It left by its own will: what came later was not owed.
    Left,
    /// It had no server any more: what it did not get proves nothing.
    Cut,
}
