//! What operators do to a server, done while it is busy: keys and certificates are exchanged, settings read again, the audit log
//! rotated, the server drained and started again; and what happens to it: the disk fills up, memory runs short. Each time every
//! event is stored once and seen once, in order.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod load;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agentbench_auth::{Algorithm, Claims, Role, SigningKey, sign};
use agentbench_client::{Client, Data, Event, GaveUp, NewSession, Outcome, StartAt, TestOutcome};
use agentbench_load::child::{SECRET, ServerProcess, token};
use load::{Load, Scene, USER, nothing_is_lost, runtime};

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}

fn hang_up_until_the_load_ends(scene: &Scene<'_>) -> u32 {
    let mut times = 0;
    while scene.goes_on() {
        scene.signal(libc::SIGHUP);
        times += 1;
        pause();
    }
    times
}

#[test]
fn a_server_that_reads_its_settings_again_and_again_goes_on() {
    let data = tempfile::tempdir().unwrap();
    let seen = nothing_is_lost(&Load::with(&[]), data.path(), |scene| {
        let times = hang_up_until_the_load_ends(&scene);
        assert!(times > 10, "{times}");
        scene.server
    });
    assert_eq!((seen.reconnects, seen.retried), (0, 0));
}

fn keys_file(path: &Path, keys: &[(&str, &str)]) {
    let keys: Vec<_> = keys
        .iter()
        .map(|(kid, secret)| serde_json::json!({"kid": kid, "alg": "HS256", "secret": secret}))
        .collect();
    let next = path.with_extension("next");
    fs::write(&next, serde_json::json!({ "keys": keys }).to_string()).unwrap();
    fs::rename(next, path).unwrap();
}

fn signed_with(kid: &str, secret: &str, user: &str, role: Role) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let key = SigningKey::from_secret(Algorithm::Hs256, secret.as_bytes()).unwrap().with_kid(kid);
    sign(&Claims::new(user, role, now - 10, now + 3600), &key).unwrap()
}

#[test]
fn keys_are_rotated_and_nobody_who_is_there_notices() {
    const NEXT: &str = "the-next-secret-0123456789abcdefghij";
    /// The logs are read by whoever has this one, whenever the fleet is done: it stays.
    const KEPT: &str = "the-kept-secret-0123456789abcdefghij";
    let data = tempfile::tempdir().unwrap();
    let keys = data.path().join("keys.json");
    keys_file(&keys, &[("old", SECRET), ("kept", KEPT)]);
    let new_token = signed_with("new", NEXT, "newcomer", Role::Viewer);
    let old_token = signed_with("old", SECRET, "late", Role::Viewer);
    let load = Load {
        token: signed_with("old", SECRET, USER, Role::Evaluator),
        reading_token: signed_with("kept", KEPT, USER, Role::Evaluator),
        ..Load::with(&["--jwt-keys-file", &text(&keys)])
    };
    let seen = nothing_is_lost(&load, data.path(), |scene| {
        assert!(scene.connect(&new_token).is_err(), "the new key is not there yet");
        assert!(scene.connect(&old_token).is_ok());
        // The new one beside the old one, then without it.
        keys_file(&keys, &[("old", SECRET), ("kept", KEPT), ("new", NEXT)]);
        scene.signal(libc::SIGHUP);
        scene.until("the new key", || scene.connect(&new_token).is_ok());
        keys_file(&keys, &[("kept", KEPT), ("new", NEXT)]);
        scene.signal(libc::SIGHUP);
        scene.until("the end of the old key", || scene.connect(&old_token).is_err());
        // A file that cannot be used takes no key away.
        fs::write(&keys, "{").unwrap();
        scene.signal(libc::SIGHUP);
        pause();
        assert!(scene.connect(&new_token).is_ok());
        scene.server
    });
    assert_eq!((seen.reconnects, seen.retried), (0, 0));
}

fn tls_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tls/tests/keys").join(name)
}

#[test]
fn certificates_are_exchanged_and_nobody_who_is_there_notices() {
    let data = tempfile::tempdir().unwrap();
    let (certificate, key) = (data.path().join("tls.pem"), data.path().join("tls.key"));
    let put = |name: &str| {
        fs::copy(tls_file(&format!("{name}.pem")), &certificate).unwrap();
        fs::copy(tls_file(&format!("{name}.key")), &key).unwrap();
    };
    put("first");
    let load = Load {
        authority: Some(tls_file("authority.pem")),
        ..Load::with(&["--tls-cert", &text(&certificate), "--tls-key", &text(&key)])
    };
    let viewer = token("newcomer", Role::Viewer).unwrap();
    let seen = nothing_is_lost(&load, data.path(), |scene| {
        let mut times = 0;
        while scene.goes_on() {
            put(["second", "first"][times % 2]);
            scene.signal(libc::SIGHUP);
            scene.connect(&viewer).unwrap();
            times += 1;
        }
        assert!(times > 2, "{times}");
        scene.server
    });
    assert_eq!((seen.reconnects, seen.retried), (0, 0));
}

#[test]
fn the_audit_log_is_rotated_and_its_chain_holds() {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join("audit");
    fs::create_dir(&folder).unwrap();
    let file = folder.join("audit.jsonl");
    let load = Load::with(&["--audit-file", &text(&file), "--audit-max-bytes", "4096"]);
    let viewer = token("newcomer", Role::Viewer).unwrap();
    nothing_is_lost(&load, data.path(), |scene| {
        while scene.goes_on() {
            scene.connect(&viewer).unwrap();
        }
        scene.server
    });
    let mut files: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|entry| text(&entry.unwrap().path())).collect();
    files.sort();
    assert!(files.len() > 3, "{files:?}");
    let verify =
        Command::new(env!("CARGO_BIN_EXE_agentbench")).args(["audit", "verify"]).args(&files).output();
    let verify = verify.unwrap();
    assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stderr));
}

