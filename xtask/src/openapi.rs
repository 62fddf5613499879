//! Tests a running server against `docs/openapi.json`, with requests that schemathesis generates from it.
//!
//! A server of the debug build on its own port and folder; one round with names that do not exist, one with an existing
//! session. The seed is fixed, the time is limited, and draining and streams are excluded where they would not end.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};

use crate::{output, root, run, target};

/// The release that the checks are written for.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";
/// The checks of each answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,ignored_auth";
/// Time limit of a round in seconds, and that of the short one at the end.
const ROUND_SECONDS: &str = "40";
const LAST_SECONDS: &str = "15";
/// Number of generated requests per operation and phase.
const EXAMPLES: &str = "60";
const SEED: &str = "7";

/// Needs the debug build of the server.
pub(crate) fn check() -> anyhow::Result<()> {
    let schemathesis = install()?;
    let folder = target().join("openapi-check");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let server = Server::start(&folder)?;
    let token = server.agentbench(&["token", "mint", "--role", "admin"])?;
    let none = folder.join("nothing-there.toml");
    fs::write(&none, "")?;
    // A generated revocation may hit our own token, so it comes last.
    let (drain, revoke) = ("/api/v1/drain", "/api/v1/tokens/revoke");
    // For a session from another answer it does not end.
    let frames = "/api/v1/sessions/{sessionId}/frames";
    let left_out = ["--exclude-path", drain, "--exclude-path", revoke, "--exclude-path", frames];
    let all_but: Vec<&str> = left_out.into_iter().chain(["--max-time", ROUND_SECONDS]).collect();
    server.round(&schemathesis, &none, &token, &all_but)?;
    // Not earlier: the round above ends the sessions it finds.
    let session = server.session(&token)?;
    let there = folder.join("session-there.toml");
    fs::write(&there, format!("[parameters]\n\"path.sessionId\" = \"{session}\"\n"))?;
    let stream = "/api/v1/sessions/{sessionId}/stream";
    // Ending a session would leave none to publish to.
    let commands = "/api/v1/sessions/{sessionId}/commands";
    let endless = ["--exclude-path", stream, "--exclude-path", frames, "--exclude-path", commands];
    let only = ["--include-path-regex", "sessions", "--max-time", ROUND_SECONDS];
    let only: Vec<&str> = only.into_iter().chain(endless).collect();
    server.round(&schemathesis, &there, &token, &only)?;
    // Refusals alone would prove little: some generated events must have been accepted.
    let events = server.events(&token, &session)?;
    anyhow::ensure!(events > 0, "none of the events that schemathesis generated was accepted");
    let steps = ["--include-path", commands, "--max-time", LAST_SECONDS];
    server.round(&schemathesis, &there, &token, &steps)?;
    let last = ["--include-path", revoke, "--max-time", LAST_SECONDS];
    server.round(&schemathesis, &none, &token, &last)?;
    println!("openapi-check: the server conforms to docs/openapi.json; {events} events were accepted");
    Ok(())
}

/// schemathesis in its own environment, installed from PyPI if necessary.
fn install() -> anyhow::Result<PathBuf> {
    let environment = target().join("schemathesis-venv");
    let program = environment.join("bin/schemathesis");
    let wanted = SCHEMATHESIS.split("==").nth(1).unwrap_or_default();
    let found = output(&program.to_string_lossy(), &["--version"]);
    if found.is_some_and(|version| version.trim().ends_with(wanted)) {
        return Ok(program);
    }
    let folder = environment.to_string_lossy();
    if run("python3", &["-m", "venv", &folder]).is_err() {
        // Debian has it in a separate package; the remains of the failed attempt would be in the way.
        run("apt-get", &["update", "-qq"])?;
        run("apt-get", &["install", "-y", "-qq", "python3-venv"])
            .context("python3 with venv is needed: apt-get install python3-venv")?;
        run("python3", &["-m", "venv", "--clear", &folder])?;
    }
    run(&environment.join("bin/pip").to_string_lossy(), &["install", "--quiet", SCHEMATHESIS])?;
    Ok(program)
}

/// A server that is stopped on drop.
struct Server {
    child: Child,
    url: String,
    folder: PathBuf,
}

impl Server {
    fn start(folder: &Path) -> anyhow::Result<Self> {
        let data = folder.join("data");
        let mut child = Command::new(binary())
            .args(["serve", "--port", "0", "--log-level", "error", "--data-dir"])
            .arg(&data)
            .current_dir(folder)
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the server")?;
        let said = child.stdout.take().context("the server has no output")?;
        let mut lines = BufReader::new(said).lines();
        let address = lines.find_map(|line| line.ok()?.strip_prefix("listening on ws://").map(str::to_owned));
        // Its further output must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let mut server = Self { child, url: String::new(), folder: folder.to_owned() };
        server.url = format!("http://{}", address.context("the server did not start")?);
        Ok(server)
    }

    fn agentbench(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let data = self.folder.join("data");
        let done = Command::new(binary()).args(arguments).arg("--data-dir").arg(data).output()?;
        if !done.status.success() {
            bail!("agentbench {}: {}", arguments.join(" "), String::from_utf8_lossy(&done.stderr));
        }
        Ok(String::from_utf8(done.stdout)?.trim().to_owned())
    }

    /// Creates a session with an event in it.
    fn session(&self, token: &str) -> anyhow::Result<String> {
        let url = self.url.replace("http://", "ws://");
        let done = Command::new(binary())
            .args(["sessions", "--url", &url, "--token", token, "create"])
            .output()
            .context("cannot create a session")?;
        let name = String::from_utf8(done.stdout)?.trim().to_owned();
        if name.len() != 36 {
            bail!("no session was created: {}", String::from_utf8_lossy(&done.stderr));
        }
        Ok(name)
    }

    /// Number of published events in the session's log.
    fn events(&self, token: &str, session: &str) -> anyhow::Result<usize> {
        let url = self.url.replace("http://", "ws://");
        let arguments = ["sessions", "--url", &url, "--token", token, "export", session];
        let done = Command::new(binary()).args(arguments).output()?;
        anyhow::ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let log = String::from_utf8(done.stdout)?;
        Ok(log.lines().filter(|entry| entry.contains("\"type\":\"test_event\"")).count())
    }

    fn round(&self, schemathesis: &Path, config: &Path, token: &str, more: &[&str]) -> anyhow::Result<()> {
        eprintln!("› schemathesis run docs/openapi.json with {}", config.display());
        let status = Command::new(schemathesis)
            .arg("--config-file")
            .arg(config)
            .args(["run", "--url", &self.url, "--checks", CHECKS, "--seed", SEED])
            .args([
                "--max-examples",
                EXAMPLES,
                "--phases",
                "examples,coverage,fuzzing",
                "--no-color",
                "--warnings",
                "off",
            ])
            .args(["--generation-database", "none", "--request-timeout", "5"])
            .args(["--header", &format!("Authorization: Bearer {token}")])
            .args(more)
            .arg(root().join("docs/openapi.json"))
            .current_dir(&self.folder)
            .status()
            .context("cannot run schemathesis")?;
        if !status.success() {
            bail!("the server does not conform to docs/openapi.json ({status})");
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It is our own child; an error means that it has already exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn binary() -> PathBuf {
    target().join("debug/agentbench")
}
