//! Measures ours against the peers of `bench/peers`: the same jobs, with the same load, in turn.
//!
//! The server runs on core 0, the load on core 1. Each figure comes from a new server with a temporary folder; rounds are
//! interleaved (one of each, then again), so that a disturbance of the machine affects all, and the table shows the medians.

mod contestant;
mod measure;
mod table;

use std::path::PathBuf;

use agentbench_load::child::{binary_beside, pin};
use agentbench_load::files::make_room;
use anyhow::{Context, bail, ensure};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use contestant::{Contestant, Installation};
use measure::{Sample, WORKS, Work};

/// Measure ours against its peers and print tables of figures and their ratios to ours
#[derive(Parser)]
struct Arguments {
    /// Path of the agentbench binary
    #[arg(long)]
    server: Option<PathBuf>,
    /// Folder of the peers' servers, after `npm ci`
    #[arg(long, default_value = "bench/peers")]
    peers: PathBuf,
    /// Number of times to measure each figure; the table shows the median
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Number of connections in the memory row
    #[arg(long, default_value_t = 1000)]
    connections: usize,
    /// Only rows whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Compare with another build of ours instead of the peers: old and new in turn, and the ratio of the pairs with its interval
    #[arg(long)]
    against: Option<PathBuf>,
    /// Print each figure as a JSON line as it is measured, and no table
    #[arg(long)]
    json: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    ensure!(arguments.rounds > 0 && arguments.seconds > 0.0, "--rounds and --seconds must be above 0");
    make_room(arguments.connections)?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    ensure!(cores > 1, "server and load need a core each; this machine has {cores}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        // Dropping a run stops the server that it started.
        tokio::select! {
            done = run(&arguments) => done,
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("interrupted"),
        }
    })
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let binary = arguments.server.clone().or_else(binary_beside);
    let binary = binary.context("cannot find the agentbench binary: give --server")?;
    let before = arguments.against.as_ref().map(|before| before.canonicalize()).transpose();
    let before = before.context("cannot find the binary of --against")?;
    let peers = arguments.peers.canonicalize()?;
    let installed = Installation { binary: binary.canonicalize()?, before, peers };
    let mut contestants = Vec::new();
    let all: &[Contestant] = match installed.before {
        Some(_) => &[Contestant::Before, Contestant::Ours],
        None => &Contestant::ALL,
    };
    for &contestant in all {
        match contestant.version(&installed) {
            Ok(version) => {
                eprintln!("{}: {version}", contestant.name());
                contestants.push(contestant);
            }
            Err(error) => eprintln!("SKIPPED {}: {error:#}", contestant.name()),
        }
    }
    ensure!(contestants.contains(&Contestant::Ours), "there is nothing to compare with");
    // Processes started from here on must not inherit this core; they get their own.
    pin(0, 1)?;
    let works: Vec<Work> = WORKS.into_iter().filter(|work| work.name().contains(&arguments.only)).collect();
    ensure!(!works.is_empty(), "no row's name contains {:?}", arguments.only);
    let mut samples: Vec<Sample> = Vec::new();
    for round in 1..=arguments.rounds {
        for &work in &works {
            // The second build may find the machine warmer, so the two alternate.
            let in_turn = installed.before.is_some() && round % 2 == 0;
            let order: Vec<Contestant> =
                if in_turn { contestants.iter().rev().copied().collect() } else { contestants.clone() };
            for contestant in order {
                let sample = measure::take(contestant, work, &installed, arguments).await;
                let sample = sample
                    .with_context(|| format!("{}, {}, round {round}", contestant.name(), work.name()))?;
                if arguments.json {
                    println!("{}", serde_json::to_string(&sample)?);
                }
                samples.push(sample);
            }
        }
        eprintln!("round {round} of {} is done", arguments.rounds);
    }
    if installed.before.is_some() && !arguments.json {
        print!("{}", table::ratios(&works, &samples));
    } else if !arguments.json {
        print!("{}", table::tables(&works, &contestants, &samples));
    }
    Ok(())
}
