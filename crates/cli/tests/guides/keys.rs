//! The guide for changing one's own keys, step by step with a server that runs meanwhile, and the one for reading TLS with Wireshark.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use agentbench_client::{Client, Config};

use crate::page::{blocks, read, root, section};
use crate::scratch::{Server, get};
use crate::shell;

/// How long anything may take before a test gives up; no measure of speed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks with a token until the answer has this status: a reload by signal has no answer of its own.
#[track_caller]
fn wait_for(address: SocketAddr, token: &str, wanted: u16) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (status, body) = get(address, "/api/v1/sessions", token);
        if status == wanted {
            return body;
        }
        assert!(Instant::now() < deadline, "{status} instead of {wanted}: {body}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs a step in the shell that the steps before it have left: their variables are still known.
fn step(folder: &Path, block: &str) {
    let before = "if [ -f variables ]; then . ./variables; fi";
    let after = "printf 'OLD=%s\nNEW=%s\n' \"${OLD-}\" \"${NEW-}\" > variables";
    shell::run(folder, &[], &format!("{before}\n{block}\n{after}"));
}

fn variable(folder: &Path, name: &str) -> String {
    let variables = std::fs::read_to_string(folder.join("variables")).unwrap();
    let line = variables.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    line.unwrap().to_owned()
}

fn mint(folder: &Path, secret: &str, words: &str) -> String {
    shell::run(folder, &[("JWT_SECRET", secret)], &format!("agentbench token mint {words}"))
}

/// The server of a production machine, whose settings name the keys file.
fn server(folder: &Path) -> Server {
    let words = ["--host", "127.0.0.1", "--port", "0", "--data-dir", "data", "--jwt-keys-file", "keys.json"];
    Server::start(folder, &words, &[("AGENTBENCH_ENV", "production")])
}

#[test]
fn a_key_is_changed_by_the_steps_of_the_guide_and_nobody_is_refused() {
    let page = read("docs/security.md");
    let guide = section(&page, "### Changing your own HS256 key");
    let [begin, beside, sign, remove] = &blocks(guide, "sh")[..] else { panic!("the guide has other steps") };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    shell::openssl(folder);
    shell::stand_in(folder, "chgrp", "test \"$1\" = agentbench && test -f \"$2\"");
    step(folder, begin);
    let mode = std::fs::metadata(folder.join("keys.json")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o640, "nobody but root and the server reads the keys");
    let server = server(folder);
    shell::stand_in(
        folder,
        "systemctl",
        &format!("test \"$*\" = 'reload agentbench' && kill -HUP {}", server.pid()),
    );
    let old = mint(folder, &variable(folder, "OLD"), "--kid 2026-11 --user ann");
    assert_eq!(get(server.address, "/api/v1/sessions", &old).0, 200);

    step(folder, beside);
    step(folder, sign);
    let new = std::fs::read_to_string(folder.join("ann.token")).unwrap();
    wait_for(server.address, &new, 200);
    assert_eq!(get(server.address, "/api/v1/sessions", &old).0, 200, "tokens of both keys are good");

    step(folder, remove);
    let refusal = wait_for(server.address, &old, 401);
    let words = guide.split_once("is refused with `").unwrap().1.split_once('`').unwrap().0;
    assert!(refusal.contains(words), "{refusal}");
    assert_eq!(get(server.address, "/api/v1/sessions", &new).0, 200, "the new one still is");
    server.stop();
}

#[test]
fn the_secret_of_before_goes_on_as_the_key_without_a_name() {
    let page = read("docs/security.md");
    let guide = section(&page, "### Changing your own HS256 key");
    let unnamed = guide.split_once("name none: `").expect("the key of before").1.split_once('`').unwrap().0;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (before, new) = ("0123456789abcdef-the-one-of-before", "fedcba9876543210-the-one-of-later-on");
    let unnamed = unnamed.replace("$JWT_SECRET", before);
    let keys = format!(r#"{{"keys": [{unnamed}, {{"kid": "2026-12", "alg": "HS256", "secret": "{new}"}}]}}"#);
    std::fs::write(folder.join("keys.json"), keys).unwrap();
    let server = server(folder);
    for token in [mint(folder, before, ""), mint(folder, new, "--kid 2026-12")] {
        assert_eq!(get(server.address, "/api/v1/sessions", &token).0, 200);
    }
    for token in [mint(folder, new, ""), mint(folder, before, "--kid 2026-12")] {
        assert_eq!(
            get(server.address, "/api/v1/sessions", &token).0,
            401,
            "the name says which key is meant"
        );
    }
    server.stop();
}

#[test]
fn the_server_of_the_wireshark_guide_logs_its_secrets_and_production_refuses_to() {
    let page = read("docs/operating.md");
    let block = &blocks(section(&page, "## On the wire: Wireshark"), "sh")[0];
    let serve = block.lines().next().unwrap();
    let words: Vec<&str> = serve.strip_prefix("agentbench serve ").unwrap().split_whitespace().collect();
    let folder = tempfile::tempdir().unwrap();
    let keys = root().join("crates/tls/tests/keys");
    for (from, to) in [("first.pem", "tls.pem"), ("first.key", "tls.key")] {
        std::fs::copy(keys.join(from), folder.path().join(to)).unwrap();
    }
    let server = Server::start(folder.path(), &[&words[..], &["--port", "0"]].concat(), &[]);
    let token = shell::run(folder.path(), &[], "agentbench token mint");
    let authority = std::fs::read(keys.join("authority.pem")).unwrap();
    let config = Config::new(format!("wss://localhost:{}", server.address.port()));
    let config = config.connect_to(server.address).token(token.trim()).authority(authority);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { Client::connect(config).await.unwrap().close().await });
    server.stop();
    let file = folder.path().join("keys.log");
    let log = std::fs::read_to_string(&file).unwrap();
    for label in ["CLIENT_TRAFFIC_SECRET_0 ", "SERVER_TRAFFIC_SECRET_0 "] {
        assert!(log.lines().any(|line| line.starts_with(label)), "no {label} in {log}");
    }
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let mut command = Command::new(shell::BINARY);
    let refused = shell::without_settings(command.arg("serve").args(&words).args(["--env", "production"]))
        .env("JWT_SECRET", "0123456789abcdef-fit-for-production")
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("tls-key-log") && said.contains("is for development"), "{said}");
}
