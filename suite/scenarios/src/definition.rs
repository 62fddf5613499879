//! A scenario as data: built-in scenarios and users' TOML files have the same fields.

use std::time::Duration;

use agentbench_report::schema::{Category, Setup};
use serde::{Deserialize, Serialize};

use crate::faults::{FaultKind, Moment, PlannedFault};

/// What clients do, which faults occur, and the time limit. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// The category.
    pub category: Category,
    /// The promise, as a sentence for the report.
    pub promise: String,
    /// Number of clients, each with its own session and a follower on a second connection.
    pub clients: u32,
    /// Number of events that each client publishes.
    pub messages: u32,
    /// Size of an event's `data` in bytes.
    #[serde(default = "default_payload")]
    pub payload_bytes: usize,
    /// Sizes of events in turn, instead of `payload_bytes`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub payload_steps: Vec<usize>,
    /// Time over which the events are spread; a third of the limit if not given, so that a server that falls
    /// behind has time left to catch up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread_ms: Option<u64>,
    /// Time after which the run ends in any case.
    pub limit_ms: u64,
    /// Whether a longer run has more events instead of a slower rate.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keeps_pace: bool,
    /// How followers differ from the default, which is to join at the start and read without delay.
    #[serde(default)]
    pub readers: Readers,
    /// Faults of connections and of the server while events are published.
    #[serde(default)]
    pub faults: Faults,
    /// Connections that are cut repeatedly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cuts: Option<Cuts>,
    /// The search for the highest sustainable load, instead of a fixed load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<Search>,
    /// Flags of `agentbench serve` for the run's own server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub server_flags: Vec<String>,
}

/// How followers differ from the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Readers {
    /// Share of the followers that do not read for `slow_ms` in the middle of the run.
    pub slow_share: f64,
    /// For how long they do not read, ms.
    pub slow_ms: u64,
    /// Followers of each session that join during the run and read from the session's start.
    pub late: u32,
}

/// Faults while events are published.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// Probability that a fault hits the connection of a message, 0 to 1.
    pub rate: f64,
    /// The kinds to draw from; all kinds if there is a rate and none is named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<FaultKind>,
    /// Times that the server is killed (SIGKILL) and started again.
    pub kills: u32,
    /// Times that the server is stopped for `pause_ms` (SIGSTOP) and continued.
    pub pauses: u32,
    /// Length of a pause.
    pub pause_ms: u64,
    /// Times that the server is drained (SIGTERM) and started again.
    pub restarts: u32,
    /// Exactly these faults, instead of random ones: a shrunk plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub planned: Option<Vec<PlannedFault>>,
    /// Exactly these disturbances of the server, instead of random moments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moments: Option<Vec<Moment>>,
}

/// How a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// TCP reset, at both ends.
    Reset,
    /// A WebSocket close frame.
    Close,
    /// Bytes are dropped silently in both directions.
    BlackHole,
}

impl Cut {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Close => "close",
            Self::BlackHole => "black_hole",
        }
    }
}

/// Connections that are cut repeatedly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cuts {
    /// Times that each connection is cut.
    pub attempts: u32,
    /// From a connection's recovery (or the start) to its next cut, ms.
    pub interval_ms: u64,
    /// The ways to cut, in turn over connections and cuts.
    pub ways: Vec<Cut>,
    /// Number of attempts within which a connection must recover.
    #[serde(default = "default_attempts_allowed")]
    pub attempts_allowed: u32,
}

/// The search for the highest sustainable load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// Events per second of the first step, all clients together.
    pub start_per_second: f64,
    /// Factor of the load from step to step.
    pub factor: f64,
    /// Length of a step.
    pub step_ms: u64,
    /// The goal: p99 from the scheduled send to the delivery, ms.
    pub goal_p99_ms: f64,
    /// Maximum number of steps.
    pub steps: u32,
}

/// Values that the user overrides.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Overrides {
    /// Number of clients.
    pub clients: Option<u32>,
    /// Number of messages per client.
    pub messages: Option<u32>,
    /// Time limit; the events are spread over the same share of it.
    pub limit: Option<Duration>,
    /// Failure rate, for scenarios of the category reliability.
    pub failure_rate: Option<f64>,
    /// A tenth of the messages in a tenth of the time.
    pub quick: bool,
}

/// An invalid scenario.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

/// The default share of the time limit over which events are spread.
const SPREAD: u64 = 3;
/// The divisor of `quick`.
const QUICK: u32 = 10;
/// Maximum number of clients: each needs a handful of file descriptors, and a process has about 20,000.
const MAX_CLIENTS: u32 = 5_000;
/// Maximum length of a run: a day.
const MAX_LIMIT_MS: u64 = 24 * 3600 * 1000;
/// Size of the largest event that any server of the protocol accepts, with its envelope.
const MAX_PAYLOAD: usize = 16 * 1024 * 1024;

