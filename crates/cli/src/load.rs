//! `agentbench load`: puts load on any WebSocket server, ours or another, and measures what it costs both ends.

use std::process::ExitCode;

use agentbench_auth::Role;
use agentbench_load::command;
use agentbench_load::generator::Verdict;
use anyhow::{Context, bail};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::access::Access;

#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    load: command::Arguments,
    #[command(flatten)]
    access: Access,
}

const AFTER_HELP: &str = "\
Without --url, a server of this binary is started with a temporary folder (agentbench, echo).
Exit codes: 0 done, 1 the generator was the bottleneck and the figures are not the server's, 2 could not run.

Try: agentbench load --connections 100 --in-flight 16
     agentbench load --target echo --url ws://127.0.0.1:8080/echo --pid 1234
     agentbench load --target broadcast --url ws://127.0.0.1:8080/room --connections 1000 --in-flight 1";

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    const USER: &str = "agentbench-load";
    let own = std::env::current_exe().context("cannot find the path of this binary")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    let outcome = local.block_on(&runtime, async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let access = || arguments.access.token(USER, Role::Evaluator);
        // Dropping a run stops the server that it started.
        tokio::select! {
            done = command::run(&arguments.load, &own, access) => done,
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("interrupted"),
        }
    })?;
    if arguments.load.json() {
        outln!("{}", serde_json::to_string(&outcome)?);
    } else {
        outln!("{outcome}");
    }
    Ok(if outcome.verdict == Verdict::Valid { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
