//! `agentbench suite` as a user runs it: the real binary against real servers, and what it says when there is
//! none.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use agentbench_load::child::{SECRET, ServerCommand, ServerProcess, signal};

const BINARY: &str = env!("CARGO_BIN_EXE_agentbench");

fn server(data_dir: &Path) -> ServerProcess {
    let command = ServerCommand {
        binary: BINARY.into(),
        data_dir: data_dir.to_owned(),
        flags: Vec::new(),
        core: None,
        port: 0,
    };
    ServerProcess::start(&command).unwrap()
}

fn suite(output: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command
        .args(["suite", "performance", "--only", "small", "--seed", "7", "--json", "--output"])
        .arg(output)
        .args(arguments)
        .env("JWT_SECRET", SECRET)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for name in ["TEST_CLIENT_COUNT", "TEST_MESSAGES_PER_CLIENT", "TEST_DURATION", "AGENTBENCH_TOKEN"] {
        command.env_remove(name);
    }
    command
}

fn report(output: &Output) -> serde_json::Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| {
        panic!("{error}: {text}\n{}", String::from_utf8_lossy(&output.stderr));
    })
}

/// Process ids of the children of a process.
fn children(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        (fields.get(1)?.parse::<u32>().ok()? == parent).then_some(pid)
    });
    processes.collect()
}

#[test]
fn the_small_scenario_passes_and_leaves_its_report() {
    let folder = tempfile::tempdir().unwrap();
    let output = suite(folder.path(), &["--quick"]).output().unwrap();
    let report = report(&output);
    assert_eq!(output.status.code(), Some(0), "{report:#}");
    let scenario = &report["scenarios"][0];
    assert_eq!(scenario["status"], "passed");
    assert_eq!(scenario["counts"]["stored"], 100);
    assert_eq!(scenario["counts"]["delivered"], 100);
    assert_eq!(scenario["verdict"]["summary"]["finalReads"], 10);
    assert!(scenario["figures"]["server"]["peakResident"].as_u64().unwrap() > 0);
    let run = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let written: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(run.join("report.json")).unwrap()).unwrap();
    assert_eq!(written, report);
    let histories = std::fs::read_dir(run.join("history/small-load-test")).unwrap();
    // A publisher, a follower and a final reader for each client.
    assert_eq!(histories.count(), 30);
}

/// Waits until the run has had time to publish some of its events.
fn let_it_publish(run: &mut Child) {
    std::thread::sleep(Duration::from_millis(1500));
    assert!(run.try_wait().unwrap().is_none(), "the run was over before the server was stopped");
}

#[test]
fn a_server_that_goes_away_for_good_leaves_unknown_events_and_exit_code_1() {
    let folder = tempfile::tempdir().unwrap();
    let data = tempfile::tempdir().unwrap();
    let server = server(data.path());
    let url = format!("ws://{}", server.address());
    let started = Instant::now();
    let limit = Duration::from_secs(9);
    let mut run =
        suite(folder.path(), &["--url", &url, "--messages", "1000", "--duration", "9000"]).spawn().unwrap();
    let_it_publish(&mut run);
    // Stopped first: what is sent now has arrived, and will never be answered.
    signal(server.pid(), libc::SIGSTOP).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    server.kill().unwrap();
    let output = run.wait_with_output().unwrap();
    // A little for starting the process and for writing the report.
    assert!(started.elapsed() < limit + Duration::from_secs(3), "{:?}", started.elapsed());
    let report = report(&output);
    assert_eq!(output.status.code(), Some(1), "{report:#}");
    let counts = &report["scenarios"][0]["counts"];
    let count = |name: &str| counts[name].as_u64().unwrap();
    assert!(count("unknown") > 0, "{counts}");
    assert!(count("stored") > 0, "{counts}");
    assert_eq!(
        count("planned"),
        count("stored") + count("refused") + count("unknown") + count("unsent"),
        "{counts}"
    );
    // Nothing was lost: nobody can tell. The judge does not accuse.
    assert_eq!(report["scenarios"][0]["verdict"]["counts"], serde_json::json!({}));
}

#[test]
fn a_started_server_that_dies_ends_the_run_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let mut run = suite(folder.path(), &["--duration", "60000", "--messages", "1000"]).spawn().unwrap();
    let_it_publish(&mut run);
    let servers = children(run.id());
    assert_eq!(servers.len(), 1);
    signal(servers[0], libc::SIGKILL).unwrap();
    let output = run.wait_with_output().unwrap();
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert_eq!(output.status.code(), Some(1));
    let reasons = report(&output)["scenarios"][0]["reasons"].to_string();
    assert!(reasons.contains("the server ended in the middle of the run"), "{reasons}");
}

#[test]
fn an_interrupted_run_leaves_no_server_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = suite(folder.path(), &["--duration", "60000"]).spawn().unwrap();
    let_it_publish(&mut run);
    let servers = children(run.id());
    signal(run.id(), libc::SIGINT).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(2));
    for server in servers {
        assert!(!Path::new(&format!("/proc/{server}")).exists());
    }
}

/// Runs the suite against an address, and gives what it says on standard error.
fn cannot_run(url: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let output = suite(folder.path(), &["--url", url]).output().unwrap();
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(url.split('?').next().unwrap()), "{said}");
    said
}

/// Answers every connection with this and leaves it open.
fn something_else(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for mut stream in listener.incoming().flatten() {
            // Whoever has gone needs no answer.
            let _ = stream.write_all(answer);
            open.push(stream);
        }
    });
    url
}

#[test]
fn nothing_there_is_said_in_a_sentence() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(cannot_run(&format!("ws://{free}")).contains("Connection refused"));
}

#[test]
fn something_else_there_is_said_in_a_sentence() {
    let said = cannot_run(&something_else(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"));
    assert!(said.contains("404"), "{said}");
    let said = cannot_run(&something_else(b"220 mail.example ESMTP\r\n"));
    assert!(said.contains("no server of this protocol"), "{said}");
    let said = cannot_run(&something_else(b""));
    assert!(said.contains("no server of this protocol"), "{said}");
    assert!(cannot_run("http//nonsense").contains("cannot be used"));
}

#[test]
fn a_refused_token_is_said_in_a_sentence() {
    let data = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let server = server(data.path());
    let url = format!("ws://{}", server.address());
    let output = suite(folder.path(), &["--url", &url, "--token", "not-a-token"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("refuses the token"), "{said}");
}
