//! Turns everything that a run counted, measured and found into a result, and decides whether the scenario passed.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use agentbench_fault_proxy::Strike;
use agentbench_history::Verdict;
use agentbench_load::connect::Steps;
use agentbench_load::process::Queues;
use agentbench_protocol::SessionId;
use agentbench_report::schema::{
    ConnectionFigures, Counts, CurvePoint, Curves, FaultCount, Figures, ProcessFigures, ReliabilityFigures,
    Sample, ScenarioResult, Setup, Status, TimelineEvent,
};

use crate::definition::Scenario;
use crate::disturb::DisturbanceRecord;
use crate::faults::{Disturbance, PlannedFault, Side, counted};
use crate::fleet::Outcome;
use crate::meters::{Counter, Meters};
use crate::recovery::{SignsOfLife, histogram};

/// A generator that sends one event in a hundred later than this is itself the bottleneck.
const TOLERATED_LAG: Duration = Duration::from_millis(20);
/// Kinds of faults that end a connection, so that the client must recover.
const ENDING: [&str; 6] = [
    "reset_before_ack",
    "reset_after_ack",
    "reset_delivery",
    "black_hole",
    "corrupted_frame",
    "truncated_frame",
];

/// All data of a run.
pub(crate) struct RunData<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) replay: String,
    pub(crate) meters: &'a Meters,
    pub(crate) took: Duration,
    pub(crate) began: Duration,
    pub(crate) outcome: &'a Outcome,
    pub(crate) verdict: Verdict,
    pub(crate) planned: &'a [PlannedFault],
    pub(crate) disturbances: &'a [(Duration, Disturbance)],
    pub(crate) disturbed: &'a [DisturbanceRecord],
    pub(crate) strikes: &'a [(u32, Side, Strike)],
    pub(crate) connecting: &'a [Option<Steps>],
    pub(crate) server: Option<ProcessFigures>,
    pub(crate) generator: ProcessFigures,
    pub(crate) queues: Queues,
    pub(crate) samples: Vec<Sample>,
    pub(crate) reasons: Vec<String>,
    /// The user interrupted the run: what had no time to happen is not judged.
    pub(crate) is_interrupted: bool,
}

/// Judges a run.
pub(crate) fn judge(mut data: RunData<'_>) -> ScenarioResult {
    let counts = data.counts();
    let figures = data.figures(&counts);
    let signs = SignsOfLife::of(&data.outcome.histories);
    let connection = data.scenario.cuts.is_some().then(|| data.connection(&signs));
    let has_faults = !data.planned.is_empty() || !data.disturbances.is_empty();
    let reliability = has_faults.then(|| data.reliability(&counts, &signs));
    let faults = data.faults();
    let mut reasons = std::mem::take(&mut data.reasons);
    if !data.is_interrupted {
        explain(&counts, &data.verdict, &mut reasons);
        explain_faults(&faults, &mut reasons);
        if let Some(connection) = &connection {
            explain_connection(connection, data.scenario, &mut reasons);
        }
    }
    ScenarioResult {
        scenario: Setup::from(data.scenario),
        status: if reasons.is_empty() { Status::Passed } else { Status::Failed },
        reasons,
        invalid: too_late(Duration::from_micros(figures.schedule_lag.p99)),
        replay: std::mem::take(&mut data.replay),
        counts,
        figures,
        connection,
        reliability,
        search: None,
        faults,
        events: data.events(),
        verdict: data.verdict,
        samples: data.samples,
    }
}

/// Why speed figures are invalid, if the generator was this late.
pub(crate) fn too_late(lag: Duration) -> Option<String> {
    (lag > TOLERATED_LAG).then(|| {
        format!(
            "the generator could not keep its schedule: one event in a hundred was at least {lag:.0?} late"
        )
    })
}