const fn default_payload() -> usize {
    1024
}

const fn default_attempts_allowed() -> u32 {
    10
}

impl Scenario {
    /// Parses a scenario from TOML.
    ///
    /// # Errors
    /// The TOML is invalid. The error names line and field, and what is valid.
    pub fn from_toml(text: &str) -> Result<Self, Invalid> {
        let scenario: Self = toml::from_str(text).map_err(|error| Invalid(error.to_string()))?;
        scenario.check()?;
        Ok(scenario)
    }

    /// The scenario as TOML.
    ///
    /// # Errors
    /// A number is out of TOML's range.
    pub fn to_toml(&self) -> Result<String, Invalid> {
        toml::to_string(self).map_err(|error| Invalid(error.to_string()))
    }

    /// Checks that the scenario can be run.
    ///
    /// # Errors
    /// A field is invalid. The error names it and its bounds.
    pub fn check(&self) -> Result<(), Invalid> {
        let unless = |right: bool, text: &str| {
            if right { Ok(()) } else { Err(Invalid(format!("scenario {:?}: {text}", self.name))) }
        };
        unless(!self.name.trim().is_empty(), "`name` is empty")?;
        let clients = (1..=MAX_CLIENTS).contains(&self.clients);
        unless(clients, "`clients` must be from 1 to 5000")?;
        unless(self.messages > 0, "`messages` must be at least 1")?;
        let sizes = self.payload_steps.iter().chain([&self.payload_bytes]);
        unless(sizes.max().is_some_and(|most| *most <= MAX_PAYLOAD), "payloads must be at most 16 MiB")?;
        unless(
            (100..=MAX_LIMIT_MS).contains(&self.limit_ms),
            "`limit_ms` must be from 100 to 86400000 (a day)",
        )?;
        unless(self.spread() <= self.limit(), "`spread_ms` must be at most `limit_ms`")?;
        unless((0.0..=1.0).contains(&self.readers.slow_share), "`readers.slow_share` must be from 0 to 1")?;
        unless((0.0..=1.0).contains(&self.faults.rate), "`faults.rate` must be from 0 to 1")?;
        if let Some(cuts) = &self.cuts {
            unless(!cuts.ways.is_empty(), "`cuts.ways` must name at least one of reset, close, black_hole")?;
        }
        if let Some(search) = &self.search {
            let grows = search.factor > 1.0 && search.start_per_second >= 1.0;
            unless(grows, "`search` must start at 1 event per second or more, and grow by a factor above 1")?;
            unless(search.step_ms >= 500 && search.steps > 0, "`search` must have steps of 500 ms or more")?;
        }
        Ok(())
    }

    /// Time over which the events are spread.
    pub fn spread(&self) -> Duration {
        Duration::from_millis(self.spread_ms.unwrap_or(self.limit_ms / SPREAD))
    }

    /// Time limit.
    pub fn limit(&self) -> Duration {
        Duration::from_millis(self.limit_ms)
    }

    /// Size of message `index` in bytes.
    pub fn payload(&self, index: u32) -> usize {
        let steps = &self.payload_steps;
        if steps.is_empty() { self.payload_bytes } else { steps[index as usize % steps.len()] }
    }

    /// Size of the largest message in bytes.
    pub fn largest_payload(&self) -> usize {
        self.payload_steps.iter().copied().max().unwrap_or(self.payload_bytes)
    }

    /// Whether the scenario's connections go through proxies.
    pub fn needs_proxies(&self) -> bool {
        let faults = &self.faults;
        faults.rate > 0.0
            || faults.planned.is_some()
            || faults.moments.is_some()
            || faults.kills + faults.pauses + faults.restarts > 0
            || self.cuts.is_some()
    }

    /// The scenario with the user's overrides.
    #[must_use]
    pub fn with(mut self, overrides: Overrides) -> Self {
        self.clients = overrides.clients.unwrap_or(self.clients).clamp(1, MAX_CLIENTS);
        self.messages = overrides.messages.unwrap_or(self.messages).max(1);
        if let Some(limit) = overrides.limit {
            self.stretch(limit);
        }
        if let Some(rate) = overrides.failure_rate.filter(|_| self.category == Category::Reliability) {
            self.faults.rate = rate.clamp(0.0, 1.0);
        }
        if overrides.quick {
            self.hurry();
        }
        self
    }

