//! A report as a run could have made it, for tests alone: every field is filled, two scenarios have failed.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeMap;

use agentbench_history::{Finding, Kind, Summary, Verdict};
use agentbench_load::latency::{Latency, Percentiles};

use crate::schema::*;

/// Numbers that look random and are the same each time: splitmix64.
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From 0 to 1.
    pub(crate) fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Log-normal around a median.
    pub(crate) fn around(&mut self, median: f64, spread: f64) -> f64 {
        let radius = (-2.0 * (1.0 - self.share()).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * self.share()).cos();
        median * (spread * normal).exp()
    }
}

fn percentiles(p50: u64, count: u64) -> Percentiles {
    Percentiles {
        count,
        min: p50 / 3,
        mean: p50 as f64 * 1.2,
        p50,
        p90: p50 * 2,
        p99: p50 * 4,
        p999: p50 * 12,
        max: p50 * 30,
    }
}

fn latency(p50: u64, count: u64) -> Latency {
    Latency { corrected: percentiles(p50, count), raw: percentiles(p50 * 9 / 10, count) }
}

fn curve(p50: f64) -> Vec<CurvePoint> {
    let point = |step: u32| {
        let tail = 10_f64.powf(-f64::from(step) / 10.0);
        CurvePoint {
            quantile: 1.0 - tail,
            micros: (p50 * (0.4 + 0.6 * (1.0 + (1.0 / tail).ln()).powf(1.6))) as u64,
        }
    };
    (0..=45).map(point).collect()
}

fn samples(seed: u64, per_second: f64, took_ms: u64, outage: Option<(u64, u64)>) -> Vec<Sample> {
    let mut noise = Noise::new(seed);
    let mut sample = Sample { server_resident: 21_000_000, server_files: 40, ..Sample::default() };
    let mut samples = vec![sample];
    let mut backlog = 0.0;
    for at_ms in (250..=took_ms).step_by(250) {
        let sent = noise.around(per_second / 4.0, 0.1);
        backlog += sent;
        sample.at_ms = at_ms;
        sample.sent += sent as u64;
        if !outage.is_some_and(|(from, to)| (from..to).contains(&at_ms)) {
            let done = (backlog * 0.9) as u64;
            sample.acked += done;
            sample.delivered += done;
            backlog *= 0.1;
        }
        sample.server_cpu_ms += (sent / 20.0) as u64 + 3;
        sample.generator_cpu_ms += (sent / 10.0) as u64 + 2;
        sample.server_resident += (noise.share() * 150_000.0) as u64;
        samples.push(sample);
    }
    samples
}

fn setup(
    name: &str,
    category: Category,
    clients: u32,
    messages: u32,
    payload_bytes: usize,
    failure_rate: f64,
) -> Setup {
    let promise = "No event is lost, repeated or reordered, and every hole is said.".to_owned();
    Setup {
        name: name.to_owned(),
        category,
        promise,
        clients,
        messages,
        payload_bytes,
        spread_ms: 20_000,
        limit_ms: 60_000,
        failure_rate,
    }
}

fn result(scenario: Setup, p50: u64) -> ScenarioResult {
    let planned = u64::from(scenario.clients) * u64::from(scenario.messages);
    let took_ms = 22_000;
    let per_second = planned as f64 / 20.0;
    let counts = Counts {
        planned,
        stored: planned,
        delivered: planned,
        connections: u64::from(scenario.clients) * 2,
        ..Counts::default()
    };
    let server = ProcessFigures {
        cpu_ms: 3_100,
        cpu_share: 0.14,
        peak_resident: 36_300_000,
        threads: 13,
        files: 48,
        disk_bytes: planned * 1100,
    };
    let figures = Figures {
        took_ms,
        acked_per_second: per_second,
        delivered_per_second: per_second,
        ack: latency(p50 * 7 / 10, planned),
        delivery: latency(p50, planned),
        connect: percentiles(900, counts.connections),
        error_rate: 0.0,
        bytes_sent: planned * 1300,
        bytes_received: planned * 1500,
        server: Some(server),
        generator: ProcessFigures {
            cpu_ms: 5_000,
            cpu_share: 0.23,
            peak_resident: 25_000_000,
            threads: 2,
            files: 33,
            disk_bytes: 0,
        },
        generator_unread_bytes: 4096,
        generator_unsent_bytes: 0,
        schedule_lag: percentiles(100, planned),
        curves: Curves { ack: curve(p50 as f64 * 0.7), delivery: curve(p50 as f64), connect: curve(900.0) },
    };
    let summary = Summary {
        sessions: u64::from(scenario.clients),
        published: planned,
        stored: planned,
        events_delivered: planned,
        ..Summary::default()
    };
    let seed = u64::from(scenario.clients);
    ScenarioResult {
        replay: format!(
            "agentbench suite {} --only '{}' --seed 3371083403",
            scenario.category.text(),
            scenario.name
        ),
        scenario,
        status: Status::Passed,
        reasons: Vec::new(),
        invalid: None,
        counts,
        figures,
        connection: None,
        reliability: None,
        search: None,
        faults: Vec::new(),
        events: Vec::new(),
        verdict: Verdict { summary, ..Verdict::default() },
        samples: samples(seed, per_second, took_ms, None),
    }
}

