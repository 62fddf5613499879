//! Measures ours against servers to which a backend publishes over HTTP: Sockudo (Pusher protocol).
//!
//! A publish is a POST whose answer is awaited, at ours as well; readers are WebSockets. The server runs on core 0, the load on core
//! 1. Each figure comes from a new server with a temporary folder; rounds are interleaved, and the table shows the medians.

mod measure;
mod post;
mod rival;

use std::path::PathBuf;

use agentbench_load::child::{binary_beside, pin};
use agentbench_load::files::make_room;
use agentbench_load::paired::{load_average, median};
use anyhow::{Context, ensure};
use clap::Parser;

use measure::{Sample, Work};
use rival::{Installation, Rival};

/// Measure publishing over HTTP at ours and at Sockudo and print a table
#[derive(Parser)]
struct Arguments {
    /// Path of the agentbench binary
    #[arg(long)]
    server: Option<PathBuf>,
    /// Path of the sockudo binary
    #[arg(long, default_value = "target/tools/bin/sockudo")]
    sockudo: PathBuf,
    /// Folder of the peers' scripts
    #[arg(long, default_value = "bench/peers")]
    peers: PathBuf,
    /// Number of times to measure each figure; the table shows the median
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Also print each figure as a JSON line as it is measured
    #[arg(long)]
    json: bool,
}

const WORKS: [Work; 3] =
    [Work::Publish { publishers: 100 }, Work::FanOut { readers: 100 }, Work::FanOut { readers: 1000 }];

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    ensure!(arguments.rounds > 0 && arguments.seconds > 0.0, "--rounds and --seconds must be above 0");
    make_room(1000)?;
    let ours = arguments.server.clone().or_else(binary_beside);
    let ours = ours.context("cannot find the agentbench binary: give --server")?.canonicalize()?;
    let sockudo = arguments.sockudo.canonicalize().with_context(|| {
        format!("there is no {}: `cargo xtask bench rivals` builds it", arguments.sockudo.display())
    })?;
    let installed = Installation { ours, sockudo, peers: arguments.peers.canonicalize()? };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    ensure!(cores > 1, "server and load need a core each; this machine has {cores}");
    pin(0, 1)?;
    println!("Load average at the start: {}\n", load_average());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut samples = Vec::new();
    for round in 1..=arguments.rounds {
        for work in WORKS {
            for rival in [Rival::Ours, Rival::Sockudo] {
                let local = tokio::task::LocalSet::new();
                let taken = runtime.block_on(local.run_until(measure::take(
                    rival,
                    work,
                    &installed,
                    arguments.seconds,
                )));
                let sample =
                    taken.with_context(|| format!("{}, {}, round {round}", rival.name(), work.name()))?;
                if arguments.json {
                    println!("{}", serde_json::to_string(&sample)?);
                }
                samples.push(sample);
            }
        }
        eprintln!("round {round} of {} is done", arguments.rounds);
    }
    println!("| job | server | per second | CPU µs each | p99 ms | resident MB |\n|---|---|---|---|---|---|");
    for work in WORKS {
        for rival in [Rival::Ours, Rival::Sockudo] {
            println!("{}", row(&samples, rival, work));
        }
    }
    println!("\nLoad average at the end: {}", load_average());
    Ok(())
}

fn row(samples: &[Sample], rival: Rival, work: Work) -> String {
    let middle = |figure: fn(&Sample) -> f64| {
        let own = samples.iter().filter(|sample| sample.rival == Some(rival) && sample.work == Some(work));
        median(own.map(figure).collect()).unwrap_or_default()
    };
    format!(
        "| {} | {} | {:.0} | {:.2} | {:.2} | {:.1} |",
        work.name(),
        rival.name(),
        middle(|sample| sample.per_second),
        middle(|sample| sample.cpu_us),
        middle(|sample| sample.p99_ms),
        middle(|sample| sample.resident_mb)
    )
}
