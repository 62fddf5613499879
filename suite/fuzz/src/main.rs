//! Runs targets for a while: `cargo xtask fuzz [TARGET…] [--seconds N] [--seed S]`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use agentbench_fuzz_targets::runner::{Limit, corpus_folder, read_corpus, run, try_one};
use agentbench_fuzz_targets::{Target, targets};
use anyhow::Context;
use clap::Parser;

#[derive(Parser)]
#[command(name = "cargo xtask fuzz", about = "Feed fuzz targets: the corpus, mutations of it, random bytes")]
struct Arguments {
    /// Targets; all if none is given
    targets: Vec<String>,
    /// Seconds for each target
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Seed of the inputs; the clock's if not given
    #[arg(long)]
    seed: Option<u64>,
    /// Run this file alone, such as one that has failed
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Make the corpora anew
    #[arg(long)]
    write_corpus: bool,
    /// Folder for inputs that fail
    #[arg(long, value_name = "FOLDER", default_value = "target/fuzz")]
    output: PathBuf,
}

fn main() -> ExitCode {
    match fuzz(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("fuzz: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every invariant holds.
fn fuzz(arguments: &Arguments) -> anyhow::Result<bool> {
    let chosen = chosen(&arguments.targets)?;
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64);
    let seed = arguments.seed.unwrap_or_else(clock);
    let mut all_hold = true;
    for target in &chosen {
        if arguments.write_corpus {
            write_corpus(target)?;
            continue;
        }
        all_hold &= holds(target, arguments, seed)?;
    }
    Ok(all_hold)
}

fn chosen(names: &[String]) -> anyhow::Result<Vec<Target>> {
    if names.is_empty() {
        return Ok(targets::all());
    }
    let find = |name: &String| {
        let known: Vec<_> = targets::all().iter().map(|target| target.name).collect();
        targets::named_target(name)
            .with_context(|| format!("there is no target {name}; there are {}", known.join(", ")))
    };
    names.iter().map(find).collect()
}

fn holds(target: &Target, arguments: &Arguments, seed: u64) -> anyhow::Result<bool> {
    let begun = Instant::now();
    let outcome = match &arguments.input {
        Some(path) => {
            let input = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            try_one(target, seed, &input, || path.display().to_string()).map(|()| 1)
        }
        None => {
            run(target, &read_corpus(target.name)?, seed, Limit::Time(Duration::from_secs(arguments.seconds)))
        }
    };
    match outcome {
        Ok(inputs) => {
            println!(
                "{:<22}{inputs:>10} inputs in {:.1} s, seed {seed}",
                target.name,
                begun.elapsed().as_secs_f64()
            );
            Ok(true)
        }
        Err(failure) => {
            let path = failure.write(&arguments.output)?;
            println!(
                "{failure}\n  this input alone: cargo xtask fuzz {} --input {}",
                target.name,
                path.display()
            );
            Ok(false)
        }
    }
}

fn write_corpus(target: &Target) -> anyhow::Result<()> {
    let folder = corpus_folder(target.name);
    let seeds = (target.seeds)();
    for (name, content) in &seeds {
        let path: &Path = &folder.join(name);
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(path, content))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    println!("{:<22}{:>4} files", target.name, seeds.len());
    Ok(())
}