fn connection() -> ScenarioResult {
    let mut result = result(setup("Basic Connection Test", Category::Connection, 10, 20, 256, 0.0), 400);
    let kinds = ["black_hole", "close_frame", "reset"];
    result.connection = Some(ConnectionFigures {
        attempted: 20,
        established: 20,
        tcp: percentiles(110, 20),
        upgrade: percentiles(380, 20),
        first_message: percentiles(150, 20),
        one_by_one: percentiles(640, 10),
        all_at_once: percentiles(2_900, 10),
        cuts: kinds.map(|kind| (kind.to_owned(), 10)).into(),
        recovered: 30,
        recovery: [("black_hole", 900_000), ("close_frame", 120_000), ("reset", 140_000)]
            .map(|(kind, p50)| (kind.to_owned(), percentiles(p50, 10)))
            .into(),
        attempts_used: BTreeMap::from([(1, 26), (2, 3), (3, 1)]),
        attempts_allowed: 3,
    });
    result.counts.reconnects = 30;
    result.counts.peak_reconnects_per_second = 12;
    result.events = (0..30_u64)
        .map(|n| TimelineEvent {
            at_ms: 4_000 + n * 450,
            kind: kinds[n as usize % 3].to_owned(),
            detail: format!("client {}", n % 10),
        })
        .collect();
    result
}

fn reliability(name: &str, rate: f64) -> ScenarioResult {
    let mut result = result(setup(name, Category::Reliability, 20, 150, 1024, rate), 1_400);
    let kinds = [
        "reset_before_ack",
        "reset_after_ack",
        "black_hole",
        "delay",
        "throttle",
        "duplicate_publish",
        "corrupt_frame",
        "truncate_frame",
        "slow_reader",
    ];
    let mut noise = Noise::new(9);
    for n in 0..(rate * 900.0) as u64 {
        let kind = kinds[(noise.share() * 9.0) as usize].to_owned();
        result.events.push(TimelineEvent {
            at_ms: (noise.share() * 20_000.0) as u64,
            kind,
            detail: format!("client {}", n % 20),
        });
    }
    for (at_ms, kind) in [
        (7_100, "server_killed"),
        (8_600, "server_started"),
        (15_000, "server_killed"),
        (16_200, "server_started"),
        (20_500, "healed"),
    ] {
        result.events.push(TimelineEvent { at_ms, kind: kind.to_owned(), detail: "planned".to_owned() });
    }
    result.events.sort_by_key(|event| event.at_ms);
    let happened = |kind: &str| result.events.iter().filter(|event| event.kind == kind).count() as u64;
    result.faults = kinds
        .map(|kind| FaultCount {
            kind: kind.to_owned(),
            planned: happened(kind) + 1,
            happened: happened(kind),
        })
        .into();
    result.counts.retried = 410;
    result.counts.reconnects = 95;
    result.counts.peak_reconnects_per_second = 41;
    result.counts.duplicates_suppressed = 120;
    result.counts.resumed = 90;
    result.reliability = Some(ReliabilityFigures {
        loss_rate: 0.0,
        session_success_rate: 1.0,
        error_rate: 0.0,
        recovery: percentiles(180_000, 95),
        server_recovery: percentiles(700_000, 2),
        retries: 410,
        duplicates_suppressed: 120,
    });
    result.samples = samples(5, 150.0, 22_000, Some((7_000, 8_700)));
    result
}

