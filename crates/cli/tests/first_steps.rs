//! What a newcomer meets: links to sign in, tokens, words that are refused, and output that cannot be written.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use agentbench_load::child::Child;

const BINARY: &str = env!("CARGO_BIN_EXE_agentbench");
const SECRET: &str = "8f1d0c7ab2e94c6f9a35d1e07b46c28e-for-tests";
/// How long a server may take to start; no measure of speed.
const PATIENCE: Duration = Duration::from_secs(60);

fn agentbench(arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    for name in ["JWT_SECRET", "DATA_DIR", "AGENTBENCH_TOKEN", "AGENTBENCH_URL", "JWT_KEYS_FILE", "LOG_LEVEL"]
    {
        command.env_remove(name);
    }
    command
}

fn output_text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A server that is ended with the test, and what follows each of these words at the beginning of a line that it prints.
fn start(command: Command, words: &[&str]) -> (Child, Vec<String>) {
    let mut rests: Vec<String> = Vec::new();
    let started = Child::start(command, None, PATIENCE, |line| {
        rests.extend(line.strip_prefix(words[rests.len()]).map(|rest| rest.trim().to_owned()));
        (rests.len() == words.len()).then_some(())
    });
    (started.unwrap().0, rests)
}

/// `agentbench serve` on a free port, with nothing read of its log.
fn serve(folder: &Path) -> Command {
    let mut command = agentbench(&["serve", "--port", "0"], folder);
    command.stderr(Stdio::null());
    command
}

fn get(address: &str, path: &str, token: &str) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    write!(socket, "GET {path} HTTP/1.0\r\nAuthorization: Bearer {token}\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_development_server_prints_links_that_sign_in() {
    let folder = tempfile::tempdir().unwrap();
    let people = ["administrator", "reviewer"];
    let (_server, links) = start(serve(folder.path()), &people);
    let paths = ["/api/v1/connections", "/api/v1/sessions"];
    for ((who, path), link) in people.into_iter().zip(paths).zip(links) {
        let (address, token) = link.strip_prefix("http://").unwrap().split_once("/#token=").unwrap();
        let answer = get(address, path, token);
        assert!(answer.starts_with("HTTP/1.0 200"), "{who}: {answer}");
    }
    // In the server's folder other tokens are made on demand.
    let minted = agentbench(&["token", "mint"], folder.path()).output().unwrap();
    assert!(minted.status.success(), "{}", output_text(&minted));
}

#[test]
fn a_second_server_on_the_port_does_not_start_and_says_why() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_server, urls) = start(serve(one.path()), &["listening on "]);
    let port = urls[0].rsplit_once(':').unwrap().1;
    for host in ["127.0.0.1", "0.0.0.0"] {
        let serve = ["serve", "--host", host, "--port", port];
        let second = agentbench(&serve, two.path()).output().unwrap();
        assert_eq!(second.status.code(), Some(2), "{host}: {}", output_text(&second));
        assert!(
            output_text(&second).contains(&format!("cannot listen on {host}:{port}; is another server")),
            "{}",
            output_text(&second)
        );
    }
}

#[test]
fn a_token_is_not_made_with_a_secret_that_no_server_has() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["token", "mint"][..], &["token", "inspect", "a.b.c"]] {
        let refused = agentbench(arguments, folder.path()).output().unwrap();
        assert_eq!((refused.status.code(), refused.stdout.len()), (Some(2), 0), "{arguments:?}");
        let data = folder.path().canonicalize().unwrap().join("data");
        assert!(output_text(&refused).contains(&data.display().to_string()), "{}", output_text(&refused));
        assert!(!data.exists(), "nothing is made");
    }
    let meant = agentbench(&["token", "mint", "--new-secret"], folder.path()).output().unwrap();
    assert!(meant.status.success() && folder.path().join("data/development.secret").exists());
    assert!(agentbench(&["token", "mint"], folder.path()).output().unwrap().status.success());
}

#[test]
fn a_permission_with_a_slip_is_refused_with_the_nearest() {
    let folder = tempfile::tempdir().unwrap();
    let mint = |permission: &str| {
        let arguments = ["token", "mint", "--secret", SECRET, "--permission", permission];
        agentbench(&arguments, folder.path()).output().unwrap()
    };
    let refused = mint("session:revew");
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(2), 0));
    assert!(output_text(&refused).contains("'session:review'"), "{}", output_text(&refused));
    for known in ["session:review", "*", "run:automated_tests"] {
        assert!(mint(known).status.success(), "{known}");
    }
}

#[test]
fn a_secret_is_the_same_with_and_without_its_line_end() {
    let folder = tempfile::tempdir().unwrap();
    let with_end = format!("{SECRET}\n");
    let minted = agentbench(&["token", "mint", "--secret", &with_end], folder.path()).output().unwrap();
    let token = String::from_utf8(minted.stdout).unwrap();
    let inspect = ["token", "inspect", token.trim(), "--secret", SECRET];
    assert!(agentbench(&inspect, folder.path()).output().unwrap().status.success());
}

#[test]
fn a_server_writes_what_surprises_about_its_secret_and_why_tokens_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut command = agentbench(&["serve", "--port", "0"], folder.path());
    command.env("JWT_SECRET", "short\n").stderr(std::fs::File::create(&log).unwrap());
    let (server, urls) = start(command, &["listening on "]);
    let minted = agentbench(&["token", "mint", "--secret", "short"], folder.path()).output().unwrap();
    let token = String::from_utf8(minted.stdout).unwrap();
    let address = urls[0].rsplit_once('/').unwrap().1;
    let answer = get(address, "/api/v1/sessions", token.trim());
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    let answer = get(address, "/api/v1/sessions", "a.made-up.token");
    assert!(answer.starts_with("HTTP/1.0 401"), "{answer}");
    drop(server);
    let log = std::fs::read_to_string(log).unwrap();
    for words in [
        "ends in a line break",
        "accepted in development only: the secret has 5 bytes",
        "refused a request: the token cannot be read",
    ] {
        assert!(log.contains(words), "{log}");
    }
}

#[test]
fn what_cannot_be_written_is_an_error_and_a_reader_that_has_gone_is_none() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &["token", "mint", "--secret", SECRET][..],
        &["token", "inspect", "x", "--secret", SECRET],
        &["serve", "--print-config"],
        &["doctor"],
    ] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = agentbench(arguments, folder.path()).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", output_text(&output));
        assert_eq!(
            output_text(&output).matches("cannot write to standard output").count(),
            1,
            "{}",
            output_text(&output)
        );
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let expected = agentbench(arguments, folder.path()).output().unwrap().status;
        let output = agentbench(arguments, folder.path()).stdout(writer).output().unwrap();
        assert_eq!(output.status, expected, "{arguments:?}: {}", output_text(&output));
    }
}

#[test]
fn a_log_level_that_is_none_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    for word in ["verbose", "critical"] {
        let refused =
            agentbench(&["serve", "--port", "0"], folder.path()).env("LOG_LEVEL", word).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{word}");
        assert!(output_text(&refused).contains("try error, warn, info"), "{}", output_text(&refused));
    }
    let mut command = serve(folder.path());
    command.env("LOG_LEVEL", "Warning ");
    start(command, &["listening on "]);
}
