//! `agentbench doctor` on a folder and on a running server, good and bad.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use agentbench_load::child::{SECRET, ServerCommand, ServerProcess};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_agentbench");

fn doctor(data: &Path, arguments: &[&str]) -> (Output, Value) {
    doctor_with(SECRET, data, arguments)
}

fn doctor_with(secret: &str, data: &Path, arguments: &[&str]) -> (Output, Value) {
    let mut command = Command::new(BINARY);
    command.args(["doctor", "--json", "--data-dir"]).arg(data).args(arguments).current_dir(data);
    for name in ["AGENTBENCH_TOKEN", "AGENTBENCH_URL", "AGENTBENCH_ENV", "NODE_ENV", "JWT_KEYS_FILE"] {
        command.env_remove(name);
    }
    let output = command.env("JWT_SECRET", secret).env("MAX_CONNECTIONS", "10").output().unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output, report)
}

fn verdict<'a>(report: &'a Value, name: &str) -> &'a str {
    let checks = report["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {report}"))["verdict"].as_str().unwrap()
}

#[test]
fn a_running_server_is_examined_up_to_the_handshake() {
    let data = tempfile::tempdir().unwrap();
    let command = ServerCommand {
        binary: BINARY.into(),
        data_dir: data.path().to_owned(),
        flags: Vec::new(),
        core: None,
        port: 0,
    };
    let server = ServerProcess::start(&command).unwrap();
    let url = format!("ws://{}", server.address());
    let token = Command::new(BINARY)
        .args(["token", "mint", "--role", "viewer", "--secret", SECRET])
        .output()
        .unwrap()
        .stdout;
    let token = String::from_utf8(token).unwrap();
    let (output, report) = doctor(data.path(), &["--url", &url, "--token", token.trim()]);
    for name in ["reachable", "ready", "server_clock", "handshake", "disk_sync", "disk_space", "data_folder"]
    {
        assert_ne!(verdict(&report, name), "bad", "{report}");
    }
    assert_eq!(output.status.success(), report["verdict"] != "bad", "{report}");
    assert!(!String::from_utf8_lossy(&output.stdout).contains(SECRET));
    // A token that is none is found out, and so is a server that is none.
    let (output, report) = doctor(data.path(), &["--url", &url, "--token", "nonsense"]);
    assert_eq!((output.status.code(), verdict(&report, "handshake")), (Some(1), "bad"), "{report}");
    server.stop(Duration::from_secs(30)).unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (output, report) = doctor(data.path(), &["--url", &format!("ws://{free}")]);
    assert_eq!((output.status.code(), verdict(&report, "reachable")), (Some(1), "bad"), "{report}");
}

#[test]
fn a_certificate_that_is_not_trusted_is_no_matter_of_port_or_firewall() {
    let data = tempfile::tempdir().unwrap();
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tls/tests/keys");
    let key = |name: &str| keys.join(name).display().to_string();
    let flags = ["--host", "0.0.0.0", "--tls-cert", &key("first.pem"), "--tls-key", &key("first.key")];
    let flags = flags.map(str::to_owned).to_vec();
    let command =
        ServerCommand { binary: BINARY.into(), data_dir: data.path().to_owned(), flags, core: None, port: 0 };
    let server = ServerProcess::start(&command).unwrap();
    let port = server.address().port();
    let advice = |arguments: &[&str]| {
        let (_, report) = doctor(data.path(), arguments);
        assert_eq!(verdict(&report, "reachable"), "bad", "{report}");
        let checks = report["checks"].as_array().unwrap();
        checks.iter().find(|check| check["name"] == "reachable").unwrap()["advice"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let untrusted = ["--url", &format!("wss://localhost:{port}"), "--ca-file", &key("second.pem")];
    assert!(advice(&untrusted).contains("--ca-file with the authority"), "{}", advice(&untrusted));
    let misnamed = ["--url", &format!("wss://127.0.0.3:{port}"), "--ca-file", &key("authority.pem")];
    assert!(advice(&misnamed).contains("for other names"), "{}", advice(&misnamed));
    let plain = ServerProcess::start(&ServerCommand {
        data_dir: data.path().join("plain"),
        flags: Vec::new(),
        ..command
    });
    let plain = plain.unwrap();
    let no_tls =
        ["--url", &format!("wss://localhost:{}", plain.address().port()), "--ca-file", &key("authority.pem")];
    assert!(advice(&no_tls).contains("speaks no TLS"), "{}", advice(&no_tls));
    server.stop(Duration::from_secs(30)).unwrap();
    plain.stop(Duration::from_secs(30)).unwrap();
}

#[test]
fn production_without_a_proper_secret_is_bad() {
    let data = tempfile::tempdir().unwrap();
    std::fs::write(data.path().join("agentbench.toml"), "env = \"production\"\n").unwrap();
    let (_, report) = doctor(data.path(), &[]);
    assert_eq!(verdict(&report, "secret"), "good", "{report}");
    let (output, report) = doctor_with("change-me", data.path(), &[]);
    assert_eq!((output.status.code(), verdict(&report, "secret")), (Some(1), "bad"), "{report}");
    std::fs::write(data.path().join("agentbench.toml"), "env = \"staging\"\n").unwrap();
    let (output, _) = doctor(data.path(), &[]);
    assert_eq!(output.status.code(), Some(2), "settings that cannot be read are no verdict");
    assert!(String::from_utf8_lossy(&output.stderr).contains("env"));
}

#[test]
fn a_certificate_for_somebody_else_is_bad() {
    let data = tempfile::tempdir().unwrap();
    let certificate = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tls/tests/keys/first.pem");
    let certificate = certificate.to_str().unwrap();
    let (_, report) = doctor(data.path(), &["--tls-cert", certificate, "--name", "localhost"]);
    assert_eq!(verdict(&report, "certificate"), "good", "{report}");
    let (output, report) = doctor(data.path(), &["--tls-cert", certificate, "--name", "bench.example"]);
    assert_eq!((output.status.code(), verdict(&report, "certificate")), (Some(1), "bad"), "{report}");
}
