//! What a judge of histories says: the promises by name, and the witness of each that was broken.

use std::collections::BTreeMap;
use std::fmt;

use agentbench_protocol::{Seq, SessionId};
use serde::{Deserialize, Serialize};

/// Findings of one kind that are kept with their witness; further ones are counted.
pub const WITNESSES_PER_KIND: usize = 100;

/// A broken promise, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Acked, and the log does not have it; without a final read: acked and delivered to nobody who waited
    /// for it.
    Lost,
    /// In the log, and never delivered to a reader that was owed it.
    Unseen,
    /// One place of the log was delivered twice to one reader.
    DeliveredTwice,
    /// Delivered after a later one.
    OutOfOrder,
    /// Two readers got different messages at one place of the log.
    OrdersDiffer,
    /// A reader was led past a place of the log, and no gap said why.
    Hole,
    /// One producer's messages are not in the order in which they were published.
    ProducerOrder,
    /// A message that nobody published.
    Invented,
    /// The ack named another place than the one where the message is.
    WrongSeq,
    /// One message has two places in the log.
    StoredTwice,
    /// A message's content is not what was published.
    Altered,
    /// A message that was refused is in the log.
    RefusedButStored,
    /// A publish that was begun and has no outcome: neither stored, refused nor unknown.
    Unaccounted,
    /// The records contradict themselves; nothing can be concluded from them.
    Unusable,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 14] = [
        Self::Lost,
        Self::Unseen,
        Self::DeliveredTwice,
        Self::OutOfOrder,
        Self::OrdersDiffer,
        Self::Hole,
        Self::ProducerOrder,
        Self::Invented,
        Self::WrongSeq,
        Self::StoredTwice,
        Self::Altered,
        Self::RefusedButStored,
        Self::Unaccounted,
        Self::Unusable,
    ];

    /// What is said of it in reports.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Lost => "acked but lost",
            Self::Unseen => "in the log but never delivered",
            Self::DeliveredTwice => "delivered twice",
            Self::OutOfOrder => "delivered out of order",
            Self::OrdersDiffer => "different order at two readers",
            Self::Hole => "hole without a gap record",
            Self::ProducerOrder => "producer's order broken",
            Self::Invented => "never published",
            Self::WrongSeq => "acked with a wrong seq",
            Self::StoredTwice => "stored twice",
            Self::Altered => "content altered",
            Self::RefusedButStored => "refused but stored",
            Self::Unaccounted => "publish without an outcome",
            Self::Unusable => "records contradict themselves",
        }
    }
}

/// One broken promise with its witness.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Which promise.
    pub kind: Kind,
    /// Client whose records show it.
    pub client: String,
    /// The session.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub session: SessionId,
    /// The message, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The place in the log, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub seq: Option<Seq>,
    /// When the client saw it, µs since the run began.
    pub at: u64,
    /// What else belongs to it: the other client, place or time.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: session {}", self.kind.text(), self.session)?;
        if let Some(seq) = self.seq {
            write!(f, ", seq {seq}")?;
        }
        if let Some(message) = &self.message {
            write!(f, ", message {message}")?;
        }
        write!(f, ", client {} at {:.3} s: {}", self.client, self.at as f64 / 1e6, self.detail)
    }
}

/// How many of what a history has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Sessions.
    pub sessions: u64,
    /// Publishes begun.
    pub published: u64,
    /// Publishes that were acked.
    pub stored: u64,
    /// Of those, as something that the log had already.
    pub duplicates: u64,
    /// Publishes that were refused.
    pub refused: u64,
    /// Publishes whose outcome nobody knows.
    pub unknown: u64,
    /// Entries of logs delivered to followers, lifecycle included.
    pub delivered: u64,
    /// Of those, events.
    pub events_delivered: u64,
    /// Places of logs that gap records covered, by cause.
    pub gaps: BTreeMap<String, u64>,
    /// Sessions whose whole log was read once more after everything else.
    pub final_reads: u64,
    /// Entries seen by final reads.
    pub finally_read: u64,
    /// Times that a reader went on after a reconnect.
    pub resumed: u64,
    /// Acked messages that nobody could confirm or deny: the readers were cut off and there was no final
    /// read.
    pub unverified: u64,
}

/// What the judge says of a history.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Broken promises with their witnesses, the first of each kind.
    pub findings: Vec<Finding>,
    /// All of them, counted. A kind that was not found is absent.
    pub counts: BTreeMap<Kind, u64>,
    /// What was judged.
    pub summary: Summary,
}

impl Verdict {
    /// Whether every promise was kept.
    pub fn is_clean(&self) -> bool {
        self.counts.is_empty()
    }

    /// How often a promise was broken.
    pub fn count(&self, kind: Kind) -> u64 {
        self.counts.get(&kind).copied().unwrap_or(0)
    }

    pub(crate) fn add(&mut self, finding: Finding) {
        let count = self.counts.entry(finding.kind).or_default();
        *count += 1;
        if *count <= WITNESSES_PER_KIND as u64 {
            self.findings.push(finding);
        }
    }
}
