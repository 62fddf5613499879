//! `agentbench load`: puts load on any address, or on a server started for it.

use std::cell::RefCell;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agentbench_auth::Role;
use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};

use crate::child::{SECRET, pin, token};
use crate::contender::Contender;
use crate::files::make_room;
use crate::generator::UsageSample;
use crate::outcome::{Outcome, RunParameters};
use crate::target::{
    AgentBench, Broadcast, Dialect, Exchange, Job, Measurement, Pace, Place, Plain, broadcast, exchange,
};

/// How long a server may be silent before a run is aborted.
const PATIENCE: Duration = Duration::from_secs(10);
/// Warm-up time as a share of the measured time.
const WARM_UP: f64 = 0.25;

/// What the server does with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// Our protocol: every connection publishes to its own session, with acks
    Agentbench,
    /// Any WebSocket server that sends each message back
    Echo,
    /// Any WebSocket server that sends one client's messages to all: one sender, many readers
    Broadcast,
}

/// Arguments of the command.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Arguments {
    /// What the server does with a message
    #[arg(long, value_enum, default_value_t = Target::Agentbench)]
    target: Target,
    /// Server to load (ws://host:port/path); without it, one is started
    #[arg(long)]
    url: Option<String>,
    /// Number of connections; with `broadcast`, of readers
    #[arg(long, default_value_t = 100, value_name = "N")]
    connections: usize,
    /// Messages in flight: on each connection; with `broadcast`, from the sender
    #[arg(long, default_value_t = 16, value_name = "N")]
    in_flight: usize,
    /// Messages per second of all connections together, independent of the server, instead of a window
    #[arg(long, value_name = "PER_SECOND", conflicts_with = "in_flight")]
    rate: Option<u64>,
    /// Size of a message in bytes
    #[arg(long, default_value_t = 1024, value_name = "BYTES")]
    size: usize,
    /// Duration of the measurement in seconds, after a warm-up of a quarter of it
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Process id of the server, to measure its resource use; known if the server is started here
    #[arg(long)]
    pid: Option<u32>,
    /// Pin the generator to this core, and a server that is started here to another
    #[arg(long, value_name = "CORE")]
    pin_generator: Option<usize>,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

impl Arguments {
    /// Whether to print the figures as JSON.
    pub fn json(&self) -> bool {
        self.json
    }

    fn pace(&self) -> Pace {
        self.rate.map_or(Pace::Window(self.in_flight), Pace::Rate)
    }
}

/// The server to load, and its process.
struct ServerUnderLoad {
    place: Place,
    token: Rc<str>,
    pid: Option<u32>,
    /// Held for the duration of the run.
    _started: Option<(Contender, tempfile::TempDir)>,
}

/// Runs the load on a `LocalSet`. `own` is the `agentbench` binary, to start a server of ours; `access` returns a token for a
/// running server, and is called only if one is needed.
///
/// # Errors
/// The server cannot be started or reached, refuses, exits or stalls; or the limit of open files is too low.
pub async fn run(
    arguments: &Arguments,
    own: &Path,
    access: impl FnOnce() -> anyhow::Result<String>,
) -> anyhow::Result<Outcome> {
    ensure!(
        arguments.seconds > 0.0 && arguments.seconds <= 86_400.0,
        "--seconds must be above 0 and at most a day"
    );
    ensure!(arguments.rate != Some(0), "--rate must be at least 1");
    make_room(arguments.connections)?;
    let found = find(arguments, own, access)?;
    if let Some(core) = arguments.pin_generator {
        pin(0, core)?;
    }
    let mut samples = Vec::with_capacity(2);
    let look = || samples.push(UsageSample::now(found.pid));
    let measured = load(arguments, &found, look).await?;
    let mut samples = samples.into_iter();
    let mut next =
        || samples.next().context("the run was not sampled")?.context("cannot inspect the processes");
    let (before, after) = (next()?, next()?);
    let target = match arguments.target {
        Target::Agentbench => "agentbench",
        Target::Echo => "echo",
        Target::Broadcast => "broadcast",
    };
    let asked = RunParameters {
        target,
        connections: arguments.connections,
        in_flight: arguments.rate.is_none().then_some(arguments.in_flight),
        rate: arguments.rate,
        size: arguments.size,
    };
    Ok(Outcome::new(asked, &measured, before.until(&after)))
}

