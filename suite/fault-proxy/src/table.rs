//! The faults of a proxy: an immutable list that links read without a lock.

use std::sync::atomic::{AtomicU64, Ordering};

use memchr::memmem::Finder;

use crate::fault::{Fault, Way};
use crate::record::{FaultId, FaultStatus};

/// All faults, in the order they were added.
pub(crate) type Table = Vec<std::sync::Arc<ActiveFault>>;

/// A fault in force.
#[derive(Debug)]
pub(crate) struct ActiveFault {
    pub(crate) id: FaultId,
    pub(crate) fault: Fault,
    finder: Option<Finder<'static>>,
    struck: AtomicU64,
    most: u64,
}

impl ActiveFault {
    pub(crate) fn new(id: FaultId, fault: Fault) -> Self {
        let finder = fault.when.contains.as_deref().map(|text| Finder::new(text).into_owned());
        let most = most_strikes(&fault);
        Self { id, fault, finder, struck: AtomicU64::new(0), most }
    }

    /// Whether the content matches, if the fault requires a text.
    pub(crate) fn finds(&self, content: Option<&[u8]>) -> bool {
        match &self.finder {
            Some(finder) => content.is_some_and(|content| finder.find(content).is_some()),
            None => true,
        }
    }

    /// Whether it must inspect the content in this direction.
    pub(crate) fn reads(&self, way: Way) -> bool {
        self.finder.is_some() && self.fault.direction.covers(way) && !self.is_used_up()
    }

    /// Whether it has reached its maximum number of strikes.
    pub(crate) fn is_used_up(&self) -> bool {
        self.struck.load(Ordering::Acquire) >= self.most
    }

    /// Uses up one of its remaining strikes, if there is one.
    pub(crate) fn take(&self) -> bool {
        self.struck
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |struck| {
                (struck < self.most).then_some(struck + 1)
            })
            .is_ok()
    }

    /// Returns a strike that did not take place.
    pub(crate) fn give_back(&self) {
        self.struck.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether it may strike each link only once.
    pub(crate) fn is_once_per_link(&self, is_message: bool) -> bool {
        let when = &self.fault.when;
        if when.probability.is_some() && when.contains.is_none() {
            // Drawn for the link, so it must not strike at each of its reads.
            return !is_message || self.fault.effect.is_lasting();
        }
        when.times.is_none() && when.contains.is_none()
    }

    pub(crate) fn status(&self) -> FaultStatus {
        FaultStatus { id: self.id, fault: self.fault.clone(), strikes: self.struck.load(Ordering::Acquire) }
    }
}

/// See [`When::times`](crate::When::times).
fn most_strikes(fault: &Fault) -> u64 {
    let when = &fault.when;
    if let Some(times) = when.times {
        return times.into();
    }
    let unconditional = when.probability.is_none() && !when.has_threshold();
    if !fault.effect.is_lasting() && (when.contains.is_some() || unconditional) { 1 } else { u64::MAX }
}
