//! The report as data. Its form has a version: a report of today can be compared with one of next year.

use std::collections::BTreeMap;

use agentbench_history::Verdict;
use agentbench_load::latency::{Latency, Percentiles};
use serde::{Deserialize, Serialize};

/// Version of the report's form.
pub const REPORT_VERSION: u32 = 2;

/// One run of the suite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// [`REPORT_VERSION`].
    pub version: u32,
    /// Software and version.
    pub suite: String,
    /// When it began, ms since 1970.
    pub started_at: u64,
    /// How long it took, ms.
    pub took_ms: u64,
    /// The seed that it can be repeated with.
    pub seed: u64,
    /// Whether it was a tenth of the work.
    pub quick: bool,
    /// The machine.
    pub machine: Machine,
    /// The server's URL, or that it was started for the run.
    pub target: String,
    /// Why the run ended before it was done, if it did: the scenarios are those that ended before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interrupted: Option<String>,
    /// Each scenario, in the order in which they were run.
    pub scenarios: Vec<ScenarioResult>,
}

/// Where it ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// Cores that the suite may use.
    pub cores: usize,
    /// Operating system and processor.
    pub platform: String,
    /// Whether the suite was compiled for speed. If not, its figures say little.
    pub optimised: bool,
}

/// How a scenario ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Every promise held.
    Passed,
    /// A promise was broken, or something is not known.
    Failed,
}

/// What a scenario is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// Load: throughput, latency, what it costs.
    Performance,
    /// Connecting, and coming back.
    Connection,
    /// Promises under faults.
    Reliability,
}

/// One scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ScenarioResult {
    /// What was to be done.
    pub scenario: Setup,
    /// How it ended.
    pub status: Status,
    /// Why it failed.
    pub reasons: Vec<String>,
    /// Why the figures of speed say nothing about the server, if they do not. The promises are judged all the
    /// same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invalid: Option<String>,
    /// The command that runs this scenario again with the same seed.
    pub replay: String,
    /// What was counted.
    pub counts: Counts,
    /// What was measured.
    pub figures: Figures,
    /// Connecting and coming back, where the scenario is about that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<ConnectionFigures>,
    /// Promises under faults, where the scenario has faults or kills.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reliability: Option<ReliabilityFigures>,
    /// The load steps, where the scenario looks for the highest load that holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<LimitSearch>,
    /// Each kind of fault: how often it was planned, and how often it happened.
    #[serde(default)]
    pub faults: Vec<FaultCount>,
    /// What was done to the connections and to the server, in the order of time.
    #[serde(default)]
    pub events: Vec<TimelineEvent>,
    /// What the judge says.
    pub verdict: Verdict,
    /// The course of the run.
    pub samples: Vec<Sample>,
}

/// A scenario's sizes, as they were run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Setup {
    /// Its name.
    pub name: String,
    /// What it is about.
    pub category: Category,
    /// What it promises, in a sentence.
    pub promise: String,
    /// Clients.
    pub clients: u32,
    /// Events that each publishes.
    pub messages: u32,
    /// Bytes of an event's `data`.
    pub payload_bytes: usize,
    /// Time over which the events were spread, ms.
    pub spread_ms: u64,
    /// Time limit, ms.
    pub limit_ms: u64,
    /// Share of messages whose connection a fault hits.
    pub failure_rate: f64,
}

/// What became of everything that was planned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Events that were to be published.
    pub planned: u64,
    /// Of those, never handed to a connection: not in the log.
    pub unsent: u64,
    /// Acked.
    pub stored: u64,
    /// Refused: not in the log.
    pub refused: u64,
    /// Sent and never answered: perhaps in the log.
    pub unknown: u64,
    /// Delivered to followers.
    pub delivered: u64,
    /// Connections that were to be made.
    pub connections: u64,
    /// Of those, failed.
    pub connections_failed: u64,
    /// Connections made again.
    pub reconnects: u64,
    /// The most of them within one second.
    #[serde(default)]
    pub peak_reconnects_per_second: u64,
    /// Events sent again.
    pub retried: u64,
    /// Acks that said that the log had the event already: retries that stored nothing twice.
    pub duplicates_suppressed: u64,
    /// Times that a reader went on after a reconnect.
    pub resumed: u64,
}

/// What was measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// The whole run, ms.
    pub took_ms: u64,
    /// Events acked in a second, from the first planned one to the last ack.
    pub acked_per_second: f64,
    /// Events delivered in a second, from the first planned one to the last delivery.
    pub delivered_per_second: f64,
    /// Publish to ack, µs.
    pub ack: Latency,
    /// Publish to delivery at the follower, µs.
    pub delivery: Latency,
    /// A connection with its first message, µs.
    pub connect: Percentiles,
    /// Share of the planned events that were not stored.
    pub error_rate: f64,
    /// Bytes that the clients sent: WebSocket frames, without TCP and IP.
    pub bytes_sent: u64,
    /// Bytes that the clients received.
    pub bytes_received: u64,
    /// The server's process, where it runs on this machine and was started by the suite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ProcessFigures>,
    /// The suite's own process.
    pub generator: ProcessFigures,
    /// Most bytes that had arrived for the suite's clients and were not read yet: what the generator was late
    /// with.
    #[serde(default)]
    pub generator_unread_bytes: u64,
    /// Most bytes that the suite's clients had written and the other side had not taken yet.
    #[serde(default)]
    pub generator_unsent_bytes: u64,
    /// From the planned to the real moment of sending, µs.
    pub schedule_lag: Percentiles,
    /// The latency curves, from the planned moment of sending.
    #[serde(default)]
    pub curves: Curves,
}

