//! An upload outlives the death of the server in the middle of it.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use agentbench_auth::Role;
use agentbench_client::{Client, Config, NewSession};
use agentbench_evidence::Hash;
use agentbench_load::child::{ServerCommand, ServerProcess, token};

/// How long anything may take before the test gives up; it is no measure of speed.
const PATIENCE: Duration = Duration::from_secs(30);

fn start(data: &Path) -> ServerProcess {
    let command = ServerCommand {
        binary: env!("CARGO_BIN_EXE_agentbench").into(),
        data_dir: data.to_owned(),
        flags: Vec::new(),
        core: None,
        port: 0,
    };
    ServerProcess::start(&command).unwrap()
}

/// Begins a request and sends so much of its body.
fn send(
    server: &ServerProcess,
    method: &str,
    target: &str,
    headers: &str,
    length: usize,
    body: &[u8],
) -> TcpStream {
    let mut socket = TcpStream::connect(server.address()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let token = token("ada", Role::Evaluator).unwrap();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nContent-Type: image/png\r\n{headers}Content-Length: {length}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).unwrap();
    socket.write_all(body).unwrap();
    socket
}

fn answer(mut socket: TcpStream) -> String {
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn what_was_received_before_a_kill_need_not_come_again() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let session = runtime.block_on(async {
        let config = Config::new(format!("ws://{}", server.address()));
        let client = Client::connect(config.token(token("ada", Role::Evaluator).unwrap())).await.unwrap();
        client.create_session(NewSession::new("p", "t", "a")).await.unwrap().session_id
    });
    let bytes: Vec<u8> = (0..500_000_u32).map(|n| b'a' + (n % 19) as u8).collect();
    let hash = Hash::of(&bytes);
    let target = format!("/api/v1/evidence/{hash}?sessionId={session}");
    let folder = data.path().join("evidence").join(session.to_string());
    let cut = send(&server, "PUT", &target, "", bytes.len(), &bytes[..300_000]);
    let deadline = Instant::now() + PATIENCE;
    let part = folder.join(format!("{hash}.part"));
    while std::fs::metadata(&part).map_or(0, |part| part.len()) < 200_000 {
        assert!(Instant::now() < deadline, "nothing comes to the disk");
        std::thread::sleep(Duration::from_millis(10));
    }
    server.kill().unwrap();
    drop(cut);
    let server = start(data.path());
    let head = answer(send(&server, "HEAD", &target, "", 0, b""));
    let offset = head
        .lines()
        .find_map(|line| line.strip_prefix("upload-offset: "))
        .unwrap_or_else(|| panic!("{head}"));
    let offset: usize = offset.trim().parse().unwrap();
    assert!((200_000..=300_000).contains(&offset), "{offset}");
    let early = answer(send(&server, "GET", &target, "", 0, b""));
    assert!(early.starts_with("HTTP/1.1 404"), "half a file is no file: {early}");
    let range = format!("Content-Range: bytes {offset}-499999/500000\r\n");
    let rest = &bytes[offset..];
    let stored = answer(send(&server, "PUT", &target, &range, rest.len(), rest));
    assert!(stored.starts_with("HTTP/1.1 201"), "{stored}");
    server.kill().unwrap();
    let server = start(data.path());
    let whole = answer(send(&server, "GET", &target, "", 0, b""));
    assert!(whole.starts_with("HTTP/1.1 200") && whole.as_bytes().ends_with(&bytes));
    let mut names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|it| it.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [format!("{hash}.png").as_str(), format!("{hash}.tree").as_str()]);
}
