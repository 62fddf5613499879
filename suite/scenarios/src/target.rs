//! The server under test: one that is started here, or one that runs somewhere else.

use std::path::PathBuf;
use std::time::Duration;

use agentbench_client::{Client, Config, Ended, Error};
use agentbench_load::child::{SECRET, ServerCommand, ServerProcess};
use anyhow::Context;
use tempfile::TempDir;

/// Where the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A fresh one for each scenario, with a scratch folder.
    Start {
        /// The `agentbench` binary.
        binary: PathBuf,
        /// A token that it will take; see [`own_secret`].
        token: String,
    },
    /// One that is there.
    Running {
        /// Its URL.
        url: String,
        /// A token that it takes.
        token: String,
    },
}

/// The secret of servers that are started here.
pub const fn own_secret() -> &'static str {
    SECRET
}

/// Why a scenario could not be run at all.
#[derive(Debug, thiserror::Error)]
pub enum CannotRun {
    /// There is no server, or it cannot be used.
    #[error("{0}")]
    Server(String),
    /// Something on this side.
    #[error("{0:#}")]
    Here(#[from] anyhow::Error),
}

/// What clients need to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The server's URL.
    pub url: String,
    /// A token that it takes.
    pub token: String,
}

/// A target that is ready for one scenario.
#[derive(Debug)]
pub struct Prepared {
    /// For the clients.
    pub endpoint: Endpoint,
    server: Option<(ServerProcess, TempDir)>,
}

/// How long the first connection may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a server that was started here may take to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

impl Target {
    /// Starts the server, if it is to be started, and sees whether it can be used.
    ///
    /// # Errors
    /// [`CannotRun`], with a sentence for whoever started the suite.
    pub async fn prepare(&self) -> Result<Prepared, CannotRun> {
        let prepared = match self {
            Self::Start { binary, token } => start(binary.clone(), token.clone())?,
            Self::Running { url, token } => {
                let endpoint = Endpoint { url: url.clone(), token: token.clone() };
                Prepared { endpoint, server: None }
            }
        };
        probe(&prepared.endpoint).await.map_err(CannotRun::Server)?;
        Ok(prepared)
    }
}

fn start(binary: PathBuf, token: String) -> anyhow::Result<Prepared> {
    let scratch = tempfile::tempdir().context("cannot make a scratch folder")?;
    let data_dir = scratch.path().to_owned();
    let server =
        ServerProcess::start(&ServerCommand { binary, data_dir, flags: Vec::new(), core: None, port: 0 })?;
    let url = format!("ws://{}", server.address());
    Ok(Prepared { endpoint: Endpoint { url, token }, server: Some((server, scratch)) })
}

impl Prepared {
    /// The server's process, if it was started here.
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(|(server, _)| server.pid())
    }

    /// Whether a server that was started here has ended.
    pub fn has_ended(&mut self) -> bool {
        self.server.as_mut().is_some_and(|(server, _)| server.has_ended())
    }

    /// Stops a server that was started here.
    ///
    /// # Errors
    /// If it does not stop as it should.
    pub fn stop(self) -> anyhow::Result<()> {
        match self.server {
            Some((server, _scratch)) => server.stop(STOP_PATIENCE).map(drop),
            None => Ok(()),
        }
    }
}

/// Connects once.
async fn probe(endpoint: &Endpoint) -> Result<(), String> {
    let config = Config::new(&endpoint.url).token(&endpoint.token).connect_timeout(PROBE_TIMEOUT);
    match Client::connect(config).await {
        Ok(client) => {
            client.close().await;
            Ok(())
        }
        Err(error) => Err(sentence(&endpoint.url, &error)),
    }
}

/// What a person needs to know of a connection that did not come about.
pub fn sentence(url: &str, error: &Error) -> String {
    match error {
        Error::Ended(Ended::Dismissed { detail, .. }) => {
            format!("the server at {url} refuses the token or the user: {detail}")
        }
        Error::Ended(Ended::Token(detail)) => format!("the server at {url} refuses the token: {detail}"),
        Error::Ended(Ended::Http { status, .. }) => {
            format!("what answers at {url} is no server of this protocol: it says HTTP status {status}")
        }
        Error::Invalid(detail) => format!("{url} cannot be used: {detail}"),
        Error::Connect(detail) => format!("no server of this protocol answers at {url}: {detail}"),
        error => format!("cannot use the server at {url}: {error}"),
    }
}
