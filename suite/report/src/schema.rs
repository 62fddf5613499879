//! The report as data. The form has a version, so that a report can still be compared with one of next year.

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
    /// Name and version of the software.
    pub suite: String,
    /// When it started, ms since 1970.
    pub started_at: u64,
    /// How long it took, ms.
    pub took_ms: u64,
    /// The seed that repeats it.
    pub seed: u64,
    /// Whether it ran only a tenth of the work.
    pub quick: bool,
    /// The machine.
    pub machine: Machine,
    /// The server's URL, or a note that the suite started it.
    pub target: String,
    /// Why the run ended early, if it did: the scenarios are those that had finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interrupted: Option<String>,
    /// Each scenario, in the order of the run.
    pub scenarios: Vec<ScenarioResult>,
}

/// The machine of the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// Cores available to the suite.
    pub cores: usize,
    /// Operating system and processor.
    pub platform: String,
    /// Whether the suite is a release build. If not, its speed figures mean little.
    pub optimised: bool,
}

/// How a scenario ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Every promise held.
    Passed,
    /// A promise was broken, or an outcome is unknown.
    Failed,
}

/// The topic of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// Load: throughput, latency, resource use.
    Performance,
    /// Connecting and reconnecting.
    Connection,
    /// Promises under faults.
    Reliability,
}

/// One scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ScenarioResult {
    /// The scenario's setup.
    pub scenario: Setup,
    /// How it ended.
    pub status: Status,
    /// Why it failed.
    pub reasons: Vec<String>,
    /// Why the speed figures say nothing about the server, if they do not. The promises are judged in any
    /// case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invalid: Option<String>,
    /// The command that runs this scenario again with the same seed.
    pub replay: String,
    /// The counters.
    pub counts: Counts,
    /// The measurements.
    pub figures: Figures,
    /// Connecting and reconnecting, where the scenario tests that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<ConnectionFigures>,
    /// Promises under faults, where the scenario has faults or kills.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reliability: Option<ReliabilityFigures>,
    /// The load steps, where the scenario searches for the highest sustainable load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<LimitSearch>,
    /// Each kind of fault: how often it was planned, and how often it happened.
    #[serde(default)]
    pub faults: Vec<FaultCount>,
    /// Faults of the connections and the server, in order of time.
    #[serde(default)]
    pub events: Vec<TimelineEvent>,
    /// The judge's verdict.
    pub verdict: Verdict,
    /// Samples over the run.
    pub samples: Vec<Sample>,
}

/// A scenario's sizes in this run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Setup {
    /// Its name.
    pub name: String,
    /// Its category.
    pub category: Category,
    /// Its promise, in a sentence.
    pub promise: String,
    /// Number of clients.
    pub clients: u32,
    /// Number of events that each client publishes.
    pub messages: u32,
    /// Size of an event's `data` in bytes.
    pub payload_bytes: usize,
    /// Time over which the events were spread, ms.
    pub spread_ms: u64,
    /// Time limit, ms.
    pub limit_ms: u64,
    /// Share of messages whose connection a fault hits.
    pub failure_rate: f64,
}

/// Outcomes of everything planned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Events planned.
    pub planned: u64,
    /// Events that never reached a connection: not in the log.
    pub unsent: u64,
    /// Events acked.
    pub stored: u64,
    /// Events refused: not in the log.
    pub refused: u64,
    /// Events sent without an answer: possibly in the log.
    pub unknown: u64,
    /// Events delivered to followers.
    pub delivered: u64,
    /// Connections planned.
    pub connections: u64,
    /// Connections that failed.
    pub connections_failed: u64,
    /// Reconnects.
    pub reconnects: u64,
    /// The maximum number of reconnects within one second.
    #[serde(default)]
    pub peak_reconnects_per_second: u64,
    /// Events sent again.
    pub retried: u64,
    /// Acks for events already in the log: retries that stored nothing twice.
    pub duplicates_suppressed: u64,
    /// Times that a reader continued after a reconnect.
    pub resumed: u64,
}

