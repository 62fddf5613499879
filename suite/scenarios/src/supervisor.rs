//! The server under test as a process, which can be started, killed, paused, drained and restarted, on a free port and
//! with a temporary folder.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agentbench_load::child::{ServerCommand, ServerProcess, signal};
use anyhow::Context;
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::faults::Disturbance;

/// Time limit for a graceful stop.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// A supervised server.
#[derive(Debug)]
pub struct Supervisor {
    command: ServerCommand,
    /// `None` only while it is down.
    server: Option<ServerProcess>,
    scratch: TempDir,
}

/// Shared between the task that disturbs the server and the one that observes it: locked while it is down on purpose.
pub(crate) type Supervised = Arc<Mutex<Supervisor>>;

impl Supervisor {
    /// Starts a server of this binary.
    ///
    /// # Errors
    /// The server does not start.
    pub fn start(binary: PathBuf, flags: Vec<String>, core: Option<usize>) -> anyhow::Result<Self> {
        let scratch = tempfile::tempdir().context("cannot create a temporary folder")?;
        let command = ServerCommand { binary, data_dir: scratch.path().to_owned(), flags, core, port: 0 };
        let server = Some(ServerProcess::start(&command)?);
        Ok(Self { command, server, scratch })
    }

    /// Its address. The port changes with each start.
    pub fn address(&self) -> Option<SocketAddr> {
        self.server.as_ref().map(ServerProcess::address)
    }

    /// Its process id.
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(ServerProcess::pid)
    }

    /// Its data folder.
    pub fn data_dir(&self) -> &Path {
        self.scratch.path()
    }

    /// Whether it exited unexpectedly.
    pub fn has_ended(&mut self) -> bool {
        self.server.as_mut().is_none_or(ServerProcess::has_ended)
    }

    /// Carries out a disturbance. The server is up again when this returns.
    ///
    /// # Errors
    /// The server does not stop or start as it should.
    pub async fn disturb(&mut self, disturbance: Disturbance) -> anyhow::Result<()> {
        match disturbance {
            Disturbance::Kill => {
                self.down(ServerProcess::kill).await?;
                self.up().await
            }
            Disturbance::Restart => {
                self.down(|server| server.stop(STOP_PATIENCE).map(drop)).await?;
                self.up().await
            }
            Disturbance::Pause(time) => {
                let pid = self.pid().context("there is no server to pause")?;
                signal(pid, libc::SIGSTOP)?;
                tokio::time::sleep(time).await;
                signal(pid, libc::SIGCONT)
            }
        }
    }

    /// Stops the server on a thread of its own, since that waits for a process and the load must continue.
    async fn down(
        &mut self,
        how: impl FnOnce(ServerProcess) -> anyhow::Result<()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let server = self.server.take().context("there is no server to end")?;
        tokio::task::spawn_blocking(move || how(server)).await?
    }

    async fn up(&mut self) -> anyhow::Result<()> {
        let command = self.command.clone();
        let server = tokio::task::spawn_blocking(move || ServerProcess::start(&command)).await??;
        self.server = Some(server);
        Ok(())
    }

    /// Stops the server for good.
    ///
    /// # Errors
    /// The server does not stop as it should.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        match &self.server {
            Some(_) => self.down(|server| server.stop(STOP_PATIENCE).map(drop)).await,
            None => Ok(()),
        }
    }
}
