//! The judge's output: the promises by name, and the evidence for each that was broken.

use std::collections::BTreeMap;
use std::fmt;

use agentbench_protocol::{Seq, SessionId};
use serde::{Deserialize, Serialize};

/// Number of findings per kind that are kept with their evidence; further ones are only counted.
pub const WITNESSES_PER_KIND: usize = 100;

/// A broken promise, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Acked but not in the log; without a final read: acked, but delivered to none of the readers that waited
    /// for it.
    Lost,
    /// In the log, but never delivered to a reader that was owed it.
    Unseen,
    /// One position of the log was delivered twice to one reader.
    DeliveredTwice,
    /// Delivered after a later one.
    OutOfOrder,
    /// Two readers received different messages at one position of the log.
    OrdersDiffer,
    /// A reader skipped a position of the log without a gap that explains it.
    Hole,
    /// One producer's messages are not in the order in which they were published.
    ProducerOrder,
    /// A message that no client published.
    Invented,
    /// The ack named another position than the message's.
    WrongSeq,
    /// One message has two positions in the log.
    StoredTwice,
    /// A message's content is not what was published.
    Altered,
    /// A message that was refused is in the log.
    RefusedButStored,
    /// A publish without an outcome: neither stored, refused nor unknown.
    Unaccounted,
    /// The records contradict themselves, so that no conclusion is possible.
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

    /// Its text in reports.
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

/// One broken promise with its evidence.
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
    /// When the client observed it, µs since the start of the run.
    pub at: u64,
    /// Further evidence: the other client, position or time.
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

/// Counts of a history.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Sessions.
    pub sessions: u64,
    /// Publishes started.
    pub published: u64,
    /// Publishes that were acked.
    pub stored: u64,
    /// Acked publishes that were already in the log.
    pub duplicates: u64,
    /// Publishes that were refused.
    pub refused: u64,
    /// Publishes with an unknown outcome.
    pub unknown: u64,
    /// Entries of logs delivered to followers, lifecycle included.
    pub delivered: u64,
    /// Events among those entries.
    pub events_delivered: u64,
    /// Positions covered by gap records, by cause.
    pub gaps: BTreeMap<String, u64>,
    /// Sessions whose whole log was read again after everything else.
    pub final_reads: u64,
    /// Entries in final reads.
    pub finally_read: u64,
    /// Times that a reader continued after a reconnect.
    pub resumed: u64,
    /// Acked messages that could not be verified: the readers were cut off and there was no final
    /// read.
    pub unverified: u64,
}

/// The judge's verdict on a history.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Broken promises with their evidence, the first of each kind.
    pub findings: Vec<Finding>,
    /// The number of each kind. A kind that was not found is absent.
    pub counts: BTreeMap<Kind, u64>,
    /// Counts of what was judged.
    pub summary: Summary,
}

impl Verdict {
    /// Whether every promise held.
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
