//! TLS, the audit log and its check, as an operator runs them.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use agentbench_load::child::{SECRET, ServerCommand, ServerProcess};

const BINARY: &str = env!("CARGO_BIN_EXE_agentbench");

fn key(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tls/tests/keys").join(name)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn start(data: &Path, flags: &[&str]) -> ServerProcess {
    let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    let data_dir = data.to_owned();
    ServerProcess::start(&ServerCommand { binary: BINARY.into(), data_dir, flags, core: None, port: 0 })
        .unwrap()
}

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.args(arguments).env("JWT_SECRET", SECRET).env_remove("AGENTBENCH_TOKEN").output().unwrap()
}

fn output_text(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

fn sessions(server: &ServerProcess, arguments: &[&str]) -> Output {
    let url = format!("wss://127.0.0.1:{}", server.address().port());
    let authority = text(&key("authority.pem"));
    run(&[&["sessions"], arguments, &["--url", &url, "--ca-file", &authority]].concat())
}

#[test]
fn a_server_with_tls_is_used_audited_and_checked() {
    let data = tempfile::tempdir().unwrap();
    let (certificate, private, log) =
        (data.path().join("tls.pem"), data.path().join("tls.key"), data.path().join("audit.jsonl"));
    fs::copy(key("first.pem"), &certificate).unwrap();
    fs::copy(key("first.key"), &private).unwrap();
    let flags =
        ["--tls-cert", &text(&certificate), "--tls-key", &text(&private), "--audit-file", &text(&log)];
    let server = start(data.path(), &flags);
    let created = sessions(&server, &["create", "--project", "p", "--agent", "a"]);
    assert!(created.status.success(), "{}", output_text(&created));
    // Nobody but who is trusted, and nobody without TLS.
    let url = format!("wss://127.0.0.1:{}", server.address().port());
    let stranger = run(&["sessions", "list", "--url", &url, "--ca-file", &text(&key("second.pem"))]);
    assert_eq!(stranger.status.code(), Some(2), "{}", output_text(&stranger));

    fs::copy(key("second.pem"), &certificate).unwrap();
    fs::copy(key("second.key"), &private).unwrap();
    let hangup = Command::new("kill").args(["-HUP", &server.pid().to_string()]).status().unwrap();
    assert!(hangup.success());
    let deadline = Instant::now() + Duration::from_secs(20);
    while !fs::read_to_string(&log).unwrap().contains("\"certificate_changed\",\"outcome\":\"allowed\"") {
        assert!(Instant::now() < deadline, "the certificate was not taken");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(sessions(&server, &["list"]).status.success());
    server.stop(Duration::from_secs(20)).unwrap();

    let whole = run(&["audit", "verify", &text(&log)]);
    assert!(whole.status.success(), "{}", output_text(&whole));
    let last = output_text(&whole).trim().rsplit(' ').next().unwrap().to_owned();
    assert!(run(&["audit", "verify", "--noted", &last, &text(&log)]).status.success());

    let lines: Vec<String> = fs::read_to_string(&log).unwrap().lines().map(str::to_owned).collect();
    let damaged = data.path().join("damaged.jsonl");
    let verify = |lines: &[String]| {
        fs::write(&damaged, lines.join("\n") + "\n").unwrap();
        run(&["audit", "verify", "--noted", &last, &text(&damaged)])
    };
    let with = |change: &dyn Fn(&mut Vec<String>)| {
        let mut lines = lines.clone();
        change(&mut lines);
        verify(&lines)
    };
    let cases: [(&str, Output); 4] = [
        ("line 2: changed", with(&|lines| lines[1] = lines[1].replace("allowed", "refused"))),
        ("line 3: removed: number 3 is missing", with(&|lines| drop(lines.remove(2)))),
        ("line 4: misplaced", with(&|lines| lines.swap(2, 3))),
        ("is missing", with(&|lines| drop(lines.pop()))),
    ];
    for (expected, output) in cases {
        assert_eq!(output.status.code(), Some(1), "{}", output_text(&output));
        assert!(output_text(&output).contains(expected), "{expected}: {}", output_text(&output));
    }
    fs::write(&damaged, &fs::read(&log).unwrap()[..200]).unwrap();
    assert!(output_text(&run(&["audit", "verify", &text(&damaged)])).contains("truncated"));
    assert_eq!(run(&["audit", "verify", "/nowhere/audit.jsonl"]).status.code(), Some(2));
}

#[test]
fn a_server_that_could_not_keep_its_word_does_not_start() {
    let data = tempfile::tempdir().unwrap();
    let folder = text(&data.path().join("data"));
    let serve = |flags: &[&str]| {
        let output = run(&[&["serve", "--port", "0", "--data-dir", &folder], flags].concat());
        assert_eq!(output.status.code(), Some(2), "{}", output_text(&output));
        output_text(&output)
    };
    let nowhere = serve(&["--tls-cert", "/nowhere/a.pem", "--tls-key", "/nowhere/a.key"]);
    assert!(nowhere.contains("/nowhere/a.pem"), "{nowhere}");
    let (first, second) = (text(&key("first.pem")), text(&key("second.key")));
    assert!(serve(&["--tls-cert", &first, "--tls-key", &second]).contains("certificate and key"));
    assert!(serve(&["--tls-cert", &first]).contains("tls-key"));
    assert!(serve(&["--audit-file", "/proc/nowhere/audit.jsonl"]).contains("audit log"));
    assert!(serve(&["--proxy-protocol", "true"]).contains("trusted-proxies"));
    let broken = data.path().join("audit.jsonl");
    fs::write(&broken, "{\"n\":1}\n").unwrap();
    assert!(serve(&["--audit-file", &text(&broken)]).contains("agentbench audit verify"));
}
