//! `agentbench suite`: runs scenarios, shows their progress, writes the report.

mod arguments;
mod compare;
mod progress;
mod series;

use std::process::ExitCode;

use agentbench_report::schema::Category;
use agentbench_scenarios::built_in;
use agentbench_scenarios::definition::Scenario;
use anyhow::{Context, bail};
use clap::Subcommand;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use arguments::Arguments;
use compare::Sides;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run load with acks and followers: throughput, latency, and whether every promise held
    #[command(after_help = AFTER_HELP)]
    Performance(Arguments),
    /// Open connections, cut them in three ways, and reconnect
    #[command(after_help = AFTER_HELP)]
    Connection(Arguments),
    /// Run load under faults and crashes: nothing lost, duplicated, reordered or skipped
    #[command(after_help = AFTER_HELP)]
    Reliability(Arguments),
    /// Run the three categories: twelve scenarios
    #[command(after_help = AFTER_HELP)]
    All(Arguments),
    /// Run everything: the three categories, and the further scenarios
    #[command(after_help = AFTER_HELP)]
    Full(Arguments),
    /// Run scenarios by name, or from TOML files
    #[command(after_help = RUN_HELP)]
    Run {
        /// Names of scenarios (`agentbench suite list`), or paths of TOML files
        #[arg(required = true, value_name = "NAME|FILE")]
        scenarios: Vec<String>,
        #[command(flatten)]
        arguments: Box<Arguments>,
    },
    /// Run one scenario on two servers in turn: the ratio of every figure, with its confidence interval
    #[command(after_help = COMPARE_HELP)]
    Compare(Box<Sides>),
    /// List the scenarios
    List,
    /// Print a scenario as TOML, to edit and run
    Show {
        /// Name of the scenario
        name: String,
    },
}

const AFTER_HELP: &str = "\
Without --url, each scenario runs against a new server of this binary with a temporary folder.
Each run creates a folder with report.html, report.json, report.md, junit.xml and the histories.
Exit codes: 0 every promise held, 1 one was broken, events are unknown or --fail-on holds,
2 could not run, or not to the end.

Try: agentbench suite all --quick
     agentbench suite performance --only 'Small Load Test'
     agentbench suite reliability --url ws://127.0.0.1:3001 --seed 7
     agentbench suite list";

const RUN_HELP: &str = "\
Try: agentbench suite run 'Find the Limit'
     agentbench suite show 'High Failure Rate Test' > mine.toml
     agentbench suite run mine.toml --seed 7";

const COMPARE_HELP: &str = "\
A command is the path of an agentbench binary, followed by flags of `serve`.

Try: agentbench suite compare --a old/agentbench --b target/release/agentbench --pin 'Latency Test'
     agentbench suite compare --a 'agentbench --ack-level=logged' --b 'agentbench --ack-level=synced' 'Small Load Test'";

pub(crate) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    let categories = |wanted: &[Category]| {
        let all = built_in::of_categories().into_iter();
        all.filter(|scenario| wanted.contains(&scenario.category)).map(Chosen::built_in).collect()
    };
    const ALL: [Category; 3] = [Category::Performance, Category::Connection, Category::Reliability];
    match command {
        Command::Performance(arguments) => start("performance", categories(&ALL[..1]), arguments),
        Command::Connection(arguments) => start("connection", categories(&ALL[1..2]), arguments),
        Command::Reliability(arguments) => start("reliability", categories(&ALL[2..]), arguments),
        Command::All(arguments) => start("all", categories(&ALL), arguments),
        Command::Full(arguments) => {
            start("full", built_in::all().into_iter().map(Chosen::built_in).collect(), arguments)
        }
        Command::Run { scenarios, arguments } => {
            let chosen = scenarios.iter().map(|name| choose(name)).collect::<anyhow::Result<_>>()?;
            start("run", chosen, arguments)
        }
        Command::Compare(sides) => {
            let chosen = sides.arguments.wanted(vec![choose(&sides.scenario)?])?;
            let [chosen] = &chosen[..] else { bail!("compare takes one scenario") };
            until_stopped(|stop| sides.run(chosen, stop))
        }
        Command::List => {
            list();
            Ok(ExitCode::SUCCESS)
        }
        Command::Show { name } => {
            outln!("{}", built_in::text_of(name).with_context(|| no_such(name))?.trim_end());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// A scenario, and the name or path that the user gave.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    pub(crate) scenario: Scenario,
    pub(crate) called: String,
}

impl Chosen {
    fn built_in(scenario: Scenario) -> Self {
        Self { called: scenario.name.clone(), scenario }
    }
}

fn choose(name: &str) -> anyhow::Result<Chosen> {
    if let Some(scenario) = built_in::named(name) {
        return Ok(Chosen::built_in(scenario));
    }
    if !name.ends_with(".toml") {
        bail!("{}", no_such(name));
    }
    let text = std::fs::read_to_string(name).with_context(|| format!("cannot read {name}"))?;
    let scenario = Scenario::from_toml(&text).with_context(|| format!("{name} is not a valid scenario"))?;
    Ok(Chosen { scenario, called: name.to_owned() })
}

fn no_such(name: &str) -> String {
    let all = built_in::all();
    let names: Vec<&str> = all.iter().map(|scenario| scenario.name.as_str()).collect();
    format!("no scenario is named {name:?}, and no TOML file has this path; available: {}", names.join(", "))
}

fn list() {
    for (title, scenarios) in
        [("suite all", built_in::of_categories()), ("beside these in suite full", built_in::further())]
    {
        outln!("{title}:");
        for scenario in scenarios {
            outln!("  {:<28} {}", scenario.name, scenario.promise);
        }
    }
}

fn start(what: &str, chosen: Vec<Chosen>, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let chosen = arguments.wanted(chosen)?;
    until_stopped(|stop| series::run(what, &chosen, arguments, stop))
}

/// Runs the future. The first signal asks it to stop early and report what it has; a second one drops it at once, which stops
/// the servers that it started.
fn until_stopped<F: Future<Output = anyhow::Result<ExitCode>>>(
    run: impl FnOnce(watch::Receiver<bool>) -> F,
) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (set_stop, stop) = watch::channel(false);
        let running = run(stop);
        tokio::pin!(running);
        tokio::select! {
            done = &mut running => return done,
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        set_stop.send_replace(true);
        tokio::select! {
            done = &mut running => done,
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("interrupted"),
        }
    })
}
