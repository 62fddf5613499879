//! The contents of a session's log, as observed by its readers.

use std::collections::{BTreeMap, HashMap};

use agentbench_protocol::{Epoch, Seq};

use super::Observation;
use crate::finding::{Kind, Verdict};
use crate::record::Content;

/// The log's positions, each with the first observation of it.
#[derive(Debug, Default)]
pub(super) struct Log<'a> {
    places: BTreeMap<(Epoch, Seq), Entry<'a>>,
}

/// The entry at one position.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) message: &'a str,
    pub(super) content: Content,
    /// The client that observed it first.
    pub(super) client: &'a str,
    /// When.
    pub(super) at: u64,
    /// Whether a final read contains it.
    pub(super) is_final: bool,
}

impl<'a> Log<'a> {
    #[expect(clippy::too_many_arguments, reason = "the fields of one delivery")]
    pub(super) fn observe(
        &mut self,
        observed: Observation<'a>,
        epoch: Epoch,
        seq: Seq,
        message: &'a str,
        content: Content,
        is_final: bool,
        verdict: &mut Verdict,
    ) {
        let entry = self.places.entry((epoch, seq)).or_insert(Entry {
            message,
            content,
            client: observed.client,
            at: observed.record.at,
            is_final,
        });
        let (kind, what) = if entry.message != message {
            (Kind::OrdersDiffer, "received message")
        } else if entry.content != content {
            (Kind::Altered, "received other content of")
        } else {
            return;
        };
        let detail =
            format!("{} {what} {} here at {:.3} s", entry.client, entry.message, entry.at as f64 / 1e6);
        verdict.add(observed.finding(kind, Some(message), Some(seq), detail));
    }

    /// All entries, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Epoch, Seq, &Entry<'a>)> {
        self.places.iter().map(|((epoch, seq), entry)| (*epoch, *seq, entry))
    }

    /// The entries at these positions in one epoch.
    pub(super) fn range(&self, epoch: Epoch, from: Seq, to: Seq) -> impl Iterator<Item = (Seq, &Entry<'a>)> {
        self.places.range((epoch, from)..=(epoch, to)).map(|((_, seq), entry)| (*seq, entry))
    }

    /// The positions of each message.
    pub(super) fn by_message(&self) -> HashMap<&'a str, Vec<(Epoch, Seq, bool)>> {
        let mut found: HashMap<_, Vec<_>> = HashMap::with_capacity(self.places.len());
        for (epoch, seq, entry) in self.iter() {
            found.entry(entry.message).or_default().push((epoch, seq, entry.is_final));
        }
        found
    }
}
