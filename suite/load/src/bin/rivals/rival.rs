//! The servers, and what a publish and a reader are at each.

use std::cell::RefCell;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;

use agentbench_auth::Role;
use agentbench_load::child::token;
use agentbench_load::command::{serve, unique};
use agentbench_load::target::{AgentBench, Dialect, Job, Pusher, Template};
use anyhow::{Context, ensure};

/// Key, id and secret of Sockudo's application.
const KEY: &str = "load-key";
const APP: &str = "load";
const SECRET: &str = "load-secret";
/// The channel of Sockudo's readers.
const CHANNEL: &str = "room";

/// Paths of what is measured.
pub(crate) struct Installation {
    pub(crate) ours: PathBuf,
    pub(crate) sockudo: PathBuf,
    /// Folder with the script that signs requests.
    pub(crate) peers: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rival {
    Ours,
    Sockudo,
}

impl Rival {
    pub(crate) fn name(self) -> &'static str {
        if self == Self::Ours { "AgentBench" } else { "Sockudo" }
    }

    /// The command that starts it, with its own folder for data.
    pub(crate) fn command(
        self,
        installed: &Installation,
        scratch: &Path,
        connections: usize,
    ) -> anyhow::Result<Command> {
        if self == Self::Ours {
            let mut command = Command::new(&installed.ours);
            serve(&mut command, scratch, connections);
            return Ok(command);
        }
        // It does not report a port that the system chose.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string();
        let mut command = Command::new(&installed.sockudo);
        command.current_dir(scratch).envs([
            ("HOST", "127.0.0.1"),
            ("PORT", &port),
            ("METRICS_ENABLED", "false"),
            ("RATE_LIMITER_ENABLED", "false"),
            ("LOG_COLORS_ENABLED", "false"),
            ("SHUTDOWN_GRACE_PERIOD", "1"),
            // The default is 100.
            ("SOCKUDO_DEFAULT_APP_MAX_CONNECTIONS", "100000"),
            ("SOCKUDO_DEFAULT_APP_ENABLED", "true"),
            ("SOCKUDO_DEFAULT_APP_ID", APP),
            ("SOCKUDO_DEFAULT_APP_KEY", KEY),
            ("SOCKUDO_DEFAULT_APP_SECRET", SECRET),
        ]);
        Ok(command)
    }
}

/// What the connections of one run share.
pub(crate) struct Room {
    rival: Rival,
    token: Rc<str>,
    run: String,
    /// Our session, once it is open.
    session: Rc<RefCell<Option<String>>>,
}

/// A publish as an HTTP request.
pub(crate) struct Publish {
    pub(crate) path: String,
    pub(crate) headers: String,
    body: Template,
}

impl Publish {
    /// The body of publish `serial`: at ours each event has an id of its own.
    pub(crate) fn body(&mut self, serial: u64) -> &[u8] {
        self.body.fill(serial)
    }
}

impl Room {
    pub(crate) fn new(rival: Rival) -> anyhow::Result<Self> {
        let token = token("rivals", Role::Evaluator)?.into();
        Ok(Self { rival, token, run: unique()?, session: Rc::default() })
    }

    /// The connection that opens the room, where one must.
    pub(crate) fn opener(&self) -> anyhow::Result<Option<Box<dyn Dialect>>> {
        if self.rival == Rival::Ours { self.dialect(Job::Speak, 0).map(Some) } else { Ok(None) }
    }

    /// Reader `index`, counted from 1.
    pub(crate) fn reader(&self, index: usize) -> anyhow::Result<Box<dyn Dialect>> {
        if self.rival == Rival::Ours {
            return self.dialect(Job::Listen, index);
        }
        Ok(Box::new(Pusher::new(KEY, CHANNEL)))
    }

    fn dialect(&self, job: Job, index: usize) -> anyhow::Result<Box<dyn Dialect>> {
        let id = format!("{}-{index}", self.run);
        Ok(Box::new(AgentBench::new(job, id, Rc::clone(&self.token), Rc::clone(&self.session), 0)?))
    }

    /// The request of publisher `publisher` with a text of `size` bytes.
    pub(crate) fn publish(
        &self,
        publisher: usize,
        size: usize,
        installed: &Installation,
    ) -> anyhow::Result<Publish> {
        let text = "x".repeat(size);
        if self.rival == Rival::Ours {
            let session = self.session.borrow();
            let session = session.as_deref().context("the session is not open yet")?;
            let body = format!(
                r#"{{"id":"{publisher}-{{serial}}","type":"test_event","timestamp":1760000000000,"data":{{"eventType":"console_log","text":"{text}"}}}}"#
            );
            return Ok(Publish {
                path: format!("/api/v1/sessions/{session}/events"),
                headers: format!("Authorization: Bearer {}\r\n", self.token),
                body: Template::new(&body),
            });
        }
        // The signature covers the body, so all publishes of a run are the same; a backend would sign each.
        let body = serde_json::json!({"name": "load", "channel": CHANNEL, "data": text}).to_string();
        let path = signed(&format!("/apps/{APP}/events"), &body, &installed.peers)?;
        Ok(Publish { path, headers: String::new(), body: Template::new(&body) })
    }
}

/// The path with the query that authorizes this body.
fn signed(path: &str, body: &str, peers: &Path) -> anyhow::Result<String> {
    let mut node = Command::new("node")
        .args(["pusher-sign.mjs", KEY, SECRET, path])
        .current_dir(peers)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run node, which signs requests of the Pusher protocol")?;
    node.stdin.take().context("no input")?.write_all(body.as_bytes())?;
    let output = node.wait_with_output()?;
    ensure!(output.status.success(), "pusher-sign.mjs failed");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
