//! A performance scenario: run by a fleet, measured, and judged.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agentbench_history::{ClientHistory, Verdict, check};
use agentbench_load::process::{Usage, usage};
use tokio::sync::watch;

use crate::fleet::{self, Plan};
use crate::meters::{Counter, Meters};
use crate::result::{Counts, Figures, ProcessFigures, Sample, ScenarioResult, Setup, Status};
use crate::scenario::Performance;
use crate::target::{CannotRun, Prepared, Target};

/// Time between two looks at the run.
const SAMPLE_PERIOD: Duration = Duration::from_millis(250);
/// A generator that sends one event in a hundred later than this is the bottleneck itself.
const TOLERATED_LAG: Duration = Duration::from_millis(20);

/// What a run gives: the result, and the histories that it was judged by.
#[derive(Debug)]
pub struct Run {
    /// The result.
    pub result: ScenarioResult,
    /// Each client's history.
    pub histories: Vec<ClientHistory>,
}

/// Runs a scenario. `progress` is called several times a second.
///
/// # Errors
/// [`CannotRun`] if there is no server that could be tested.
pub async fn run(
    scenario: &Performance,
    target: &Target,
    seed: u64,
    mut progress: impl FnMut(&Meters),
) -> Result<Run, CannotRun> {
    let mut prepared = target.prepare().await?;
    let endpoint = prepared.endpoint.clone();
    let plan = Plan {
        clients: scenario.clients,
        messages: scenario.messages,
        payload: scenario.payload,
        spread: scenario.spread,
        limit: scenario.limit,
        seed,
    };
    let meters = Arc::new(Meters::default());
    let (set_gone, gone) = watch::channel(false);
    let mut observer = Observer::new(prepared.pid());
    let mut period = tokio::time::interval(SAMPLE_PERIOD);
    let fleet = fleet::run(&endpoint, &plan, &meters, &gone);
    tokio::pin!(fleet);
    let outcome = loop {
        tokio::select! {
            outcome = &mut fleet => break outcome,
            _ = period.tick() => {
                observer.look(&meters);
                progress(&meters);
                if prepared.has_ended() {
                    set_gone.send_replace(true);
                }
            }
        }
    };
    let took = meters.now();
    observer.look(&meters);
    progress(&meters);
    let mut reasons = outcome.failures;
    stop(prepared, *gone.borrow(), &mut reasons);
    let verdict = check(&outcome.histories);
    let figures = figures(&meters, outcome.began, took, &observer);
    let result = judge(scenario, &meters, verdict, figures, observer.samples, reasons);
    Ok(Run { result, histories: outcome.histories })
}

fn stop(prepared: Prepared, gone: bool, reasons: &mut Vec<String>) {
    if gone {
        reasons.push("the server ended in the middle of the run".to_owned());
    } else if let Err(error) = prepared.stop() {
        reasons.push(format!("the server did not stop as it should: {error:#}"));
    }
}

/// Looks at the run from outside.
struct Observer {
    server: Option<u32>,
    begun: Instant,
    server_use: Looks,
    own_use: Looks,
    samples: Vec<Sample>,
}

/// The first and the last look at a process, and the most that was seen.
#[derive(Default)]
struct Looks {
    first: Option<Usage>,
    last: Usage,
    most: Usage,
}

impl Looks {
    fn look(&mut self, pid: u32) {
        // A process that has ended keeps its last figures.
        let Ok(now) = usage(pid) else { return };
        self.first.get_or_insert(now);
        self.last = now;
        self.most = Usage {
            cpu: self.most.cpu.max(now.cpu),
            resident: self.most.resident.max(now.resident),
            threads: self.most.threads.max(now.threads),
            files: self.most.files.max(now.files),
        };
    }

    fn cpu(&self) -> Duration {
        self.most.cpu.saturating_sub(self.first.unwrap_or_default().cpu)
    }

    fn figures(&self, took: Duration) -> ProcessFigures {
        ProcessFigures {
            cpu_ms: self.cpu().as_millis() as u64,
            cpu_share: self.cpu().as_secs_f64() / took.as_secs_f64().max(0.001),
            peak_resident: self.most.resident,
            threads: self.most.threads,
            files: self.most.files,
        }
    }
}

impl Observer {
    fn new(server: Option<u32>) -> Self {
        let mut observer = Self {
            server,
            begun: Instant::now(),
            server_use: Looks::default(),
            own_use: Looks::default(),
            samples: Vec::new(),
        };
        observer.look(&Meters::default());
        observer.samples.clear();
        observer
    }

