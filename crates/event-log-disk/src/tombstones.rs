//! Removed logs whose records are still in some segment: their removals have to stay, or the logs would come back.
//!
//! A removal is needed for as long as another segment has records of its log. Which ones those are is known: segments are
//! noted with each log as its records are written.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::faults::{self, Defect};
use crate::record::LogIdentity;

/// One removed log.
#[derive(Debug, Clone)]
pub(crate) struct Tombstone {
    pub(crate) log: LogIdentity,
    /// The segment with the removal.
    pub(crate) segment: u32,
    /// The other segments with records of the log.
    others: Vec<u32>,
}

impl Tombstone {
    pub(crate) fn new(log: LogIdentity, segment: u32, mut segments: Vec<u32>) -> Self {
        segments.retain(|other| *other != segment);
        Self { log, segment, others: segments }
    }
}

/// All removals that have to stay, by the numbers of their logs.
#[derive(Debug, Default)]
pub(crate) struct Tombstones(Mutex<HashMap<u64, Tombstone, foldhash::fast::RandomState>>);

impl Tombstones {
    pub(crate) fn add(&self, tombstone: Tombstone) {
        if !tombstone.others.is_empty() {
            self.lock().insert(tombstone.log.number, tombstone);
        }
    }

    /// Those whose removal is in this segment.
    pub(crate) fn in_segment(&self, segment: u32) -> Vec<Tombstone> {
        let mut found: Vec<_> =
            self.lock().values().filter(|tombstone| tombstone.segment == segment).cloned().collect();
        found.sort_unstable_by_key(|tombstone| tombstone.log.number);
        found
    }

    /// A removal was written again.
    pub(crate) fn moved(&self, log: u64, to: u32) {
        if let Some(tombstone) = self.lock().get_mut(&log) {
            let from = std::mem::replace(&mut tombstone.segment, to);
            // The old segment is there until it is freed.
            if from != to && !tombstone.others.contains(&from) {
                tombstone.others.push(from);
            }
            tombstone.others.retain(|other| *other != to);
        }
    }

    /// A segment is durably gone.
    pub(crate) fn freed(&self, segment: u32) {
        self.lock().retain(|_, tombstone| {
            tombstone.others.retain(|other| *other != segment);
            let is_needed = !tombstone.others.is_empty() && tombstone.segment != segment;
            is_needed && !faults::has(Defect::RemovalForgotten)
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Tombstone, foldhash::fast::RandomState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use agentbench_event_log::conformance::session;
    use agentbench_protocol::Epoch;

    use super::*;

    fn tombstone(number: u64, segment: u32, segments: &[u32]) -> Tombstone {
        let log = LogIdentity { number, session: session(number), epoch: Epoch::from_u64(1) };
        Tombstone::new(log, segment, segments.to_vec())
    }

    fn numbers(tombstones: &Tombstones, segment: u32) -> Vec<u64> {
        let mut numbers: Vec<_> =
            tombstones.in_segment(segment).iter().map(|tombstone| tombstone.log.number).collect();
        numbers.sort_unstable();
        numbers
    }

    #[test]
    fn a_removal_stays_until_the_last_other_segment_with_the_log_is_gone() {
        let tombstones = Tombstones::default();
        tombstones.add(tombstone(1, 4, &[2, 3, 4]));
        tombstones.add(tombstone(2, 4, &[4]));
        assert_eq!(numbers(&tombstones, 4), [1]);
        tombstones.freed(2);
        assert_eq!(numbers(&tombstones, 4), [1]);
        tombstones.moved(1, 7);
        tombstones.freed(4);
        assert_eq!(numbers(&tombstones, 7), [1]);
        tombstones.freed(3);
        assert_eq!(numbers(&tombstones, 7), [] as [u64; 0]);
    }
}
