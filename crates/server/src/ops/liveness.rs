//! Liveness of the workers: each counts the turns of its loop, and a job on a separate thread
//! ([`crate::housekeeping::liveness`]) compares the counts.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Time between checks. A suspended machine delays the checks, too, so its workers do not count as stuck.
pub(crate) const PERIOD: Duration = Duration::from_millis(500);
/// Number of checks without a turn after which a worker counts as stuck: three seconds. It turns twice a second.
const STUCK_AT: u64 = 6;

/// The turns of one worker, and the state of the last check.
#[derive(Debug, Default)]
struct Turns {
    done: AtomicU64,
    seen: AtomicU64,
    /// Checks since the last turn.
    missed: AtomicU64,
    has_ended: AtomicBool,
}

/// The turns of all workers.
#[derive(Debug)]
pub(crate) struct Liveness {
    workers: Vec<Turns>,
}

impl Liveness {
    pub(crate) fn new(workers: usize) -> Self {
        Self { workers: (0..workers).map(|_| Turns::default()).collect() }
    }

    /// Counts a turn of the worker's loop.
    pub(crate) fn record_turn(&self, worker: usize) {
        self.workers[worker].done.fetch_add(1, Ordering::Relaxed);
    }

    /// Marks the worker as ended regularly.
    pub(crate) fn mark_ended(&self, worker: usize) {
        self.workers[worker].has_ended.store(true, Ordering::Relaxed);
    }

    /// Compares with the previous check. Returns the workers that have newly become stuck.
    pub(crate) fn check(&self) -> Vec<usize> {
        let look = |turns: &Turns| {
            let done = turns.done.load(Ordering::Relaxed);
            let has_ended = turns.has_ended.load(Ordering::Relaxed);
            if turns.seen.swap(done, Ordering::Relaxed) != done || has_ended {
                turns.missed.store(0, Ordering::Relaxed);
                return false;
            }
            turns.missed.fetch_add(1, Ordering::Relaxed) + 1 == STUCK_AT
        };
        self.workers.iter().enumerate().filter(|(_, turns)| look(turns)).map(|(worker, _)| worker).collect()
    }

    /// The longest time without a turn among the workers, to the precision of the checks.
    pub(crate) fn longest(&self) -> Duration {
        let missed = self.workers.iter().map(|turns| turns.missed.load(Ordering::Relaxed)).max();
        PERIOD * u32::try_from(missed.unwrap_or(0)).unwrap_or(u32::MAX)
    }

    /// The turns of all workers since the start.
    pub(crate) fn turns(&self) -> u64 {
        self.workers.iter().map(|turns| turns.done.load(Ordering::Relaxed)).sum()
    }

    /// How many workers are stuck.
    pub(crate) fn stuck(&self) -> usize {
        self.workers.iter().filter(|turns| turns.missed.load(Ordering::Relaxed) >= STUCK_AT).count()
    }
}

/// Makes a panic on a worker's thread end the process, after it is logged. Without this, such a worker would answer no
/// requests until `WORKER_TIMEOUT` ends the process. The host program calls it, since a panic hook is process-wide.
pub fn end_process_when_a_worker_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        before(panic);
        let thread = std::thread::current();
        if thread.name().is_some_and(|name| name.starts_with(WORKER_THREAD)) {
            tracing::error!(%panic, "a worker has panicked: ending the process");
            std::process::abort();
        }
    }));
}

/// Name prefix of the workers' threads; their blocking threads have other names.
pub(crate) const WORKER_THREAD: &str = "worker-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_without_turns_is_stuck_until_it_turns_again() {
        let liveness = Liveness::new(2);
        let look = || {
            liveness.record_turn(0);
            liveness.check()
        };
        liveness.record_turn(1);
        for _ in 0..STUCK_AT {
            assert_eq!((look(), liveness.stuck()), (vec![], 0));
        }
        assert_eq!((look(), liveness.stuck(), liveness.longest()), (vec![1], 1, PERIOD * 6));
        assert_eq!((look(), liveness.stuck(), liveness.longest()), (vec![], 1, PERIOD * 7));
        liveness.record_turn(1);
        assert_eq!((look(), liveness.stuck(), liveness.longest()), (vec![], 0, Duration::ZERO));
        liveness.mark_ended(1);
        for _ in 0..2 * STUCK_AT {
            assert_eq!((look(), liveness.stuck()), (vec![], 0));
        }
    }
}