/// A run in which everything is as good as the score asks.
pub(crate) fn perfect() -> Report {
    let fast = |name: &str, clients, messages, payload| {
        result(setup(name, Category::Performance, clients, messages, payload, 0.0), 400)
    };
    Report {
        version: REPORT_VERSION,
        suite: "agentbench/0.1.0".to_owned(),
        started_at: 1_795_471_527_267,
        took_ms: 131_000,
        seed: 3_371_083_403,
        quick: false,
        machine: Machine { cores: 2, platform: "linux 6.18.44 x86_64".to_owned(), optimised: true },
        target: "started for each scenario".to_owned(),
        interrupted: None,
        scenarios: vec![
            fast("Small Load Test", 10, 100, 1024),
            fast("Medium Load Test", 50, 200, 2048),
            connection(),
            reliability("Low Failure Rate Test", 0.05),
        ],
    }
}

/// A run with everything that a report can have: an invalid scenario, a search, faults, kills, findings, an end before the
/// end.
pub(crate) fn sample() -> Report {
    let mut report = perfect();
    report.scenarios.insert(2, search());
    report.scenarios.insert(3, stressed());
    report.scenarios.push(broken());
    report.interrupted = Some("stopped by Ctrl-C after 7 of 13 scenarios".to_owned());
    report
}

fn stressed() -> ScenarioResult {
    let mut result = result(setup("Stress Test", Category::Performance, 200, 1000, 8192, 0.0), 21_000);
    result.invalid = Some(
        "the generator could not keep its schedule: one event in a hundred was 41ms late or more".to_owned(),
    );
    result.figures.schedule_lag.p99 = 41_000;
    let server = result.figures.server.as_mut().unwrap();
    (server.cpu_share, server.cpu_ms, server.peak_resident) = (1.93, 42_000, 312_000_000);
    result
}

fn search() -> ScenarioResult {
    let mut result = result(setup("Limit Search", Category::Performance, 50, 2000, 1024, 0.0), 700);
    let step = |planned: f64, p99_micros, broke: Option<&str>| LoadStep {
        planned_per_second: planned,
        delivered_per_second: planned * if broke.is_some() { 0.83 } else { 1.0 },
        p99_micros,
        server_cpu_share: (planned / 60_000.0).min(1.0),
        broke: broke.map(str::to_owned),
    };
    let steps = vec![
        step(5_000.0, 410, None),
        step(10_000.0, 620, None),
        step(20_000.0, 880, None),
        step(40_000.0, 1_750, None),
        step(80_000.0, 96_000, Some("p99 96.0 ms is above 2 ms")),
        step(60_000.0, 14_000, Some("p99 14.0 ms is above 2 ms")),
        step(50_000.0, 1_980, None),
    ];
    result.search = Some(LimitSearch {
        goal_p99_micros: 2_000,
        steps,
        held: Some(50_000.0),
        ended: "the next step would be within 10 % of one that broke".to_owned(),
    });
    result
}

fn broken() -> ScenarioResult {
    let mut result = reliability("High Failure Rate Test", 0.15);
    let finding = |kind, seq: u64, detail: &str| Finding {
        kind,
        client: "client-07".to_owned(),
        session: "0199c0de-0000-7000-8000-000000000007".parse().unwrap(),
        message: Some(format!("m-07-{seq}")),
        seq: serde_json::from_value(serde_json::json!(seq)).unwrap(),
        at: 8_731_004,
        detail: detail.to_owned(),
    };
    result.status = Status::Failed;
    result.reasons = vec![
        "2 × acked but lost".to_owned(),
        "1 × delivered twice".to_owned(),
        "3 events whose outcome is unknown".to_owned(),
    ];
    result.verdict.findings = vec![
        finding(Kind::Lost, 61, "acked at 7.099 s with seq 61, the final read ends at 60"),
        finding(Kind::Lost, 62, "acked at 7.099 s with seq 62, the final read ends at 60"),
        finding(Kind::DeliveredTwice, 58, "first at 6.990 s, again after the reader resumed at seq 57"),
    ];
    result.verdict.counts = [(Kind::Lost, 2), (Kind::DeliveredTwice, 1)].into();
    result.counts.stored -= 3;
    result.counts.unknown = 3;
    result.figures.error_rate = 0.001;
    let figures = result.reliability.as_mut().unwrap();
    (figures.loss_rate, figures.session_success_rate, figures.error_rate) = (2.0 / 2_997.0, 0.95, 0.001);
    figures.recovery.p99 = 31_000_000;
    result
}
