//! One server, and figures of its process at rising numbers of connections or sessions.

use std::path::Path;
use std::time::{Duration, Instant};

use agentbench_load::bare::{idle, open_sessions};
use agentbench_load::child::{ServerCommand, ServerProcess};
use agentbench_load::process::usage;
use serde::Serialize;

use super::Arguments;

/// Handshakes at a time.
const AT_ONCE: usize = 50;
/// Connections or sessions before the first sample, so that one-time setup of the server is not attributed to the steps.
const WARMING: usize = 100;
const SETTLE: Duration = Duration::from_secs(1);
/// Heartbeats during which a step is measured.
const HEARTBEATS: u32 = 5;
const PATIENCE: Duration = Duration::from_secs(60);

/// The process at one step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Step {
    /// Connections or sessions at this step.
    pub(crate) count: usize,
    /// Resident memory of the process above that before the first step, bytes.
    pub(crate) resident: f64,
    /// CPU of the process, µs per second; 0 where it is not measured.
    pub(crate) cpu_per_second: f64,
}

/// Idle connections, a hundred in each session.
pub(crate) async fn connections(arguments: &Arguments, binary: &Path) -> anyhow::Result<Vec<Step>> {
    let (server, _scratch) = start(arguments, binary)?;
    let (address, pid) = (server.address(), server.pid());
    drop(idle(address, 0..WARMING, AT_ONCE, true).await?);
    tokio::time::sleep(SETTLE).await;
    let before = usage(pid)?.resident;
    let (mut held, mut steps, mut from) = (Vec::new(), Vec::new(), 0);
    for &count in &arguments.steps {
        held.push(idle(address, from..count, AT_ONCE, true).await?);
        from = count;
        tokio::time::sleep(SETTLE).await;
        let (begun, first) = (Instant::now(), usage(pid)?);
        tokio::time::sleep(Duration::from_millis(u64::from(arguments.heartbeat)) * HEARTBEATS).await;
        let (took, last) = (begun.elapsed(), usage(pid)?);
        let cpu = last.cpu.saturating_sub(first.cpu).as_secs_f64() * 1e6 / took.as_secs_f64();
        steps.push(step(arguments, count, last.resident, before, cpu)?);
    }
    drop(held);
    stop(server).await?;
    Ok(steps)
}

/// Open sessions without connections.
pub(crate) async fn sessions(arguments: &Arguments, binary: &Path) -> anyhow::Result<Vec<Step>> {
    let (server, _scratch) = start(arguments, binary)?;
    let (address, pid) = (server.address(), server.pid());
    open_sessions(address, 0..WARMING).await?;
    tokio::time::sleep(SETTLE).await;
    let before = usage(pid)?.resident;
    let (mut steps, mut from) = (Vec::new(), WARMING);
    for &count in &arguments.sessions {
        open_sessions(address, from..from.max(count)).await?;
        from = from.max(count);
        tokio::time::sleep(SETTLE).await;
        steps.push(step(arguments, count, usage(pid)?.resident, before, 0.0)?);
    }
    stop(server).await?;
    Ok(steps)
}

fn step(arguments: &Arguments, count: usize, resident: u64, before: u64, cpu: f64) -> anyhow::Result<Step> {
    let step = Step { count, resident: resident as f64 - before as f64, cpu_per_second: cpu };
    if arguments.json {
        println!("{}", serde_json::to_string(&step)?);
    }
    Ok(step)
}

fn start(arguments: &Arguments, binary: &Path) -> anyhow::Result<(ServerProcess, tempfile::TempDir)> {
    let scratch = match &arguments.scratch {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    let most = |steps: &[usize]| (steps.last().copied().unwrap_or_default() + 2 * WARMING).to_string();
    let (connections, heartbeat) = (most(&arguments.steps), arguments.heartbeat.to_string());
    let sessions = most(&arguments.sessions);
    let flags = [
        ["--workers", "1"],
        ["--max-connections", &connections],
        ["--max-sessions", &sessions],
        ["--heartbeat-interval", &heartbeat],
    ];
    let server = ServerProcess::start(&ServerCommand {
        binary: binary.to_owned(),
        data_dir: scratch.path().to_owned(),
        flags: flags.as_flattened().iter().map(|&word| word.to_owned()).collect(),
        core: Some(0),
        port: 0,
    })?;
    Ok((server, scratch))
}

async fn stop(server: ServerProcess) -> anyhow::Result<()> {
    // The tasks have been ended; here they close their sockets, for which the server would wait.
    tokio::time::sleep(SETTLE).await;
    server.stop(PATIENCE).map(drop)
}
