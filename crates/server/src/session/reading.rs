//! Log reads for readers that are behind: one step at a time, within a memory budget shared by all of them.
//!
//! The memory of a step is held until its events are written to sockets. A reader that waits for memory holds none meanwhile
//! and is served in order; live readers at the tail are not affected. So readers cannot use up the memory that publishers
//! need, however many they are and however large the events. Nor can blocked readers starve others: while others wait, they
//! are closed sooner.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agentbench_event_log::{EventLog, Frame, LogError, ReadLimit, Reading};
use agentbench_protocol::{Seq, SessionId};
use bytes::{Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of one step: large, since a reader that is behind will need the following events, too.
pub(crate) const STEP_BYTES: usize = 256 * 1024;
/// Time that a socket may be blocked while others wait for memory. A link of a few KB/s makes progress more often.
const PATIENCE_WHEN_SHORT: Duration = Duration::from_secs(5);
/// Unit of the budget; a semaphore counts in 32 bits.
const UNIT: usize = 1024;

/// The memory budget of all readers that are behind.
#[derive(Debug)]
pub(crate) struct ReadBudget {
    units: Arc<Semaphore>,
    limit: usize,
    /// Number of readers that wait for memory.
    waiting: AtomicUsize,
}

/// A part of the budget, released when dropped.
#[derive(Debug)]
pub(crate) struct ReadPermit {
    units: OwnedSemaphorePermit,
}

impl ReadPermit {
    fn bytes(&self) -> usize {
        self.units.num_permits() * UNIT
    }

    /// Releases the surplus over `bytes`: most steps are far smaller than the limit.
    fn shrink(&mut self, bytes: usize) {
        let surplus = self.units.num_permits().saturating_sub(bytes.div_ceil(UNIT).max(1));
        drop(self.units.split(surplus));
    }

    /// Attaches the permit to `bytes`: it is released when the last part of them is dropped.
    pub(crate) fn with(self, bytes: BytesMut) -> Bytes {
        Bytes::from_owner(PermittedBytes { bytes, _permit: self })
    }
}

struct PermittedBytes {
    bytes: BytesMut,
    _permit: ReadPermit,
}

impl AsRef<[u8]> for PermittedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl ReadBudget {
    /// `limit` in bytes, at least one step.
    pub(crate) fn new(limit: usize) -> Self {
        let limit = (limit / UNIT).clamp(STEP_BYTES / UNIT, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Self { units: Arc::new(Semaphore::new(limit)), limit, waiting: AtomicUsize::new(0) }
    }

    /// Bytes in use, and the limit.
    pub(crate) fn used(&self) -> (usize, usize) {
        let free = self.units.available_permits();
        (self.limit.saturating_sub(free) * UNIT, self.limit * UNIT)
    }

    /// Whether readers wait for memory.
    pub(crate) fn is_short(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// How long the socket of a reader that holds memory may be blocked, at most `longest`.
    pub(crate) fn patience(&self, longest: Duration) -> Duration {
        if self.is_short() { longest.min(PATIENCE_WHEN_SHORT) } else { longest }
    }

    /// The units for `bytes`, at most the whole budget.
    fn units_of(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT).min(self.limit)).unwrap_or(u32::MAX)
    }

    /// Waits for memory, first come, first served.
    pub(crate) async fn acquire(&self, bytes: usize) -> ReadPermit {
        let wanted = self.units_of(bytes);
        // The semaphore is fair: this fails while others wait.
        if let Ok(units) = Arc::clone(&self.units).try_acquire_many_owned(wanted) {
            return ReadPermit { units };
        }
        let _waiting = WaitGuard::begin(&self.waiting);
        let units = Arc::clone(&self.units).acquire_many_owned(wanted).await;
        ReadPermit { units: units.expect("the semaphore is never closed") }
    }

    /// Grows a permit to `bytes`, if that is possible at once.
    fn grow(&self, permit: &mut ReadPermit, bytes: usize) -> bool {
        let missing =
            self.units_of(bytes).saturating_sub(u32::try_from(permit.units.num_permits()).unwrap_or(0));
        if missing == 0 {
            return true;
        }
        let more = Arc::clone(&self.units).try_acquire_many_owned(missing);
        more.map(|more| permit.units.merge(more)).is_ok()
    }
}

/// Counts a waiting reader, until the wait ends or is cancelled.
struct WaitGuard<'a>(&'a AtomicUsize);

impl<'a> WaitGuard<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for WaitGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Frames that were read, and their memory permit.
pub(crate) struct Step {
    pub(crate) frames: Vec<Frame>,
    pub(crate) head: Seq,
    pub(crate) permit: ReadPermit,
}

/// Reads logs on blocking threads, within the read budget.
pub(crate) struct LogReader {
    log: Arc<dyn EventLog>,
    pub(crate) budget: ReadBudget,
}

