//! The server under test: one that the suite starts, or one that is already running.

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
    /// A new server for each scenario, with a temporary folder.
    Start {
        /// The `agentbench` binary.
        binary: PathBuf,
        /// Flags of `serve` beyond the scenario's own.
        flags: Vec<String>,
        /// A token that it accepts; see [`own_secret`].
        token: String,
        /// Core that it is pinned to, if any.
        core: Option<usize>,
    },
    /// A running server.
    Running {
        /// Its URL.
        url: String,
        /// A token that it accepts.
        token: String,
    },
}

/// The secret of servers that the suite starts.
pub const fn own_secret() -> &'static str {
    SECRET
}

/// Why a scenario could not be run at all.
#[derive(Debug, thiserror::Error)]
pub enum CannotRun {
    /// There is no server, or it cannot be used.
    #[error("{0}")]
    Server(String),
    /// A problem on this side.
    #[error("{0:#}")]
    Here(#[from] anyhow::Error),
}

/// What clients need to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The server's URL.
    pub url: String,
    /// A token that it accepts.
    pub token: String,
    /// Address to connect to instead of the URL's: a proxy.
    pub through: Option<SocketAddr>,
    /// The CA of the server's certificate, in PEM; the system's CAs if not given.
    pub authority: Option<Vec<u8>>,
}

impl Endpoint {
    /// An endpoint without a proxy.
    pub fn new(url: impl Into<String>, token: impl Into<String>) -> Self {
        Self { url: url.into(), token: token.into(), through: None, authority: None }
    }

    /// The SDK's configuration to connect to it.
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
pub struct PreparedTarget {
    /// The endpoint for clients without a proxy.
    pub endpoint: Endpoint,
    /// The server's process, if it was started here.
    pub supervisor: Option<Supervisor>,
}

/// Time limit of the first connection.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

impl Target {
    /// Starts the server if necessary, and checks that it can be used.
    ///
    /// # Errors
    /// [`CannotRun`], with a sentence for the user.
    pub async fn prepare(&self, scenario: &Scenario) -> Result<PreparedTarget, CannotRun> {
        let prepared = match self {
            Self::Start { binary, flags, token, core } => {
                let flags = flags.iter().chain(&scenario.server_flags).cloned().collect();
                let supervisor = Supervisor::start(binary.clone(), flags, *core)?;
                let address = supervisor.address().context("the server has no address")?;
                let endpoint = Endpoint::new(format!("ws://{address}"), token);
                PreparedTarget { endpoint, supervisor: Some(supervisor) }
            }
            Self::Running { url, .. } if url.starts_with("wss://") && reads_traffic(scenario) => {
                let name = &scenario.name;
                return Err(CannotRun::Server(format!(
                    "{name} puts faults between client and server that need to read messages, which TLS forbids; \
                     give a ws:// address of the same server"
                )));
            }
            Self::Running { url, token } => {
                PreparedTarget { endpoint: Endpoint::new(url, token), supervisor: None }
            }
        };
        probe(&prepared.endpoint).await.map_err(CannotRun::Server)?;
        Ok(prepared)
    }
}

/// Whether the scenario has faults or cuts, whose proxies read the traffic.
fn reads_traffic(scenario: &Scenario) -> bool {
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

/// Explains a failed connection to a person.
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
            format!("{url} is not a server of this protocol: it answered with HTTP status {status}")
        }
        Error::Invalid(detail) => format!("{url} cannot be used: {detail}"),
        Error::Connect(detail) => format!("no server of this protocol answers at {url}: {detail}"),
        error => format!("cannot use the server at {url}: {error}"),
    }
}
