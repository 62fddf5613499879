//! A server of ours for a measurement or a test: on a free port, with a temporary folder, stopped with its owner.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use agentbench_auth::{Algorithm, Claims, Role, SigningKey, sign};
use anyhow::{Context, bail};

use super::Child;

/// The secret of such servers.
pub const SECRET: &str = "scratch-server-secret-0123456789abcdef";

/// Time limit until a server listens: it may have to read a large log first.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// How to start a server.
#[derive(Debug, Clone)]
pub struct ServerCommand {
    /// The `agentbench` binary.
    pub binary: PathBuf,
    /// Its data folder.
    pub data_dir: PathBuf,
    /// Flags of `serve` besides port and data folder.
    pub flags: Vec<String>,
    /// Core that it is pinned to, if any.
    pub core: Option<usize>,
    /// Port to listen on; 0 for a free one.
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
    /// The server does not start; the error has its last line.
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
    /// The server does not start; the error has its last line.
    pub fn of(command: Command, core: Option<usize>) -> anyhow::Result<Self> {
        let listening =
            |line: &str| Some(line.strip_prefix("listening on ")?.split_once("://")?.1.to_owned());
        let (child, address) = Child::start(command, core, START_PATIENCE, listening)?;
        let address = address.parse().with_context(|| format!("the server listens on {address:?}"))?;
        Ok(Self { child, address })
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Whether it has exited, by itself or from outside.
    pub fn has_ended(&mut self) -> bool {
        self.child.has_ended()
    }

    /// Kills it (SIGKILL) and waits for its end.
    ///
    /// # Errors
    /// Waiting for it fails.
    pub fn kill(self) -> anyhow::Result<()> {
        self.child.kill()
    }

    /// Stops it (SIGTERM) and returns the time until its end.
    ///
    /// # Errors
    /// It does not exit within `patience`, or not with exit code 0.
    pub fn stop(self, patience: Duration) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let status = self.child.stop(patience)?;
        if !status.success() {
            bail!("the server exited with {status}");
        }
        Ok(started.elapsed())
    }
}

/// The `agentbench` binary next to the running one, from the same build.
pub fn binary_beside() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let folders = [own.parent()?, own.parent()?.parent()?];
    folders.iter().map(|folder: &&Path| folder.join("agentbench")).find(|path| path.is_file())
}

/// A token for such servers, valid for a day.
///
/// # Errors
/// The token cannot be signed.
pub fn token(user: &str, role: Role) -> anyhow::Result<String> {
    let key = SigningKey::from_secret(Algorithm::Hs256, SECRET.as_bytes())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    Ok(sign(&Claims::new(user, role, now - 10, now + 86_400), &key)?)
}
