//! One reader's path through a log.

use std::ops::RangeInclusive;

use agentbench_protocol::{Epoch, Seq, SessionId};

use super::Observation;
use crate::finding::{Finding, Kind, Verdict};
use crate::record::StopReason;

/// From its start to its end, over all its reconnects.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    client: &'a str,
    is_final: bool,
    stopped: Option<StopReason>,
    /// One for each epoch of the log that it read; never empty.
    stretches: Vec<Stretch>,
}

/// A read within one epoch of a log.
#[derive(Debug)]
pub(super) struct Stretch {
    pub(super) epoch: Epoch,
    /// The reader had everything up to here when the read started.
    after: Seq,
    /// The highest position that it received, or that a gap covered.
    pub(super) cursor: Seq,
    missing: Vec<Missing>,
    gaps: Vec<RangeInclusive<Seq>>,
}

/// Positions that the server skipped.
#[derive(Debug, Clone)]
struct Missing {
    places: RangeInclusive<Seq>,
    /// When the server skipped them.
    at: u64,
}

impl<'a> Reader<'a> {
    pub(super) fn new(client: &'a str, epoch: Epoch, after: Seq, is_final: bool) -> Self {
        Self { client, is_final, stopped: None, stretches: vec![Stretch::new(epoch, after)] }
    }

    pub(super) fn client(&self) -> &'a str {
        self.client
    }

    pub(super) fn is_final(&self) -> bool {
        self.is_final
    }

    /// A reader that gives no reason for its end stayed to the end.
    pub(super) fn stopped(&self) -> StopReason {
        self.stopped.unwrap_or(StopReason::CaughtUp)
    }

    pub(super) fn stop(&mut self, why: StopReason) {
        self.stopped = Some(why);
    }

    pub(super) fn stretches(&self) -> &[Stretch] {
        &self.stretches
    }

    fn current(&mut self) -> &mut Stretch {
        let last = self.stretches.len() - 1;
        &mut self.stretches[last]
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.stretches[self.stretches.len() - 1].epoch
    }

    /// Continues after a reconnect. Another epoch of the log starts another stretch; the same one continues at the cursor, and
    /// what the server skipped is missing until a gap explains it.
    pub(super) fn resume(&mut self, epoch: Epoch, after: Seq, at: u64) {
        if self.epoch() != epoch {
            return self.stretches.push(Stretch::new(epoch, after));
        }
        let stretch = self.current();
        if after > stretch.cursor {
            stretch.skip(after, at);
            stretch.cursor = after;
        }
    }

    pub(super) fn deliver(
        &mut self,
        observed: Observation<'_>,
        seq: Seq,
        message: &str,
        verdict: &mut Verdict,
    ) {
        let stretch = self.current();
        if seq > stretch.cursor {
            stretch.skip(seq - 1, observed.record.at);
            stretch.cursor = seq;
            return;
        }
        let cursor = stretch.cursor;
        let kind = if stretch.fill(&(seq..=seq)) || stretch.gaps.iter().any(|gap| gap.contains(&seq)) {
            Kind::OutOfOrder
        } else {
            Kind::DeliveredTwice
        };
        let detail = format!("the reader was already at seq {cursor}");
        verdict.add(observed.finding(kind, Some(message), Some(seq), detail));
    }

    pub(super) fn gap(&mut self, from: Seq, to: Seq, at: u64) {
        let stretch = self.current();
        stretch.fill(&(from..=to));
        if to > stretch.cursor {
            stretch.skip(from.saturating_sub(1), at);
            stretch.cursor = to;
        }
        stretch.gaps.push(from..=to);
    }

    /// Reports the positions that the server skipped without a gap.
    pub(super) fn report_holes(&self, session: SessionId, verdict: &mut Verdict) {
        for missing in self.stretches.iter().flat_map(|stretch| &stretch.missing) {
            let (from, to) = (missing.places.start(), missing.places.end());
            verdict.add(Finding {
                kind: Kind::Hole,
                client: self.client.to_owned(),
                session,
                message: None,
                seq: Some(*from),
                at: missing.at,
                detail: format!("skipped seq {from} to {to}"),
            });
        }
    }
}

impl Stretch {
    fn new(epoch: Epoch, after: Seq) -> Self {
        Self { epoch, after, cursor: after, missing: Vec::new(), gaps: Vec::new() }
    }

    /// Records the positions between the cursor and `to`, if there are any.
    fn skip(&mut self, to: Seq, at: u64) {
        if to > self.cursor {
            self.missing.push(Missing { places: self.cursor + 1..=to, at });
        }
    }

    /// Removes positions from those missing. Returns whether any of them was missing.
    fn fill(&mut self, places: &RangeInclusive<Seq>) -> bool {
        let touches = |missing: &Missing| {
            missing.places.start() <= places.end() && places.start() <= missing.places.end()
        };
        if !self.missing.iter().any(touches) {
            return false;
        }
        let parts = std::mem::take(&mut self.missing).into_iter().flat_map(|missing| {
            if !touches(&missing) {
                return vec![missing];
            }
            let (from, to, at) = (*missing.places.start(), *missing.places.end(), missing.at);
            let before = from..=places.start().saturating_sub(1);
            let behind = places.end().saturating_add(1)..=to;
            let rest = [before, behind].into_iter().filter(|rest| !rest.is_empty());
            rest.map(|places| Missing { places, at }).collect()
        });
        self.missing = parts.collect();
        true
    }

    /// Positions that the server skipped without a gap.
    pub(super) fn holes(&self) -> impl Iterator<Item = &RangeInclusive<Seq>> {
        self.missing.iter().map(|missing| &missing.places)
    }

    /// Whether a gap covered this position.
    pub(super) fn is_excused(&self, seq: Seq) -> bool {
        seq <= self.after || self.gaps.iter().any(|gap| gap.contains(&seq))
    }
}
