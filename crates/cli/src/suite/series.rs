//! A run of the suite: one scenario after another, and the report on all of them.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use agentbench_load::child::pin;
use agentbench_report::baseline::compare;
use agentbench_report::folder::Beside;
use agentbench_report::schema::{Machine, REPORT_VERSION, Report};
use agentbench_report::{folder, text};
use agentbench_scenarios::run::{Order, Run};
use agentbench_scenarios::sdk::Sdk;
use agentbench_scenarios::shrink::shrink;
use agentbench_scenarios::target::{CannotRun, Target};
use anyhow::Context;
use tokio::sync::watch;

use super::Chosen;
use super::arguments::{Arguments, ClientKind, GENERATOR_CORE};
use super::progress::Progress;

/// What all scenarios of a run share.
struct Series<'a> {
    arguments: &'a Arguments,
    target: Target,
    sdk: Sdk,
    seed: u64,
    stop: watch::Receiver<bool>,
    output: PathBuf,
}

/// Runs the scenarios and writes the report. `stop` ends it early.
pub(crate) async fn run(
    what: &str,
    chosen: &[Chosen],
    arguments: &Arguments,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<ExitCode> {
    if arguments.pin {
        pin(0, GENERATOR_CORE).context("--pin needs two cores")?;
    }
    read_all(&arguments.baseline)?;
    let (seed, begun) = (arguments.seed()?, Instant::now());
    let started_at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
    let output = arguments.output.join(format!("{what}-{started_at}"));
    let series = Series { arguments, target: arguments.target()?, sdk: arguments.sdk()?, seed, stop, output };
    let mut report = Report {
        version: REPORT_VERSION,
        suite: format!("agentbench/{}", env!("CARGO_PKG_VERSION")),
        started_at,
        took_ms: 0,
        seed,
        quick: arguments.quick,
        machine: machine(),
        target: target_of(arguments),
        interrupted: None,
        scenarios: Vec::new(),
    };
    let ended = series.run_all(chosen, &mut report).await;
    if let Err(error) = ended {
        // No scenario has run: there is nothing to report.
        if report.scenarios.is_empty() {
            return Err(error);
        }
        eprintln!("agentbench: {error:#}");
        report.interrupted = Some(format!("{error:#}"));
    }
    report.took_ms = begun.elapsed().as_millis() as u64;
    series.conclude(chosen, &report)
}

/// The server, as named in the report, and the clients unless they use the default SDK.
fn target_of(arguments: &Arguments) -> String {
    let server = arguments.url.clone().unwrap_or_else(|| "started for each scenario".to_owned());
    match arguments.client {
        ClientKind::Rust => server,
        ClientKind::Ts => format!("{server}; clients: TypeScript SDK"),
    }
}

impl Series<'_> {
    async fn run_all(&self, chosen: &[Chosen], report: &mut Report) -> anyhow::Result<()> {
        let count = chosen.len() * self.arguments.repeat as usize;
        for number in 0..count {
            if *self.stop.borrow() {
                let left = count - number;
                report.interrupted = Some(format!("interrupted by the user, {left} scenarios were not run"));
                return Ok(());
            }
            let chosen = &chosen[number % chosen.len()];
            let run = self.run_one(chosen, (number + 1, count)).await?;
            if !self.arguments.json {
                outln!("{}", text::scenario(&run.result));
            }
            report.scenarios.push(run.result);
            // Even if the suite itself fails, the measurements are kept.
            folder::write_report(&self.output, report)?;
        }
        if *self.stop.borrow() {
            report.interrupted = Some("interrupted by the user in the last scenario".to_owned());
        }
        Ok(())
    }

    async fn run_one(&self, chosen: &Chosen, place: (usize, usize)) -> anyhow::Result<Run> {
        let scenario = &chosen.scenario;
        let order = Order {
            scenario,
            target: &self.target,
            sdk: &self.sdk,
            seed: self.seed,
            replay: self.arguments.replay(&chosen.called, self.seed),
            stop: self.stop.clone(),
        };
        let mut progress = Progress::new(scenario, place, self.arguments.enable_logging);
        let run = agentbench_scenarios::run::run(&order, |meters| progress.show(meters)).await;
        progress.clear();
        let run = run.map_err(into_anyhow)?;
        folder::write_histories(&self.output, &self.name_of(chosen, place), &run.histories)?;
        if let Some(most) = self.arguments.shrink.filter(|_| !run.result.verdict.is_clean()) {
            self.shrink(&order, &run, most, &progress).await?;
        }
        Ok(run)
    }

    /// A scenario's name in the run's folder: with a number if it is run several times.
    fn name_of(&self, chosen: &Chosen, (number, count): (usize, usize)) -> String {
        let each = count / self.arguments.repeat as usize;
        let name = &chosen.scenario.name;
        if self.arguments.repeat == 1 { name.clone() } else { format!("{name} {}", (number - 1) / each + 1) }
    }

    /// Searches for a smaller plan that still fails, and writes it to the run's folder.
    async fn shrink(
        &self,
        order: &Order<'_>,
        run: &Run,
        most: u32,
        progress: &Progress<'_>,
    ) -> anyhow::Result<()> {
        let shrunk = shrink(order, run, most, |runs, parts| {
            progress.print(&format!(
                "{}: shrinking, run {runs} of {most} with {parts} faults",
                order.scenario.name
            ));
        });
        let shrunk = shrunk.await.map_err(into_anyhow)?;
        progress.clear();
        let path = self.output.join(format!("shrunk-{}.toml", folder::slug(&order.scenario.name)));
        std::fs::write(&path, shrunk.scenario.to_toml()?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!(
            "{}: {} of {} faults are enough to fail ({} runs): agentbench suite run {} --seed {}",
            order.scenario.name,
            shrunk.after,
            shrunk.before,
            shrunk.runs,
            path.display(),
            self.seed
        );
        Ok(())
    }

    fn conclude(&self, chosen: &[Chosen], report: &Report) -> anyhow::Result<ExitCode> {
        let planned = chosen.iter().map(|chosen| (chosen.scenario.category, chosen.scenario.name.clone()));
        let planned: Vec<_> = planned.collect();
        let comparison = match &self.arguments.baseline[..] {
            [] => None,
            baselines => Some(compare(&read_all(baselines)?, std::slice::from_ref(report))),
        };
        // No thresholds are checked on an incomplete run: missing figures would look like breaches.
        let is_whole = report.interrupted.is_none();
        let bounds = self.arguments.fail_on.as_ref().filter(|_| is_whole);
        let breaches = bounds.map_or_else(Vec::new, |bounds| bounds.evaluate(report));
        let beside = Beside { comparison: comparison.as_ref(), planned: &planned, breaches: &breaches };
        let paths = folder::write_all(&self.output, report, beside)?;
        if self.arguments.json {
            outln!("{}", serde_json::to_string_pretty(report)?);
        } else {
            outln!("{}", text::ending(report));
            if let Some(comparison) = &comparison {
                outln!("baseline: {}", comparison.summary());
            }
        }
        for breach in &breaches {
            eprintln!("--fail-on: {}", breach.sentence);
        }
        eprintln!("seed {}; report in {}", self.seed, paths.html.display());
        let is_worse = comparison.is_some_and(|comparison| comparison.has_worse());
        let is_good = report.has_passed() && breaches.is_empty() && !is_worse;
        Ok(match &report.interrupted {
            Some(_) => ExitCode::from(2),
            None if is_good => ExitCode::SUCCESS,
            None => ExitCode::FAILURE,
        })
    }
}

/// Reads reports to compare with. Also called before the run, so that a wrong path does not surface only an hour later.
pub(crate) fn read_all(paths: &[PathBuf]) -> anyhow::Result<Vec<Report>> {
    paths.iter().map(|path| folder::read_report(path)).collect()
}

pub(crate) fn into_anyhow(error: CannotRun) -> anyhow::Error {
    match error {
        CannotRun::Server(sentence) => anyhow::anyhow!(sentence),
        CannotRun::Here(error) => error,
    }
}

fn machine() -> Machine {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Machine {
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        platform: format!("{} {} {}", std::env::consts::OS, kernel.trim(), std::env::consts::ARCH),
        optimised: cfg!(release_build),
    }
}
