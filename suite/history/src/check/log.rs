//! What a session's log holds, as its readers saw it.

use std::collections::{BTreeMap, HashMap};

use agentbench_protocol::{Epoch, Seq};

use super::Seen;
use crate::finding::{Kind, Verdict};
use crate::record::Content;

/// The log's places, each with the first that was seen of it.
#[derive(Debug, Default)]
pub(super) struct Log<'a> {
    places: BTreeMap<(Epoch, Seq), Entry<'a>>,
}

/// What is at one place.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) message: &'a str,
    pub(super) content: Content,
    /// Who saw it first.
    pub(super) client: &'a str,
    /// When.
    pub(super) at: u64,
    /// A final read has it.
    pub(super) is_final: bool,
}

impl<'a> Log<'a> {
    #[expect(clippy::too_many_arguments, reason = "one delivery, spelled out")]
    pub(super) fn see(
        &mut self,
        seen: Seen<'a>,
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
            client: seen.client,
            at: seen.record.at,
            is_final,
        });
        let (kind, what) = if entry.message != message {
            (Kind::OrdersDiffer, "got message")
        } else if entry.content != content {
            (Kind::Altered, "got other content of")
        } else {
            return;
        };
        let detail =
            format!("{} {what} {} here at {:.3} s", entry.client, entry.message, entry.at as f64 / 1e6);
        verdict.add(seen.finding(kind, Some(message), Some(seq), detail));
    }

    /// Everything, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Epoch, Seq, &Entry<'a>)> {
        self.places.iter().map(|((epoch, seq), entry)| (*epoch, *seq, entry))
    }

    /// What is at these places of one life.
    pub(super) fn range(&self, epoch: Epoch, from: Seq, to: Seq) -> impl Iterator<Item = (Seq, &Entry<'a>)> {
        self.places.range((epoch, from)..=(epoch, to)).map(|((_, seq), entry)| (*seq, entry))
    }

    /// The places of each message.
    pub(super) fn by_message(&self) -> HashMap<&'a str, Vec<(Epoch, Seq, bool)>> {
        let mut found: HashMap<_, Vec<_>> = HashMap::with_capacity(self.places.len());
        for (epoch, seq, entry) in self.iter() {
            found.entry(entry.message).or_default().push((epoch, seq, entry.is_final));
        }
        found
    }
}
