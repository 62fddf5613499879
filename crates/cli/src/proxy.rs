//! `agentbench proxy`: the fault proxy for programs in any language, by plan and control API.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use agentbench_fault_proxy::{Plan, ProxyPlan, ProxySet, control};
use anyhow::{Context, bail};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

/// Name of the proxy created from the flags.
const NAME: &str = "default";

const EXAMPLE: &str = "\
Example: a proxy in front of a server, its connections reset by hand

  agentbench proxy --upstream 127.0.0.1:3001 --listen 127.0.0.1:4001 --control 127.0.0.1:8474
  curl -d '{\"kind\": \"reset\"}' http://127.0.0.1:8474/proxies/default/strike

The plan's and the API's keys are described in docs/fault-proxy.md.";

#[derive(Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Arguments {
    /// Forward connections to this address
    #[arg(long, required_unless_present_any = ["plan", "control"])]
    upstream: Option<SocketAddr>,
    /// Accept connections on this address (port 0: a free one)
    #[arg(long, default_value = "127.0.0.1:0", requires = "upstream")]
    listen: SocketAddr,
    /// Read proxies and faults from this TOML file; --upstream adds one more proxy
    #[arg(long)]
    plan: Option<PathBuf>,
    /// Serve the control API on this address; it has no authentication, so keep it on loopback
    #[arg(long)]
    control: Option<SocketAddr>,
    /// Seed of all random draws, instead of the plan's
    #[arg(long)]
    seed: Option<u64>,
}

/// Runs until SIGINT or SIGTERM.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let plan = plan(arguments)?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(arguments, plan))
}

fn plan(arguments: &Arguments) -> anyhow::Result<Plan> {
    let mut plan = match &arguments.plan {
        Some(path) => {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            Plan::parse(&text).with_context(|| format!("in {}", path.display()))?
        }
        None => Plan::default(),
    };
    if let Some(seed) = arguments.seed {
        plan.seed = seed;
    }
    if let Some(upstream) = arguments.upstream {
        let name = NAME.to_owned();
        plan.proxies.push(ProxyPlan { name, listen: arguments.listen, upstream, faults: Vec::new() });
    }
    if plan.proxies.is_empty() && arguments.control.is_none() {
        bail!("the plan has no [[proxy]]; add one, or give --upstream or --control");
    }
    Ok(plan)
}

async fn serve(arguments: &Arguments, plan: Plan) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let set = Arc::new(ProxySet::new(plan.seed));
    for proxy in plan.proxies {
        let name = proxy.name.clone();
        let proxy = set.start(proxy).await?;
        outln!("proxy {name} listens on {} → {}", proxy.address(), proxy.upstream());
    }
    if let Some(address) = arguments.control {
        let listener = tokio::net::TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address} for the control API"))?;
        outln!("control API on http://{}", listener.local_addr()?);
        let api = axum::serve(listener, control::router(set.clone()));
        tokio::spawn(async move { api.await });
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    let counts = set.strike_counts();
    if counts.is_empty() {
        outln!("no strikes");
    }
    for (kind, count) in counts {
        outln!("{count:>8} {kind}");
    }
    Ok(ExitCode::SUCCESS)
}
