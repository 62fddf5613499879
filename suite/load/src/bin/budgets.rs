//! Measures the server's process against the budgets of the design: CPU per message, memory per connection.
//!
//! The server runs on one core with one worker, the load on another. Each row uses a new server with a temporary folder.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agentbench_auth::Role;
use agentbench_load::bare::{FanOut, Paced, fan_out, idle, open_sessions, paced};
use agentbench_load::child::{ServerCommand, ServerProcess, binary_beside, pin, token};
use agentbench_load::paired::{Ratio, TABLE_HEAD, load_average};
use agentbench_load::process::{Usage, usage};
use agentbench_load::target::{self, AgentBench, Dialect, Exchange, Job, Pace, Place, exchange};
use anyhow::Context;
use clap::Parser;

/// Measure the server against its budgets and print a table
#[derive(Parser)]
struct Arguments {
    /// Path of the agentbench binary
    #[arg(long)]
    server: Option<PathBuf>,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Number of connections in the memory row
    #[arg(long, default_value_t = 5000)]
    connections: usize,
    /// Only rows whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Number of repetitions of each row; the table shows the median
    #[arg(long, default_value_t = 1)]
    repeat: usize,
    /// Print JSON lines instead of a table
    #[arg(long)]
    json: bool,
    /// Number of events stored before the second sample of the growth row
    #[arg(long, default_value_t = 1_000_000)]
    stored: u64,
    /// Number of sessions present at the second sample of the growth row
    #[arg(long, default_value_t = 100_000)]
    sessions: usize,
    /// Folder for the servers' data; a temporary one if not given
    #[arg(long)]
    scratch: Option<PathBuf>,
    /// Compare with another binary: each row old and new in turn, and the ratio of the pairs with its 95 % interval
    #[arg(long)]
    against: Option<PathBuf>,
    /// Number of pairs per row, with --against
    #[arg(long, default_value_t = 20)]
    rounds: usize,
}

/// What a row measures.
#[derive(Clone, Copy)]
enum Work {
    Publish { in_flight: usize },
    FanOut { followers: usize, together: usize },
    Memory,
    Accept,
    Latency,
    Evenness,
    Flatness,
}

struct Row {
    name: &'static str,
    work: Work,
    budget: f64,
    unit: &'static str,
}

/// How long the server may be silent.
const PATIENCE: Duration = Duration::from_secs(20);

/// Numbers of stored events and sessions between which the cost of an event is compared; the larger ones are flags.
const FEW_SESSIONS: usize = 10;

const ROWS: &[Row] = &[
    Row {
        name: "1 KiB event in, logged, acked; 100 publishers, 1 in flight",
        work: Work::Publish { in_flight: 1 },
        budget: 7.0,
        unit: "µs",
    },
    Row {
        name: "1 KiB event in, logged, acked; 100 publishers, 16 in flight",
        work: Work::Publish { in_flight: 16 },
        budget: 2.0,
        unit: "µs",
    },
    Row {
        name: "one delivery, 256 B, 1 → 100, one at a time",
        work: Work::FanOut { followers: 100, together: 1 },
        budget: 4.2,
        unit: "µs",
    },
    Row {
        name: "one delivery, 256 B, 1 → 100, 16 at a time",
        work: Work::FanOut { followers: 100, together: 16 },
        budget: 0.40,
        unit: "µs",
    },
    Row {
        name: "one delivery, 256 B, 1 → 1,000, one at a time",
        work: Work::FanOut { followers: 1000, together: 1 },
        budget: 4.8,
        unit: "µs",
    },
    Row {
        name: "one delivery, 256 B, 1 → 1,000, 16 at a time",
        work: Work::FanOut { followers: 1000, together: 16 },
        budget: 0.65,
        unit: "µs",
    },
    Row {
        name: "resident memory per connection, joined, after traffic",
        work: Work::Memory,
        budget: 4.0,
        unit: "KB",
    },
    Row { name: "accept + upgrade + HS256 check", work: Work::Accept, budget: 35.0, unit: "µs" },
    Row {
        name: "publish → delivery at 20,000 events/s, p99", work: Work::Latency, budget: 2.0, unit: "ms"
    },
    Row {
        name: "p99 ÷ p50 of acks at 2,000 saturated connections",
        work: Work::Evenness,
        budget: 1.5,
        unit: "×",
    },
    Row {
        name: "cost of an event, many stored and many sessions ÷ few",
        work: Work::Flatness,
        budget: 1.2,
        unit: "×",
    },
];

