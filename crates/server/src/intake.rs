//! Limits on intake: the commit backlog, the bytes of incomplete messages, and the process's memory, on which the order of
//! refusals depends.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agentbench_auth::Grant;
use agentbench_protocol::{Envelope, ErrorCode, Outline, Priority, Refusal, outline};

use crate::config::Config;
use crate::figures::metrics::Metrics;
use crate::memory::{Memory, default_budget};
use crate::rules::{may_not_publish, publish_permission};

/// See the module.
pub(crate) struct Intake {
    pub(crate) memory: Memory,
    backlog: Arc<Backlog>,
    /// Bytes of incomplete messages.
    receiving: Arc<Total>,
    metrics: Arc<Metrics>,
}

impl Intake {
    pub(crate) fn new(config: &Config, metrics: Arc<Metrics>) -> Self {
        Self {
            memory: Memory::new(config.memory_budget.unwrap_or_else(default_budget)),
            backlog: Arc::new(Backlog { used: AtomicUsize::new(0), limit: config.commit_backlog }),
            receiving: Arc::new(Total { bytes: AtomicUsize::new(0), gauge: Some(Arc::clone(&metrics)) }),
            metrics,
        }
    }

    /// An empty share of the receive budget.
    pub(crate) fn receive_share(&self) -> Share {
        self.receiving.share()
    }

    /// Refuses a new read of a log while memory is short. Readers are refused before publishers are.
    pub(crate) fn may_read_more(&self) -> Result<(), Refusal> {
        if !self.memory.refuses_reads() {
            return Ok(());
        }
        self.metrics.reads_refused.inc();
        let detail = "the server is short of memory: readers of what is past have to wait";
        Err(Refusal::new(ErrorCode::Overloaded, detail).retry_after(2_000))
    }

    /// Admits an event, over WebSocket or HTTP: parses its outline, checks the sender's permission and the checksum, charges
    /// its cost (`charge`), and reserves space in the commit backlog. A `strict` sender's event is refused if readers would
    /// not understand one of its fields.
    ///
    /// # Errors
    /// The refusal of the event.
    pub(crate) fn admit(
        &self,
        grant: &Grant,
        envelope: &Envelope<'_>,
        strict: bool,
        charge: impl FnOnce() -> Result<(), Refusal>,
    ) -> Result<AdmittedEvent, Refusal> {
        let outline = outline(envelope.data)?;
        if !grant.allows(publish_permission(outline)) {
            return Err(may_not_publish(outline));
        }
        let metadata = &envelope.metadata;
        if metadata.checksum.is_some_and(|checksum| checksum != crc32c::crc32c(envelope.data.as_bytes())) {
            let detail = "data does not have the checksum that metadata.checksum names";
            return Err(Refusal::new(ErrorCode::ChecksumMismatch, detail));
        }
        if strict {
            outline.doubts.refuse()?;
        }
        charge()?;
        let permit = self.reserve_backlog(envelope.data.len() + EVENT_OVERHEAD, metadata.priority)?;
        self.metrics.events_received.inc();
        Ok(AdmittedEvent { outline, permit })
    }

    /// Reserves space in the commit backlog for an event of `bytes`. The lower the priority, the earlier it is refused, for
    /// lack of space or of memory.
    fn reserve_backlog(&self, bytes: usize, priority: Priority) -> Result<Permit, Refusal> {
        if self.memory.refuses(priority) {
            let detail = "the server is short of memory and takes the more important events only";
            return Err(Refusal::new(ErrorCode::Overloaded, detail).retry_after(1_000));
        }
        let share = match priority {
            Priority::Low => 50,
            Priority::Normal => 75,
            Priority::High => 90,
            Priority::Critical => 100,
        };
        self.backlog.take(bytes, share).ok_or_else(|| {
            let detail = "the server has more events than its log can take now";
            Refusal::new(ErrorCode::Overloaded, detail).retry_after(250)
        })
    }

    /// An empty permit that can absorb others.
    pub(crate) fn no_permit(&self) -> Permit {
        Permit { backlog: Arc::clone(&self.backlog), bytes: 0 }
    }

    /// Bytes of events whose outcome is pending.
    pub(crate) fn backlog(&self) -> usize {
        self.backlog.used.load(Ordering::Relaxed)
    }
}

