//! `agentbench simulate`: worlds of several servers on one log, by seed or by schedule, and the shortest way to a failure.

mod failure;
mod schedule;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use agentbench_simulation::{Outcome, Setup, guard};
use anyhow::{Context, bail};
use clap::Args;

use crate::progress::Line;

/// Steps of one world: enough that sessions are archived, removed and created again, and few enough to shrink.
const WORLD_STEPS: u64 = 5_000;
/// Worlds that fail in one hunt, after which it ends: more would repeat the same.
const MOST_FAILURES: usize = 10;

#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// Seed of the first world; the following worlds have the following numbers. Random if not given
    #[arg(long)]
    seed: Option<u64>,
    /// Number of steps in total, in worlds of at most 5,000
    #[arg(long, default_value_t = 100_000, conflicts_with_all = ["minutes", "schedule"])]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,
    /// Time after which no new world begins, instead of a number of steps
    #[arg(long, value_name = "MINUTES", value_parser = minutes, conflicts_with = "schedule")]
    minutes: Option<Duration>,
    /// File with the steps of one world, whose setup is that of --seed
    #[arg(long, value_name = "FILE", requires = "seed")]
    schedule: Option<PathBuf>,
    /// File to append failing seeds to, a line `seed steps # finding` each; the run goes on after a failure, up to ten
    #[arg(long, value_name = "FILE", conflicts_with = "schedule")]
    keep: Option<PathBuf>,
    /// Defect to plant into the servers
    #[cfg(feature = "sabotage")]
    #[arg(long, value_name = "NAME", value_parser = defect)]
    defect: Option<&'static str>,
}

const AFTER_HELP: &str = "\
A world has one to three servers that write one log in memory, and clients that publish, follow, repeat and control. The servers' \
owners, delivery and limits, and the client's connection machine, are those of the product. Sockets, threads, time and chance \
are not: one thread decides by the seed what happens next, a step at a time. At the end everything heals, and the suite's judge \
reads what each client saw: nothing acked is lost, stored twice, out of order or undelivered. A panic is a failure as well.

A schedule is the list of steps, one a line: `publish 2 0` is client 2 publishing to the first session, `crash 1` the end of the \
second server. Blank lines and lines that begin with # are left out. A failing world prints the shortest schedule that fails in the same way, \
and the command that repeats it. A seed means the same only for the same build; a schedule also means something after a change.

The first world runs twice, and the results must be the same. Exit codes: 0 all promises kept, 1 one was broken, 2 could not run.

Try: agentbench simulate --seed 1
     agentbench simulate --minutes 30 --keep seeds.txt
     agentbench simulate --seed 1 --schedule steps.txt";

fn minutes(text: &str) -> Result<Duration, String> {
    let minutes: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    Duration::try_from_secs_f64(minutes * 60.0).map_err(|error| error.to_string())
}

#[cfg(feature = "sabotage")]
fn defect(text: &str) -> Result<&'static str, String> {
    let names = agentbench_simulation::defects::NAMES;
    names.into_iter().find(|name| *name == text).ok_or_else(|| format!("one of: {}", names.join(", ")))
}

