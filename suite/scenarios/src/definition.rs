//! A scenario as data: the same fields for those that come with the suite and for those that users write in TOML.

use std::time::Duration;

use agentbench_report::schema::{Category, Setup};
use serde::{Deserialize, Serialize};

use crate::faults::{FaultKind, Moment, PlannedFault};

/// What clients do, what is done to them, and within which time. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What it is about.
    pub category: Category,
    /// What it promises, in a sentence for the report.
    pub promise: String,
    /// Clients, each with a session of its own and a follower on a second connection.
    pub clients: u32,
    /// Events that each publishes.
    pub messages: u32,
    /// Bytes of an event's `data`.
    #[serde(default = "default_payload")]
    pub payload_bytes: usize,
    /// Sizes that events take in turn, instead of `payload_bytes`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub payload_steps: Vec<usize>,
    /// Time over which the events are spread; a third of the limit if not given, so that servers that fall
    /// behind have time left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread_ms: Option<u64>,
    /// Time after which the run ends, whatever has come of it.
    pub limit_ms: u64,
    /// Whether a longer run has more events instead of a slower pace.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keeps_pace: bool,
    /// How followers differ from the usual one, who is there from the start and reads at once.
    #[serde(default)]
    pub readers: Readers,
    /// What is done to connections and to the server while events are published.
    #[serde(default)]
    pub faults: Faults,
    /// Connections that are cut again and again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cuts: Option<Cuts>,
    /// The search for the highest load that holds, instead of one load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<Search>,
    /// Flags of `agentbench serve` for a server that is started for the run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub server_flags: Vec<String>,
}

/// How followers differ from the usual one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Readers {
    /// Share of the followers that do not read for `slow_ms` in the middle of the run.
    pub slow_share: f64,
    /// How long they do not read.
    pub slow_ms: u64,
    /// Followers of each session that join while the run goes on, and read it from its start.
    pub late: u32,
}

/// What is done while events are published.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// Chance that a fault hits the connection of a message, 0 to 1.
    pub rate: f64,
    /// The kinds that are drawn from; all, if there is a rate and no kind is named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<FaultKind>,
    /// Times that the server is killed (SIGKILL) and started again.
    pub kills: u32,
    /// Times that the server is stopped for `pause_ms` (SIGSTOP) and goes on.
    pub pauses: u32,
    /// How long a pause is.
    pub pause_ms: u64,
    /// Times that the server is drained (SIGTERM) and started again.
    pub restarts: u32,
    /// Exactly these faults, instead of drawing them: a plan that was shrunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub planned: Option<Vec<PlannedFault>>,
    /// Exactly these disturbances of the server, instead of drawing their moments.
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
    /// Nothing arrives any more, and nobody says so.
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

/// Connections that are cut again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cuts {
    /// Times that each connection is cut.
    pub attempts: u32,
    /// From a connection's recovery (or the beginning) to the next cut, ms.
    pub interval_ms: u64,
    /// The ways, in turn over connections and times.
    pub ways: Vec<Cut>,
    /// Attempts to connect within which a connection has to be back.
    #[serde(default = "default_attempts_allowed")]
    pub attempts_allowed: u32,
}

/// The search for the highest load that holds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// Events a second of the first step, all clients together.
    pub start_per_second: f64,
    /// What the load is multiplied with from step to step.
    pub factor: f64,
    /// How long a step is.
    pub step_ms: u64,
    /// The goal: p99 from the planned sending to the delivery, ms.
    pub goal_p99_ms: f64,
    /// Steps at most.
    pub steps: u32,
}

/// What the user wants otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Overrides {
    /// Other number of clients.
    pub clients: Option<u32>,
    /// Other number of messages each.
    pub messages: Option<u32>,
    /// Other time limit; the events are spread over the same share of it.
    pub limit: Option<Duration>,
    /// Other failure rate, for scenarios of the category reliability.
    pub failure_rate: Option<f64>,
    /// A tenth of the messages in a tenth of the time.
    pub quick: bool,
}

/// A scenario that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

