//! Servers for the self-test: in this process, each on a temporary folder, with thresholds that a small cause exceeds.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentbench_auth::{KeyRing, Role};
use agentbench_event_log_disk::faults::Faults;
use agentbench_server::config::{Config, Limit};
use agentbench_server::{Engine, Server, bind};
use anyhow::{Context, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::access::make_token;

/// Time limit for a rule to fire or clear: the figures cover the last ten seconds.
const PATIENCE: Duration = Duration::from_secs(30);
const SECRET: &str = "the secret of a scratch server, not of any other";

/// A scratch server.
pub(super) struct Scratch {
    server: Option<Server>,
    config: Config,
    pub(super) faults: Arc<Faults>,
    pub(super) token: String,
    folder: TempDir,
}

/// A rule to provoke: its name, and the threshold that the cause exceeds.
pub(super) type ProvokedRule<'a> = (&'a str, f64);

impl Scratch {
    /// Starts a server on which only these rules are enabled.
    pub(super) fn start(
        rules: &[ProvokedRule<'_>],
        change: impl FnOnce(&mut Config),
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("no folder for a scratch server")?;
        let mut config = Config::embedded(folder.path(), SECRET);
        config.watch.limits.retain(|(name, _)| rules.iter().any(|(wanted, _)| wanted == name));
        for (name, limit) in &mut config.watch.limits {
            let threshold = rules.iter().find(|(wanted, _)| wanted == name).map_or(0.0, |(_, it)| *it);
            *limit = Limit { threshold, for_ms: 600, clear_ms: 600 };
        }
        change(&mut config);
        let token = make_token(SECRET, "selftest", Role::Admin)?;
        let mut scratch = Self { server: None, config, faults: Arc::default(), token, folder };
        scratch.start_again()?;
        Ok(scratch)
    }

    /// Starts the server again on the folder as it is now.
    pub(super) fn start_again(&mut self) -> anyhow::Result<()> {
        let listeners = bind((Ipv4Addr::LOCALHOST, 0).into(), 1)?;
        let keys = KeyRing::from_secret(SECRET.as_bytes());
        let engine = Engine::EmbeddedWithFaults(Arc::clone(&self.faults));
        self.server = Some(Server::start(self.config.clone(), keys, listeners, engine)?);
        Ok(())
    }

    /// Stops the server and keeps the folder.
    pub(super) fn stop(&mut self) -> anyhow::Result<()> {
        Ok(self.server.take().map_or(Ok(()), Server::stop)?)
    }

    /// Sends a request with the token; the answer is discarded.
    pub(super) fn request(&self, method: &str, path: &str, body: &[u8]) -> anyhow::Result<()> {
        let mut socket = TcpStream::connect(self.address())?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let (token, length) = (&self.token, body.len());
        write!(
            socket,
            "{method} {path} HTTP/1.1\r\nHost: selftest\r\nAuthorization: Bearer {token}\r\nContent-Type: image/png\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n"
        )?;
        socket.write_all(body)?;
        std::io::copy(&mut socket, &mut std::io::sink())?;
        Ok(())
    }

    pub(super) fn server(&self) -> &Server {
        self.server.as_ref().expect("the server runs until the value is dropped")
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.server().address()
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The last value of a rule.
    pub(super) fn value(&self, rule: &str) -> Option<f64> {
        self.number(rule, "value")
    }

    /// The threshold of a rule.
    pub(super) fn threshold(&self, rule: &str) -> Option<f64> {
        self.number(rule, "threshold")
    }

    fn number(&self, rule: &str, field: &str) -> Option<f64> {
        self.server().alerts()["rules"].as_array()?.iter().find(|it| it["name"] == rule)?[field].as_f64()
    }

    /// Waits until a rule has fired, even if it has cleared since. Returns the value that made it fire.
    pub(super) fn wait_for_firing(&self, rule: &str) -> anyhow::Result<Option<f64>> {
        let fired = |all: &Value| {
            let mut changes = all["changes"].as_array()?.iter();
            let found = changes.find(|it| it["name"] == rule && it["state"] == "firing")?;
            Some(found["value"].as_f64())
        };
        self.wait(rule, "did not fire", fired)
    }

    /// Waits until a rule is ok.
    pub(super) fn wait_for_ok(&self, rule: &str) -> anyhow::Result<()> {
        self.wait(rule, "did not clear", |all| {
            all["rules"].as_array()?.iter().find(|it| it["name"] == rule && it["state"] == "ok").map(drop)
        })
    }

    fn wait<T>(&self, rule: &str, failure: &str, found: impl Fn(&Value) -> Option<T>) -> anyhow::Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let all = self.server().alerts();
            if let Some(found) = found(&all) {
                return Ok(found);
            }
            if Instant::now() > deadline {
                bail!("{rule} {failure} within {} s; last read: {:?}", PATIENCE.as_secs(), self.value(rule));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A failure to close a scratch server's log does not matter.
        let _ = self.server.take().map(Server::stop);
    }
}
