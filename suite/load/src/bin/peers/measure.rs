//! Measures one figure at a time.

use std::time::Duration;

use agentbench_load::contender::Contender;
use agentbench_load::generator::{UsageSample, Verdict, judge_rate, judge_window};
use agentbench_load::process::usage;
use agentbench_load::target::{
    Broadcast, Exchange, Job, Link, Measurement, Pace, Place, Shared, broadcast, exchange, open_all,
};
use anyhow::Context;
use serde::Serialize;

use super::Arguments;
use super::contestant::{Contestant, Dialects, Installation};

/// Number of connections of echo and publish, and of readers of fan-out.
const CONNECTIONS: usize = 100;
/// Messages per second at which latencies are compared: a fraction of what the slowest can do.
const EXCHANGE_RATE: u64 = 5_000;
const FAN_OUT_RATE: u64 = 200;
const PATIENCE: Duration = Duration::from_secs(20);
/// Connections before memory is sampled, so that one-time setup of the server is not attributed to them.
const WARMING: usize = 100;
const SETTLE: Duration = Duration::from_millis(700);
const LARGE: usize = 1024;
const SMALL: usize = 256;

/// A figure to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    Exchange(Job, Pace),
    FanOut(Pace),
    Memory,
}

pub(crate) const WORKS: [Work; 10] = [
    Work::Exchange(Job::Echo, Pace::Window(1)),
    Work::Exchange(Job::Echo, Pace::Window(16)),
    Work::Exchange(Job::Publish, Pace::Window(1)),
    Work::Exchange(Job::Publish, Pace::Window(16)),
    Work::FanOut(Pace::Window(1)),
    Work::FanOut(Pace::Window(16)),
    Work::Exchange(Job::Echo, Pace::Rate(EXCHANGE_RATE)),
    Work::Exchange(Job::Publish, Pace::Rate(EXCHANGE_RATE)),
    Work::FanOut(Pace::Rate(FAN_OUT_RATE)),
    Work::Memory,
];

impl Work {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Exchange(job, pace) => {
                let job = if job == Job::Echo { "echo" } else { "publish with ack" };
                let pace = match pace {
                    Pace::Window(in_flight) => {
                        format!("{CONNECTIONS} connections, {in_flight} in flight each")
                    }
                    Pace::Rate(rate) => format!("{CONNECTIONS} connections, {rate}/s together"),
                };
                format!("{job}, 1 KiB, {pace}")
            }
            Self::FanOut(Pace::Window(together)) => {
                let together = if together == 1 { "one".to_owned() } else { together.to_string() };
                format!("fan-out 1 → {CONNECTIONS}, 256 B, {together} at a time")
            }
            Self::FanOut(Pace::Rate(rate)) => format!("fan-out 1 → {CONNECTIONS}, 256 B, {rate} messages/s"),
            Self::Memory => "memory of a connection in the room".to_owned(),
        }
    }

    pub(crate) fn has_rate(self) -> bool {
        matches!(self, Self::Exchange(_, Pace::Rate(_)) | Self::FanOut(Pace::Rate(_)))
    }

    fn job(self) -> Job {
        match self {
            Self::Exchange(job, _) => job,
            Self::FanOut(_) | Self::Memory => Job::Listen,
        }
    }
}

/// One figure of one contestant.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sample {
    #[serde(skip)]
    pub(crate) contestant: Option<Contestant>,
    #[serde(skip)]
    pub(crate) work: Option<Work>,
    peer: &'static str,
    what: String,
    /// The server's CPU, µs per echo, ack or delivery.
    pub(crate) cpu_us: Option<f64>,
    /// Echoes, acks or deliveries per second.
    pub(crate) per_second: Option<f64>,
    /// 99th percentile of the latency, ms; with a rate, from the scheduled send.
    pub(crate) p99_ms: Option<f64>,
    /// Resident memory, kB per connection.
    pub(crate) memory_kb: Option<f64>,
    #[serde(flatten)]
    pub(crate) verdict: Verdict,
}

