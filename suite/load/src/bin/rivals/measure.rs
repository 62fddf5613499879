//! Measures one figure: publishers that await each answer, or one publisher and its readers.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use agentbench_load::contender::Contender;
use agentbench_load::process::{Usage, usage};
use agentbench_load::target::{Link, Place, Shared, open_all};
use anyhow::{Context, ensure};
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::sync::Notify;

use super::post::Poster;
use super::rival::{Installation, Publish, Rival, Room};

const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of text in a publish with ack, and in one that is fanned out.
const LARGE: usize = 1024;
const SMALL: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Each has one request in flight.
    Publish { publishers: usize },
    /// The next publish follows when every reader has this one.
    FanOut { readers: usize },
}

impl Work {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Publish { publishers } => {
                format!("publish by POST with ack, {LARGE} B, {publishers} connections")
            }
            Self::FanOut { readers } => format!("fan-out of a POST, {SMALL} B, 1 → {readers}, one at a time"),
        }
    }
}

/// One figure of one server.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sample {
    #[serde(skip)]
    pub(crate) rival: Option<Rival>,
    #[serde(skip)]
    pub(crate) work: Option<Work>,
    server: &'static str,
    what: String,
    /// Acks or deliveries per second.
    pub(crate) per_second: f64,
    /// CPU of the server, µs per ack or delivery.
    pub(crate) cpu_us: f64,
    /// From the start of the POST to its answer, or to the last reader.
    pub(crate) p99_ms: f64,
    /// Resident memory at the end, with all connections.
    pub(crate) resident_mb: f64,
}

/// What was counted in the measured time.
struct Count {
    done: u64,
    took: Duration,
    latency: Histogram<u64>,
    before: Usage,
    after: Usage,
}

/// Starts a server, measures and stops it.
pub(crate) async fn take(
    rival: Rival,
    work: Work,
    installed: &Installation,
    seconds: f64,
) -> anyhow::Result<Sample> {
    let scratch = tempfile::tempdir().context("cannot create a temporary folder")?;
    let server = Contender::start(rival.command(installed, scratch.path(), 2000)?, Some(0))?;
    let (room, shared, place) = (Room::new(rival)?, Shared::new(PATIENCE), Place::at(server.address()));
    // The line that a server prints may come before it accepts.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let _opener = match room.opener()? {
        Some(dialect) => Some(Link::open(&place, None, dialect, &shared).await?),
        None => None,
    };
    let duration = Duration::from_secs_f64(seconds);
    let count = match work {
        Work::Publish { publishers } => {
            let requests: Vec<_> = (0..publishers)
                .map(|index| room.publish(index, LARGE, installed))
                .collect::<anyhow::Result<_>>()?;
            publish(&server, requests, duration).await?
        }
        Work::FanOut { readers } => {
            let request = room.publish(0, SMALL, installed)?;
            let links = open_all(&place, readers, &shared, |index| room.reader(index + 1)).await?;
            fan_out(&server, request, links, duration).await?
        }
    };
    let cpu = count.after.cpu.saturating_sub(count.before.cpu).as_secs_f64() * 1e6;
    let sample = Sample {
        rival: Some(rival),
        work: Some(work),
        server: rival.name(),
        what: work.name(),
        per_second: count.done as f64 / count.took.as_secs_f64(),
        cpu_us: cpu / count.done.max(1) as f64,
        p99_ms: count.latency.value_at_quantile(0.99) as f64 / 1000.0,
        resident_mb: count.after.resident as f64 / 1e6,
    };
    // A server may wait longer for its clients than we wait for it; then it is killed, and the figures stand.
    if let Err(error) = server.stop() {
        eprintln!("{}: {error:#}", rival.name());
    }
    Ok(sample)
}

async fn publish(server: &Contender, requests: Vec<Publish>, duration: Duration) -> anyhow::Result<Count> {
    let latency = Rc::new(RefCell::new(Histogram::<u64>::new(3)?));
    let end = Rc::new(Cell::new(false));
    let mut tasks = tokio::task::JoinSet::new();
    for mut request in requests {
        let (latency, end) = (Rc::clone(&latency), Rc::clone(&end));
        let mut poster = Poster::new(server.address());
        tasks.spawn_local(async move {
            let mut serial = 0;
            while !end.get() {
                serial += 1;
                let begun = Instant::now();
                let (path, headers) = (request.path.clone(), request.headers.clone());
                poster.post(&path, &headers, request.body(serial)).await?;
                latency.borrow_mut().record(u64::try_from(begun.elapsed().as_micros())?)?;
            }
            anyhow::Ok(())
        });
    }
    tokio::time::sleep(duration / 2).await;
    latency.borrow_mut().reset();
    let (before, begun) = (usage(server.pid())?, Instant::now());
    tokio::time::sleep(duration).await;
    let (after, took, latency) = (usage(server.pid())?, begun.elapsed(), latency.borrow().clone());
    end.set(true);
    while let Some(task) = tasks.join_next().await {
        task.context("a publisher panicked")??;
    }
    Ok(Count { done: latency.len(), took, latency, before, after })
}

async fn fan_out(
    server: &Contender,
    mut request: Publish,
    links: Vec<Link>,
    duration: Duration,
) -> anyhow::Result<Count> {
    let (readers, delivered, arrived) = (links.len() as u64, Rc::new(Cell::new(0)), Rc::new(Notify::new()));
    let mut tasks = tokio::task::JoinSet::new();
    for mut link in links {
        let (delivered, arrived) = (Rc::clone(&delivered), Rc::clone(&arrived));
        tasks.spawn_local(async move {
            loop {
                match link.receive().await {
                    Ok(count) => delivered.set(delivered.get() + count),
                    // The publisher finds its deliveries missing.
                    Err(error) => return eprintln!("a reader failed: {error:#}"),
                }
                arrived.notify_one();
            }
        });
    }
    let mut poster = Poster::new(server.address());
    let (mut latency, mut serial, started) = (Histogram::<u64>::new(3)?, 0, Instant::now());
    let mut from: Option<(Usage, Instant, u64)> = None;
    loop {
        serial += 1;
        let begun = Instant::now();
        let (path, headers) = (request.path.clone(), request.headers.clone());
        poster.post(&path, &headers, request.body(serial)).await?;
        let all = async {
            while delivered.get() < serial * readers {
                arrived.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, all).await.context("deliveries are missing")?;
        ensure!(delivered.get() == serial * readers, "there are more deliveries than publishes");
        latency.record(u64::try_from(begun.elapsed().as_micros())?)?;
        match from {
            None if started.elapsed() > duration / 2 => {
                latency.reset();
                from = Some((usage(server.pid())?, Instant::now(), serial));
            }
            Some((before, since, first)) if since.elapsed() > duration => {
                let (after, took, done) = (usage(server.pid())?, since.elapsed(), (serial - first) * readers);
                return Ok(Count { done, took, latency, before, after });
            }
            _ => {}
        }
    }
}
