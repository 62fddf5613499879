//! `agentbench echo`: the WebSocket codec alone, for conformance suites. Hidden from `--help`.

use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;

use agentbench_server::{bind, echo};
use anyhow::{Context, bail};
use clap::Args;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Serve echoes on this address
    #[arg(long, default_value = "127.0.0.1:9001", conflicts_with = "connect")]
    listen: SocketAddr,
    /// Act as the client: run every case of the suite at this URL (ws://host:port), as served by Autobahn's fuzzing server
    #[arg(long)]
    connect: Option<String>,
    /// Name of this implementation in the suite's report
    #[arg(long, default_value = "agentbench")]
    agent: String,
    /// First case to run
    #[arg(long, default_value_t = 1)]
    from: u32,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        match &arguments.connect {
            Some(url) => run_cases(url, arguments).await,
            None => {
                let listeners = bind(arguments.listen, 1)?;
                let listener = listeners.into_iter().next().context("no listener")?;
                outln!("echoing on ws://{}", listener.local_addr()?);
                echo::serve(listener).await?;
                Ok(ExitCode::SUCCESS)
            }
        }
    })
}

async fn run_cases(url: &str, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Some(host) = url.strip_prefix("ws://") else { bail!("the URL must begin with ws://") };
    let host = host.trim_end_matches('/');
    let address = host.to_socket_addrs()?.next().context("no such host")?;
    let agent = &arguments.agent;
    let count = echo::connect(address, "/getCaseCount")
        .await?
        .context("the suite did not send its number of cases")?;
    let count: u32 = count.trim().parse().context("the number of cases is invalid")?;
    for case in arguments.from..=count {
        // A case may end the connection in any way; the suite's report holds the verdict.
        if let Err(error) = echo::connect(address, &format!("/runCase?case={case}&agent={agent}")).await {
            eprintln!("case {case}: {error}");
        }
    }
    echo::connect(address, &format!("/updateReports?agent={agent}")).await?;
    outln!("{count} cases");
    Ok(ExitCode::SUCCESS)
}
