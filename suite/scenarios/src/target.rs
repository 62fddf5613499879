//! The server under test: one that is started here, or one that runs somewhere else.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use agentbench_client::{Client, Config, Ended, Error};
use agentbench_load::child::SECRET;
use anyhow::Context;

use crate::definition::Scenario;
use crate::supervisor::Supervisor;

/// Where the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A fresh one for each scenario, with a scratch folder.
    Start {
        /// The `agentbench` binary.
        binary: PathBuf,
        /// Flags of `serve` beyond the scenario's own.
        flags: Vec<String>,
        /// A token that it will take; see [`own_secret`].
        token: String,
        /// Core that it is held to, if any.
        core: Option<usize>,
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
    /// Where to connect instead of the URL's own address: a proxy.
    pub through: Option<SocketAddr>,
    /// The authority of the server's certificate, in PEM; without one the machine's own are trusted.
    pub authority: Option<Vec<u8>>,
}

impl Endpoint {
    /// Straight to the server.
    pub fn new(url: impl Into<String>, token: impl Into<String>) -> Self {
        Self { url: url.into(), token: token.into(), through: None, authority: None }
    }

    /// What the SDK needs to connect to it.
    pub fn config(&self) -> Config {
        let mut config = Config::new(&self.url).token(&self.token);
        if let Some(pem) = &self.authority {
            config = config.authority(pem.as_slice());
        }
        match self.through {
            Some(proxy) => config.connect_to(proxy),
            None => config,
        }
    }
}

/// A target that is ready for one scenario.
#[derive(Debug)]
pub struct Prepared {
    /// For clients without a proxy.
    pub endpoint: Endpoint,
    /// The server's process, if it was started here.
    pub supervisor: Option<Supervisor>,
}

/// How long the first connection may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

impl Target {
    /// Starts the server, if it is to be started, and sees whether it can be used.
    ///
    /// # Errors
    /// [`CannotRun`], with a sentence for whoever started the suite.
    pub async fn prepare(&self, scenario: &Scenario) -> Result<Prepared, CannotRun> {
        let prepared = match self {
            Self::Start { binary, flags, token, core } => {
                let flags = flags.iter().chain(&scenario.server_flags).cloned().collect();
                let supervisor = Supervisor::start(binary.clone(), flags, *core)?;
                let address = supervisor.address().context("the server listens nowhere")?;
                let endpoint = Endpoint::new(format!("ws://{address}"), token);
                Prepared { endpoint, supervisor: Some(supervisor) }
            }
            Self::Running { url, .. } if url.starts_with("wss://") && looks_inside(scenario) => {
                let name = &scenario.name;
                return Err(CannotRun::Server(format!(
                    "{name} puts faults between client and server that need to read messages, which TLS forbids; \
                     give a ws:// address of the same server"
                )));
            }
            Self::Running { url, token } => {
                Prepared { endpoint: Endpoint::new(url, token), supervisor: None }
            }
        };
        probe(&prepared.endpoint).await.map_err(CannotRun::Server)?;
        Ok(prepared)
    }
}

/// Whether the scenario has faults or cuts, which stand between the ends and read what passes.
fn looks_inside(scenario: &Scenario) -> bool {
    scenario.faults.rate > 0.0 || scenario.cuts.is_some()
}

/// Connects once.
async fn probe(endpoint: &Endpoint) -> Result<(), String> {
    match Client::connect(endpoint.config().connect_timeout(PROBE_TIMEOUT)).await {
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
        Error::Ended(Ended::Http { status: 401 | 403, detail }) => {
            format!("the server at {url} refuses the token: {}", detail.trim())
        }
        Error::Ended(Ended::Http { status, .. }) => {
            format!("what answers at {url} is no server of this protocol: it says HTTP status {status}")
        }
        Error::Invalid(detail) => format!("{url} cannot be used: {detail}"),
        Error::Connect(detail) => format!("no server of this protocol answers at {url}: {detail}"),
        error => format!("cannot use the server at {url}: {error}"),
    }
}