#[test]
fn drained_and_started_again_and_again() {
    let data = tempfile::tempdir().unwrap();
    let load = Load::with(&["--reconnect-spread", "100"]);
    let seen = nothing_is_lost(&load, data.path(), |scene| {
        let mut server = scene.server;
        for _ in 0..3 {
            server.stop(Duration::from_secs(30)).unwrap();
            server = ServerProcess::start(&scene.command).unwrap();
            std::thread::sleep(Duration::from_millis(300));
        }
        server
    });
    assert!(seen.reconnects > 0);
}

/// A small file system in memory, for as long as this lives.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(dir.path()).status();
        assert!(
            mounted.is_ok_and(|status| status.success()),
            "this test has to mount a tmpfs: run it as root"
        );
        Self(dir)
    }

    /// Leaves no room; gives the file to remove.
    fn fill(&self) -> PathBuf {
        let ballast = self.0.path().join("ballast");
        let mut file = fs::File::create(&ballast).unwrap();
        let block = vec![1_u8; 4096];
        // Ends with the disk's own error.
        while std::io::Write::write_all(&mut file, &block).is_ok() {}
        ballast
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

#[test]
fn a_full_disk_refuses_until_there_is_room_and_costs_nothing() {
    let disk = SmallDisk::mount("64m");
    let folder = disk.0.path().join("data");
    let seen = nothing_is_lost(&Load { payload: 2_000, ..Load::with(&[]) }, &folder, |scene| {
        for _ in 0..2 {
            let ballast = disk.fill();
            runtime().block_on(publish_until_refused(&scene));
            // The fleet is refused, too; reads go on.
            std::thread::sleep(Duration::from_millis(300));
            scene.connect(&token("reader", Role::Viewer).unwrap()).unwrap();
            fs::remove_file(ballast).unwrap();
        }
        scene.server
    });
    assert!(seen.retried > 0, "the disk was full for nobody");
}

/// Publishes until the log has no room: the last blocks that it holds already are used up.
async fn publish_until_refused(scene: &Scene<'_>) {
    let config = scene.config(&token("prober", Role::Evaluator).unwrap()).publish_retries(0);
    let client = Client::connect(config).await.unwrap();
    // Creating a session is an append, too: it may be refused already.
    let Ok(session) = client.create_session(NewSession::new("p", "probe", "a")).await else { return };
    for _ in 0..1_000 {
        let event = Event::new(Data::raw(format!("{{\"x\":\"{}\"}}", "y".repeat(10_000))).unwrap());
        match client.publish(session.session_id, event).await.unwrap().await {
            Outcome::Stored { .. } => {}
            // Whoever asks a full disk cannot be sure that nothing was written.
            Outcome::Unknown { why: GaveUp::Retries(error), .. } => {
                assert_eq!(error.code.as_str(), "log_unavailable", "{error:?}");
                return client.close().await;
            }
            other => panic!("{other:?}"),
        }
    }
    panic!("the disk is never full");
}

#[test]
fn the_audit_log_of_a_full_disk_holds_decisions_up_and_costs_nothing() {
    let disk = SmallDisk::mount("1m");
    let data = tempfile::tempdir().unwrap();
    let file = disk.0.path().join("audit.jsonl");
    nothing_is_lost(&Load::with(&["--audit-file", &text(&file)]), data.path(), |scene| {
        let ballast = disk.fill();
        std::thread::sleep(Duration::from_millis(500));
        fs::remove_file(ballast).unwrap();
        scene.connect(&token("newcomer", Role::Viewer).unwrap()).unwrap();
        scene.server
    });
    let verify = Command::new(env!("CARGO_BIN_EXE_agentbench"))
        .args(["audit", "verify", &text(&file)])
        .output()
        .unwrap();
    assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stderr));
}

/// The tails of many live sessions take memory until the budget is reached. Then publishes are refused, and when the sessions
/// have ended, taken.
#[test]
fn short_of_memory_the_server_refuses_until_sessions_end() {
    let data = tempfile::tempdir().unwrap();
    let budget = (110 << 20).to_string();
    let load = Load::with(&["--memory-budget", &budget, "--tail-bytes", "1048576"]);
    let seen = nothing_is_lost(&load, data.path(), |scene| {
        runtime().block_on(fill_memory(&scene));
        scene.server
    });
    assert!(seen.retried > 0, "memory was short for nobody");
}

async fn fill_memory(scene: &Scene<'_>) {
    let config = scene.config(&token("hoarder", Role::Evaluator).unwrap()).publish_retries(0);
    let client = Client::connect(config).await.unwrap();
    let payload = Data::raw(format!("{{\"x\":\"{}\"}}", "y".repeat(900_000))).unwrap();
    // Tails are kept for those who follow.
    let (mut sessions, mut follows) = (Vec::new(), Vec::new());
    loop {
        let session = client.create_session(NewSession::new("p", "hoard", "a")).await.unwrap().session_id;
        client.start_test(session).await.unwrap();
        follows.push(client.follow(session, StartAt::Live).await.unwrap());
        sessions.push(session);
        let outcome = client.publish(session, Event::new(payload.clone())).await.unwrap().await;
        match outcome {
            Outcome::Stored { .. } => assert!(sessions.len() < 1_000, "the budget is never reached"),
            Outcome::Refused(error) => {
                assert_eq!(error.code.as_str(), "overloaded", "{error:?}");
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    // The fleet is refused, too.
    tokio::time::sleep(Duration::from_millis(500)).await;
    for session in sessions {
        client.stop_test(session, TestOutcome::Completed, None).await.unwrap();
    }
    client.close().await;
}
