//! The only place where the server reads the time, and the detector of wall clock jumps: irreversible actions, and the
//! expiry of sessions, must not follow such a jump at once.
//!
//! The wall clock is compared with a monotonic clock. A jump is a change of their difference by more than
//! [`TOLERANCE`] beyond what the wall clock may have been steered by meanwhile (NTP slews it), which is followed. A machine that was
//! suspended counts as a jump, too: the monotonic clock stands still meanwhile.

#[cfg(any(test, feature = "simulation"))]
use std::sync::atomic::AtomicU64;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::figures::metrics::Metrics;

/// Change of the difference between the clocks from which it is a jump. NTP steps a clock that is off by more than
/// 128 ms, and short steps delete nothing that would not be deleted seconds later.
pub(crate) const TOLERANCE: Duration = Duration::from_secs(5);
/// The wall clock may be steered by this part of the elapsed time: chrony slews by at most one twelfth.
const STEERING: i64 = 10;

/// Both clocks, read at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClockReading {
    /// The wall clock, ms since 1970.
    pub(crate) wall_ms: u64,
    /// The monotonic clock, as the time since an arbitrary fixed moment.
    pub(crate) monotonic: Duration,
}

impl ClockReading {
    /// The difference between the clocks, ms.
    fn difference(self) -> i64 {
        let monotonic = i64::try_from(self.monotonic.as_millis()).unwrap_or(i64::MAX);
        i64::try_from(self.wall_ms).unwrap_or(i64::MAX).saturating_sub(monotonic)
    }
}

/// The wall clock was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Jump {
    /// By how much, ms; negative if it was set back.
    pub(crate) by_ms: i64,
}

/// Compares readings with the ones before. Pure: the clocks are read by the caller, at least once a minute.
#[derive(Debug, Clone)]
pub(crate) struct JumpDetector {
    /// The accepted difference between the clocks.
    difference: i64,
    read_at: Duration,
    jumped_at: Option<Duration>,
}

impl JumpDetector {
    /// Starts with a reading that is accepted as correct.
    pub(crate) fn new(first: ClockReading) -> Self {
        Self { difference: first.difference(), read_at: first.monotonic, jumped_at: None }
    }

    /// Processes the next reading; `Some` if the wall clock was set since the previous one.
    pub(crate) fn observe(&mut self, reading: ClockReading) -> Option<Jump> {
        let elapsed = reading.monotonic.saturating_sub(self.read_at);
        self.read_at = self.read_at.max(reading.monotonic);
        let by_ms = reading.difference().saturating_sub(self.difference);
        let steered = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX) / STEERING;
        if by_ms.unsigned_abs() > TOLERANCE.as_millis() as u64 + steered.unsigned_abs() {
            self.difference = reading.difference();
            self.jumped_at = Some(reading.monotonic);
            return Some(Jump { by_ms });
        }
        self.difference = self.difference.saturating_add(by_ms.clamp(-steered, steered));
        None
    }

    /// Records a jump at this moment that was detected in another way, for example by a time stored before a restart.
    pub(crate) fn record_jump(&mut self, monotonic: Duration) {
        self.jumped_at = Some(monotonic);
    }

    /// The rest of the time `hold` since the last jump; `None` if there was no jump or the time is over.
    pub(crate) fn held_for(&self, monotonic: Duration, hold: Duration) -> Option<Duration> {
        let since = monotonic.saturating_sub(self.jumped_at?);
        hold.checked_sub(since).filter(|rest| !rest.is_zero())
    }
}

/// Time between the end of the previous run and a start above which the start counts as a jump: shorter pauses are upgrades
/// and reboots.
const LONG_PAUSE: Duration = Duration::from_secs(24 * 3_600);

/// The wall clock.
pub(crate) fn system() -> SystemTime {
    SystemTime::now()
}

