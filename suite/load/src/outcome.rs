//! The figures of one run of `agentbench load`, for people and for programs.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::generator::{Cost, Verdict, judge_rate, judge_window};
use crate::latency::{Percentiles, percentiles};
use crate::target::Measurement;

/// The figures of a run. In JSON: one object, with fields in camelCase.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The server's job: `agentbench`, `echo` or `broadcast`.
    pub target: &'static str,
    /// Number of connections; with `broadcast`, of readers.
    pub connections: usize,
    /// Messages in flight on each connection, if there was a window.
    pub in_flight: Option<usize>,
    /// Messages offered per second, if there was a rate.
    pub offered_per_second: Option<u64>,
    /// Size of a message in bytes.
    pub size: usize,
    /// The measured time, seconds.
    pub seconds: f64,
    /// Echoes, acks or deliveries in that time.
    pub messages: u64,
    /// Echoes, acks or deliveries per second.
    pub messages_per_second: f64,
    /// From sending to the answer, µs; with a rate, from the scheduled send.
    pub latency_us: Percentiles,
    /// Time to open all connections, seconds.
    pub opened_in_seconds: f64,
    /// The server's CPU per message, µs, if its process is known.
    pub server_us_per_message: Option<f64>,
    /// Resource use of both processes.
    #[serde(flatten)]
    pub cost: Cost,
    /// Writes that did not fit the socket: the server read more slowly than it was sent to.
    pub blocked_writes: u64,
    /// With a rate: 99th percentile of the generator's lateness, µs.
    pub late_p99_us: Option<u64>,
    /// Whether the figures are the server's.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// The parameters that an outcome repeats.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunParameters {
    pub(crate) target: &'static str,
    pub(crate) connections: usize,
    pub(crate) in_flight: Option<usize>,
    pub(crate) rate: Option<u64>,
    pub(crate) size: usize,
}

impl Outcome {
    pub(crate) fn new(asked: RunParameters, measured: &Measurement, cost: Cost) -> Self {
        let late = measured.lag.as_ref().map(|lag| lag.value_at_quantile(0.99));
        let verdict = match late {
            Some(late) => judge_rate(Duration::from_micros(late)),
            None => judge_window(&cost),
        };
        Self {
            target: asked.target,
            connections: asked.connections,
            in_flight: asked.in_flight,
            offered_per_second: asked.rate,
            size: asked.size,
            seconds: measured.took.as_secs_f64(),
            messages: measured.answered,
            messages_per_second: measured.per_second(),
            latency_us: percentiles(&measured.latency),
            opened_in_seconds: measured.opened_in.as_secs_f64(),
            server_us_per_message: cost.server_cpu_us.map(|cpu| cpu / measured.answered.max(1) as f64),
            cost,
            blocked_writes: measured.blocked,
            late_p99_us: late,
            verdict,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.target {
            "broadcast" => "deliveries",
            "echo" => "echoes",
            _ => "acked events",
        };
        let pace = match (self.in_flight, self.offered_per_second) {
            (_, Some(rate)) => format!("{rate} messages/s offered"),
            (in_flight, None) => format!("{} in flight", in_flight.unwrap_or(1)),
        };
        writeln!(
            f,
            "{} connections (open in {:.2} s), {} B, {pace}",
            self.connections, self.opened_in_seconds, self.size
        )?;
        writeln!(f, "{:.0} {what}/s ({} in {:.2} s)", self.messages_per_second, self.messages, self.seconds)?;
        let ms = |us: u64| us as f64 / 1000.0;
        let latency = &self.latency_us;
        writeln!(
            f,
            "latency p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, max {:.2} ms",
            ms(latency.p50),
            ms(latency.p99),
            ms(latency.p999),
            ms(latency.max)
        )?;
        if let (Some(each), Some(cores), Some(resident)) =
            (self.server_us_per_message, self.cost.server_cores, self.cost.server_resident)
        {
            let mib = resident as f64 / 1024.0 / 1024.0;
            writeln!(f, "server: {each:.2} µs of CPU each, {cores:.2} cores, {mib:.1} MiB resident")?;
        }
        write!(f, "generator: {:.2} cores", self.cost.generator_cores)?;
        if let Some(late) = self.late_p99_us {
            write!(f, ", 1 in 100 messages late by {:.2} ms or more", ms(late))?;
        }
        write!(f, "; {} writes found the socket full", self.blocked_writes)?;
        match &self.verdict {
            Verdict::Valid => Ok(()),
            Verdict::Invalid(why) => write!(f, "\ninvalid: {why}"),
        }
    }
}