/// Starts a server, measures and stops it.
pub(crate) async fn take(
    contestant: Contestant,
    work: Work,
    installed: &Installation,
    arguments: &Arguments,
) -> anyhow::Result<Sample> {
    let scratch = tempfile::tempdir().context("cannot create a temporary folder")?;
    let room = arguments.connections.max(CONNECTIONS);
    let server = Contender::start(contestant.command(work.job(), installed, scratch.path(), room), Some(0))?;
    let place = Place::at(server.address());
    let mut sample = Sample {
        contestant: Some(contestant),
        work: Some(work),
        peer: contestant.name(),
        what: work.name(),
        cpu_us: None,
        per_second: None,
        p99_ms: None,
        memory_kb: None,
        verdict: Verdict::Valid,
    };
    if work == Work::Memory {
        let dialects = contestant.dialects(SMALL)?;
        sample.memory_kb = Some(memory(&place, &server, &dialects, arguments.connections).await?);
    } else {
        let duration = Duration::from_secs_f64(arguments.seconds);
        load(&mut sample, &place, &server, contestant, work, duration).await?;
    }
    server.stop()?;
    Ok(sample)
}

async fn load(
    sample: &mut Sample,
    place: &Place,
    server: &Contender,
    contestant: Contestant,
    work: Work,
    duration: Duration,
) -> anyhow::Result<()> {
    let mut samples = Vec::with_capacity(2);
    let look = || samples.push(UsageSample::now(Some(server.pid())));
    let measured = run(place, contestant, work, duration, look).await?;
    let mut samples = samples.into_iter();
    let mut next = || samples.next().context("the run was not sampled")?.context("cannot inspect the server");
    let (before, after) = (next()?, next()?);
    let cost = before.until(&after);
    sample.cpu_us = cost.server_cpu_us.map(|cpu| cpu / measured.answered.max(1) as f64);
    sample.per_second = Some(measured.per_second());
    sample.p99_ms = Some(measured.latency_ms(0.99));
    sample.verdict = match &measured.lag {
        Some(lag) => judge_rate(Duration::from_micros(lag.value_at_quantile(0.99))),
        None => judge_window(&cost),
    };
    Ok(())
}

async fn run(
    place: &Place,
    contestant: Contestant,
    work: Work,
    duration: Duration,
    look: impl FnMut(),
) -> anyhow::Result<Measurement> {
    let (warm_up, patience) = (duration / 2, PATIENCE);
    match work {
        Work::Exchange(job, pace) => {
            let dialects = contestant.dialects(LARGE)?;
            if let Some(preparation) = dialects.preparation(job) {
                Link::open(place, None, preparation, &Shared::new(PATIENCE)).await?;
            }
            let plan = Exchange { connections: CONNECTIONS, pace, warm_up, duration, patience };
            exchange(place, plan, |index| dialects.dialect(job, index), look).await
        }
        Work::FanOut(pace) => {
            let dialects = contestant.dialects(SMALL)?;
            let plan = Broadcast { readers: CONNECTIONS, pace, warm_up, duration, patience };
            broadcast(place, plan, |job, index| dialects.dialect(job, index), look).await
        }
        Work::Memory => unreachable!("memory is measured without load"),
    }
}

/// The memory that each of `count` connections adds to the server once it has joined the room and received a message.
async fn memory(place: &Place, server: &Contender, dialects: &Dialects, count: usize) -> anyhow::Result<f64> {
    let shared = Shared::new(PATIENCE);
    let mut speaker = Link::open(place, None, dialects.dialect(Job::Speak, 0)?, &shared).await?;
    let warm = open_all(place, WARMING, &shared, |index| dialects.dialect(Job::Listen, index + 1)).await?;
    drop(warm);
    tokio::time::sleep(SETTLE).await;
    let before = usage(server.pid())?.resident;
    let mut links =
        open_all(place, count, &shared, |index| dialects.dialect(Job::Listen, index + 1 + WARMING)).await?;
    speaker.send(1);
    speaker.finish();
    speaker.write_now()?;
    for link in &mut links {
        let delivered = async {
            while link.receive().await? == 0 {}
            anyhow::Ok(())
        };
        tokio::time::timeout(PATIENCE, delivered).await.context("a delivery is missing")??;
    }
    tokio::time::sleep(SETTLE).await;
    let after = usage(server.pid())?.resident;
    Ok(after.saturating_sub(before) as f64 / 1000.0 / count as f64)
}
