//! `agentbench inspect` and `agentbench profile` against a running server.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use agentbench_load::child::{SECRET, ServerCommand, ServerProcess};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_agentbench");

fn start(data: &Path) -> ServerProcess {
    let flags = ["--enable-profiling", "true"].map(str::to_owned).to_vec();
    let data_dir = data.to_owned();
    ServerProcess::start(&ServerCommand { binary: BINARY.into(), data_dir, flags, core: None, port: 0 })
        .unwrap()
}

fn command(server: &ServerProcess, arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments).args(["--url", &format!("ws://{}", server.address())]);
    command.env("JWT_SECRET", SECRET).env_remove("AGENTBENCH_TOKEN").env_remove("AGENTBENCH_URL");
    command
}

fn output(server: &ServerProcess, arguments: &[&str]) -> String {
    let output = command(server, arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A command that is ended if the test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn frames_of_a_session_are_followed_and_saved() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    let session = output(&server, &["sessions", "create"]);
    let file = data.path().join("frames.jsonl");
    let save = file.to_str().unwrap();
    let inspect = [
        "inspect",
        "--session",
        &session,
        "--filter",
        "in,test_event",
        "--limit",
        "2",
        "--json",
        "--save",
        save,
    ];
    let mut look =
        Running(command(&server, &inspect).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(look.0.stdout.take().unwrap()).lines();
    let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(first["inspecting"], session.as_str());
    let mut publish = command(&server, &["sessions", "publish", &session]);
    let mut publish = Running(publish.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap());
    publish.0.stdin.take().unwrap().write_all(b"{\"eventType\":\"progress\"}\n{\"hush\":1}\n").unwrap();
    let seen: Vec<Value> = lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    assert!(look.0.wait().unwrap().success());
    assert!(publish.0.wait().unwrap().success());
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert_eq!((&seen[0]["type"], &seen[0]["name"]), (&"test_event".into(), &"progress".into()));
    assert!(seen.iter().all(|line| line.get("payload").is_none()), "{seen:?}");
    let saved = std::fs::read_to_string(&file).unwrap();
    assert_eq!(saved.lines().count(), 3, "{saved}");
    // What is no name is not sent, and what is not there is said.
    for (arguments, words) in [
        (["inspect", "--connection", "../../metrics"], "is not the id"),
        (["inspect", "--connection", "c0000000012"], "no such connection"),
    ] {
        let refused = command(&server, &arguments).output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(2) && said.contains(words), "{said}");
    }
    server.stop(Duration::from_secs(30)).unwrap();
}

#[test]
fn a_profile_is_written_as_a_picture_or_as_stacks() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    let (picture, stacks) = (data.path().join("cpu.svg"), data.path().join("cpu.folded"));
    output(&server, &["profile", "--seconds", "1", "-o", picture.to_str().unwrap()]);
    assert!(std::fs::read_to_string(&picture).unwrap().starts_with("<svg "));
    let pid = server.pid().to_string();
    let by_pid = Command::new(BINARY)
        .args(["profile", "--pid", &pid, "--seconds", "1", "-o"])
        .arg(&stacks)
        .env("JWT_SECRET", SECRET)
        .env_remove("AGENTBENCH_URL")
        .output()
        .unwrap();
    assert!(by_pid.status.success(), "{}", String::from_utf8_lossy(&by_pid.stderr));
    let text = std::fs::read_to_string(&stacks).unwrap();
    assert!(text.lines().all(|line| line.rsplit_once(' ').is_some()), "{text}");
    server.stop(Duration::from_secs(30)).unwrap();
}
