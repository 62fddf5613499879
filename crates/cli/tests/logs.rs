//! Log lines of a running server: hostile input, the level under way, JSON that stays JSON.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use agentbench_load::child::SECRET;

const BINARY: &str = env!("CARGO_BIN_EXE_agentbench");
const PATIENCE: Duration = Duration::from_secs(30);

/// A server whose log lines are read.
struct Server {
    child: Child,
    address: String,
    lines: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Server {
    fn start(data: &Path, flags: &[&str]) -> Self {
        let mut child = Command::new(BINARY)
            .args(["serve", "--port", "0", "--data-dir"])
            .arg(data)
            .args(flags)
            .current_dir(data)
            .env("JWT_SECRET", SECRET)
            .env_remove("LOG_LEVEL")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ws://").unwrap().to_owned();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (kept, stderr) = (Arc::clone(&lines), BufReader::new(child.stderr.take().unwrap()));
        std::thread::spawn(move || {
            stderr.split(b'\n').map_while(Result::ok).for_each(|line| kept.lock().unwrap().push(line));
        });
        // The tokens of a development server are on standard output, which is not the log.
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        Self { child, address, lines }
    }

    fn send(&self, bytes: &[u8]) -> String {
        let mut socket = TcpStream::connect(&self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket.write_all(bytes).unwrap();
        let mut answer = vec![0; 4096];
        let count = socket.read(&mut answer).unwrap_or(0);
        String::from_utf8_lossy(&answer[..count]).into_owned()
    }

    fn request(&self, method: &str, path: &str, token: &str) -> String {
        self.send(
            format!("{method} {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: 0\r\nAuthorization: Bearer {token}\r\n\r\n")
                .as_bytes(),
        )
    }

    fn has(&self, text: &str) -> bool {
        let lines = self.lines.lock().unwrap();
        lines.iter().any(|line| String::from_utf8_lossy(line).contains(text))
    }

    fn wait_for(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.has(text) {
            assert!(Instant::now() < deadline, "no line with {text}: {:?}", self.text());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn text(&self) -> String {
        self.lines
            .lock()
            .unwrap()
            .iter()
            .map(|line| String::from_utf8_lossy(line).into_owned() + "\n")
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn mint(user: &str, role: &str) -> String {
    let minted = Command::new(BINARY)
        .args(["token", "mint", "--secret", SECRET, "--role", role, "--user", user, "--username", user])
        .output()
        .unwrap();
    String::from_utf8(minted.stdout).unwrap().trim().to_owned()
}

/// What a client may try: in the query, in headers, in names, in payloads.
fn attack(server: &Server) -> Vec<String> {
    let hostile = "eve\u{1b}[2J\nERROR forged line\r\u{9b}31m\u{202e}";
    let token = mint(hostile, "admin");
    let payload = "a-payload-that-nobody-may-log";
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    server.send(format!("GET /ws?token={token} HTTP/1.1\r\nHost: t\r\n{upgrade}\r\n").as_bytes());
    server.send(format!("GET /ws?token={token}x HTTP/1.1\r\nHost: t\r\n{upgrade}\r\n").as_bytes());
    server.send(format!("GET /\u{1b}[31m?token={token} HTTP/1.1\r\nHost: t\r\n{upgrade}\r\n").as_bytes());
    server.send(
        format!("GET /ws HTTP/1.1\r\nHost: t\r\nSec-WebSocket-Protocol: bearer.{token}\r\n{upgrade}\r\n")
            .as_bytes(),
    );
    server.send(format!("POST /{payload} HTTP/1.1\r\nHost: t\u{1b}\r\n\r\n").as_bytes());
    server.send(&[0xff; 200]);
    server.request("GET", &format!("/api/v1/sessions?token={token}"), &token);
    server.request("DELETE", "/api/v1/connections/c%1b%5b31m%0aforged", &token);
    server.request("POST", "/api/v1/tokens/revoke", &token);
    server.send(
        format!("POST /api/v1/tokens/revoke HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {token}\r\nContent-Length: 60\r\n\r\n{{\"jti\":\"{payload}\"}}           ")
            .as_bytes(),
    );
    vec![token.clone(), token.rsplit('.').next().unwrap().to_owned(), payload.to_owned(), SECRET.to_owned()]
}

fn check(server: &Server, secrets: &[String]) {
    let text = server.text();
    for secret in secrets {
        assert!(!text.contains(secret.as_str()), "{secret} is in the log: {text}");
    }
    let hidden = |char: char| (char.is_control() && char != '\n') || matches!(char, '\u{2028}'..='\u{202e}');
    assert!(!text.contains(hidden), "a control character is in the log: {text:?}");
    assert!(!text.lines().any(|line| line.starts_with("ERROR forged")), "{text}");
}

#[test]
fn hostile_clients_leave_no_token_payload_or_control_character_in_any_line() {
    for format in ["json", "pretty"] {
        let data = tempfile::tempdir().unwrap();
        let server = Server::start(data.path(), &["--log-format", format, "--log-level", "trace"]);
        let secrets = attack(&server);
        server.request("POST", "/api/v1/reload", &mint("ops", "admin"));
        server.wait_for("log level trace");
        check(&server, &secrets);
        if format == "json" {
            for line in server.text().lines() {
                let read: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
                assert!(read["level"].is_string() && read["timestamp"].is_string(), "{line}");
            }
        }
    }
}

#[test]
fn the_level_changes_under_way_and_a_wrong_one_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("agentbench.toml");
    std::fs::write(&file, "log_level = \"warn\"\n").unwrap();
    let server = Server::start(data.path(), &["--log-format", "json"]);
    let token = mint("ops", "admin");
    std::fs::write(&file, "log_level = \"agentbench=info,agentbench_server=debug\"\n").unwrap();
    let answer = server.request("POST", "/api/v1/reload", &token);
    assert!(answer.contains("200 OK"), "{answer}");
    server.wait_for("log level agentbench=info");
    assert!(!server.has("\"ready\""), "that was written below the level of the start");
    server.send(b"GET /ws HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n");
    server.wait_for("refused a connection");
    std::fs::write(&file, "log_level = \"agentbench=loud\"\n").unwrap();
    let hangup = Command::new("kill").args(["-HUP", &server.child.id().to_string()]).status().unwrap();
    assert!(hangup.success());
    server.wait_for("the log level could not be reloaded");
}

#[test]
fn a_flood_is_sampled_and_counted() {
    let data = tempfile::tempdir().unwrap();
    let flags = ["--log-format", "json", "--log-level", "debug", "--log-burst", "2"];
    let server = Server::start(data.path(), &flags);
    let deadline = Instant::now() + PATIENCE;
    let mut sent = 0;
    while !server.has("more of the same were left out") {
        assert!(Instant::now() < deadline, "{}", server.text());
        server.send(b"GET /ws HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n");
        sent += 1;
    }
    let text = server.text();
    let line = text.lines().find(|line| line.contains("left out")).unwrap();
    let read: serde_json::Value = serde_json::from_str(line).unwrap();
    let count = read["fields"]["count"].as_u64().unwrap();
    assert!((1..=sent).contains(&count), "{line}");
    assert!(text.matches("refused a connection").count() < sent as usize, "{text}");
}
