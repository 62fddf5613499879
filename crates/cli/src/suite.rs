//! `agentbench suite`: runs scenarios, shows how they go, writes the report.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use agentbench_auth::Role;
use agentbench_scenarios::meters::{Counter, Meters};
use agentbench_scenarios::result::{Machine, REPORT_VERSION, Report};
use agentbench_scenarios::scenario::{Overrides, Performance};
use agentbench_scenarios::target::{CannotRun, Target, own_secret};
use agentbench_scenarios::{folder, performance, scenario, text};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::access::{Access, make_token};

/// Time between two lines of progress where there is no terminal.
const LOG_PERIOD: Duration = Duration::from_secs(1);

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Load with acks and followers: throughput, latency, and whether every promise held
    #[command(after_help = AFTER_HELP)]
    Performance(Arguments),
}

const AFTER_HELP: &str = "\
Scenarios: Small Load Test, Medium Load Test, High Load Test, Stress Test, Latency Test.

Without --url each scenario gets a fresh server of this binary with a scratch folder.
Exit codes: 0 every promise held, 1 one was broken or events are unknown, 2 could not run.

Try: agentbench suite performance --only 'Small Load Test'
     agentbench suite performance --quick --url ws://127.0.0.1:3001";

#[derive(Args)]
pub(crate) struct Arguments {
    /// Only scenarios whose name holds this; may be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Server to test; one is started if none is given
    #[arg(long)]
    url: Option<String>,
    #[command(flatten)]
    access: Access,
    /// Seed of contents and schedule; a random one if not given
    #[arg(long)]
    seed: Option<u64>,
    /// A tenth of the events in a tenth of the time
    #[arg(long)]
    quick: bool,
    /// Clients of each scenario
    #[arg(long, env = "TEST_CLIENT_COUNT")]
    clients: Option<u32>,
    /// Events that each client publishes
    #[arg(long, env = "TEST_MESSAGES_PER_CLIENT")]
    messages: Option<u32>,
    /// Time limit of each scenario, ms; the events are spread over a third of it
    #[arg(long, env = "TEST_DURATION")]
    duration: Option<u64>,
    /// Folder for reports; each run makes one in it
    #[arg(long, env = "TEST_OUTPUT_DIR", default_value = "./test-results")]
    output: PathBuf,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Print progress even where there is no terminal
    #[arg(long, env = "TEST_ENABLE_LOGGING", num_args = 0..=1)]
    #[arg(default_value_t = false, default_missing_value = "true")]
    enable_logging: bool,
}

pub(crate) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    let Command::Performance(arguments) = command;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        // A run that is dropped ends the server that it has started.
        tokio::select! {
            done = run_performance(arguments) => done,
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("interrupted"),
        }
    })
}

async fn run_performance(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let scenarios = chosen(arguments)?;
    let target = target(arguments)?;
    let seed = match arguments.seed {
        Some(seed) => seed,
        // Half of the bits: JSON readers keep only 53 of a number.
        None => getrandom::u64().map_err(|error| anyhow::anyhow!("no random numbers: {error}"))? >> 32,
    };
    let started_at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
    let output = arguments.output.join(format!("performance-{started_at}"));
    let mut report = Report {
        version: REPORT_VERSION,
        suite: format!("agentbench/{}", env!("CARGO_PKG_VERSION")),
        started_at,
        seed,
        machine: machine(),
        target: arguments.url.clone().unwrap_or_else(|| "started for each scenario".to_owned()),
        scenarios: Vec::new(),
    };
    for scenario in &scenarios {
        let mut progress = Progress::new(scenario, arguments.enable_logging);
        let run = performance::run(scenario, &target, seed, |meters| progress.show(meters)).await;
        progress.clear();
        let run = match run {
            Ok(run) => run,
            Err(CannotRun::Server(sentence)) => bail!("{sentence}"),
            Err(CannotRun::Here(error)) => return Err(error),
        };
        folder::write_histories(&output, &scenario.name, &run.histories)?;
        if !arguments.json {
            println!("{}", text::scenario(&run.result));
        }
        report.scenarios.push(run.result);
    }
    let path = folder::write_report(&output, &report)?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{}; seed {seed}; report in {}", text::ending(&report), path.display());
    }
    Ok(if report.has_passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn chosen(arguments: &Arguments) -> anyhow::Result<Vec<Performance>> {
    let wanted: Vec<String> = arguments.only.iter().map(|name| name.to_lowercase()).collect();
    let fits = |scenario: &Performance| {
        wanted.is_empty() || wanted.iter().any(|name| scenario.name.to_lowercase().contains(name))
    };
    let overrides = Overrides {
        clients: arguments.clients,
        messages: arguments.messages,
        limit: arguments.duration.map(Duration::from_millis),
        quick: arguments.quick,
    };
    let all = scenario::performance();
    let names: Vec<String> = all.iter().map(|scenario| scenario.name.clone()).collect();
    let chosen: Vec<Performance> =
        all.into_iter().filter(fits).map(|scenario| scenario.with(overrides)).collect();
    if chosen.is_empty() {
        bail!("no scenario is named like that; there are: {}", names.join(", "));
    }
    Ok(chosen)
}

fn target(arguments: &Arguments) -> anyhow::Result<Target> {
    const USER: &str = "agentbench-suite";
    match &arguments.url {
        Some(url) => {
            Ok(Target::Running { url: url.clone(), token: arguments.access.token(USER, Role::Evaluator)? })
        }
        None => Ok(Target::Start {
            binary: std::env::current_exe().context("where is this binary?")?,
            token: make_token(own_secret(), USER, Role::Evaluator)?,
        }),
    }
}

fn machine() -> Machine {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Machine {
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        platform: format!("{} {} {}", std::env::consts::OS, kernel.trim(), std::env::consts::ARCH),
        optimised: !cfg!(debug_assertions),
    }
}

/// One line that says how far a scenario is: on a terminal always the same line.
struct Progress<'a> {
    scenario: &'a Performance,
    is_terminal: bool,
    is_wanted: bool,
    last: Option<Instant>,
}

impl<'a> Progress<'a> {
    fn new(scenario: &'a Performance, is_wanted: bool) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        Self { scenario, is_terminal, is_wanted: is_wanted || is_terminal, last: None }
    }

    fn show(&mut self, meters: &Meters) {
        let is_soon = self.last.is_some_and(|last| last.elapsed() < LOG_PERIOD);
        if !self.is_wanted || (is_soon && !self.is_terminal) {
            return;
        }
        self.last = Some(Instant::now());
        let planned = u64::from(self.scenario.clients) * u64::from(self.scenario.messages);
        let line = format!(
            "{}: {:.1} s of {:.0} s, {} of {} connected, {} of {planned} sent, {} acked, {} delivered",
            self.scenario.name,
            meters.now().as_secs_f64(),
            self.scenario.limit.as_secs_f64(),
            meters.get(Counter::Connected),
            self.scenario.clients * 2,
            meters.get(Counter::Sent),
            meters.get(Counter::Acked),
            meters.get(Counter::Delivered),
        );
        let mut out = std::io::stderr();
        // Progress that cannot be shown is no reason to stop.
        let _ = if self.is_terminal { write!(out, "\r\x1b[K{line}") } else { writeln!(out, "{line}") };
    }

    fn clear(&self) {
        if self.is_terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