async fn load(
    arguments: &Arguments,
    found: &ServerUnderLoad,
    look: impl FnMut(),
) -> anyhow::Result<Measurement> {
    let duration = Duration::from_secs_f64(arguments.seconds);
    let warm_up = duration.mul_f64(WARM_UP);
    let (connections, pace, size) = (arguments.connections, arguments.pace(), arguments.size);
    let path = &found.place.path;
    if arguments.target == Target::Broadcast {
        let plan = Broadcast { readers: connections, pace, warm_up, duration, patience: PATIENCE };
        let make = |job, _| -> anyhow::Result<Box<dyn Dialect>> { Ok(Box::new(Plain::new(path, job, size))) };
        return broadcast(&found.place, plan, make, look).await;
    }
    let plan = Exchange { connections, pace, warm_up, duration, patience: PATIENCE };
    let room = Rc::new(RefCell::new(None));
    let run = unique()?;
    let make = |index| -> anyhow::Result<Box<dyn Dialect>> {
        if arguments.target == Target::Echo {
            return Ok(Box::new(Plain::new(path, Job::Echo, size)));
        }
        let id = format!("load-{run}-{index}");
        let token = Rc::clone(&found.token);
        Ok(Box::new(AgentBench::new(Job::Publish, id, token, Rc::clone(&room), size)?))
    };
    exchange(&found.place, plan, make, look).await
}

/// A prefix for the ids of this run, since the server remembers a user's ids.
pub fn unique() -> anyhow::Result<String> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is set before 1970")?;
    Ok(format!("{:x}-{:x}", since.as_nanos(), std::process::id()))
}

fn find(
    arguments: &Arguments,
    own: &Path,
    access: impl FnOnce() -> anyhow::Result<String>,
) -> anyhow::Result<ServerUnderLoad> {
    if let Some(url) = &arguments.url {
        let token = if arguments.target == Target::Agentbench { access()? } else { String::new() };
        return Ok(ServerUnderLoad {
            place: Place::parse(url)?,
            token: token.into(),
            pid: arguments.pid,
            _started: None,
        });
    }
    let scratch = tempfile::tempdir().context("cannot create a folder for the server's data")?;
    let mut command = Command::new(own);
    match arguments.target {
        Target::Agentbench => serve(&mut command, scratch.path(), arguments.connections),
        Target::Echo => drop(command.args(["echo", "--listen", "127.0.0.1:0"])),
        Target::Broadcast => bail!("--target broadcast needs the --url of such a server"),
    }
    // The generator has its own core; on a machine with two, the other one is the server's.
    let core = arguments.pin_generator.map(|core| usize::from(core == 0));
    let server = Contender::start(command, core)?;
    let (place, pid) = (Place::at(server.address()), Some(server.pid()));
    let token = token("load", Role::Evaluator)?.into();
    Ok(ServerUnderLoad { place, token, pid, _started: Some((server, scratch)) })
}

/// Adds the arguments that start a temporary server of ours with one worker. All load may come from one user, so the bytes of a user
/// are not limited (in the environment, which older builds ignore).
pub fn serve(command: &mut Command, data: &Path, connections: usize) {
    let room = (connections + 100).to_string();
    command
        .args(["serve", "--port", "0", "--enable-logging", "false", "--workers", "1"])
        .args(["--max-connections", &room, "--max-sessions", &room])
        .arg("--data-dir")
        .arg(data)
        .env_remove("JWT_KEYS_FILE")
        .env("USER_BYTE_RATE", "0")
        .env("JWT_SECRET", SECRET);
}