/// The wall clock, ms since 1970.
pub(crate) fn now_ms() -> u64 {
    system().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The wall clock, ns since 1970.
pub(crate) fn now_ns() -> u64 {
    let since = system().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The monotonic clock.
pub(crate) fn instant() -> Instant {
    Instant::now()
}

/// A moment on both clocks: the wall clock, which stamps events, and the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) instant: Instant,
    /// ms since 1970.
    pub(crate) millis: u64,
}

/// The time since a reading of the monotonic clock.
pub(crate) fn since(began: Instant) -> Duration {
    instant().saturating_duration_since(began)
}

/// The monotonic clock as timers of the runtime count it.
pub(crate) fn timer() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// The process's clocks, compared twice a second and before each deletion.
#[derive(Debug)]
pub(crate) struct Clock {
    base: Instant,
    /// The wall clock at the base, ms since 1970.
    began_ms: u64,
    detector: Mutex<JumpDetector>,
    /// ms that tests add to the wall clock.
    skew: Arc<AtomicI64>,
    /// ms since the base, where a test moves the steady clock by hand.
    #[cfg(any(test, feature = "simulation"))]
    by_hand: Option<Arc<AtomicU64>>,
}

impl Clock {
    pub(crate) fn new(skew: Arc<AtomicI64>) -> Self {
        let base = Instant::now();
        let began_ms = now_ms();
        let first = ClockReading { wall_ms: began_ms, monotonic: base.elapsed() };
        Self {
            base,
            began_ms,
            detector: Mutex::new(JumpDetector::new(first)),
            skew,
            #[cfg(any(test, feature = "simulation"))]
            by_hand: None,
        }
    }

    /// Clocks that begin at `began_ms` and move only with `by_hand`, ms; `skew` sets the wall clock alone.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn by_hand(began_ms: u64, by_hand: Arc<AtomicU64>, skew: Arc<AtomicI64>) -> Self {
        Self { began_ms, by_hand: Some(by_hand), ..Self::new(skew) }
    }

    /// Time since the base.
    fn elapsed(&self) -> Duration {
        #[cfg(any(test, feature = "simulation"))]
        if let Some(by_hand) = &self.by_hand {
            return Duration::from_millis(by_hand.load(Ordering::Relaxed));
        }
        self.base.elapsed()
    }

    /// The monotonic clock.
    pub(crate) fn instant(&self) -> Instant {
        self.base + self.elapsed()
    }

    fn detector(&self) -> MutexGuard<'_, JumpDetector> {
        self.detector.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The wall clock, ms since 1970.
    pub(crate) fn wall_ms(&self) -> u64 {
        #[cfg(any(test, feature = "simulation"))]
        if self.by_hand.is_some() {
            return self.steady_ms().saturating_add_signed(self.skew.load(Ordering::Relaxed));
        }
        now_ms().saturating_add_signed(self.skew.load(Ordering::Relaxed))
    }

    /// Both clocks.
    pub(crate) fn moment(&self) -> Moment {
        Moment { instant: self.instant(), millis: self.wall_ms() }
    }

    /// ms by the monotonic clock, starting at the wall clock's time at the start, for all timeouts.
    pub(crate) fn steady_ms(&self) -> u64 {
        self.began_ms + self.elapsed().as_millis() as u64
    }

    fn read(&self) -> ClockReading {
        ClockReading { wall_ms: self.wall_ms(), monotonic: self.elapsed() }
    }

    /// Compares the clocks. A jump is logged and counted.
    pub(crate) fn check_jump(&self, metrics: &Metrics) -> Option<Jump> {
        let jump = self.detector().observe(self.read())?;
        tracing::warn!(by_ms = jump.by_ms, "the wall clock was set");
        metrics.clock_jumps.inc();
        Some(jump)
    }

    /// The rest of a hold that began with the last jump.
    pub(crate) fn held_for(&self, hold: Duration) -> Option<Duration> {
        self.detector().held_for(self.elapsed(), hold)
    }

    /// Compares the clock at the start with the last time that is known of the run before. Tells whether that is taken
    /// for a jump.
    pub(crate) fn check_start_time(&self, before_ms: u64) -> bool {
        let now = self.wall_ms();
        let behind = before_ms.saturating_sub(now) > TOLERANCE.as_millis() as u64;
        let far = now.saturating_sub(before_ms) > LONG_PAUSE.as_millis() as u64;
        if behind || far {
            self.detector().record_jump(self.elapsed());
        }
        behind || far
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: u64 = 1_700_000_000_000;
    const HOUR: Duration = Duration::from_secs(3_600);

    fn reading(wall_ms: u64, monotonic_ms: u64) -> ClockReading {
        ClockReading { wall_ms, monotonic: Duration::from_millis(monotonic_ms) }
    }

    #[test]
    fn a_wall_clock_that_is_set_is_found_at_the_next_reading_and_only_then() {
        let day = 86_400_000;
        type Case<'a> = (&'a str, &'a [(i64, u64)], &'a [Option<i64>]);
        // The wall clock against the start, and the monotonic clock; then the jumps.
        let cases: &[Case<'_>] = &[
            ("runs on", &[(500, 500), (60_000, 60_000)], &[None, None]),
            ("a small step", &[(5_400, 500)], &[None]),
            ("forty days ahead", &[(40 * day + 500, 500), (40 * day + 900, 900)], &[Some(40 * day), None]),
            ("and back", &[(40 * day + 500, 500), (34_000, 34_000)], &[Some(40 * day), Some(-40 * day)]),
            ("an hour back", &[(-3_600_000, 0), (-3_599_000, 1_000)], &[Some(-3_600_000), None]),
            ("suspended", &[(8 * 3_600_000, 1_000)], &[Some(8 * 3_600_000 - 1_000)]),
            ("a machine that was busy", &[(600_000, 600_000)], &[None]),
            ("slewed by a twelfth", &[(65_000, 60_000), (130_000, 120_000)], &[None, None]),
            ("before 1970", &[(-1_700_000_000_000, 10)], &[Some(-1_700_000_000_010)]),
        ];
        for (name, readings, expected) in cases {
            let mut detector = JumpDetector::new(reading(START, 0));
            let found: Vec<_> = (readings.iter())
                .map(|(wall, monotonic)| reading(START.saturating_add_signed(*wall), *monotonic))
                .map(|reading| detector.observe(reading).map(|jump| jump.by_ms))
                .collect();
            assert_eq!(found, *expected, "{name}");
        }
    }

    #[test]
    fn a_hold_begins_with_the_last_jump_and_ends_by_the_monotonic_clock() {
        let mut detector = JumpDetector::new(reading(START, 0));
        assert_eq!(detector.held_for(Duration::ZERO, HOUR), None);
        detector.observe(reading(START + 86_400_000, 1_000));
        assert_eq!(detector.held_for(Duration::from_secs(1), HOUR), Some(HOUR));
        detector.observe(reading(START + 61_000, 61_000));
        assert_eq!(detector.held_for(Duration::from_secs(71), HOUR), Some(HOUR - Duration::from_secs(10)));
        assert_eq!(detector.held_for(Duration::from_secs(61) + HOUR, HOUR), None);
    }

    #[test]
    fn a_start_long_after_or_before_the_last_run_is_taken_for_a_jump() {
        let (day, now) = (86_400_000, now_ms());
        for (before, expected) in
            [(now, false), (now - day / 2, false), (now - 2 * day, true), (now + day, true)]
        {
            let clock = Clock::new(Arc::default());
            assert_eq!(
                (clock.check_start_time(before), clock.held_for(HOUR).is_some()),
                (expected, expected)
            );
        }
    }

    proptest! {
        /// However the readings are spread, a clock that is steered makes no jump, and one that is set by more than the
        /// tolerance always makes exactly one.
        #[test]
        fn only_setting_the_clock_is_a_jump(
            steps in prop::collection::vec((1_u64..120_000, -1_000_i64..1_000), 1..50),
            jump in prop_oneof![10_001_i64..10_000_000_000, -1_000_000_000_i64..-10_001],
        ) {
            let mut detector = JumpDetector::new(reading(START, 0));
            let (mut wall, mut monotonic) = (START, 0);
            for (elapsed, ppt) in steps {
                monotonic += elapsed;
                // Up to a twelfth faster or slower.
                let steered = elapsed as i64 * ppt / 12_000;
                wall = wall.saturating_add_signed(elapsed as i64 + steered);
                prop_assert_eq!(detector.observe(reading(wall, monotonic)), None);
            }
            wall = wall.saturating_add_signed(jump);
            prop_assert!(detector.observe(reading(wall, monotonic)).is_some());
            prop_assert_eq!(detector.observe(reading(wall, monotonic)), None);
        }
    }
}