impl LogReader {
    /// `limit` in bytes, for all readers together.
    pub(crate) fn new(log: Arc<dyn EventLog>, limit: usize) -> Self {
        Self { log, budget: ReadBudget::new(limit) }
    }

    /// Reads a log from `from` on: at least one frame if there is one, and no more than the limit beyond that. Waits for
    /// memory and for the disk without blocking the worker's thread.
    ///
    /// # Errors
    /// As [`EventLog::read`].
    pub(crate) async fn step(
        &self,
        session: SessionId,
        from: Seq,
        limit: ReadLimit,
    ) -> Result<Step, LogError> {
        let mut permit = self.budget.acquire(limit.bytes).await;
        loop {
            let reading = self.read(session, from, limit).await?;
            let size: usize = reading.frames.iter().map(|frame| frame.bytes().len()).sum();
            if size <= permit.bytes() || self.budget.grow(&mut permit, size) {
                permit.shrink(size);
                return Ok(Step { frames: reading.frames, head: reading.head.seq, permit });
            }
            // One event larger than a step: releases everything while it waits for enough memory.
            drop((reading, permit));
            permit = self.budget.acquire(size).await;
        }
    }

    async fn read(&self, session: SessionId, from: Seq, limit: ReadLimit) -> Result<Reading, LogError> {
        let log = Arc::clone(&self.log);
        let read = tokio::task::spawn_blocking(move || log.read(session, from, limit)).await;
        read.unwrap_or_else(|error| Err(LogError::Unavailable(error.to_string())))
    }

    /// The id of the event at `seq`, if the log has it.
    pub(crate) async fn id_at(&self, session: SessionId, seq: Seq) -> Option<String> {
        let reading = self.read(session, seq, ReadLimit { bytes: 1, events: 1 }).await.ok()?;
        let mut records = reading.frames.iter().flat_map(Frame::records);
        records.find(|(at, _)| *at == seq).map(|(_, record)| record.id.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn taken(budget: &ReadBudget, bytes: usize) -> ReadPermit {
        match poll(pin!(budget.acquire(bytes))) {
            Poll::Ready(permit) => permit,
            Poll::Pending => panic!("there is room"),
        }
    }

    #[test]
    fn memory_is_held_as_long_as_any_part_of_the_bytes_is_there() {
        let budget = ReadBudget::new(1 << 20);
        let bytes = taken(&budget, 1 << 19).with(BytesMut::from(&[7; 100][..]));
        let part = bytes.slice(90..);
        drop(bytes);
        assert_eq!(budget.used(), (1 << 19, 1 << 20));
        assert_eq!(&part[..], &[7; 10]);
        drop(part);
        assert_eq!(budget.used().0, 0);
    }

    #[test]
    fn who_has_no_room_waits_in_turn_and_holds_nothing() {
        let budget = ReadBudget::new(1 << 20);
        let all = taken(&budget, 1 << 30);
        assert_eq!(budget.used().0, 1 << 20, "more than there is means all there is");
        {
            let (mut large, mut small) = (pin!(budget.acquire(1 << 20)), pin!(budget.acquire(1)));
            assert!(poll(large.as_mut()).is_pending() && poll(small.as_mut()).is_pending());
            assert!(budget.is_short());
            assert_eq!(budget.patience(Duration::from_secs(60)), PATIENCE_WHEN_SHORT);
            assert_eq!(budget.patience(Duration::from_secs(1)), Duration::from_secs(1));
            drop(all);
            assert!(poll(small.as_mut()).is_pending(), "the large one asked first");
            let Poll::Ready(permit) = poll(large.as_mut()) else { panic!("its turn has come") };
            drop(permit);
            assert!(poll(small.as_mut()).is_ready());
        }
        assert!(!budget.is_short());
        assert_eq!(budget.patience(Duration::from_secs(60)), Duration::from_secs(60));
        assert_eq!(budget.used().0, 0);
    }

    #[test]
    fn a_part_grows_only_if_nobody_is_in_the_way() {
        let budget = ReadBudget::new(1 << 20);
        let mut permit = taken(&budget, 1 << 18);
        let other = taken(&budget, 1 << 19);
        assert!(!budget.grow(&mut permit, 1 << 20));
        assert_eq!(permit.bytes(), 1 << 18);
        assert!(budget.grow(&mut permit, 1 << 19));
        drop(other);
        assert!(budget.grow(&mut permit, 1 << 30));
        assert_eq!(permit.bytes(), 1 << 20);
        permit.shrink(5_000);
        assert_eq!(budget.used().0, 5 * 1024);
        permit.shrink(0);
        assert_eq!(budget.used().0, 1024);
        permit.shrink(1 << 20);
        assert_eq!(budget.used().0, 1024, "it does not grow by that");
    }
}
