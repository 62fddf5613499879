//! Measures the two ack levels beside each other, and the disk beside both.
//!
//! - Full speed: events per second and the server's CPU for each, with a window of events in flight.
//! - Open loop: the latency of acks at a rate that does not depend on the answers, from the scheduled send.
//!
//! The server runs on core 0 with one worker, the load on core 1. Each figure comes from a new server with a temporary folder, in
//! which `disk` measures `fdatasync` before the server starts and after it has stopped.

mod disk;
mod measure;
mod table;

use std::path::PathBuf;

use agentbench_load::child::{binary_beside, pin};
use agentbench_load::files::make_room;
use agentbench_load::paired::load_average;
use anyhow::{Context, ensure};
use clap::Parser;

use measure::{Level, Sample, Work};

/// Measure the ack levels logged and synced beside each other and print tables
#[derive(Parser)]
struct Arguments {
    /// Path of the agentbench binary
    #[arg(long)]
    server: Option<PathBuf>,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Number of times to measure each figure; the table shows the median
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Events per second of the first open-loop rows; the others have half of the measured maximum
    #[arg(long, default_value_t = 20_000)]
    rate: u64,
    /// Number of sessions in the rows with many, each with a connection
    #[arg(long, default_value_t = 10_000)]
    sessions: usize,
    /// Folder for the servers' data, on the disk to measure; a temporary one if not given
    #[arg(long)]
    scratch: Option<PathBuf>,
    /// Also print each figure as a JSON line as it is measured
    #[arg(long)]
    json: bool,
}

/// Number of sessions in the rows with few.
const FEW: usize = 100;
const SMALL: usize = 256;
const LARGE: usize = 1024;

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    ensure!(arguments.rounds > 0 && arguments.seconds > 0.0, "--rounds and --seconds must be above 0");
    ensure!(arguments.rate > 0 && arguments.sessions > 0, "--rate and --sessions must be above 0");
    make_room(arguments.sessions.max(FEW))?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    ensure!(cores > 1, "server and load need a core each; this machine has {cores}");
    let binary = arguments.server.clone().or_else(binary_beside);
    let binary = binary.context("cannot find the agentbench binary: give --server")?;
    pin(0, 1)?;
    println!("Load average at the start: {}\n", load_average());
    let many = arguments.sessions;
    let full = [Work::full(FEW, 16, SMALL), Work::full(FEW, 16, LARGE), Work::full(many, 1, SMALL)];
    let samples = rounds(&arguments, &binary, |_| full.to_vec())?;
    println!("{}", table::full(&samples));
    let open = rounds(&arguments, &binary, |level| {
        let half = |work| measure::half_of(&samples, level, work);
        vec![
            Work::open(FEW, arguments.rate, SMALL),
            Work::open(many, arguments.rate, SMALL),
            Work::open(FEW, half(full[0]), SMALL),
            Work::open(many, half(full[2]), SMALL),
        ]
    })?;
    println!("{}\nLoad average at the end: {}", table::open(&open), load_average());
    Ok(())
}

/// Measures the works of both levels in turn, so that a disturbance of the machine affects both.
fn rounds(
    arguments: &Arguments,
    binary: &std::path::Path,
    works: impl Fn(Level) -> Vec<Work>,
) -> anyhow::Result<Vec<Sample>> {
    let pairs: Vec<(Work, Work)> = works(Level::Logged).into_iter().zip(works(Level::Synced)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut samples = Vec::new();
    for round in 0..arguments.rounds {
        for &(logged, synced) in &pairs {
            let mut turns = [(Level::Logged, logged), (Level::Synced, synced)];
            if round % 2 == 1 {
                turns.reverse();
            }
            for (level, work) in turns {
                let local = tokio::task::LocalSet::new();
                let taken = runtime.block_on(local.run_until(measure::take(arguments, binary, level, work)));
                let sample = taken.with_context(|| format!("{level:?}, {work:?}, round {}", round + 1))?;
                if arguments.json {
                    println!("{}", serde_json::to_string(&sample)?);
                }
                samples.push(sample);
            }
        }
        eprintln!("round {} of {} is done", round + 1, arguments.rounds);
    }
    Ok(samples)
}