/// Bytes of incomplete messages, as a sum of shares.
#[derive(Default)]
pub(crate) struct Total {
    bytes: AtomicUsize,
    /// Metrics that show the sum, for the process's total.
    gauge: Option<Arc<Metrics>>,
}

impl fmt::Debug for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Total").field(&self.bytes).finish()
    }
}

impl Total {
    /// An empty share.
    pub(crate) fn share(self: &Arc<Self>) -> Share {
        Share { total: Arc::clone(self), bytes: 0 }
    }
}

/// One holder's share of a [`Total`]; released when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    total: Arc<Total>,
    bytes: usize,
}

impl Share {
    /// Changes the share; returns the new total.
    pub(crate) fn set(&mut self, bytes: usize) -> usize {
        let before = std::mem::replace(&mut self.bytes, bytes);
        // The change wraps when the share shrinks; the sum does not.
        let change = bytes.wrapping_sub(before);
        let total = self.total.bytes.fetch_add(change, Ordering::Relaxed).wrapping_add(change);
        if let Some(metrics) = &self.total.gauge {
            metrics.receive_buffer_bytes.set(total as i64);
        }
        total
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Bytes of an event in addition to its data.
const EVENT_OVERHEAD: usize = 256;

/// The outline of an admitted event, and its reservation in the commit backlog.
pub(crate) struct AdmittedEvent {
    pub(crate) outline: Outline,
    pub(crate) permit: Permit,
}

/// Bytes of events whose outcome is pending, and their bound.
#[derive(Debug)]
struct Backlog {
    used: AtomicUsize,
    limit: usize,
}

impl Backlog {
    /// Reserves space up to `share` percent of the limit. A single event larger than the limit is admitted when nothing else
    /// waits.
    fn take(self: &Arc<Self>, bytes: usize, share: usize) -> Option<Permit> {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let permit = Permit { backlog: Arc::clone(self), bytes };
        (before == 0 || before + bytes <= self.limit / 100 * share).then_some(permit)
    }
}

/// A reservation in the commit backlog, released when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    backlog: Arc<Backlog>,
    bytes: usize,
}

impl Permit {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A copy that nothing was reserved for: a defect ([`crate::sabotage`]).
    pub(crate) fn forged(&self) -> Self {
        Self { backlog: Arc::clone(&self.backlog), bytes: self.bytes }
    }

    /// An empty permit of the same backlog.
    pub(crate) fn empty(&self) -> Self {
        Self { backlog: Arc::clone(&self.backlog), bytes: 0 }
    }

    /// Adds another permit's bytes.
    pub(crate) fn absorb(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Splits off all but `bytes`.
    pub(crate) fn shrink_to(&mut self, bytes: usize) -> Self {
        let freed = self.bytes.saturating_sub(bytes);
        self.bytes -= freed;
        Self { backlog: Arc::clone(&self.backlog), bytes: freed }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.backlog.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_come_back_when_they_are_dropped() {
        let total = Arc::new(Total::default());
        let (mut one, mut other) = (total.share(), total.share());
        assert_eq!([one.set(10), other.set(5), one.set(3), one.set(4)], [10, 15, 8, 9]);
        drop(one);
        assert_eq!(other.set(6), 6);
        drop(other);
        assert_eq!(total.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn room_in_the_backlog_comes_back_however_permits_are_joined_and_parted() {
        let backlog = Arc::new(Backlog { used: AtomicUsize::new(0), limit: 1_000 });
        let used = || backlog.used.load(Ordering::Relaxed);
        let mut all = backlog.take(300, 50).unwrap();
        assert!(backlog.take(300, 50).is_none());
        assert_eq!(used(), 300, "what was refused holds nothing");
        all.absorb(backlog.take(600, 100).unwrap());
        assert_eq!((all.bytes(), used()), (900, 900));
        let freed = all.shrink_to(200);
        assert_eq!((all.bytes(), freed.bytes(), used()), (200, 700, 900));
        drop(freed);
        assert_eq!(used(), 200);
        drop(all);
        assert_eq!(used(), 0);
        let large = backlog.take(5_000, 50).unwrap();
        assert!(backlog.take(1, 100).is_none(), "behind a large one nothing fits");
        drop(large);
        assert!(backlog.take(1, 100).is_some());
    }
}
