//! What may come in and wait: the commit backlog, messages that have not arrived whole, and the process's memory, which decides
//! who is refused first.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use agentbench_protocol::{ErrorCode, Priority, Refusal};

use crate::config::Config;
use crate::figures::metrics::Metrics;
use crate::memory::{Memory, default_budget};

/// See the module.
pub(crate) struct Intake {
    pub(crate) memory: Memory,
    /// Bytes of events that the log has not answered, and how many there may be.
    backlog: AtomicUsize,
    backlog_limit: usize,
    /// Bytes of messages that have not arrived whole.
    receiving: AtomicI64,
    metrics: Arc<Metrics>,
}

impl Intake {
    pub(crate) fn new(config: &Config, metrics: Arc<Metrics>) -> Self {
        Self {
            memory: Memory::new(config.memory_budget.unwrap_or_else(default_budget)),
            backlog: AtomicUsize::new(0),
            backlog_limit: config.commit_backlog,
            receiving: AtomicI64::new(0),
            metrics,
        }
    }

    /// Changes one connection's part of the receive budget; returns the whole.
    pub(crate) fn count_receiving(&self, before: usize, after: usize) -> usize {
        let change = after as i64 - before as i64;
        let total = self.receiving.fetch_add(change, Ordering::Relaxed) + change;
        self.metrics.receive_buffer_bytes.set(total);
        usize::try_from(total).unwrap_or(0)
    }

    /// Whether somebody may begin to read a log now. Readers are refused before publishers are.
    pub(crate) fn may_read_more(&self) -> Result<(), Refusal> {
        if !self.memory.refuses_reads() {
            return Ok(());
        }
        self.metrics.reads_refused.inc();
        let detail = "the server is short of memory: readers of what is past have to wait";
        Err(Refusal::new(ErrorCode::Overloaded, detail).retry_after(2_000))
    }

    /// Takes room in the commit backlog for an event of `bytes`. The lower the priority, the earlier it is refused, for want of
    /// room there or of memory.
    pub(crate) fn reserve_backlog(&self, bytes: usize, priority: Priority) -> Result<(), Refusal> {
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
        let limit = self.backlog_limit / 100 * share;
        let before = self.backlog.fetch_add(bytes, Ordering::Relaxed);
        // A single event larger than the whole backlog is let through when nothing else waits.
        if before == 0 || before + bytes <= limit {
            return Ok(());
        }
        self.give_back_backlog(bytes);
        let detail = "the server has more events than its log can take now";
        Err(Refusal::new(ErrorCode::Overloaded, detail).retry_after(250))
    }

    pub(crate) fn give_back_backlog(&self, bytes: usize) {
        self.backlog.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes of events that the log has not answered.
    pub(crate) fn backlog(&self) -> usize {
        self.backlog.load(Ordering::Relaxed)
    }
}