/// The share of the time limit over which events are spread if nothing else is said.
const SPREAD: u64 = 3;
/// What `quick` divides by.
const QUICK: u32 = 10;
/// Most clients: each needs a handful of file descriptors, and a process has 20,000 or so.
const MAX_CLIENTS: u32 = 5_000;
/// Longest run: a day.
const MAX_LIMIT_MS: u64 = 24 * 3600 * 1000;
/// Largest event that any server of the protocol takes, with its envelope.
const MAX_PAYLOAD: usize = 16 * 1024 * 1024;

const fn default_payload() -> usize {
    1024
}

const fn default_attempts_allowed() -> u32 {
    10
}

impl Scenario {
    /// Reads one from TOML.
    ///
    /// # Errors
    /// With line and field, and what would be right.
    pub fn from_toml(text: &str) -> Result<Self, Invalid> {
        let scenario: Self = toml::from_str(text).map_err(|error| Invalid(error.to_string()))?;
        scenario.check()?;
        Ok(scenario)
    }

    /// The same as TOML.
    ///
    /// # Errors
    /// If a number is out of TOML's range.
    pub fn to_toml(&self) -> Result<String, Invalid> {
        toml::to_string(self).map_err(|error| Invalid(error.to_string()))
    }

    /// Whether it can be run.
    ///
    /// # Errors
    /// With the field that is wrong, and its bounds.
    pub fn check(&self) -> Result<(), Invalid> {
        let unless = |right: bool, text: &str| {
            if right { Ok(()) } else { Err(Invalid(format!("scenario {:?}: {text}", self.name))) }
        };
        unless(!self.name.trim().is_empty(), "`name` is empty")?;
        let clients = (1..=MAX_CLIENTS).contains(&self.clients);
        unless(clients, "`clients` is a number from 1 to 5000")?;
        unless(self.messages > 0, "`messages` is a number from 1")?;
        let sizes = self.payload_steps.iter().chain([&self.payload_bytes]);
        unless(sizes.max().is_some_and(|most| *most <= MAX_PAYLOAD), "payloads have 16 MiB at most")?;
        unless((100..=MAX_LIMIT_MS).contains(&self.limit_ms), "`limit_ms` is a number from 100 to a day")?;
        unless(self.spread() <= self.limit(), "`spread_ms` is longer than `limit_ms`")?;
        unless((0.0..=1.0).contains(&self.readers.slow_share), "`readers.slow_share` is a share, 0 to 1")?;
        unless((0.0..=1.0).contains(&self.faults.rate), "`faults.rate` is a share, 0 to 1")?;
        if let Some(cuts) = &self.cuts {
            unless(!cuts.ways.is_empty(), "`cuts.ways` names at least one of reset, close, black_hole")?;
        }
        if let Some(search) = &self.search {
            let grows = search.factor > 1.0 && search.start_per_second >= 1.0;
            unless(grows, "`search` starts at 1 event a second or more, and grows by more than 1")?;
            unless(search.step_ms >= 500 && search.steps > 0, "`search` has steps of 500 ms or more")?;
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

    /// Bytes of message `index`.
    pub fn payload(&self, index: u32) -> usize {
        let steps = &self.payload_steps;
        if steps.is_empty() { self.payload_bytes } else { steps[index as usize % steps.len()] }
    }

    /// Bytes of the largest message.
    pub fn largest_payload(&self) -> usize {
        self.payload_steps.iter().copied().max().unwrap_or(self.payload_bytes)
    }

    /// Whether its connections go through proxies.
    pub fn needs_proxies(&self) -> bool {
        let faults = &self.faults;
        faults.rate > 0.0
            || faults.planned.is_some()
            || faults.moments.is_some()
            || faults.kills + faults.pauses + faults.restarts > 0
            || self.cuts.is_some()
    }

    /// The same, as the user wants it.
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

    /// Another time limit: the events are spread over the same share of it.
    fn stretch(&mut self, limit: Duration) {
        let limit_ms = (limit.as_millis() as u64).clamp(100, MAX_LIMIT_MS);
        let share = limit_ms as f64 / self.limit_ms as f64;
        self.spread_ms = self.spread_ms.map(|spread| (spread as f64 * share) as u64);
        if self.keeps_pace {
            self.messages = ((f64::from(self.messages) * share) as u32).max(1);
        }
        self.limit_ms = limit_ms;
    }

    /// A tenth of the work, at the same pace.
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
