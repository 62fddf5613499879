//! Draining and reloading by HTTP, on the real binary: it ends by itself, and nothing that it acknowledged is lost.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use agentbench_load::child::Child;

const BINARY: &str = env!("CARGO_BIN_EXE_agentbench");
/// How long anything may take before the test gives up; no measure of speed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that is killed if the test fails.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(data: &std::path::Path) -> Self {
        let mut command = Command::new(BINARY);
        command
            .args(["serve", "--port", "0", "--reconnect-spread", "100", "--data-dir"])
            .arg(data)
            .env_remove("JWT_SECRET")
            .stderr(Stdio::null());
        let listening = |line: &str| line.strip_prefix("listening on ws://").map(str::to_owned);
        let (child, address) = Child::start(command, None, PATIENCE, listening).unwrap();
        Self { child, address }
    }

    fn request(&self, method: &str, path: &str, token: &str, body: &str) -> String {
        let mut socket = TcpStream::connect(&self.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        write!(
            socket,
            "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }
}

fn agentbench(arguments: &[&str], data: &std::path::Path) -> String {
    let command =
        Command::new(BINARY).args(arguments).arg("--data-dir").arg(data).env_remove("JWT_SECRET").output();
    let done = command.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_drained_server_ends_by_itself_and_keeps_what_it_acknowledged() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path());
    let admin = agentbench(&["token", "mint", "--role", "admin"], data.path());
    let url = format!("ws://{}", server.address);
    let session = agentbench(&["sessions", "--url", &url, "create"], data.path());
    let events = format!("/api/v1/sessions/{session}/events");
    let event = r#"{"id":"e1","type":"test_event","timestamp":1,"data":{"n":1}}"#;
    let acked = server.request("POST", &events, &admin, event);
    assert!(acked.contains("\"acks\":[{\"originalMessageId\":\"e1\",\"seq\":2}]"), "{acked}");
    let reloaded = server.request("POST", "/api/v1/reload", &admin, "");
    assert!(reloaded.starts_with("HTTP/1.1 200") && reloaded.contains("JWT_KEYS_FILE"), "{reloaded}");
    let drained = server.request("POST", "/api/v1/drain", &admin, "");
    assert!(drained.starts_with("HTTP/1.1 202"), "{drained}");
    let status = server.child.wait(PATIENCE).unwrap().expect("it ends");
    assert!(status.success(), "{status}");
    let server = Server::start(data.path());
    let again = server.request("POST", &events, &admin, event);
    assert!(again.contains("\"seq\":2,\"duplicate\":true"), "{again}");
}
