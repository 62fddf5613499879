//! `agentbench suite compare`: one scenario on two servers in turn, and the ratio of every figure.

use std::path::PathBuf;
use std::process::ExitCode;

use agentbench_auth::Role;
use agentbench_report::metric::{METRICS, Metric};
use agentbench_report::schema::{ScenarioResult, Status};
use agentbench_report::statistics::interval::median;
use agentbench_report::statistics::{Judgement, PairedRatio, paired};
use agentbench_scenarios::run::Order;
use agentbench_scenarios::target::{Target, own_secret};
use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;
use tokio::sync::watch;

use super::Chosen;
use super::arguments::{Arguments, SERVER_CORE};
use super::progress::Progress;
use super::series::into_anyhow;
use crate::access::make_token;

#[derive(Args)]
pub(crate) struct Sides {
    /// First server: a URL, or a command line without `serve`, such as 'old/agentbench'
    #[arg(long, value_name = "COMMAND|URL")]
    a: String,
    /// Second server
    #[arg(long, value_name = "COMMAND|URL")]
    b: String,
    /// Name of the scenario (`agentbench suite list`), or path of a TOML file
    pub(crate) scenario: String,
    /// Number of runs on each server; fewer than 6 give no interval
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    #[command(flatten)]
    pub(crate) arguments: Arguments,
}

/// One figure of both servers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    metric: &'static str,
    about: &'static str,
    a: Vec<f64>,
    b: Vec<f64>,
    #[serde(flatten)]
    ratio: PairedRatio,
}

/// Both servers' results.
#[derive(Debug, Serialize)]
struct Comparison {
    scenario: String,
    rounds: usize,
    rows: Vec<Row>,
    /// Why a run failed, with its side.
    failures: Vec<String>,
    /// Why a run's speed figures are invalid.
    invalid: Vec<String>,
}

impl Sides {
    pub(crate) async fn run(&self, chosen: &Chosen, stop: watch::Receiver<bool>) -> anyhow::Result<ExitCode> {
        let targets = [self.target(&self.a)?, self.target(&self.b)?];
        let seed = self.arguments.seed()?;
        let sdk = self.arguments.sdk()?;
        let mut results: [Vec<ScenarioResult>; 2] = [Vec::new(), Vec::new()];
        for round in 0..self.rounds {
            // The first one finds the machine in another state, so they alternate.
            let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
            for side in order {
                if *stop.borrow() {
                    bail!("interrupted in round {} of {}", round + 1, self.rounds);
                }
                let order = Order {
                    scenario: &chosen.scenario,
                    target: &targets[side],
                    sdk: &sdk,
                    seed: seed + u64::from(round),
                    replay: self.arguments.replay(&chosen.called, seed),
                    stop: stop.clone(),
                };
                let place = (
                    (round * 2) as usize + results[0].len().abs_diff(results[1].len()) + 1,
                    self.rounds as usize * 2,
                );
                let mut progress = Progress::new(&chosen.scenario, place, self.arguments.enable_logging);
                let run = agentbench_scenarios::run::run(&order, |meters| progress.show(meters)).await;
                progress.clear();
                results[side].push(run.map_err(into_anyhow)?.result);
            }
        }
        self.conclude(&chosen.scenario.name, &results)
    }

    /// Parses a URL, or a program with flags for before and after `serve`.
    fn target(&self, text: &str) -> anyhow::Result<Target> {
        const USER: &str = "agentbench-suite";
        if text.starts_with("ws://") || text.starts_with("wss://") {
            let token = self.arguments.access.token(USER, Role::Evaluator)?;
            return Ok(Target::Running { url: text.to_owned(), token });
        }
        let mut words = text.split_whitespace().map(str::to_owned);
        let program = PathBuf::from(words.next().context("--a and --b need a URL or a command")?);
        if !program.is_file() {
            bail!(
                "{} is not a program; give a ws:// URL, or the path of an agentbench binary",
                program.display()
            );
        }
        let mut flags: Vec<String> = words.filter(|word| word != "serve").collect();
        if self.arguments.pin {
            flags.push("--workers=1".to_owned());
        }
        let core = self.arguments.pin.then_some(SERVER_CORE);
        Ok(Target::Start {
            binary: program,
            flags,
            token: make_token(own_secret(), USER, Role::Evaluator)?,
            core,
        })
    }

    fn conclude(&self, scenario: &str, results: &[Vec<ScenarioResult>; 2]) -> anyhow::Result<ExitCode> {
        let comparison = Comparison {
            scenario: scenario.to_owned(),
            rounds: results[0].len(),
            rows: METRICS.iter().filter_map(|metric| row(metric, results)).collect(),
            failures: gather(results, |result| match result.status {
                Status::Passed => None,
                Status::Failed => Some(result.reasons.join("; ")),
            }),
            invalid: gather(results, |result| result.invalid.clone()),
        };
        if self.arguments.json {
            outln!("{}", serde_json::to_string_pretty(&comparison)?);
        } else {
            print(&comparison, &self.a, &self.b);
        }
        Ok(if comparison.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Collects a text from the results of both sides, prefixed with the side.
fn gather(results: &[Vec<ScenarioResult>; 2], of: impl Fn(&ScenarioResult) -> Option<String>) -> Vec<String> {
    let sides = ["a", "b"].iter().zip(results);
    sides
        .flat_map(|(side, results)| results.iter().filter_map(&of).map(move |it| format!("{side}: {it}")))
        .collect()
}

/// `None` unless every run of both sides measured it.
fn row(metric: &'static Metric, results: &[Vec<ScenarioResult>; 2]) -> Option<Row> {
    let values = |side: &[ScenarioResult]| -> Option<Vec<f64>> {
        side.iter().map(|result| metric.valid_value(result)).collect()
    };
    let (a, b) = (values(&results[0])?, values(&results[1])?);
    if !metric.is_speed || a.iter().chain(&b).all(|value| *value == 0.0) {
        return None;
    }
    let ratio = paired(&a, &b, metric.direction);
    Some(Row { metric: metric.name, about: metric.about, a, b, ratio })
}

fn print(comparison: &Comparison, a: &str, b: &str) {
    outln!("{}: {} runs each, in turn\n  a  {a}\n  b  {b}\n", comparison.scenario, comparison.rounds);
    outln!("{:<24} {:>12} {:>12} {:>8}  {:<16} verdict", "figure", "a", "b", "b ÷ a", "95 %");
    for row in &comparison.rows {
        let interval = match &row.ratio.interval {
            Some(interval) => format!("{:.3} – {:.3}", interval.low, interval.high),
            None => "–".to_owned(),
        };
        let verdict = match row.ratio.verdict {
            Judgement::Better => "better",
            Judgement::Worse => "worse",
            Judgement::Same => "the same",
            Judgement::CannotTell => "inconclusive",
        };
        let (a, b) = (middle(&row.a), middle(&row.b));
        outln!("{:<24} {a:>12.3} {b:>12.3} {:>8.3}  {interval:<16} {verdict}", row.metric, row.ratio.ratio);
    }
    for failure in &comparison.failures {
        outln!("  FAILED   {failure}");
    }
    for invalid in &comparison.invalid {
        outln!("  INVALID  {invalid}");
    }
}

fn middle(values: &[f64]) -> f64 {
    median(values).unwrap_or(0.0)
}
