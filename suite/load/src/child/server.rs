//! A server of ours, started for a measurement or a test: a free port, a scratch folder, and an end with its owner.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use agentbench_auth::{Algorithm, Claims, Role, SigningKey, sign};
use anyhow::{Context, bail};

use super::Child;

/// A secret for scratch servers.
pub const SECRET: &str = "scratch-server-secret-0123456789abcdef";

/// How long a server may take until it listens: it may have a large log to read first.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// How to start a server.
#[derive(Debug, Clone)]
pub struct ServerCommand {
    /// The `agentbench` binary.
    pub binary: PathBuf,
    /// Where its data is.
    pub data_dir: PathBuf,
    /// Flags of `serve` beyond port and data.
    pub flags: Vec<String>,
    /// Core that it is held to, if any.
    pub core: Option<usize>,
    /// Port to listen on; 0 lets the system choose.
    pub port: u16,
}

/// A running server. Killed when dropped.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    address: SocketAddr,
}

impl ServerProcess {
    /// Starts a server and waits until it listens.
    ///
    /// # Errors
    /// If it does not start, with the last it said.
    pub fn start(command: &ServerCommand) -> anyhow::Result<Self> {
        let mut process = Command::new(&command.binary);
        process
            .arg("serve")
            .args(["--port", &command.port.to_string(), "--enable-logging", "false"])
            .arg("--data-dir")
            .arg(&command.data_dir)
            .args(&command.flags)
            .env_remove("JWT_KEYS_FILE")
            .env("JWT_SECRET", SECRET);
        Self::of(process, command.core)
    }

    /// Starts a command that is a server of ours, and waits until it listens.
    ///
    /// # Errors
    /// If it does not start, with the last it said.
    pub fn of(command: Command, core: Option<usize>) -> anyhow::Result<Self> {
        let listening =
            |line: &str| Some(line.strip_prefix("listening on ")?.split_once("://")?.1.to_owned());
        let (child, address) = Child::start(command, core, START_PATIENCE, listening)?;
        let address = address.parse().with_context(|| format!("the server listens on {address:?}"))?;
        Ok(Self { child, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Whether it has ended by itself, or was ended from outside.
    pub fn has_ended(&mut self) -> bool {
        self.child.has_ended()
    }

    /// SIGKILL, and the end.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub fn kill(self) -> anyhow::Result<()> {
        self.child.kill()
    }

    /// SIGTERM, and the time until the end.
    ///
    /// # Errors
    /// If it does not end within `patience`, or not with exit code 0.
    pub fn stop(self, patience: Duration) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let status = self.child.stop(patience)?;
        if !status.success() {
            bail!("the server ended with {status}");
        }
        Ok(started.elapsed())
    }
}

/// The `agentbench` binary beside the running one, in the folder of the same build.
pub fn binary_beside() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let folders = [own.parent()?, own.parent()?.parent()?];
    folders.iter().map(|folder: &&Path| folder.join("agentbench")).find(|path| path.is_file())
}

/// A token for scratch servers, good for a day.
///
/// # Errors
/// If it cannot be signed.
pub fn token(user: &str, role: Role) -> anyhow::Result<String> {
    let key = SigningKey::from_secret(Algorithm::Hs256, SECRET.as_bytes())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    Ok(sign(&Claims::new(user, role, now - 10, now + 86_400), &key)?)
}
