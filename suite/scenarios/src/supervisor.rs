//! The server under test while a scenario runs: started, killed, stopped, drained and started again as a process,
//! on a free port, with a scratch folder that goes away with it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agentbench_load::child::{ServerCommand, ServerProcess, signal};
use anyhow::Context;
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::faults::Disturbance;

/// How long a server may take to stop when it is asked to.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// See the module.
#[derive(Debug)]
pub struct Supervisor {
    command: ServerCommand,
    /// None only while it is down.
    server: Option<ServerProcess>,
    scratch: TempDir,
}

/// Shared by who disturbs the server and who watches it: held while it is down on purpose.
pub(crate) type Supervised = Arc<Mutex<Supervisor>>;

impl Supervisor {
    /// Starts a server of this binary.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(binary: PathBuf, flags: Vec<String>, core: Option<usize>) -> anyhow::Result<Self> {
        let scratch = tempfile::tempdir().context("cannot make a scratch folder")?;
        let command = ServerCommand { binary, data_dir: scratch.path().to_owned(), flags, core, port: 0 };
        let server = Some(ServerProcess::start(&command)?);
        Ok(Self { command, server, scratch })
    }

    /// Where it listens. Another port after each start.
    pub fn address(&self) -> Option<SocketAddr> {
        self.server.as_ref().map(ServerProcess::address)
    }

    /// Its process.
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(ServerProcess::pid)
    }

    /// Its data.
    pub fn data_dir(&self) -> &Path {
        self.scratch.path()
    }

    /// Whether it has ended although nobody wanted that.
    pub fn has_ended(&mut self) -> bool {
        self.server.as_mut().is_none_or(ServerProcess::has_ended)
    }

    /// Does this to it. It is up again when this is done.
    ///
    /// # Errors
    /// If it does not stop or start as it should.
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

    /// Starting and stopping wait for a process: on a thread of their own, so that the load goes on.
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

    /// Stops it for good.
    ///
    /// # Errors
    /// If it does not stop as it should.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        match &self.server {
            Some(_) => self.down(|server| server.stop(STOP_PATIENCE).map(drop)).await,
            None => Ok(()),
        }
    }
}