/// The measurements.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// The whole run, ms.
    pub took_ms: u64,
    /// Events acked per second, from the first scheduled send to the last ack.
    pub acked_per_second: f64,
    /// Events delivered per second, from the first scheduled send to the last delivery.
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
    /// Maximum number of bytes that had arrived for the suite's clients and were unread: the generator's
    /// backlog.
    #[serde(default)]
    pub generator_unread_bytes: u64,
    /// Maximum number of bytes that the suite's clients had written and the other side had not yet received.
    #[serde(default)]
    pub generator_unsent_bytes: u64,
    /// From the scheduled to the actual send, µs.
    pub schedule_lag: Percentiles,
    /// The latency curves, from the scheduled send.
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

/// Resources that a process used during the scenario.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ProcessFigures {
    /// CPU, user and system, ms.
    pub cpu_ms: u64,
    /// CPU as a share of one core.
    pub cpu_share: f64,
    /// Peak resident memory, bytes.
    pub peak_resident: u64,
    /// Maximum number of threads.
    pub threads: usize,
    /// Maximum number of open file descriptors.
    pub files: usize,
    /// Growth of its data folder in bytes; 0 for a process without one.
    #[serde(default)]
    pub disk_bytes: u64,
}

/// Connecting and reconnecting.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ConnectionFigures {
    /// First connections attempted, one by one and all at once.
    pub attempted: u64,
    /// First connections established.
    pub established: u64,
    /// TCP connect, µs.
    pub tcp: Percentiles,
    /// WebSocket upgrade, µs.
    pub upgrade: Percentiles,
    /// From the upgrade to the server's first message, µs.
    pub first_message: Percentiles,
    /// The sum when connecting one by one, µs.
    pub one_by_one: Percentiles,
    /// The sum when connecting all at once, µs.
    pub all_at_once: Percentiles,
    /// Connections that were cut, by kind of cut.
    pub cuts: BTreeMap<String, u64>,
    /// Cut connections that recovered.
    pub recovered: u64,
    /// From the cut to the resumed session, by kind of cut, µs.
    pub recovery: BTreeMap<String, Percentiles>,
    /// Attempts to recover: how many of the cut connections needed 1, 2, … attempts.
    pub attempts_used: BTreeMap<u64, u64>,
    /// Maximum number of attempts allowed.
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
    /// From a fault that ended a connection to the ack or the delivery of the message that it hit, µs.
    pub recovery: Percentiles,
    /// From a kill of the server to the next ack of any client, µs.
    pub server_recovery: Percentiles,
    /// Events sent again.
    pub retries: u64,
    /// Retries of events already in the log.
    pub duplicates_suppressed: u64,
}

/// How often a kind of fault was planned and happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FaultCount {
    /// The kind.
    pub kind: String,
    /// Number of times planned.
    pub planned: u64,
    /// Number of times it happened.
    pub happened: u64,
}

/// A fault of a connection or of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TimelineEvent {
    /// When, ms since the start of the run.
    pub at_ms: u64,
    /// What: a kind of fault, `server_killed`, `server_started`, `healed`, …
    pub kind: String,
    /// The target, or the reason.
    pub detail: String,
}

/// The search for the highest load that meets a goal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct LimitSearch {
    /// The goal: p99 from publish to delivery, µs.
    pub goal_p99_micros: u64,
    /// Each step.
    pub steps: Vec<LoadStep>,
    /// The highest load that met the goal, events per second; `None` if the first step missed it.
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
    /// Planned events per second.
    pub planned_per_second: f64,
    /// Delivered events per second.
    pub delivered_per_second: f64,
    /// p99 from the scheduled send to delivery, µs.
    pub p99_micros: u64,
    /// The server's CPU as a share of one core.
    pub server_cpu_share: f64,
    /// Why the step missed the goal, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broke: Option<String>,
}

/// A sample of the run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    /// When, ms since the start of the run.
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

    /// Its name in the report's file.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Performance => "performance",
            Self::Connection => "connection",
            Self::Reliability => "reliability",
        }
    }
}

impl Report {
    /// Whether the run is complete and every promise of every scenario held.
    pub fn has_passed(&self) -> bool {
        self.interrupted.is_none() && self.scenarios.iter().all(|scenario| scenario.status == Status::Passed)
    }
}
