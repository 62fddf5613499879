//! One rule's state over time: ok → pending → firing → ok. A pure state machine: time and readings are its inputs.
//!
//! A reading beyond the threshold makes the rule pending, and firing once readings have stayed there for long enough. A
//! firing rule clears once readings have stayed on the good side of the clearing level for long enough, so readings that
//! oscillate around the threshold do not fire and clear it with every step.

use serde::Serialize;

/// When a rule fires and clears.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    /// Readings beyond it are bad.
    pub threshold: f64,
    /// Time that readings have to be bad before it fires, ms.
    pub for_ms: u64,
    /// Time that readings have to be good before it clears, ms.
    pub clear_ms: u64,
}

impl Limit {
    /// Reads `THRESHOLD,FOR,CLEAR` (ms); `None` for `off`.
    ///
    /// # Errors
    /// Describes the expected form.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        if text.trim() == "off" {
            return Ok(None);
        }
        let wrong = || format!("must be off, or THRESHOLD,FOR,CLEAR with times in ms, not {text:?}");
        let mut parts = text.split(',').map(str::trim);
        let threshold = parts.next().and_then(|part| part.parse::<f64>().ok());
        let threshold = threshold.filter(|it| it.is_finite() && *it >= 0.0).ok_or_else(wrong)?;
        let mut millis = || parts.next().and_then(|part| part.parse::<u64>().ok()).ok_or_else(wrong);
        let limit = Self { threshold, for_ms: millis()?, clear_ms: millis()? };
        if parts.next().is_some() {
            return Err(wrong());
        }
        Ok(Some(limit))
    }
}

/// Which readings are bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Above,
    Below,
}

/// The state of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// Nothing is wrong.
    Ok,
    /// Beyond the threshold, not for long enough yet.
    Pending,
    /// Beyond the threshold for long enough, or not well for long enough since.
    Firing,
}

/// One rule's state machine.
#[derive(Debug, Clone)]
pub(crate) struct RuleState {
    direction: Direction,
    limit: Limit,
    /// The level that a firing rule has to be on the good side of.
    clears_at: f64,
    pub(crate) state: State,
    /// Since when it is in the state; `None` if it has never left ok.
    pub(crate) since: Option<u64>,
    well_since: Option<u64>,
}

impl RuleState {
    /// `margin` is the clearing level as a part of the threshold.
    pub(crate) fn new(direction: Direction, limit: Limit, margin: f64) -> Self {
        let clears_at = limit.threshold * margin;
        Self { direction, limit, clears_at, state: State::Ok, since: None, well_since: None }
    }

    pub(crate) fn threshold(&self) -> f64 {
        self.limit.threshold
    }

    /// Processes a reading at a time (ms); a missing reading counts as good. Returns whether the state has changed.
    pub(crate) fn step(&mut self, now: u64, reading: Option<f64>) -> bool {
        let beyond = |level: f64| match (self.direction, reading) {
            (_, None) => false,
            (Direction::Above, Some(reading)) => reading > level,
            (Direction::Below, Some(reading)) => reading < level,
        };
        let (bad, unwell) = (beyond(self.limit.threshold), beyond(self.clears_at));
        let before = self.state;
        match self.state {
            State::Ok if bad => self.enter(State::Pending, now),
            State::Pending if !bad => self.enter(State::Ok, now),
            State::Firing if unwell => self.well_since = None,
            State::Firing => {
                let since = *self.well_since.get_or_insert(now);
                if now.saturating_sub(since) >= self.limit.clear_ms {
                    self.enter(State::Ok, now);
                }
            }
            State::Ok | State::Pending => {}
        }
        let pending_for = now.saturating_sub(self.since.unwrap_or(now));
        if self.state == State::Pending && pending_for >= self.limit.for_ms {
            self.enter(State::Firing, now);
        }
        self.state != before
    }