    fn look(&mut self, meters: &Meters) {
        self.own_use.look(std::process::id());
        if let Some(pid) = self.server {
            self.server_use.look(pid);
        }
        self.samples.push(Sample {
            at_ms: self.begun.elapsed().as_millis() as u64,
            sent: meters.get(Counter::Sent),
            acked: meters.get(Counter::Acked),
            delivered: meters.get(Counter::Delivered),
            server_cpu_ms: self.server_use.cpu().as_millis() as u64,
            server_resident: self.server_use.last.resident,
        });
    }
}

fn figures(meters: &Meters, began: Duration, took: Duration, observer: &Observer) -> Figures {
    let per_second = |count: u64, last: Duration| {
        let time = last.saturating_sub(began).as_secs_f64();
        if time > 0.0 { count as f64 / time } else { 0.0 }
    };
    let histograms = meters.histograms();
    Figures {
        took_ms: took.as_millis() as u64,
        acked_per_second: per_second(meters.get(Counter::Acked), meters.last_ack()),
        delivered_per_second: per_second(meters.get(Counter::Delivered), meters.last_delivery()),
        ack: histograms.ack.figures(),
        delivery: histograms.delivery.figures(),
        connect: histograms.connect.figures(),
        error_rate: 0.0,
        bytes_sent: meters.get(Counter::BytesOut),
        bytes_received: meters.get(Counter::BytesIn),
        server: observer.server.map(|_| observer.server_use.figures(took)),
        generator: observer.own_use.figures(took),
        schedule_lag: histograms.lag.figures(),
    }
}

fn judge(
    scenario: &Performance,
    meters: &Meters,
    verdict: Verdict,
    mut figures: Figures,
    samples: Vec<Sample>,
    mut reasons: Vec<String>,
) -> ScenarioResult {
    let counts = count(scenario, meters, &verdict);
    figures.error_rate = 1.0 - counts.stored as f64 / counts.planned.max(1) as f64;
    explain(&counts, &verdict, &mut reasons);
    let lag = Duration::from_micros(figures.schedule_lag.p99);
    let invalid = (lag > TOLERATED_LAG).then(|| {
        format!(
            "the generator could not keep its schedule: one event in a hundred was {lag:.0?} late or more"
        )
    });
    let status = if reasons.is_empty() { Status::Passed } else { Status::Failed };
    ScenarioResult {
        scenario: Setup::from(scenario),
        status,
        reasons,
        invalid,
        counts,
        figures,
        verdict,
        samples,
    }
}

/// What became of everything that was planned, as the judge has it from the histories.
fn count(scenario: &Performance, meters: &Meters, verdict: &Verdict) -> Counts {
    let summary = &verdict.summary;
    let (clients, connections) = (u64::from(scenario.clients), u64::from(scenario.clients) * 2);
    let planned = clients * u64::from(scenario.messages);
    let never_sent = meters.get(Counter::NeverSent);
    Counts {
        planned,
        unsent: planned.saturating_sub(summary.published) + never_sent,
        stored: summary.stored,
        refused: summary.refused.saturating_sub(never_sent),
        unknown: summary.unknown,
        delivered: summary.events_delivered,
        connections,
        connections_failed: connections.saturating_sub(meters.get(Counter::Connected)),
        reconnects: meters.get(Counter::Reconnects),
        retried: meters.get(Counter::Retried),
    }
}

/// Every reason for which a scenario fails, beside what happened to the run itself.
fn explain(counts: &Counts, verdict: &Verdict, reasons: &mut Vec<String>) {
    let mut unless_zero = |count: u64, text: &str| {
        if count > 0 {
            reasons.push(format!("{count} {text}"));
        }
    };
    for (kind, count) in &verdict.counts {
        unless_zero(*count, &format!("× {}", kind.text()));
    }
    unless_zero(counts.unknown, "events whose outcome is unknown");
    unless_zero(counts.refused, "events refused");
    unless_zero(counts.unsent, "events could not be sent in time");
    unless_zero(counts.connections_failed, "connections failed");
    let unread = verdict.summary.sessions.saturating_sub(verdict.summary.final_reads);
    unless_zero(unread, "sessions whose log could not be read at the end");
    unless_zero(verdict.summary.unverified, "acked events that could not be verified");
    unless_zero(
        verdict.summary.gaps.values().sum(),
        "places of logs in gaps that nothing in this scenario asks for",
    );
}