struct RowResult {
    figure: f64,
    note: String,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let binary = arguments
        .server
        .clone()
        .or_else(binary_beside)
        .context("cannot find the agentbench binary: give --server")?;
    if std::thread::available_parallelism().map_or(1, std::num::NonZero::get) > 1 {
        pin(0, 1)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if let Some(old) = &arguments.against {
        return compare(&arguments, &runtime, old, &binary);
    }
    if !arguments.json {
        println!("| what | figure | budget | |\n|---|---|---|---|");
    }
    for row in ROWS.iter().filter(|row| row.name.contains(&arguments.only)) {
        let mut runs = Vec::new();
        for _ in 0..arguments.repeat.max(1) {
            let local = tokio::task::LocalSet::new();
            runs.push(runtime.block_on(local.run_until(measure(&arguments, &binary, row.work)))?);
        }
        runs.sort_by(|a, b| a.figure.total_cmp(&b.figure));
        let median = &runs[runs.len() / 2];
        if arguments.json {
            println!(
                "{}",
                serde_json::json!({"what": row.name, "figure": median.figure, "budget": row.budget, "unit": row.unit, "note": median.note})
            );
        } else {
            let mark = if median.figure <= row.budget { "" } else { "over" };
            println!(
                "| {} | {:.2} {} | {} {} | {mark} {} |",
                row.name, median.figure, row.unit, row.budget, row.unit, median.note
            );
        }
    }
    Ok(())
}

/// Measures each row with the old and the new binary in turn.
fn compare(
    arguments: &Arguments,
    runtime: &tokio::runtime::Runtime,
    old: &Path,
    new: &Path,
) -> anyhow::Result<()> {
    anyhow::ensure!(arguments.rounds > 0, "--rounds must be above 0");
    println!("Load average at the start: {}\n\n{TABLE_HEAD}", load_average());
    for row in ROWS.iter().filter(|row| row.name.contains(&arguments.only)) {
        let take = |binary: &Path| {
            let local = tokio::task::LocalSet::new();
            runtime.block_on(local.run_until(measure(arguments, binary, row.work)))
        };
        let mut pairs = Vec::new();
        for round in 0..arguments.rounds {
            // The second run may find the machine warmer, so they alternate.
            let (first, second) = if round % 2 == 0 { (old, new) } else { (new, old) };
            let (first, second) = (take(first)?.figure, take(second)?.figure);
            pairs.push(if round % 2 == 0 { (first, second) } else { (second, first) });
            eprintln!("{}: pair {} of {}, {:?}", row.name, round + 1, arguments.rounds, pairs[round]);
        }
        let ratio = Ratio::of(&pairs).context("the old binary's figures are all 0")?;
        if arguments.json {
            println!("{}", serde_json::json!({"what": row.name, "unit": row.unit, "pairs": pairs}));
        }
        println!("| {}, {} | {ratio} | {} |", row.name, row.unit, verdict(&ratio));
    }
    println!("\nLoad average at the end: {}", load_average());
    Ok(())
}

/// A remark on a ratio that deserves one.
fn verdict(ratio: &Ratio) -> &'static str {
    if ratio.is_above(1.03) {
        "slower"
    } else if ratio.interval.1 < 1.0 {
        "faster"
    } else {
        ""
    }
}