impl RunData<'_> {
    /// The outcomes of all planned events, from the histories.
    fn counts(&self) -> Counts {
        let (summary, scenario, meters) = (&self.verdict.summary, self.scenario, self.meters);
        let connections = u64::from(scenario.clients) * u64::from(2 + scenario.readers.late);
        let planned = u64::from(scenario.clients) * u64::from(scenario.messages);
        let never_sent = meters.get(Counter::NeverSent);
        if self.is_interrupted {
            // The histories are lost with the clients: only the counters remain.
            return Counts {
                planned,
                unsent: planned.saturating_sub(meters.get(Counter::Sent)) + never_sent,
                stored: meters.get(Counter::Acked),
                refused: meters.get(Counter::Refused),
                delivered: meters.get(Counter::Delivered),
                connections,
                ..Counts::default()
            };
        }
        let made = self.connecting.len() as u64;
        let failed = self.connecting.iter().filter(|steps| steps.is_none()).count() as u64;
        Counts {
            planned,
            unsent: planned.saturating_sub(summary.published) + never_sent,
            stored: summary.stored,
            refused: summary.refused.saturating_sub(never_sent),
            unknown: summary.unknown,
            delivered: summary.events_delivered,
            connections: connections + made,
            connections_failed: connections.saturating_sub(meters.get(Counter::Connected)) + failed,
            reconnects: meters.get(Counter::Reconnects),
            peak_reconnects_per_second: meters.peak_returns(),
            retried: meters.get(Counter::Retried),
            duplicates_suppressed: summary.duplicates,
            resumed: summary.resumed,
        }
    }

    fn figures(&self, counts: &Counts) -> Figures {
        let meters = self.meters;
        let per_second = |count: u64, last: Duration| {
            let time = last.saturating_sub(self.began).as_secs_f64();
            if time > 0.0 { count as f64 / time } else { 0.0 }
        };
        let histograms = meters.histograms();
        Figures {
            took_ms: self.took.as_millis() as u64,
            acked_per_second: per_second(meters.get(Counter::Acked), meters.last_ack()),
            delivered_per_second: per_second(meters.get(Counter::Delivered), meters.last_delivery()),
            ack: histograms.ack.figures(),
            delivery: histograms.delivery.figures(),
            connect: histograms.connect.figures(),
            error_rate: error_rate(counts),
            bytes_sent: meters.get(Counter::BytesOut),
            bytes_received: meters.get(Counter::BytesIn),
            server: self.server,
            generator: self.generator,
            generator_unread_bytes: self.queues.unread,
            generator_unsent_bytes: self.queues.unsent,
            schedule_lag: histograms.lag.figures(),
            curves: Curves {
                ack: points(histograms.ack.curve()),
                delivery: points(histograms.delivery.curve()),
                connect: points(histograms.connect.curve()),
            },
        }
    }

    fn connection(&self, signs: &SignsOfLife<'_>) -> ConnectionFigures {
        let (cuts, allowed) = (&self.outcome.cuts, self.scenario.cuts.as_ref());
        let steps: Vec<Steps> = self.connecting.iter().flatten().copied().collect();
        let of = |step: fn(&Steps) -> Duration| histogram(steps.iter().map(step)).figures();
        let mut figures = ConnectionFigures {
            attempted: self.connecting.len() as u64 + u64::from(self.scenario.clients) * 2,
            established: steps.len() as u64 + self.meters.get(Counter::Connected),
            tcp: of(|steps| steps.tcp),
            upgrade: of(|steps| steps.upgrade),
            first_message: of(|steps| steps.first_message),
            one_by_one: of(Steps::whole),
            all_at_once: self.meters.histograms().connect.figures(),
            recovered: cuts.iter().filter(|cut| cut.back.is_some()).count() as u64,
            attempts_allowed: allowed.map_or(0, |cuts| cuts.attempts_allowed),
            ..ConnectionFigures::default()
        };
        let mut recovery: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
        for cut in cuts {
            *figures.cuts.entry(cut.way.name().to_owned()).or_default() += 1;
            let Some(back) = cut.back else { continue };
            *figures.attempts_used.entry(cut.attempts).or_default() += 1;
            // A follower has recovered when its session continues, which is later than its connection.
            let resumed = match cut.side {
                Side::Follower => signs.read_after(cut.client, cut.at),
                Side::Publisher => None,
            };
            recovery.entry(cut.way.name()).or_default().push(resumed.unwrap_or(back - cut.at));
        }
        let histograms = recovery.into_iter().map(|(way, times)| (way, histogram(times.into_iter())));
        figures.recovery = histograms.map(|(way, times)| (way.to_owned(), times.figures())).collect();
        figures
    }

    fn reliability(&self, counts: &Counts, signs: &SignsOfLife<'_>) -> ReliabilityFigures {
        let begin = self.meters.begin();
        let ending = self.strikes.iter().filter(|(_, _, strike)| ENDING.contains(&name_of(strike)));
        let recovered = ending.filter_map(|(_, side, strike)| {
            signs.after(*side, strike.contains.as_deref()?, strike.at.saturating_duration_since(begin))
        });
        let server = self.disturbed.iter().filter_map(|disturbed| {
            let until = disturbed.back + signs.ack_after(disturbed.back)?;
            Some(until - disturbed.at)
        });
        let lost = self.verdict.count(agentbench_history::Kind::Lost);
        ReliabilityFigures {
            loss_rate: lost as f64 / counts.stored.max(1) as f64,
            session_success_rate: self.session_success_rate(),
            error_rate: error_rate(counts),
            recovery: histogram(recovered).figures(),
            server_recovery: histogram(server).figures(),
            retries: counts.retried,
            duplicates_suppressed: counts.duplicates_suppressed,
        }
    }

    /// The share of sessions without a finding, all of whose events were stored.
    fn session_success_rate(&self) -> f64 {
        use agentbench_history::Operation;
        let bad: HashSet<SessionId> = self.verdict.findings.iter().map(|finding| finding.session).collect();
        let mut stored: BTreeMap<SessionId, u32> = BTreeMap::new();
        for record in self.outcome.histories.iter().flat_map(|history| &history.records) {
            if matches!(record.operation, Operation::Ok { .. }) {
                *stored.entry(record.session).or_default() += 1;
            }
        }
        let is_whole = |session: &&SessionId| {
            !bad.contains(session) && stored.get(session).copied().unwrap_or(0) >= self.scenario.messages
        };
        let good = self.outcome.sessions.iter().filter(is_whole).count();
        good as f64 / f64::from(self.scenario.clients)
    }

    fn faults(&self) -> Vec<FaultCount> {
        // Cuts are counted with the connections.
        let planned = self.strikes.iter().map(|(_, _, strike)| strike).filter(|strike| strike.name.is_some());
        let happened = planned.map(name_of).chain(self.disturbed.iter().map(|done| done.what.name()));
        counted(self.planned, self.disturbances, happened)
    }

    fn events(&self) -> Vec<TimelineEvent> {
        let begin = self.meters.begin();
        let strikes = self.strikes.iter().map(|(client, side, strike)| TimelineEvent {
            at_ms: strike.at.saturating_duration_since(begin).as_millis() as u64,
            kind: name_of(strike).to_owned(),
            detail: match (side, &strike.contains) {
                (_, Some(message)) => format!("message {message}"),
                (Side::Publisher, None) => format!("client {client}, publisher"),
                (Side::Follower, None) => format!("client {client}, follower"),
            },
        });
        let mut events: Vec<TimelineEvent> =
            strikes.chain(self.disturbed.iter().flat_map(DisturbanceRecord::events)).collect();
        events.sort_by_key(|event| event.at_ms);
        events
    }
}