    fn enter(&mut self, state: State, now: u64) {
        self.state = state;
        self.since = Some(now);
        self.well_since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NONE: f64 = f64::NAN;

    /// Runs readings, given with their times, through a machine, and gives the states after them as their first letters.
    fn run(direction: Direction, limit: Limit, margin: f64, readings: &[(u64, f64)]) -> String {
        let mut machine = RuleState::new(direction, limit, margin);
        let mut letter = |(now, reading): &(u64, f64)| {
            machine.step(*now, Some(*reading).filter(|it| !it.is_nan()));
            match machine.state {
                State::Ok => 'o',
                State::Pending => 'p',
                State::Firing => 'f',
            }
        };
        readings.iter().map(&mut letter).collect()
    }

    #[test]
    fn states_follow_readings_and_time() {
        use Direction::{Above, Below};
        let limit = |threshold, for_ms, clear_ms| Limit { threshold, for_ms, clear_ms };
        let slow = limit(10.0, 20, 30);
        type Case<'a> = (&'a str, Direction, Limit, f64, &'a [(u64, f64)], &'a str);
        let cases: &[Case<'_>] = &[
            ("never", Above, slow, 0.8, &[(0, 1.0), (10, 10.0), (50, 10.0)], "ooo"),
            (
                "a spike is not enough",
                Above,
                slow,
                0.8,
                &[(0, 11.0), (10, 11.0), (19, 9.0), (40, 11.0)],
                "ppop",
            ),
            ("long enough", Above, slow, 0.8, &[(0, 11.0), (19, 11.0), (20, 11.0)], "ppf"),
            ("at once", Above, limit(10.0, 0, 0), 0.8, &[(0, 11.0), (1, 8.0)], "fo"),
            (
                "between the levels it stays",
                Above,
                slow,
                0.8,
                &[(0, 11.0), (20, 11.0), (99, 9.0), (999, 8.1)],
                "pfff",
            ),
            (
                "well for long enough",
                Above,
                slow,
                0.8,
                &[(0, 11.0), (20, 11.0), (30, 8.0), (59, 1.0), (60, 1.0)],
                "pfffo",
            ),
            (
                "a relapse begins anew",
                Above,
                slow,
                0.8,
                &[(0, 11.0), (20, 11.0), (30, 1.0), (50, 9.0), (60, 1.0), (89, 1.0), (90, 1.0)],
                "pfffffo",
            ),
            ("silence is well", Above, slow, 0.8, &[(0, 11.0), (20, 11.0), (30, NONE), (60, NONE)], "pffo"),
            ("nothing to read", Above, slow, 0.8, &[(0, NONE), (90, NONE)], "oo"),
            ("below", Below, slow, 1.0, &[(0, 9.9), (20, 9.9), (21, 10.0), (50, 10.0), (51, 10.0)], "pfffo"),
            (
                "zero is a threshold",
                Above,
                limit(0.0, 0, 5),
                0.8,
                &[(0, 0.0), (1, 1.0), (2, 0.0), (7, 0.0)],
                "offo",
            ),
            ("a clock that goes back", Above, slow, 0.8, &[(100, 11.0), (50, 11.0), (120, 11.0)], "ppf"),
        ];
        for (name, direction, limit, margin, readings, expected) in cases {
            assert_eq!(run(*direction, *limit, *margin, readings), *expected, "{name}");
        }
    }

    #[test]
    fn limits_are_read_as_they_are_written() {
        let limit = Limit { threshold: 2.5, for_ms: 10, clear_ms: 0 };
        assert_eq!(Limit::parse("2.5, 10, 0"), Ok(Some(limit)));
        assert_eq!(Limit::parse("off"), Ok(None));
        for wrong in ["", "1", "1,2", "1,2,3,4", "x,1,1", "1,-1,1", "-1,0,0", "NaN,0,0", "inf,0,0"] {
            assert!(Limit::parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        /// Whatever is read, it fires only after bad readings for the whole time, and clears only after good ones.
        #[test]
        fn nothing_fires_or_clears_early(readings in prop::collection::vec((1_u64..20, 0.0_f64..20.0), 1..200)) {
            let limit = Limit { threshold: 10.0, for_ms: 30, clear_ms: 50 };
            let mut machine = RuleState::new(Direction::Above, limit, 0.8);
            let (mut now, mut bad_since, mut good_since) = (0, None, None);
            for (step, reading) in readings {
                now += step;
                let before = machine.state;
                machine.step(now, Some(reading));
                if reading > 10.0 { bad_since.get_or_insert(now); } else { bad_since = None; }
                if reading > 8.0 { good_since = None; } else { good_since.get_or_insert(now); }
                if before != State::Firing && machine.state == State::Firing {
                    prop_assert!(bad_since.is_some_and(|since| now - since >= 30));
                }
                if before == State::Firing && machine.state == State::Ok {
                    prop_assert!(good_since.is_some_and(|since| now - since >= 50));
                }
            }
        }
    }
}
