//! Counters of the engine, cheap to keep and to read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Number of buckets of [`Stats::commit_time`].
pub const COMMIT_TIME_BUCKETS: usize = 24;

/// A snapshot of the counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// Group commits so far.
    pub commits: u64,
    /// Frames committed so far.
    pub frames: u64,
    /// Bytes of those frames.
    pub bytes: u64,
    /// How long the last group commit took, from taking its first append to its commit, in µs.
    pub last_commit_us: u64,
    /// Group commits by duration: element n counts those below 2ⁿ µs that no earlier element counts; the
    /// last one counts all longer ones.
    pub commit_time: [u64; COMMIT_TIME_BUCKETS],
    /// Sum of the times of all group commits, in µs.
    pub commit_time_sum_us: u64,
    /// fsyncs of the hot log so far, including those of the clean-up.
    pub fsyncs: u64,
    /// Appends that were submitted and not answered yet.
    pub queue_depth: u64,
    /// Frames that were found damaged since the log was opened, by readers or by the scrub.
    pub damaged_frames: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    commits: AtomicU64,
    frames: AtomicU64,
    bytes: AtomicU64,
    last_commit_us: AtomicU64,
    commit_time: [AtomicU64; COMMIT_TIME_BUCKETS],
    commit_time_sum_us: AtomicU64,
    submitted: AtomicU64,
    answered: AtomicU64,
}

// Each counter is correct by itself; nothing depends on two of them, so the weakest ordering suffices.
const ORDER: Ordering = Ordering::Relaxed;

impl Counters {
    pub(crate) fn submitted(&self, appends: usize) {
        self.submitted.fetch_add(appends as u64, ORDER);
    }

    pub(crate) fn answered(&self, appends: usize) {
        self.answered.fetch_add(appends as u64, ORDER);
    }

    pub(crate) fn committed(&self, frames: u64, bytes: u64, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.commits.fetch_add(1, ORDER);
        self.frames.fetch_add(frames, ORDER);
        self.bytes.fetch_add(bytes, ORDER);
        self.last_commit_us.store(us, ORDER);
        self.commit_time_sum_us.fetch_add(us, ORDER);
        self.commit_time[bucket(us)].fetch_add(1, ORDER);
    }

    pub(crate) fn read(&self, fsyncs: u64, damaged_frames: u64) -> Stats {
        // In this order, an answer in between cannot make the difference negative.
        let answered = self.answered.load(ORDER);
        Stats {
            commits: self.commits.load(ORDER),
            frames: self.frames.load(ORDER),
            bytes: self.bytes.load(ORDER),
            last_commit_us: self.last_commit_us.load(ORDER),
            commit_time: std::array::from_fn(|n| self.commit_time[n].load(ORDER)),
            commit_time_sum_us: self.commit_time_sum_us.load(ORDER),
            fsyncs,
            queue_depth: self.submitted.load(ORDER).saturating_sub(answered),
            damaged_frames,
        }
    }
}

fn bucket(us: u64) -> usize {
    (u64::BITS - us.leading_zeros()).min(COMMIT_TIME_BUCKETS as u32 - 1) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_counted_below_the_next_power_of_two() {
        for (us, expected) in [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (1023, 10), (1024, 11)] {
            assert_eq!(bucket(us), expected, "{us}");
        }
        assert_eq!(bucket(u64::MAX), COMMIT_TIME_BUCKETS - 1);
    }
}
