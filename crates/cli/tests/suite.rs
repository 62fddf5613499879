//! `agentbench suite` as a user runs it: the real binary against real servers, and what it says when there is
//! none.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use agentbench_load::child::{SECRET, ServerCommand, ServerProcess, signal};

const BINARY: &str = env!("CARGO_BIN_EXE_agentbench");

/// Hang guard, many times what a run here may take; no measure of speed.
const GUARD: Duration = Duration::from_secs(60);

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
    without_settings(&mut command);
    command
}

/// What the caller's shell has set must not matter.
fn without_settings(command: &mut Command) {
    const NAMES: [&str; 6] = [
        "TEST_CLIENT_COUNT",
        "TEST_MESSAGES_PER_CLIENT",
        "TEST_DURATION",
        "TEST_FAILURE_RATE",
        "TEST_OUTPUT_DIR",
        "AGENTBENCH_TOKEN",
    ];
    for name in NAMES {
        command.env_remove(name);
    }
}

/// The only run's folder.
fn run_folder(output: &Path) -> PathBuf {
    std::fs::read_dir(output).unwrap().next().unwrap().unwrap().path()
}

/// `agentbench suite` with these words and nothing else.
fn plain(arguments: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.arg("suite").args(arguments).env("JWT_SECRET", SECRET).stdin(Stdio::null());
    without_settings(&mut command);
    command.output().unwrap()
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

/// Waits until the server has acked events: on a busy machine connecting alone may take seconds.
fn until_acked(server: &ServerProcess, run: &mut Child) {
    let acked = || {
        let mut socket = TcpStream::connect(server.address()).unwrap();
        socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
        let mut page = String::new();
        socket.read_to_string(&mut page).unwrap();
        let line = page.lines().find_map(|line| line.strip_prefix("agentbench_acks_total "));
        line.and_then(|count| count.trim().parse::<f64>().ok()).is_some_and(|count| count > 0.0)
    };
    while !acked() {
        if let Some(status) = run.try_wait().unwrap() {
            let mut said = String::new();
            run.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            panic!("the run was over before anything was acked, with {status}: {said}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A run of nine seconds against a server that answers nothing any more, though its sockets are open.
fn run_with_a_server_that_stands_still(output: &Path, data_dir: &Path) -> (ServerProcess, Child) {
    let server = server(data_dir);
    let url = format!("ws://{}", server.address());
    let mut run =
        suite(output, &["--url", &url, "--messages", "1000", "--duration", "9000"]).spawn().unwrap();
    until_acked(&server, &mut run);
    signal(server.pid(), libc::SIGSTOP).unwrap();
    (server, run)
}

#[test]
fn a_server_that_goes_away_for_good_leaves_unknown_events_and_exit_code_1() {
    let folder = tempfile::tempdir().unwrap();
    let data = tempfile::tempdir().unwrap();
    let started = Instant::now();
    // Stopped first: what is sent now has arrived, and will never be answered.
    let (server, run) = run_with_a_server_that_stands_still(folder.path(), data.path());
    std::thread::sleep(Duration::from_secs(1));
    server.kill().unwrap();
    let output = run.wait_with_output().unwrap();
    assert!(started.elapsed() < GUARD, "{:?}", started.elapsed());
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
    let mut run = suite(folder.path(), &["--duration", "120000", "--messages", "1000"]).spawn().unwrap();
    let_it_publish(&mut run);
    let servers = children(run.id());
    assert_eq!(servers.len(), 1);
    signal(servers[0], libc::SIGKILL).unwrap();
    let output = run.wait_with_output().unwrap();
    assert!(started.elapsed() < GUARD, "{:?}", started.elapsed());
    assert_eq!(output.status.code(), Some(1));
    let reasons = report(&output)["scenarios"][0]["reasons"].to_string();
    assert!(reasons.contains("the server exited during the run"), "{reasons}");
}

#[test]
fn an_interrupted_run_leaves_its_report_and_no_server_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = suite(folder.path(), &["--duration", "60000"]).spawn().unwrap();
    let_it_publish(&mut run);
    let servers = children(run.id());
    signal(run.id(), libc::SIGINT).unwrap();
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    for server in servers {
        assert!(!Path::new(&format!("/proc/{server}")).exists());
    }
    let report = report(&output);
    assert!(report["interrupted"].as_str().unwrap().contains("interrupted by the user"), "{report:#}");
    let scenario = &report["scenarios"][0];
    assert_eq!(scenario["status"], "failed");
    assert!(scenario["reasons"][0].as_str().unwrap().contains("interrupted after"), "{scenario:#}");
    assert!(scenario["samples"].as_array().unwrap().len() > 2, "{scenario:#}");
    assert!(run_folder(folder.path()).join("report.json").is_file());
}

#[test]
fn scenarios_can_be_listed_shown_changed_and_run() {
    let folder = tempfile::tempdir().unwrap();
    let list = String::from_utf8(plain(&["list"]).stdout).unwrap();
    assert!(list.contains("Extreme Conditions Test") && list.contains("Rolling Restart"), "{list}");
    let shown = String::from_utf8(plain(&["show", "late joiners"]).stdout).unwrap();
    let mine = shown
        .replace("Late Joiners", "Mine")
        .replace("clients = 20", "clients = 3")
        .replace("messages = 500", "messages = 20")
        .replace("spread_ms = 10000", "spread_ms = 500");
    let path = folder.path().join("mine.toml");
    std::fs::write(&path, mine).unwrap();
    let output = folder.path().join("out");
    let run = plain(&[
        "run",
        path.to_str().unwrap(),
        "--seed",
        "7",
        "--json",
        "--output",
        output.to_str().unwrap(),
    ]);
    let report = report(&run);
    assert_eq!(run.status.code(), Some(0), "{report:#}");
    let scenario = &report["scenarios"][0];
    assert_eq!(scenario["scenario"]["name"], "Mine");
    // The usual follower, and four who came later and read from the start.
    assert_eq!(scenario["counts"]["delivered"], 3 * 20 * 5);
    assert!(scenario["replay"].as_str().unwrap().ends_with("mine.toml --seed 7"), "{}", scenario["replay"]);
}

#[test]
fn a_scenario_that_makes_no_sense_is_said_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.toml");
    std::fs::write(&path, "name = \"x\"\ncategory = \"weather\"\n").unwrap();
    let output = plain(&["run", path.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("bad.toml") && said.contains("line 2") && said.contains("weather"), "{said}");
    let output = plain(&["run", "No Such Test"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("Small Load Test"), "{said}");
}

#[test]
fn the_limit_is_looked_for_step_by_step() {
    let folder = tempfile::tempdir().unwrap();
    let text = "name = \"Limit\"\ncategory = \"performance\"\npromise = \"p\"\nclients = 2\nmessages = 1\n\
                limit_ms = 60000\n[search]\nstart_per_second = 20\nfactor = 2\nstep_ms = 500\n\
                goal_p99_ms = 0.001\nsteps = 5\n";
    let path = folder.path().join("limit.toml");
    std::fs::write(&path, text).unwrap();
    let run = |text: String| {
        std::fs::write(&path, text).unwrap();
        let output = folder.path().join("out");
        plain(&["run", path.to_str().unwrap(), "--json", "--output", output.to_str().unwrap()])
    };
    // Nothing is that quick: the first step breaks, and nothing holds.
    let output = run(text.to_owned());
    let report_of_first = report(&output);
    let search = &report_of_first["scenarios"][0]["search"];
    // A generator that was late itself, on a busy machine, has shown nothing about the server.
    let is_invalid = report_of_first["scenarios"][0]["invalid"].is_string();
    assert_eq!(output.status.code(), Some(if is_invalid { 0 } else { 1 }), "{search:#}");
    assert_eq!(search["steps"].as_array().unwrap().len(), 1, "{search:#}");
    assert!(search["held"].is_null() && search["ended"].as_str().unwrap().contains("p99"), "{search:#}");
    // Everything is this quick.
    let output = run(text.replace("0.001", "60000").replace("steps = 5", "steps = 2"));
    let search = &report(&output)["scenarios"][0]["search"];
    assert_eq!(output.status.code(), Some(0), "{search:#}");
    assert_eq!(search["held"], 40.0, "{search:#}");
    assert!(search["ended"].as_str().unwrap().contains("every step held"), "{search:#}");
}

/// Runs the suite against an address, and gives what it says on standard error.
fn cannot_run(url: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let output = suite(folder.path(), &["--url", url]).output().unwrap();
    assert!(started.elapsed() < GUARD, "{:?}", started.elapsed());
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

#[test]
fn a_server_that_stops_answering_ends_the_run_at_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let data = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let (server, run) = run_with_a_server_that_stands_still(folder.path(), data.path());
    let output = run.wait_with_output().unwrap();
    server.kill().unwrap();
    assert!(started.elapsed() < GUARD, "{:?}", started.elapsed());
    let report = report(&output);
    assert_eq!(output.status.code(), Some(1), "{report:#}");
    let reasons = report["scenarios"][0]["reasons"].to_string();
    assert!(reasons.contains("outcome is unknown") && reasons.contains("could not be read"), "{reasons}");
}

/// What struck which message, in no particular order of time.
fn struck(report: &serde_json::Value) -> Vec<(String, String)> {
    let events = report["scenarios"][0]["events"].as_array().unwrap().iter();
    let of = |event: &serde_json::Value| {
        let detail = event["detail"].as_str()?.strip_prefix("message ")?;
        Some((event["kind"].as_str()?.to_owned(), detail.to_owned()))
    };
    let mut struck: Vec<_> = events.filter_map(of).collect();
    struck.sort();
    struck
}

#[test]
fn the_same_seed_means_the_same_faults_and_each_of_them_happens() {
    let folder = tempfile::tempdir().unwrap();
    let run = |seed: &str| {
        let output = plain(&[
            "run",
            "High Failure Rate Test",
            "--quick",
            "--seed",
            seed,
            "--json",
            "--output",
            folder.path().to_str().unwrap(),
        ]);
        let report = report(&output);
        assert_eq!(output.status.code(), Some(0), "{}", report["scenarios"][0]["reasons"]);
        report
    };
    let (first, again, other) = (run("7"), run("7"), run("8"));
    assert!(struck(&first).len() > 20, "{:?}", struck(&first));
    assert_eq!(struck(&first), struck(&again));
    assert_ne!(struck(&first), struck(&other));
    assert_eq!(first["scenarios"][0]["faults"], again["scenarios"][0]["faults"]);
    for fault in first["scenarios"][0]["faults"].as_array().unwrap() {
        assert_eq!(fault["planned"], fault["happened"], "{fault}");
    }
}

#[test]
fn connections_are_cut_and_come_back_also_on_a_server_that_is_not_ours() {
    let folder = tempfile::tempdir().unwrap();
    let data = tempfile::tempdir().unwrap();
    let server = server(data.path());
    let url = format!("ws://{}", server.address());
    let output = plain(&[
        "connection",
        "--only",
        "Basic",
        "--quick",
        "--url",
        &url,
        "--json",
        "--output",
        folder.path().to_str().unwrap(),
    ]);
    let report = report(&output);
    let scenario = &report["scenarios"][0];
    assert_eq!(output.status.code(), Some(0), "{}", scenario["reasons"]);
    let connection = &scenario["connection"];
    // Ten clients with two connections each, cut twice.
    let cuts: u64 =
        connection["cuts"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!((cuts, connection["recovered"].as_u64()), (40, Some(40)), "{connection:#}");
    assert_eq!(connection["cuts"].as_object().unwrap().len(), 3, "each way has its share");
    assert_eq!(connection["tcp"]["count"], 10);
}

#[test]
fn a_reader_that_goes_away_does_not_end_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = suite(folder.path(), &["--quick"]);
    let mut run = command.spawn().unwrap();
    drop(run.stdout.take());
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(run_folder(folder.path()).join("report.html").is_file());
}

/// What runs the TypeScript SDK, if this machine has it.
fn typescript_driver() -> Option<PathBuf> {
    let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web/client/dist/stdio-driver.js");
    let has_node = Command::new("node").arg("--version").output().is_ok_and(|output| output.status.success());
    (has_node && driver.is_file()).then_some(driver)
}

#[test]
fn the_typescript_sdk_keeps_every_promise_under_faults() {
    let Some(driver) = typescript_driver() else {
        eprintln!(
            "SKIPPED: needs node and a built driver: npm --prefix web/client ci && npm --prefix web/client run build"
        );
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(BINARY);
    command
        .args(["suite", "reliability", "--only", "high failure", "--quick", "--seed", "7", "--json"])
        .args(["--client", "ts", "--output"])
        .arg(folder.path())
        .env("AGENTBENCH_TS_DRIVER", driver)
        .stdin(Stdio::null());
    without_settings(&mut command);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stdout));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["target"].as_str().unwrap().contains("TypeScript SDK"), "{}", report["target"]);
    let scenario = &report["scenarios"][0];
    assert!(scenario["replay"].as_str().unwrap().contains("--client ts"), "{}", scenario["replay"]);
}

#[test]
fn without_a_driver_the_suite_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let ts = |name: &str, value: &Path| {
        let mut command = suite(folder.path(), &["--quick", "--client", "ts"]);
        let output = command.current_dir(folder.path()).env_remove("AGENTBENCH_TS_DRIVER").env(name, value);
        let output = output.output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = ts("IRRELEVANT", Path::new(""));
    assert!(
        said.contains("npm --prefix web/client run build") && said.contains("AGENTBENCH_TS_DRIVER"),
        "{said}"
    );
    let said = ts("AGENTBENCH_TS_DRIVER", Path::new("/nowhere/driver.js"));
    assert!(said.contains("/nowhere/driver.js"), "{said}");
    let program = folder.path().join("driver.js");
    std::fs::write(&program, "").unwrap();
    // No Node on the path.
    let mut command = suite(folder.path(), &["--quick", "--client", "ts"]);
    let output = command.env("AGENTBENCH_TS_DRIVER", &program).env("PATH", folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("needs Node"), "{said}");
    if typescript_driver().is_some() {
        let said = ts("AGENTBENCH_TS_DRIVER", &program);
        assert!(said.contains("does not start as a driver"), "{said}");
    }
}