/// Latency by quantile: points of a curve that rises to the right, µs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Curves {
    /// Publish to ack.
    pub ack: Vec<CurvePoint>,
    /// Publish to delivery.
    pub delivery: Vec<CurvePoint>,
    /// Connecting.
    pub connect: Vec<CurvePoint>,
}

/// One point of a latency curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CurvePoint {
    /// Share of the values that are at most `micros`, 0 to 1.
    pub quantile: f64,
    /// The value, µs.
    pub micros: u64,
}

/// What a process used while the scenario ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ProcessFigures {
    /// CPU, user and system, ms.
    pub cpu_ms: u64,
    /// The same as a share of one core.
    pub cpu_share: f64,
    /// Resident memory at most, bytes.
    pub peak_resident: u64,
    /// Threads at most.
    pub threads: usize,
    /// Open file descriptors at most.
    pub files: usize,
    /// Bytes that its data folder grew by; 0 for a process without one.
    #[serde(default)]
    pub disk_bytes: u64,
}

/// Connecting and coming back.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ConnectionFigures {
    /// First connections tried, one by one and all at once.
    pub attempted: u64,
    /// Of those, established.
    pub established: u64,
    /// TCP connect, µs.
    pub tcp: Percentiles,
    /// WebSocket upgrade, µs.
    pub upgrade: Percentiles,
    /// From the upgrade to the server's first message, µs.
    pub first_message: Percentiles,
    /// All of it when connecting one by one, µs.
    pub one_by_one: Percentiles,
    /// All of it when connecting all at once, µs.
    pub all_at_once: Percentiles,
    /// Connections that were cut, by how.
    pub cuts: BTreeMap<String, u64>,
    /// Cut connections that came back.
    pub recovered: u64,
    /// From the cut to the resumed session, by how it was cut, µs.
    pub recovery: BTreeMap<String, Percentiles>,
    /// Attempts that coming back took: how many of the cut connections needed 1, 2, … attempts.
    pub attempts_used: BTreeMap<u64, u64>,
    /// Most attempts that were allowed.
    pub attempts_allowed: u32,
}

/// Promises under faults.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ReliabilityFigures {
    /// Share of the acked events that are lost.
    pub loss_rate: f64,
    /// Share of the sessions in which every promise held and everything was stored.
    pub session_success_rate: f64,
    /// Share of the planned events that were not stored.
    pub error_rate: f64,
    /// From a fault that ended a connection to the ack or the delivery of the message that it struck, µs.
    pub recovery: Percentiles,
    /// From a kill of the server to the first ack of anybody afterwards, µs.
    pub server_recovery: Percentiles,
    /// Events sent again.
    pub retries: u64,
    /// Retries that the log had already.
    pub duplicates_suppressed: u64,
}

/// How often a kind of fault was planned and happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FaultCount {
    /// The kind.
    pub kind: String,
    /// How often the plan asks for it.
    pub planned: u64,
    /// How often it happened.
    pub happened: u64,
}

/// Something that was done to a connection or to the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TimelineEvent {
    /// When, ms since the run began.
    pub at_ms: u64,
    /// What: a kind of fault, `server_killed`, `server_started`, `healed`, …
    pub kind: String,
    /// To whom or why.
    pub detail: String,
}

/// The search for the highest load that holds a goal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct LimitSearch {
    /// The goal: p99 from publish to delivery, µs.
    pub goal_p99_micros: u64,
    /// Each step.
    pub steps: Vec<LoadStep>,
    /// The highest load that held, events a second; none, if not even the first did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<f64>,
    /// Why the search ended.
    pub ended: String,
}

/// One step of the search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct LoadStep {
    /// Events a second that were planned.
    pub planned_per_second: f64,
    /// Events a second that were delivered.
    pub delivered_per_second: f64,
    /// p99 from the planned sending to delivery, µs.
    pub p99_micros: u64,
    /// The server's CPU as a share of one core.
    pub server_cpu_share: f64,
    /// Why the step did not hold, if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broke: Option<String>,
}

/// A moment of the run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    /// When, ms since the run began.
    pub at_ms: u64,
    /// Events published so far.
    pub sent: u64,
    /// Events acked so far.
    pub acked: u64,
    /// Events delivered so far.
    pub delivered: u64,
    /// The server's CPU so far, ms.
    pub server_cpu_ms: u64,
    /// The server's resident memory, bytes.
    pub server_resident: u64,
    /// The server's open file descriptors.
    #[serde(default)]
    pub server_files: usize,
    /// The generator's CPU so far, ms.
    #[serde(default)]
    pub generator_cpu_ms: u64,
}

impl Category {
    /// Every category, in the order in which reports show them.
    pub const ALL: [Self; 3] = [Self::Performance, Self::Connection, Self::Reliability];

    /// Its name, as it is in the report's file.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Performance => "performance",
            Self::Connection => "connection",
            Self::Reliability => "reliability",
        }
    }
}

impl Report {
    /// Whether the run was done and every promise of every scenario held.
    pub fn has_passed(&self) -> bool {
        self.interrupted.is_none() && self.scenarios.iter().all(|scenario| scenario.status == Status::Passed)
    }
}
