//! Broken promises in four groups.

use agentbench_history::{Kind, Verdict};

/// How often each promise was broken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Broken {
    /// Acked but missing, or in the log but never delivered.
    pub lost: u64,
    /// Delivered or stored twice.
    pub duplicated: u64,
    /// Out of order, in another order at another reader, or against the producer's order.
    pub reordered: u64,
    /// Log entries that a reader skipped without a gap.
    pub holes: u64,
    /// All other findings of the judge.
    pub others: u64,
}

impl Broken {
    /// Counts the broken promises of a verdict.
    pub fn of(verdict: &Verdict) -> Self {
        let mut broken = Self::default();
        for (kind, count) in &verdict.counts {
            *broken.place(*kind) += count;
        }
        broken
    }

    /// The sum of all groups.
    pub fn all(&self) -> u64 {
        self.lost + self.duplicated + self.reordered + self.holes + self.others
    }

    fn place(&mut self, kind: Kind) -> &mut u64 {
        match kind {
            Kind::Lost | Kind::Unseen => &mut self.lost,
            Kind::DeliveredTwice | Kind::StoredTwice => &mut self.duplicated,
            Kind::OutOfOrder | Kind::OrdersDiffer | Kind::ProducerOrder => &mut self.reordered,
            Kind::Hole => &mut self.holes,
            Kind::Invented
            | Kind::WrongSeq
            | Kind::Altered
            | Kind::RefusedButStored
            | Kind::Unaccounted
            | Kind::Unusable => &mut self.others,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_counted_once() {
        let verdict = Verdict { counts: Kind::ALL.map(|kind| (kind, 1)).into(), ..Verdict::default() };
        let broken = Broken::of(&verdict);
        assert_eq!(broken.all(), Kind::ALL.len() as u64);
        assert_eq!((broken.lost, broken.duplicated, broken.reordered, broken.holes), (2, 2, 3, 1));
    }
}