    /// Changes the time limit: the events are spread over the same share of it.
    fn stretch(&mut self, limit: Duration) {
        let limit_ms = (limit.as_millis() as u64).clamp(100, MAX_LIMIT_MS);
        let share = limit_ms as f64 / self.limit_ms as f64;
        self.spread_ms = self.spread_ms.map(|spread| (spread as f64 * share) as u64);
        if self.keeps_pace {
            self.messages = ((f64::from(self.messages) * share) as u32).max(1);
        }
        self.limit_ms = limit_ms;
    }

    /// Reduces the work to a tenth, at the same rate.
    fn hurry(&mut self) {
        let spread = self.spread().as_millis() as u64 / u64::from(QUICK);
        self.spread_ms = Some(spread.max(1));
        self.messages = (self.messages / QUICK).max(1);
        self.readers.slow_ms /= u64::from(QUICK);
        for times in [&mut self.faults.kills, &mut self.faults.pauses, &mut self.faults.restarts] {
            *times = (*times).min(1);
        }
        if let Some(cuts) = &mut self.cuts {
            cuts.attempts = cuts.attempts.min(2);
            cuts.interval_ms = (cuts.interval_ms / 5).max(100);
        }
        if let Some(search) = &mut self.search {
            search.step_ms = (search.step_ms / 4).max(500);
            search.steps = search.steps.min(4);
        }
        if self.clients > 100 {
            self.clients /= 5;
        }
    }
}

impl From<&Scenario> for Setup {
    fn from(scenario: &Scenario) -> Self {
        Self {
            name: scenario.name.clone(),
            category: scenario.category,
            promise: scenario.promise.clone(),
            clients: scenario.clients,
            messages: scenario.messages,
            payload_bytes: scenario.largest_payload(),
            spread_ms: scenario.spread().as_millis() as u64,
            limit_ms: scenario.limit_ms,
            failure_rate: scenario.faults.rate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::built_in;

    #[test]
    fn quick_is_a_tenth_of_the_work_at_the_same_pace() {
        let whole = built_in::named("Medium Load Test").unwrap();
        let quick = whole.clone().with(Overrides { quick: true, ..Overrides::default() });
        assert_eq!((quick.clients, quick.messages), (50, 20));
        assert_eq!(quick.spread() * 10, whole.spread());
        assert_eq!(quick.limit(), whole.limit());
    }

    #[test]
    fn overrides_replace_and_never_make_nothing() {
        let overrides = Overrides {
            clients: Some(0),
            messages: Some(7),
            limit: Some(Duration::from_secs(6)),
            failure_rate: Some(0.5),
            quick: true,
        };
        let scenario = built_in::named("Small Load Test").unwrap().with(overrides);
        assert_eq!((scenario.clients, scenario.messages), (1, 1));
        assert_eq!(scenario.limit(), Duration::from_secs(6));
        assert_eq!(scenario.spread(), Duration::from_millis(200));
        assert_eq!(scenario.faults.rate, 0.0, "a failure rate is for reliability");
        let scenario = built_in::named("Extreme Conditions Test").unwrap().with(overrides);
        assert_eq!(scenario.faults.rate, 0.5);
    }

    #[test]
    fn a_longer_soak_has_more_events() {
        let overrides = Overrides { limit: Some(Duration::from_secs(600)), ..Overrides::default() };
        let soak = built_in::named("Soak").unwrap();
        let longer = soak.clone().with(overrides);
        let pace = |scenario: &Scenario| f64::from(scenario.messages) / scenario.spread().as_secs_f64();
        assert!(longer.messages > soak.messages);
        assert!((pace(&longer) / pace(&soak) - 1.0).abs() < 0.02, "{} {}", pace(&longer), pace(&soak));
    }

    #[test]
    fn what_cannot_be_run_is_said_with_its_place() {
        let refused = |text: &str| Scenario::from_toml(text).unwrap_err().to_string();
        let whole = "name = \"x\"\ncategory = \"performance\"\npromise = \"p\"\nclients = 1\nmessages = 1\nlimit_ms = 1000\n";
        Scenario::from_toml(whole).unwrap();
        assert!(refused(&whole.replace("clients = 1", "clients = 0")).contains("1 to 5000"));
        assert!(
            refused(&format!("{whole}colour = 1")).contains("line 7"),
            "{}",
            refused(&format!("{whole}colour = 1"))
        );
        assert!(refused(&format!("{whole}spread_ms = 2000")).contains("spread_ms"));
        assert!(refused(&format!("{whole}[faults]\nrate = 7")).contains("faults.rate"));
        assert!(refused(&format!("{whole}[faults]\nkinds = [\"fire\"]")).contains("fire"));
        assert!(
            refused(&format!("{whole}[cuts]\nattempts = 1\ninterval_ms = 1\nways = []"))
                .contains("cuts.ways")
        );
    }
}