async fn measure(arguments: &Arguments, binary: &std::path::Path, work: Work) -> anyhow::Result<RowResult> {
    let scratch = match &arguments.scratch {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    let server = ServerProcess::start(&ServerCommand {
        binary: binary.to_owned(),
        data_dir: scratch.path().to_owned(),
        flags: ["--workers", "1", "--max-connections", "20000", "--max-sessions", "200000"]
            .map(str::to_owned)
            .to_vec(),
        core: Some(0),
        port: 0,
    })?;
    let (address, pid) = (server.address(), server.pid());
    let duration = Duration::from_secs_f64(arguments.seconds);
    let warm_up = duration / 3;
    let mut samples: Vec<Usage> = Vec::new();
    let mut look = || samples.push(usage(pid).unwrap_or_default());
    let measured = match work {
        Work::Publish { in_flight } => {
            let plan = Publish { publishers: 100, in_flight, size: 1024, warm_up, duration };
            let result = publish(address, plan, look).await?;
            let note = format!("{:.0} events/s", result.per_second());
            RowResult { figure: per(&samples, result.answered), note }
        }
        Work::FanOut { followers, together } => {
            let plan = FanOut { followers, together, size: 256, warm_up, duration };
            let result = fan_out(address, plan, look).await?;
            let rate = result.delivered as f64 / result.took.as_secs_f64();
            RowResult { figure: per(&samples, result.delivered), note: format!("{rate:.0} deliveries/s") }
        }
        Work::Memory => {
            let warm = idle(address, 0..100, 50, true).await?;
            drop(warm);
            tokio::time::sleep(Duration::from_millis(500)).await;
            look();
            let held = idle(address, 0..arguments.connections, 50, true).await?;
            tokio::time::sleep(Duration::from_millis(700)).await;
            look();
            let grown = samples[1].resident.saturating_sub(samples[0].resident) as f64;
            RowResult {
                figure: grown / 1000.0 / held.connections.len() as f64,
                note: format!("{} connections", held.connections.len()),
            }
        }
        Work::Latency => {
            let plan = Paced { publishers: 20, rate: 20_000, size: 1024, warm_up, duration };
            let result = paced(address, plan).await?;
            let ms = |quantile| result.planned.value_at_quantile(quantile) as f64 / 1000.0;
            let raw = result.raw.value_at_quantile(0.99) as f64 / 1000.0;
            let note = format!(
                "p50 {:.2} ms, p99.9 {:.2} ms, p99 from the actual send {raw:.2} ms",
                ms(0.5),
                ms(0.999)
            );
            anyhow::ensure!(result.planned.len() + 200 >= result.sent, "deliveries are missing");
            RowResult { figure: ms(0.99), note }
        }
        Work::Evenness => {
            let plan = Publish { publishers: 2000, in_flight: 1, size: 256, warm_up, duration };
            let result = publish(address, plan, look).await?;
            let us = |quantile| result.latency.value_at_quantile(quantile) as f64;
            let note = format!("p50 {:.1} ms, p99 {:.1} ms", us(0.5) / 1000.0, us(0.99) / 1000.0);
            RowResult { figure: us(0.99) / us(0.5), note }
        }
        Work::Flatness => {
            let plan = Publish { publishers: FEW_SESSIONS, in_flight: 16, size: 256, warm_up, duration };
            let few = publish(address, plan, &mut look).await?;
            let mut stored = few.answered;
            open_sessions(address, 0..arguments.sessions).await?;
            while stored < arguments.stored {
                let fill = Publish { publishers: 100, warm_up: Duration::ZERO, ..plan };
                stored += publish(address, fill, || {}).await?.answered;
            }
            let many = publish(address, plan, &mut look).await?;
            let first = per(&samples[..2], few.answered);
            let second = per(&samples[2..], many.answered);
            let note = format!(
                "{first:.2} µs, then {second:.2} µs with {stored} events and {} sessions",
                arguments.sessions
            );
            RowResult { figure: second / first, note }
        }
        Work::Accept => {
            look();
            let count = arguments.connections.min(5000);
            let held = idle(address, 0..count, 100, false).await?;
            look();
            let rate = count as f64 / held.took.as_secs_f64();
            let grown =
                samples[1].resident.saturating_sub(samples[0].resident) as f64 / 1000.0 / count as f64;
            RowResult {
                figure: per(&samples, count as u64),
                note: format!("{rate:.0} connections/s, {grown:.2} KB each before they join"),
            }
        }
    };
    // The loads' tasks have been ended; here they close their sockets, which the server would wait for.
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.stop(Duration::from_secs(30))?;
    Ok(measured)
}

/// What the rows of publishing differ in.
#[derive(Clone, Copy)]
struct Publish {
    publishers: usize,
    /// Events of each that are not acked.
    in_flight: usize,
    size: usize,
    warm_up: Duration,
    duration: Duration,
}

/// Runs of this process: each has users of its own, since a user's ids are remembered.
static RUNS: AtomicU64 = AtomicU64::new(0);

/// Publishers that keep a number of events in flight, each a user with a session of its own.
async fn publish(
    address: SocketAddr,
    plan: Publish,
    look: impl FnMut(),
) -> anyhow::Result<target::Measurement> {
    let Publish { publishers, in_flight, size, warm_up, duration } = plan;
    let pace = Pace::Window(in_flight);
    let plan = Exchange { connections: publishers, pace, warm_up, duration, patience: PATIENCE };
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let make = |index| -> anyhow::Result<Box<dyn Dialect>> {
        let token = token(&format!("publisher-{run}-{index}"), Role::Evaluator)?;
        let id = "create_session".to_owned();
        Ok(Box::new(AgentBench::new(Job::Publish, id, token.into(), Rc::default(), size)?))
    };
    exchange(&Place::at(address), plan, make, look).await
}

/// CPU between the first two samples, µs per `count`.
fn per(samples: &[Usage], count: u64) -> f64 {
    let cpu = samples[1].cpu.saturating_sub(samples[0].cpu);
    cpu.as_secs_f64() * 1e6 / count.max(1) as f64
}