impl Arguments {
    fn defect(&self) -> Option<&'static str> {
        #[cfg(feature = "sabotage")]
        return self.defect;
        #[cfg(not(feature = "sabotage"))]
        None
    }

    fn setup(&self, seed: u64) -> Setup {
        Setup { sabotage: self.defect(), ..Setup::of(seed) }
    }

    /// The given seed, or a random one that is short enough to type.
    fn first_seed(&self) -> anyhow::Result<u64> {
        match self.seed {
            Some(seed) => Ok(seed),
            None => {
                Ok(getrandom::u64().map_err(|error| anyhow::anyhow!("no random numbers: {error}"))? >> 32)
            }
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let seed = arguments.first_seed()?;
    outln!("seed {seed}");
    if let Some(path) = &arguments.schedule {
        return replay(arguments.setup(seed), path);
    }
    let mut hunt = Hunt::new(arguments);
    hunt.go(seed)?;
    hunt.line.clear();
    outln!("{}", hunt.figures());
    Ok(if hunt.failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The steps of a file.
fn replay(setup: Setup, path: &Path) -> anyhow::Result<ExitCode> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let steps = schedule::parse(&text).with_context(|| path.display().to_string())?;
    let outcome = guard::by_steps(setup, &steps);
    same(setup, &outcome, &guard::by_steps(setup, &steps))?;
    outln!("{setup}");
    outln!("{} steps, {} entries, {} findings", steps.len(), outcome.entries, outcome.findings.len());
    failure::print_findings(&outcome);
    Ok(if outcome.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// If chance has a way in, no failure can be repeated, and no success means anything.
fn same(setup: Setup, first: &Outcome, second: &Outcome) -> anyhow::Result<()> {
    if first.digest != second.digest {
        bail!(
            "the same world ran twice and became two (digests {:x} and {:x}; {setup}): the simulation is not deterministic",
            first.digest,
            second.digest
        );
    }
    Ok(())
}

/// A run over many worlds.
struct Hunt<'a> {
    arguments: &'a Arguments,
    began: Instant,
    /// Time in worlds, without that of shrinking.
    simulating: Duration,
    line: Line,
    worlds: u64,
    steps: u64,
    entries: u64,
    failures: usize,
}

impl<'a> Hunt<'a> {
    fn new(arguments: &'a Arguments) -> Self {
        Self {
            arguments,
            began: Instant::now(),
            simulating: Duration::ZERO,
            line: Line::new(),
            worlds: 0,
            steps: 0,
            entries: 0,
            failures: 0,
        }
    }

    fn go(&mut self, first_seed: u64) -> anyhow::Result<()> {
        let mut seed = first_seed;
        while let Some(steps) = self.next_steps() {
            let setup = self.arguments.setup(seed);
            let began = Instant::now();
            let outcome = guard::by_seed(setup, steps as usize);
            self.simulating += began.elapsed();
            if self.worlds == 0 {
                same(setup, &outcome, &guard::by_seed(setup, steps as usize))?;
            }
            self.worlds += 1;
            self.steps += steps;
            self.entries += outcome.entries;
            if !outcome.findings.is_empty() && self.fail(setup, outcome)? {
                return Ok(());
            }
            self.line.show(&format!("world {seed}: {}", self.figures()));
            seed = seed.wrapping_add(1);
        }
        Ok(())
    }

    /// The size of the next world, if there is to be one.
    fn next_steps(&self) -> Option<u64> {
        let left = match self.arguments.minutes {
            Some(limit) if self.worlds > 0 && self.began.elapsed() >= limit => 0,
            Some(_) => WORLD_STEPS,
            None => self.arguments.steps - self.steps,
        };
        (left > 0).then(|| left.min(WORLD_STEPS))
    }

    /// Prints a failure. Tells whether it was the last.
    fn fail(&mut self, setup: Setup, outcome: Outcome) -> anyhow::Result<bool> {
        self.failures += 1;
        self.line.clear();
        failure::print(setup, &outcome);
        if let Some(path) = &self.arguments.keep {
            failure::keep(path, setup, &outcome)?;
        }
        if self.failures == 1 {
            failure::print_shortest(setup, outcome, &mut self.line);
        }
        Ok(self.arguments.keep.is_none() || self.failures == MOST_FAILURES)
    }

    fn figures(&self) -> String {
        let per_second = self.steps as f64 / self.simulating.as_secs_f64().max(1e-9);
        let Self { worlds, steps, entries, .. } = self;
        let worlds = if *worlds == 1 { "1 world".to_owned() } else { format!("{worlds} worlds") };
        format!("{worlds}, {steps} steps, {entries} entries, {per_second:.0} steps per second")
    }
}
