//! `agentbench load`: load for any address, or for a server started for it.

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
use crate::generator::Look;
use crate::outcome::{Asked, Outcome};
use crate::target::{
    AgentBench, Broadcast, Dialect, Exchange, Job, Measured, Pace, Place, Plain, broadcast, exchange,
};

/// How long a server may be silent before a run ends.
const PATIENCE: Duration = Duration::from_secs(10);
/// Share of the measured time that goes before it.
const WARM_UP: f64 = 0.25;

/// What the server does with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// Our protocol: every connection publishes to a session of its own, with acks
    Agentbench,
    /// Any WebSocket server that sends each message back
    Echo,
    /// Any WebSocket server that sends what one client says to all: one sender, many readers
    Broadcast,
}

/// What to do.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Arguments {
    /// What the server does with a message
    #[arg(long, value_enum, default_value_t = Target::Agentbench)]
    target: Target,
    /// Server to load (ws://host:port/path); one is started if none is given
    #[arg(long)]
    url: Option<String>,
    /// Connections; with `broadcast` the readers
    #[arg(long, default_value_t = 100, value_name = "N")]
    connections: usize,
    /// Messages on their way at once: on each connection, with `broadcast` from the sender
    #[arg(long, default_value_t = 16, value_name = "N")]
    in_flight: usize,
    /// Messages a second of all connections together, whatever the server does, instead of a window
    #[arg(long, value_name = "PER_SECOND", conflicts_with = "in_flight")]
    rate: Option<u64>,
    /// Bytes of a message
    #[arg(long, default_value_t = 1024, value_name = "BYTES")]
    size: usize,
    /// Seconds of the measurement, after a quarter of it as warm-up
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Process of the server, to see what it uses; known if it is started here
    #[arg(long)]
    pid: Option<u32>,
    /// Hold the generator to this core, and a server that is started here to another
    #[arg(long, value_name = "CORE")]
    pin_generator: Option<usize>,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

impl Arguments {
    /// Whether the figures are to be printed as JSON.
    pub fn json(&self) -> bool {
        self.json
    }

    fn pace(&self) -> Pace {
        self.rate.map_or(Pace::Window(self.in_flight), Pace::Rate)
    }
}

/// Where the load goes, and who it is there.
struct Found {
    place: Place,
    token: Rc<str>,
    pid: Option<u32>,
    /// Kept for as long as the run takes.
    _started: Option<(Contender, tempfile::TempDir)>,
}

/// Runs it on a `LocalSet`. `own` is the `agentbench` binary, for a server of our own; `access` gives a token for a
/// server that is there already, and is asked only if one is needed.
///
/// # Errors
/// If the server cannot be started or reached, refuses, ends or falls silent; if the limit of open files is too low.
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
    let mut looks = Vec::with_capacity(2);
    let look = || looks.push(Look::now(found.pid));
    let measured = load(arguments, &found, look).await?;
    let mut looks = looks.into_iter();
    let mut next =
        || looks.next().context("the run was not looked at")?.context("cannot look at the processes");
    let (before, after) = (next()?, next()?);
    let target = match arguments.target {
        Target::Agentbench => "agentbench",
        Target::Echo => "echo",
        Target::Broadcast => "broadcast",
    };
    let asked = Asked {
        target,
        connections: arguments.connections,
        in_flight: arguments.rate.is_none().then_some(arguments.in_flight),
        rate: arguments.rate,
        size: arguments.size,
    };
    Ok(Outcome::new(asked, &measured, before.until(&after)))
}

async fn load(arguments: &Arguments, found: &Found, look: impl FnMut()) -> anyhow::Result<Measured> {
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

/// What ids of this run begin with: a user's ids are remembered by the server.
pub fn unique() -> anyhow::Result<String> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?;
    Ok(format!("{:x}-{:x}", since.as_nanos(), std::process::id()))
}

fn find(
    arguments: &Arguments,
    own: &Path,
    access: impl FnOnce() -> anyhow::Result<String>,
) -> anyhow::Result<Found> {
    if let Some(url) = &arguments.url {
        let token = if arguments.target == Target::Agentbench { access()? } else { String::new() };
        return Ok(Found {
            place: Place::parse(url)?,
            token: token.into(),
            pid: arguments.pid,
            _started: None,
        });
    }
    let scratch = tempfile::tempdir().context("no folder for the server's data")?;
    let mut command = Command::new(own);
    match arguments.target {
        Target::Agentbench => serve(&mut command, scratch.path(), arguments.connections),
        Target::Echo => drop(command.args(["echo", "--listen", "127.0.0.1:0"])),
        Target::Broadcast => bail!("--target broadcast needs the --url of a server that does it"),
    }
    // The generator's core is its own; the other one of a machine of two is the server's.
    let core = arguments.pin_generator.map(|core| usize::from(core == 0));
    let server = Contender::start(command, core)?;
    let (place, pid) = (Place::at(server.address()), Some(server.pid()));
    let token = token("load", Role::Evaluator)?.into();
    Ok(Found { place, token, pid, _started: Some((server, scratch)) })
}

/// The words that make a command a scratch server of ours with one worker.
pub fn serve(command: &mut Command, data: &Path, connections: usize) {
    let room = (connections + 100).to_string();
    command
        .args(["serve", "--port", "0", "--enable-logging", "false", "--workers", "1"])
        .args(["--max-connections", &room, "--max-sessions", &room])
        .arg("--data-dir")
        .arg(data)
        .env_remove("JWT_KEYS_FILE")
        .env("JWT_SECRET", SECRET);
}
