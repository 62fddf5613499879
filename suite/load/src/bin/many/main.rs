//! Measures what many idle connections and many open sessions cost the server's process, step by step.
//!
//! - Connections that have joined a session (a hundred in each): resident memory, and the CPU of heartbeats.
//! - Open sessions without connections: resident memory.
//!
//! One server takes all steps of a ladder, pinned to core 0 with one worker. The figures of a ladder are fitted by a straight line,
//! and its residual says how straight they are. A number of connections beyond the limit of open files is extrapolated.

mod ladder;
mod table;

use std::path::PathBuf;

use agentbench_load::child::{binary_beside, pin};
use agentbench_load::files::make_room;
use agentbench_load::paired::load_average;
use anyhow::{Context, ensure};
use clap::Parser;

/// Measure many idle connections and many open sessions and print tables with a fitted line
#[derive(Parser)]
struct Arguments {
    /// Path of the agentbench binary
    #[arg(long)]
    server: Option<PathBuf>,
    /// Numbers of connections to measure at
    #[arg(long, value_delimiter = ',', default_value = "1000,5000,10000,18000")]
    steps: Vec<usize>,
    /// One more number of connections: measured if the limit of open files allows, extrapolated otherwise
    #[arg(long, default_value_t = 100_000)]
    connections: usize,
    /// Numbers of open sessions to measure at
    #[arg(long, value_delimiter = ',', default_value = "10000,30000,60000,100000")]
    sessions: Vec<usize>,
    /// Milliseconds between heartbeats; each step is measured during five of them
    #[arg(long, default_value_t = 2000)]
    heartbeat: u32,
    /// Folder for the servers' data; a temporary one if not given
    #[arg(long)]
    scratch: Option<PathBuf>,
    /// Also print each figure as a JSON line as it is measured
    #[arg(long)]
    json: bool,
}

fn main() -> anyhow::Result<()> {
    let mut arguments = Arguments::parse();
    ensure!(arguments.heartbeat >= 100, "--heartbeat must be at least 100");
    let is_rising = |steps: &[usize]| !steps.is_empty() && steps[0] > 0 && steps.is_sorted_by(|a, b| a < b);
    ensure!(is_rising(&arguments.steps), "--steps must rise from above 0");
    ensure!(is_rising(&arguments.sessions), "--sessions must rise from above 0");
    let binary = arguments.server.clone().or_else(binary_beside);
    let binary = binary.context("cannot find the agentbench binary: give --server")?;
    let largest = arguments.steps.last().copied().unwrap_or_default();
    make_room(largest)?;
    let is_extrapolated = arguments.connections > largest && make_room(arguments.connections).is_err();
    if arguments.connections > largest && !is_extrapolated {
        arguments.steps.push(arguments.connections);
    }
    if std::thread::available_parallelism().map_or(1, std::num::NonZero::get) > 1 {
        pin(0, 1)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!("Load average at the start: {}\n", load_average());
    let local = tokio::task::LocalSet::new();
    let connections = runtime.block_on(local.run_until(ladder::connections(&arguments, &binary)))?;
    let beyond = is_extrapolated.then_some(arguments.connections);
    println!("{}", table::connections(&connections, arguments.heartbeat, beyond));
    let local = tokio::task::LocalSet::new();
    let sessions = runtime.block_on(local.run_until(ladder::sessions(&arguments, &binary)))?;
    println!("{}\nLoad average at the end: {}", table::sessions(&sessions), load_average());
    Ok(())
}
