//! Measures one figure: a server, its load, and the disk before and after.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use agentbench_auth::Role;
use agentbench_load::child::{ServerCommand, ServerProcess, token};
use agentbench_load::command::unique;
use agentbench_load::generator::{UsageSample, Verdict, judge_rate, judge_window};
use agentbench_load::paired::median;
use agentbench_load::target::{AgentBench, Dialect, Exchange, Job, Measurement, Pace, Place, exchange};
use anyhow::Context;
use serde::Serialize;

use super::Arguments;
use super::disk::{self, DiskLatency};

const PATIENCE: Duration = Duration::from_secs(20);

/// What an ack guarantees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Logged,
    Synced,
}

impl Level {
    pub(crate) const ALL: [Self; 2] = [Self::Logged, Self::Synced];

    pub(crate) fn name(self) -> &'static str {
        if self == Self::Logged { "logged" } else { "synced" }
    }
}

/// A load: its sessions have a connection each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) sessions: usize,
    pub(crate) pace: Pace,
    pub(crate) size: usize,
}

impl Work {
    pub(crate) fn full(sessions: usize, in_flight: usize, size: usize) -> Self {
        Self { sessions, pace: Pace::Window(in_flight), size }
    }

    pub(crate) fn open(sessions: usize, rate: u64, size: usize) -> Self {
        Self { sessions, pace: Pace::Rate(rate), size }
    }
}

/// One figure.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sample {
    #[serde(skip)]
    pub(crate) work: Work,
    pub(crate) level: Level,
    sessions: usize,
    size: usize,
    in_flight: Option<usize>,
    rate: Option<u64>,
    pub(crate) per_second: f64,
    /// CPU of the server, µs per event.
    pub(crate) cpu_us: f64,
    /// Latency of the ack, ms; with a rate, from the scheduled send.
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// With a rate: 99th percentile of how late the generator itself was, ms. The latencies include it.
    pub(crate) lag_p99_ms: Option<f64>,
    pub(crate) disk_before: DiskLatency,
    pub(crate) disk_after: DiskLatency,
    #[serde(flatten)]
    pub(crate) verdict: Verdict,
}

/// Half of the median events per second of this work at this level, at least 1.
pub(crate) fn half_of(samples: &[Sample], level: Level, work: Work) -> u64 {
    let rates = samples.iter().filter(|sample| sample.level == level && sample.work == work);
    median(rates.map(|sample| sample.per_second).collect()).map_or(1, |most| (most / 2.0) as u64).max(1)
}

/// Starts a server, measures and stops it.
pub(crate) async fn take(
    arguments: &Arguments,
    binary: &Path,
    level: Level,
    work: Work,
) -> anyhow::Result<Sample> {
    let scratch = match &arguments.scratch {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    let disk_before = disk::measure(scratch.path())?;
    let room = (work.sessions + 100).to_string();
    let flags =
        ["--workers", "1", "--ack-level", level.name(), "--max-connections", &room, "--max-sessions", &room];
    let server = ServerProcess::start(&ServerCommand {
        binary: binary.to_owned(),
        data_dir: scratch.path().join("data"),
        flags: flags.map(str::to_owned).to_vec(),
        core: Some(0),
        port: 0,
    })?;
    let mut looks = Vec::with_capacity(2);
    let duration = Duration::from_secs_f64(arguments.seconds);
    let measured = load(&server, work, duration, || looks.push(UsageSample::now(Some(server.pid())))).await?;
    // The tasks of the load have ended; here their sockets are closed, for which the server would wait.
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.stop(PATIENCE)?;
    let disk_after = disk::measure(scratch.path())?;
    let mut looks = looks.into_iter();
    let mut next = || looks.next().context("the run was not sampled")?.context("cannot inspect the server");
    let (before, after) = (next()?, next()?);
    let cost = before.until(&after);
    let lag = measured.lag.as_ref().map(|lag| lag.value_at_quantile(0.99));
    let (in_flight, rate) = match work.pace {
        Pace::Window(window) => (Some(window), None),
        Pace::Rate(rate) => (None, Some(rate)),
    };
    Ok(Sample {
        work,
        level,
        sessions: work.sessions,
        size: work.size,
        in_flight,
        rate,
        per_second: measured.per_second(),
        cpu_us: cost.server_cpu_us.unwrap_or_default() / measured.answered.max(1) as f64,
        p50_ms: measured.latency_ms(0.5),
        p99_ms: measured.latency_ms(0.99),
        lag_p99_ms: lag.map(|lag| lag as f64 / 1000.0),
        disk_before,
        disk_after,
        verdict: match lag {
            Some(lag) => judge_rate(Duration::from_micros(lag)),
            None => judge_window(&cost),
        },
    })
}

async fn load(
    server: &ServerProcess,
    work: Work,
    duration: Duration,
    look: impl FnMut(),
) -> anyhow::Result<Measurement> {
    let run = unique()?;
    let make = |index| -> anyhow::Result<Box<dyn Dialect>> {
        // Each publisher is a user of its own, since the bytes of a user are limited.
        let token = token(&format!("synced-{index}"), Role::Evaluator)?.into();
        let id = format!("{run}-{index}");
        Ok(Box::new(AgentBench::new(Job::Publish, id, token, Rc::default(), work.size)?))
    };
    let plan = Exchange {
        connections: work.sessions,
        pace: work.pace,
        warm_up: duration / 3,
        duration,
        patience: PATIENCE,
    };
    exchange(&Place::at(server.address()), plan, make, look).await
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A sample with this rate; everything else is 1.
    pub(crate) fn sample(level: Level, work: Work, per_second: f64) -> Sample {
        let disk: DiskLatency = DiskLatency::of(1.0, 1.0);
        Sample {
            work,
            level,
            sessions: work.sessions,
            size: work.size,
            in_flight: None,
            rate: None,
            per_second,
            cpu_us: 1.0,
            p50_ms: 1.0,
            p99_ms: 1.0,
            lag_p99_ms: None,
            disk_before: disk,
            disk_after: disk,
            verdict: Verdict::Valid,
        }
    }

    #[test]
    fn half_of_the_maximum_is_of_the_same_level_and_work() {
        let (few, many) = (Work::full(100, 16, 256), Work::full(1000, 1, 256));
        let samples = [
            sample(Level::Synced, few, 1000.0),
            sample(Level::Synced, few, 3000.0),
            sample(Level::Synced, few, 1100.0),
            sample(Level::Logged, few, 9000.0),
            sample(Level::Synced, many, 50.0),
        ];
        assert_eq!(half_of(&samples, Level::Synced, few), 550);
        assert_eq!(half_of(&samples, Level::Logged, few), 4500);
        assert_eq!(half_of(&samples, Level::Logged, many), 1);
    }
}
