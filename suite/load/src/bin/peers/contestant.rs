//! The contestants: how to start each of them, and its dialect.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use agentbench_auth::Role;
use agentbench_load::child::token;
use agentbench_load::command::{serve, unique};
use agentbench_load::target::{AgentBench, Dialect, Job, Nats, Plain, SocketIo};
use anyhow::{Context, bail, ensure};

/// Paths of what is measured; both are absolute.
pub(crate) struct Installation {
    pub(crate) binary: PathBuf,
    /// Another build of ours to compare with.
    pub(crate) before: Option<PathBuf>,
    pub(crate) peers: PathBuf,
}

/// A server to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contestant {
    Ours,
    /// Another build of ours.
    Before,
    Ws,
    SocketIo,
    Bun,
    Nats,
}

impl Contestant {
    pub(crate) const ALL: [Self; 5] = [Self::Ours, Self::Ws, Self::SocketIo, Self::Bun, Self::Nats];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "AgentBench",
            Self::Before => "AgentBench before",
            Self::Ws => "Node ws",
            Self::SocketIo => "Socket.IO",
            Self::Bun => "Bun",
            Self::Nats => "NATS",
        }
    }

    /// The binary to run.
    fn binary(self, installed: &Installation) -> &Path {
        let before = installed.before.as_deref().filter(|_| self == Self::Before);
        before.unwrap_or(&installed.binary)
    }

    /// The installed version; the error says what to install.
    pub(crate) fn version(self, installed: &Installation) -> anyhow::Result<String> {
        const NODE: &str = "Node.js 20 or newer is missing";
        const PACKAGES: &str = "its package is missing; run `npm ci` in bench/peers";
        match self {
            Self::Ours | Self::Before => {
                first_line(Command::new(self.binary(installed)).arg("--version"), "the binary is missing")
            }
            Self::Ws | Self::SocketIo => {
                let package = if self == Self::Ws { "ws" } else { "socket.io" };
                let node = first_line(Command::new("node").arg("--version"), NODE)?;
                let manifest = installed.peers.join("node_modules").join(package).join("package.json");
                let manifest = std::fs::read_to_string(manifest).context(PACKAGES)?;
                let manifest: serde_json::Value = serde_json::from_str(&manifest).context(PACKAGES)?;
                Ok(format!("{package} {} on Node.js {node}", manifest["version"].as_str().unwrap_or("?")))
            }
            Self::Bun => first_line(Command::new(bun(installed)).arg("--version"), PACKAGES),
            Self::Nats => first_line(
                Command::new(std::env::var_os("NATS_SERVER").unwrap_or("nats-server".into()))
                    .arg("--version"),
                "nats-server is missing; `apt-get update && apt-get install nats-server` installs it",
            ),
        }
    }

    /// The command that starts it for this job, with its own folder for data.
    pub(crate) fn command(
        self,
        job: Job,
        installed: &Installation,
        scratch: &Path,
        connections: usize,
    ) -> Command {
        let mut command = match self {
            Self::Ours | Self::Before => Command::new(self.binary(installed)),
            Self::Ws | Self::SocketIo => Command::new("node"),
            Self::Bun => Command::new(bun(installed)),
            Self::Nats => Command::new("sh"),
        };
        match (self, job) {
            // The codec alone: the protocol has no echo.
            (Self::Ours | Self::Before, Job::Echo) => drop(command.args(["echo", "--listen", "127.0.0.1:0"])),
            (Self::Ours | Self::Before, _) => serve(&mut command, scratch, connections),
            (Self::Ws, _) => drop(command.args(["ws.mjs", "0"])),
            (Self::SocketIo, _) => drop(command.args(["socket-io.mjs", "0"])),
            (Self::Bun, _) => drop(command.args(["bun.mjs", "0"])),
            (Self::Nats, _) => drop(command.args(["nats.sh", "0"]).arg(scratch)),
        }
        let folder = if matches!(self, Self::Ours | Self::Before) { scratch } else { &installed.peers };
        command.current_dir(folder).env("NODE_ENV", "production");
        command
    }

    /// The factory of the dialects of one run.
    pub(crate) fn dialects(self, size: usize) -> anyhow::Result<Dialects> {
        let (token, run) = (token("peers", Role::Evaluator)?.into(), unique()?);
        Ok(Dialects { contestant: self, size, token, run, room: Rc::default() })
    }
}

/// What the dialects of one run share.
pub(crate) struct Dialects {
    contestant: Contestant,
    size: usize,
    token: Rc<str>,
    run: String,
    room: Rc<RefCell<Option<String>>>,
}

impl Dialects {
    /// The dialect of connection `connection`.
    pub(crate) fn dialect(&self, job: Job, connection: usize) -> anyhow::Result<Box<dyn Dialect>> {
        let size = self.size;
        Ok(match (self.contestant, job) {
            (Contestant::Ours | Contestant::Before, Job::Echo) => Box::new(Plain::new("/", job, size)),
            (Contestant::Ours | Contestant::Before, _) => {
                let id = format!("{}-{connection}", self.run);
                Box::new(AgentBench::new(job, id, Rc::clone(&self.token), Rc::clone(&self.room), size)?)
            }
            (Contestant::Ws | Contestant::Bun, _) => {
                let path = match job {
                    Job::Echo => "/echo",
                    Job::Speak | Job::Listen => "/fanout",
                    Job::Publish => "/publish",
                };
                Box::new(Plain::new(path, job, size))
            }
            (Contestant::SocketIo, _) => Box::new(SocketIo::new(job, size)),
            (Contestant::Nats, _) => Box::new(Nats::new(job, connection, size)),
        })
    }

    /// The dialect of a preparatory connection before this job, if one is needed.
    pub(crate) fn preparation(&self, job: Job) -> Option<Box<dyn Dialect>> {
        (self.contestant == Contestant::Nats && job == Job::Publish)
            .then(|| Box::new(Nats::make_stream()) as Box<dyn Dialect>)
    }
}

fn bun(installed: &Installation) -> PathBuf {
    installed.peers.join("node_modules/.bin/bun")
}

/// The first line that a command prints.
fn first_line(command: &mut Command, otherwise: &'static str) -> anyhow::Result<String> {
    let output = command.output().context(otherwise)?;
    ensure!(output.status.success(), otherwise);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match text.lines().next() {
        Some(line) => Ok(line.trim().to_owned()),
        None => bail!(otherwise),
    }
}
