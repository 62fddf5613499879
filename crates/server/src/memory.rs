//! The memory budget: the process's memory use, measured twice a second, and the events that are refused because of it.
//!
//! The server's own buffers have bounds of their own (commit backlog, tails, receive buffers). The rest grows with use:
//! connections, live sessions, the index of their logs. Before the kernel would kill the process, reads of history are refused,
//! then publishes, the least important first; live reading, replies and heartbeats go on, and sessions that end free memory.

use std::sync::atomic::{AtomicU64, Ordering};

use agentbench_protocol::Priority;

use crate::cgroup;

/// The process's resident memory beside its budget.
#[derive(Debug)]
pub(crate) struct Memory {
    /// Bytes; 0 is no limit.
    budget: u64,
    resident: AtomicU64,
    /// What is refused since the last measurement: 0 nothing, 1 reads, then one more priority of events with each level.
    level: AtomicU64,
}

impl Memory {
    /// `budget` in bytes; 0 is no limit.
    pub(crate) fn new(budget: u64) -> Self {
        Self { budget, resident: AtomicU64::new(0), level: AtomicU64::new(0) }
    }

    /// Measures the process's memory, and logs when refusals start or end. If the kernel does not report it, nothing is
    /// refused.
    pub(crate) fn measure(&self) {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let resident = resident(&text).unwrap_or(0);
        self.resident.store(resident, Ordering::Relaxed);
        let events = ALL.iter().filter(|priority| self.refuses(**priority)).count();
        let level = u64::from(self.refuses_reads()) + events as u64;
        if self.level.swap(level, Ordering::Relaxed) == level {
            return;
        }
        let refused = match level {
            0 => "nothing",
            1 => "reads of what is past",
            2 => "reads and events of low priority",
            3 => "reads and events of low and normal priority",
            4 => "reads and all events but critical ones",
            _ => "reads and all events",
        };
        if level == 0 {
            tracing::info!(resident, budget = self.budget, "memory is sufficient again");
        } else {
            tracing::warn!(resident, budget = self.budget, refused, "memory is short (MEMORY_BUDGET)");
        }
    }

    /// Whether reads of history are refused now; they are refused before any event is.
    pub(crate) fn refuses_reads(&self) -> bool {
        self.is_beyond(READS_SHARE)
    }

    /// Whether anything is refused now.
    pub(crate) fn is_short(&self) -> bool {
        self.refuses_reads()
    }

    /// Whether events of this priority are refused now.
    pub(crate) fn refuses(&self, priority: Priority) -> bool {
        let share = match priority {
            Priority::Low => 85,
            Priority::Normal => 90,
            Priority::High => 95,
            Priority::Critical => 100,
        };
        self.is_beyond(share)
    }

    fn is_beyond(&self, share: u64) -> bool {
        self.budget > 0 && self.resident.load(Ordering::Relaxed) / share >= self.budget / 100
    }
}

/// Percent of the budget above which new reads of history are refused.
const READS_SHARE: u64 = 80;
const ALL: [Priority; 4] = [Priority::Low, Priority::Normal, Priority::High, Priority::Critical];

/// Three quarters of the machine's memory or of the control group's limit, whichever is less; 0 if neither is known.
pub(crate) fn default_budget() -> u64 {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    machine.into_iter().chain(cgroup::memory_limit()).min().map_or(0, |bytes| bytes / 4 * 3)
}

/// Reads `/proc/self/statm` (proc(5)): its second number is resident pages.
fn resident(statm: &str) -> Option<u64> {
    const PAGE: u64 = 4096;
    statm.split_whitespace().nth(1)?.parse::<u64>().ok().map(|pages| pages * PAGE)
}

/// Reads `/proc/meminfo` (proc(5)).
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_the_priority_the_earlier_it_is_refused() {
        let rows = [
            (79_000_000, [false, false, false, false]),
            (84_000_000, [false, false, false, false]),
            (86_000_000, [true, false, false, false]),
            (91_000_000, [true, true, false, false]),
            (96_000_000, [true, true, true, false]),
            (101_000_000, [true, true, true, true]),
        ];
        for (resident, expected) in rows {
            let memory = Memory { resident: AtomicU64::new(resident), ..Memory::new(100_000_000) };
            assert_eq!(memory.refuses_reads(), resident > 80_000_000);
            let all = [Priority::Low, Priority::Normal, Priority::High, Priority::Critical];
            assert_eq!(all.map(|priority| memory.refuses(priority)), expected, "{resident}");
        }
        let unlimited = Memory { resident: AtomicU64::new(u64::MAX), ..Memory::new(0) };
        assert!(!unlimited.refuses(Priority::Low));
    }

    #[test]
    fn the_kernels_words_are_read() {
        assert_eq!(resident("1000 25 3 1 0 7 0\n"), Some(25 * 4096));
        assert_eq!(resident("nothing"), None);
        assert_eq!(total("MemFree: 3 kB\nMemTotal:    24 kB\n"), Some(24 * 1024));
        let memory = Memory::new(1);
        memory.measure();
        assert!(memory.refuses(Priority::Critical), "this process has more than a byte");
        assert!(default_budget() > 0);
    }
}
