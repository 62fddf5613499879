//! `agentbench serve --demo` as a newcomer starts it.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use agentbench_load::child::Child;
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_agentbench");
/// How long anything may take before the test gives up; it is no measure of speed.
const PATIENCE: Duration = Duration::from_secs(60);

struct Demo {
    child: Child,
    address: String,
    token: String,
}

impl Demo {
    fn start(data: &std::path::Path) -> Self {
        let mut command = Command::new(BINARY);
        command
            .args(["serve", "--demo", "--port", "0", "--data-dir"])
            .arg(data)
            .env("AGENTBENCH_DEMO_SPEED", "60")
            .env_remove("JWT_SECRET")
            .stderr(Stdio::null());
        let link = |line: &str| line.trim().starts_with("http://").then(|| line.trim().to_owned());
        let (child, link) = Child::start(command, None, PATIENCE, link).unwrap();
        let (address, token) = link.strip_prefix("http://").unwrap().split_once("/#token=").unwrap();
        Self { child, address: address.to_owned(), token: token.to_owned() }
    }

    fn get(&self, path: &str) -> (String, Vec<u8>) {
        let mut socket = TcpStream::connect(&self.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let (host, token) = (&self.address, &self.token);
        write!(socket, "GET {path} HTTP/1.0\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n")
            .unwrap();
        let mut bytes = Vec::new();
        socket.read_to_end(&mut bytes).unwrap();
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        (String::from_utf8_lossy(&bytes[..end]).into_owned(), bytes[end + 4..].to_vec())
    }

    fn sessions(&self, query: &str) -> Vec<Value> {
        let (_, body) = self.get(&format!("/api/v1/sessions?limit=100{query}"));
        let page: Value = serde_json::from_slice(&body).unwrap();
        page["sessions"].as_array().unwrap().clone()
    }

    fn wait_until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < deadline, "never happened: {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn agents_play_are_judged_and_end_with_the_server() {
    let data = tempfile::tempdir().unwrap();
    let demo = Demo::start(data.path());
    demo.wait_until("three agents have ended a run each", || {
        let ended = demo.sessions("");
        let agents = ["MGX", "Replit", "Hunter"];
        agents
            .iter()
            .all(|agent| ended.iter().any(|it| it["agentName"] == *agent && !it["endedAt"].is_null()))
    });
    let sessions = demo.sessions("");
    assert!(sessions.iter().filter(|it| it["endedAt"].is_null()).count() <= 3, "{sessions:?}");
    assert!(sessions.iter().all(|it| it["projectId"] == "demo"));
    let ended = sessions.iter().rfind(|it| !it["endedAt"].is_null()).unwrap();
    assert_eq!(ended["progress"], 100.0);
    let session = ended["sessionId"].as_str().unwrap();
    let (_, log) = demo.get(&format!("/api/v1/sessions/{session}/export"));
    let events: Vec<Value> =
        log.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let of = |kind: &'static str| events.iter().filter(move |event| event["data"]["eventType"] == kind);
    for kind in ["automation_step", "progress", "console_log", "network_request", "evidence", "score_update"]
    {
        assert!(of(kind).count() > 2, "{kind}");
    }
    assert!(of("score_update").all(|event| event["sender"]["userId"] == "demo-judge"));
    for shot in of("evidence") {
        let hash = shot["data"]["hash"].as_str().unwrap();
        let (head, png) = demo.get(&format!("/api/v1/evidence/{hash}?sessionId={session}"));
        assert!(head.starts_with("HTTP/1.0 200"), "{head}");
        assert!(
            png.starts_with(b"\x89PNG\r\n\x1a\n")
                && png.len() as u64 == shot["data"]["size"].as_u64().unwrap()
        );
        let step = shot["data"]["of"].as_str().unwrap();
        assert!(events.iter().any(|event| event["id"] == step), "{step}");
    }
    let status = demo.child.stop(PATIENCE).unwrap();
    assert!(status.success(), "{status}");
    // What was live has been ended by the agents themselves.
    let again = Demo::start(data.path());
    let earlier: Vec<Value> =
        again.sessions("").into_iter().filter(|it| it["reason"] == "the demo was ended").collect();
    assert!(!earlier.is_empty(), "{:?}", again.sessions(""));
    let old: Vec<_> = sessions.iter().map(|it| it["sessionId"].clone()).collect();
    assert!(again.sessions("&status=running").iter().all(|it| !old.contains(&it["sessionId"])));
}

#[test]
fn what_a_killed_demo_left_is_ended_by_the_next() {
    let data = tempfile::tempdir().unwrap();
    let demo = Demo::start(data.path());
    demo.wait_until("somebody runs", || !demo.sessions("&status=running").is_empty());
    demo.child.kill().unwrap();
    let again = Demo::start(data.path());
    let all = again.sessions("");
    let left = all.iter().filter(|it| it["reason"] == "the demo that it belonged to has ended").count();
    assert!(left >= 1, "{all:?}");
}

#[test]
fn production_has_no_demo() {
    let data = tempfile::tempdir().unwrap();
    let output = Command::new(BINARY)
        .args(["serve", "--demo", "--port", "0", "--env", "production", "--data-dir"])
        .arg(data.path())
        .env("JWT_SECRET", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--demo is for development"));
}