fn name_of(strike: &Strike) -> &str {
    strike.name.as_deref().unwrap_or(strike.kind)
}

fn error_rate(counts: &Counts) -> f64 {
    1.0 - counts.stored as f64 / counts.planned.max(1) as f64
}

fn points(curve: Vec<(f64, u64)>) -> Vec<CurvePoint> {
    curve.into_iter().map(|(quantile, micros)| CurvePoint { quantile, micros }).collect()
}

/// Collects every reason for which a scenario fails, apart from problems of the run itself.
pub(crate) fn explain(counts: &Counts, verdict: &Verdict, reasons: &mut Vec<String>) {
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
        "log entries in gaps that nothing in this scenario explains",
    );
}

/// A planned fault that did not happen proves nothing.
fn explain_faults(faults: &[FaultCount], reasons: &mut Vec<String>) {
    for fault in faults.iter().filter(|fault| fault.happened < fault.planned) {
        let FaultCount { kind, planned, happened } = fault;
        reasons.push(format!("{kind} was planned {planned} times but happened {happened} times"));
    }
}

fn explain_connection(figures: &ConnectionFigures, scenario: &Scenario, reasons: &mut Vec<String>) {
    let planned = scenario.cuts.as_ref().map_or(0, |cuts| u64::from(cuts.attempts));
    let planned = planned * u64::from(scenario.clients) * 2;
    let made: u64 = figures.cuts.values().sum();
    if made < planned {
        reasons.push(format!("{planned} cuts were planned but {made} made"));
    }
    if figures.recovered < made {
        reasons.push(format!("{} cut connections did not recover", made - figures.recovered));
    }
    let allowed = u64::from(figures.attempts_allowed);
    let over = figures.attempts_used.iter().filter(|(attempts, _)| **attempts > allowed);
    let over: u64 = over.map(|(_, count)| count).sum();
    if over > 0 {
        reasons.push(format!("{over} connections needed more than {allowed} attempts to recover"));
    }
}
