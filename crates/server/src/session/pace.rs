//! The pace of a session's events, and the detection of stalled sessions.
//!
//! Updated by the session's owner for each frame, read by listings and by the monitoring thread.

use std::sync::atomic::{AtomicU64, Ordering};

use agentbench_protocol::{SessionInfo, Status};

/// Weight of one event in the moving average.
const WEIGHT: f64 = 0.2;
/// A session is stalled when it has been silent for this multiple of its usual pace.
const STALLED_AT: u64 = 10;

/// Times are ms since 1970; 0 stands for none.
#[derive(Debug)]
pub(crate) struct Pace {
    last_event: AtomicU64,
    /// Start of the next interval: the last event, or the last start of the test.
    counted_from: AtomicU64,
    /// µs.
    mean: AtomicU64,
}

impl Pace {
    /// The pace of a session without known events.
    pub(crate) fn new(now: u64) -> Self {
        Self { last_event: AtomicU64::new(0), counted_from: AtomicU64::new(now), mean: AtomicU64::new(0) }
    }

    /// Records `count` committed events, the newest received at `at`.
    pub(crate) fn record_events(&self, count: u64, at: u64) {
        if count == 0 {
            return;
        }
        let from = self.counted_from.swap(at, Ordering::Relaxed);
        let each = at.saturating_sub(from) as f64 * 1_000.0 / count as f64;
        let before = self.mean.load(Ordering::Relaxed) as f64;
        // The first interval is the mean.
        self.last_event.store(at, Ordering::Relaxed);
        let part = if before == 0.0 { 1.0 } else { 1.0 - (1.0 - WEIGHT).powf(count as f64) };
        self.mean.store((before + (each - before) * part) as u64, Ordering::Relaxed);
    }

    /// Whether an event was recorded.
    pub(crate) fn is_known(&self) -> bool {
        self.last_event.load(Ordering::Relaxed) > 0
    }

    /// Records an event from before the server's start. Silence still counts from when this process loaded the session, so
    /// that the server's downtime is not counted as silence.
    pub(crate) fn record_past_event(&self, at: u64) {
        let loaded_at = self.counted_from.load(Ordering::Relaxed);
        match self.last_event.load(Ordering::Relaxed) {
            0 => self.last_event.store(at, Ordering::Relaxed),
            last => {
                self.counted_from.store(last, Ordering::Relaxed);
                self.record_events(1, at);
            }
        }
        self.counted_from.store(loaded_at, Ordering::Relaxed);
    }

    /// Records that the test was started or resumed: the time before does not count.
    pub(crate) fn record_resume(&self, now: u64) {
        self.counted_from.store(now, Ordering::Relaxed);
    }

    /// Called when the wall clock was set by `by` ms to `now`: shifts the start of the silence accordingly.
    pub(crate) fn clock_was_set(&self, by: i64, now: u64) {
        let from = self.counted_from.load(Ordering::Relaxed).saturating_add_signed(by).min(now);
        self.counted_from.store(from, Ordering::Relaxed);
    }

    /// Whether a running session has been silent for much longer than usual.
    pub(crate) fn is_stalled(&self, status: Status, now: u64, stall_after: u64) -> bool {
        let mean = self.mean.load(Ordering::Relaxed) / 1_000;
        let silent = now.saturating_sub(self.counted_from.load(Ordering::Relaxed));
        status == Status::Running && silent > stall_after.max(mean.saturating_mul(STALLED_AT))
    }

    /// Adds the pace to the session's description for clients.
    pub(crate) fn describe(&self, info: &mut SessionInfo, now: u64, stall_after: u64) {
        let last = self.last_event.load(Ordering::Relaxed);
        info.last_event_at = (last > 0).then_some(last);
        info.pace_ms = (last > 0).then(|| self.mean.load(Ordering::Relaxed) / 1_000);
        info.stalled =
            (info.status == Status::Running).then(|| self.is_stalled(info.status, now, stall_after));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_follows_the_events() {
        let pace = Pace::new(1_000);
        let mean = || pace.mean.load(Ordering::Relaxed) / 1_000;
        pace.record_events(1, 1_100);
        assert_eq!(mean(), 100);
        pace.record_events(1, 1_200);
        assert_eq!(mean(), 100);
        pace.record_events(10, 3_200);
        assert!((180..200).contains(&mean()), "ten at 200 ms each: {}", mean());
        pace.record_resume(60_000);
        pace.record_events(1, 60_190);
        assert!(mean() < 200, "a pause is no pace");
    }

    #[test]
    fn an_earlier_life_tells_the_pace() {
        let pace = Pace::new(1_000_000);
        for at in [500, 700, 900] {
            pace.record_past_event(at);
        }
        assert_eq!(pace.mean.load(Ordering::Relaxed), 200_000);
        assert!(pace.is_known() && !pace.is_stalled(Status::Running, 1_030_000, 30_000));
    }

    #[test]
    fn a_clock_that_is_set_makes_nobody_silent() {
        for (by, now) in [(3_600_000, 3_612_000), (-9_000, 3_000)] {
            let pace = Pace::new(1_000);
            pace.record_events(1, 11_000);
            pace.clock_was_set(by, now);
            assert!(!pace.is_stalled(Status::Running, now, 30_000));
            assert!(!pace.is_stalled(Status::Running, now + 90_000, 30_000));
            assert!(pace.is_stalled(Status::Running, now + 101_000, 30_000));
        }
    }

    #[test]
    fn silence_is_measured_by_the_sessions_own_pace() {
        let pace = Pace::new(1_000);
        let stalled = |status, now| pace.is_stalled(status, now, 30_000);
        assert!(!stalled(Status::Running, 31_000) && stalled(Status::Running, 31_001));
        assert!(!stalled(Status::Paused, 99_000) && !stalled(Status::Completed, 99_000));
        pace.record_events(1, 11_000);
        assert!(!stalled(Status::Running, 111_000), "ten times its 10 s");
        assert!(stalled(Status::Running, 111_001));
        pace.record_resume(200_000);
        assert!(!stalled(Status::Running, 210_000));
    }
}
