//! The report as data. Its form has a version: a report of today can be compared with one of next year.

use agentbench_history::Verdict;
use agentbench_load::latency::{Latency, Percentiles};
use serde::{Deserialize, Serialize};

use crate::scenario::Performance;

/// Version of the report's form.
pub const REPORT_VERSION: u32 = 1;

/// One run of the suite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// [`REPORT_VERSION`].
    pub version: u32,
    /// Software and version.
    pub suite: String,
    /// When it began, ms since 1970.
    pub started_at: u64,
    /// The seed that it can be repeated with.
    pub seed: u64,
    /// The machine.
    pub machine: Machine,
    /// The server's URL, or that it was started for the run.
    pub target: String,
    /// Each scenario.
    pub scenarios: Vec<ScenarioResult>,
}

/// Where it ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Every promise held.
    Passed,
    /// A promise was broken, or something is not known.
    Failed,
}

/// One scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// What was counted.
    pub counts: Counts,
    /// What was measured.
    pub figures: Figures,
    /// What the judge says.
    pub verdict: Verdict,
    /// The course of the run.
    pub samples: Vec<Sample>,
}

/// A scenario's sizes, as they were run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Setup {
    /// Its name.
    pub name: String,
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
}

impl From<&Performance> for Setup {
    fn from(scenario: &Performance) -> Self {
        Self {
            name: scenario.name.clone(),
            clients: scenario.clients,
            messages: scenario.messages,
            payload_bytes: scenario.payload,
            spread_ms: scenario.spread.as_millis() as u64,
            limit_ms: scenario.limit.as_millis() as u64,
        }
    }
}

/// What became of everything that was planned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Events sent again.
    pub retried: u64,
}

/// What was measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
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
    /// From the planned to the real moment of sending, µs.
    pub schedule_lag: Percentiles,
}

/// What a process used while the scenario ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
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
}

/// A moment of the run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
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
}

impl Report {
    /// Whether every promise of every scenario held.
    pub fn has_passed(&self) -> bool {
        self.scenarios.iter().all(|scenario| scenario.status == Status::Passed)
    }
}
