//! Behaviour on a disk that has lost data, after a clock jump, and without the data folder: the server reports it and serves
//! the rest.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use agentbench_auth::Role;
use agentbench_server::config::Limit;
use serde_json::json;

use crate::support::server::Answer;
use crate::support::tokens::{claims, evaluator, mint};
use crate::support::{TestServer, expect_code, wait_until};

fn admin() -> String {
    mint(&claims("root", Role::Admin))
}

/// The state of an alert.
fn alert(server: &TestServer, name: &str) -> String {
    let all = server.ask("GET", "/api/v1/alerts").token(&admin()).answer().value();
    let rules = all["rules"].as_array().expect("rules");
    let rule = rules.iter().find(|rule| rule["name"] == name).expect("the rule");
    rule["state"].as_str().expect("a state").to_owned()
}

/// The newest file of the log of live sessions.
fn newest_hot_file(server: &TestServer) -> PathBuf {
    let files = std::fs::read_dir(server.folder().join("segments")).expect("the log");
    let files = files.map(|file| file.expect("a file").path());
    files.filter(|path| path.extension().is_some_and(|it| it == "seg")).max().expect("a file of the log")
}

/// A server with an ended session and a live one with an event in it, stopped; and the names of the two.
fn stopped_with_sessions() -> (TestServer, String, String) {
    let mut server = TestServer::with_workers(2);
    let mut client = server.connect("ada");
    let (ended, live) = (client.create("ended"), client.create("live"));
    for command in ["start_test", "stop_test"] {
        client.command(&json!({"command": command, "sessionId": ended}));
    }
    client.publish(&live, "e1", &json!({"n": 1}));
    wait_until("the ended session is archived", || {
        let shard = std::fs::read_dir(server.folder().join("archive")).expect("the archive");
        shard.flatten().any(|folder| folder.path().join(format!("{ended}.abz")).exists())
    });
    drop(client);
    server.stop();
    (server, ended, live)
}

fn events(server: &TestServer, session: &str) -> Answer {
    server.ask("GET", &format!("/api/v1/sessions/{session}/events")).token(&evaluator("ada")).answer()
}

/// Makes the folder of live sessions unusable, and puts it back.
fn with_an_unusable_log(server: &mut TestServer, run: impl FnOnce(&mut TestServer)) {
    let (folder, aside) = (server.folder().join("segments"), server.folder().join("aside"));
    std::fs::rename(&folder, &aside).expect("it can be renamed");
    std::fs::write(&folder, b"not a folder").expect("it can be written");
    server.start();
    run(server);
    server.stop();
    std::fs::remove_file(&folder).expect("it can be removed");
    std::fs::rename(&aside, &folder).expect("it can be renamed");
}

#[test]
fn without_a_log_of_live_sessions_the_ended_ones_are_served_and_it_is_said() {
    let (mut server, ended, live) = stopped_with_sessions();
    with_an_unusable_log(&mut server, |server| {
        let ready = server.get("/readyz");
        assert_eq!(ready.status, 503);
        for words in ["log_unavailable", "segments", "restore", "segments.witness"] {
            assert!(ready.body.contains(words), "{words}: {}", ready.body);
        }
        assert_eq!((server.get("/healthz").status, server.metric("agentbench_log_damage")), (200, 2));
        wait_until("the alert fires", || alert(server, "log_damaged") == "firing");
        assert_eq!(events(server, &ended).lines().len(), 3);
        events(server, &live).refused(503, "log_unavailable");
        let mut client = server.connect("ada");
        expect_code(
            &client.command(&json!({"command": "join_session", "sessionId": live})),
            "log_unavailable",
        );
        let create = json!({"command": "create_session", "projectId": "p1", "testId": "t", "agentName": "a"});
        expect_code(&client.command(&create), "log_unavailable");
    });
    server.start();
    assert_eq!((server.get("/readyz").status, server.metric("agentbench_log_damage")), (200, 0));
    assert_eq!(events(&server, &live).lines().len(), 2);
}

/// Every byte of the newest file but its first sector is lost: what was in it is told as a gap, the rest is served, and the session
/// goes on.
#[test]
fn a_sector_of_the_log_that_is_lost_is_a_gap_and_the_session_goes_on() {
    let (mut server, ended, live) = stopped_with_sessions();
    let file = newest_hot_file(&server);
    let mut bytes = std::fs::read(&file).expect("it can be read");
    let at = bytes.windows(4).rposition(|window| window == b"\"e1\"").expect("the event is there");
    bytes[at] ^= 1;
    std::fs::write(&file, &bytes).expect("it can be changed");
    server.start();
    assert_eq!(server.get("/readyz").status, 200);
    let lines = events(&server, &live);
    assert!(lines.body.contains("damaged"), "{}", lines.body);
    assert_eq!(std::fs::read(&file).expect("it can be read"), bytes, "the start has changed nothing");
    let mut client = server.connect("ada");
    client.join_as_publisher(&live);
    client.publish(&live, "e2", &json!({"n": 2}));
    assert!(events(&server, &live).body.contains("\"e2\""));
    assert_eq!(events(&server, &ended).lines().len(), 3);
}

#[test]
fn a_file_of_the_log_that_is_gone_is_said_once_by_figure_and_alert() {
    let (mut server, ended, live) = stopped_with_sessions();
    std::fs::remove_file(newest_hot_file(&server)).expect("it can be removed");
    server.start();
    assert_eq!((server.get("/readyz").status, server.metric("agentbench_log_damage")), (200, 1));
    wait_until("the alert fires", || alert(&server, "log_damaged") == "firing");
    let session =
        |name: &str| server.ask("GET", &format!("/api/v1/sessions/{name}")).token(&evaluator("ada")).answer();
    assert_eq!((session(&ended).status, session(&live).status), (200, 404));
    server.prove_well();
    server.restart();
    assert_eq!(server.metric("agentbench_log_damage"), 0);
}

/// A server that keeps sessions for an hour, with one that has ended; its wall clock goes wrong by `skew` ms.
fn server_with_clock(skew: &Arc<AtomicI64>, hold: Duration) -> (TestServer, String) {
    let skew = Arc::clone(skew);
    let server = TestServer::with(1, move |config| {
        config.retention_age = Some(Duration::from_secs(3_600));
        config.retention_hold = hold;
        config.clock_skew = Arc::clone(&skew);
        config.watch.limits = vec![("clock_jump", Limit { threshold: 0.0, for_ms: 0, clear_ms: 0 })];
    });
    let mut client = server.connect("ada");
    let session = client.create("old");
    for command in ["start_test", "stop_test"] {
        client.command(&json!({"command": command, "sessionId": session}));
    }
    drop(client);
    // It is archived with the clock of now: a stop before that would leave it to the next start.
    wait_until("it is archived", || is_archived(&server.folder().join("archive")));
    (server, session)
}

/// Whether the archive has a session: a file below one of its folders.
fn is_archived(folder: &std::path::Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| {
        let path = entry.path();
        if path.is_dir() { is_archived(&path) } else { path.extension().is_some_and(|it| it == "abz") }
    })
}

fn is_there(server: &TestServer, session: &str) -> bool {
    let answer = server.ask("GET", &format!("/api/v1/sessions/{session}")).token(&evaluator("ada")).answer();
    answer.status == 200
}

#[test]
fn a_clock_that_was_set_removes_no_session_before_the_hold_is_over() {
    const FORTY_DAYS: i64 = 40 * 86_400_000;
    for (hold, stays) in [(Duration::from_secs(3_600), true), (Duration::ZERO, false)] {
        let skew = Arc::<AtomicI64>::default();
        let (mut server, session) = server_with_clock(&skew, hold);
        // A restart begins with a round of retention.
        server.stop();
        skew.store(FORTY_DAYS, Ordering::Relaxed);
        server.start();
        wait_until("a round is over", || server.metric("agentbench_retention_rounds_total") >= 1);
        assert_eq!(is_there(&server, &session), stays, "a hold of {hold:?}");
        if stays {
            wait_until("the alert fires", || alert(&server, "clock_jump") == "firing");
            assert!(server.get("/metrics").body.contains("agentbench_deletions_held_seconds 3"));
        }
    }
}

#[test]
fn a_clock_that_is_set_under_way_is_seen_within_a_look() {
    let skew = Arc::<AtomicI64>::default();
    let (server, _) = server_with_clock(&skew, Duration::from_secs(3_600));
    wait_until("a look is over", || alert(&server, "clock_jump") == "ok");
    assert_eq!(server.metric("agentbench_clock_jumps_total"), 0);
    skew.store(-3_600_000, Ordering::Relaxed);
    server.wait_for_metric("agentbench_clock_jumps_total", 1);
    wait_until("the alert fires", || alert(&server, "clock_jump") == "firing");
    skew.store(0, Ordering::Relaxed);
    server.wait_for_metric("agentbench_clock_jumps_total", 2);
}

#[test]
fn a_data_folder_that_is_removed_under_way_is_seen_by_readiness() {
    let server = TestServer::with_workers(1);
    assert_eq!(server.get("/readyz").status, 200);
    let aside = tempfile::tempdir().expect("a folder");
    let moved = aside.path().join("data");
    std::fs::rename(server.folder(), &moved).expect("it can be moved");
    wait_until("it is seen", || server.get("/readyz").status == 503);
    let ready = server.get("/readyz").body;
    assert!(ready.contains("data_folder_gone") && ready.contains("restart"), "{ready}");
    std::fs::rename(&moved, server.folder()).expect("it can be moved back");
    wait_until("it is seen", || server.get("/readyz").status == 200);
}

#[test]
fn the_data_folder_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let server = TestServer::with_workers(1);
    let mut client = server.connect("ada");
    let session = client.create("s");
    let bytes = vec![b'x'; 300_000];
    let path = format!("/api/v1/evidence/{}?sessionId={session}", blake3::hash(&bytes).to_hex());
    let put = server.ask("PUT", &path).token(&evaluator("ada")).header("Content-Type", "image/png");
    assert_eq!(put.body(bytes).answer().status, 201);
    for command in ["start_test", "stop_test"] {
        client.command(&json!({"command": command, "sessionId": session}));
    }
    server.ask("POST", "/api/v1/tokens/revoke").token(&admin()).json(&json!({"jti": "x"})).answer();
    server.wait_for_metric("agentbench_sessions_active", 0);
    let (mut folders, mut seen) = (vec![server.folder().to_owned()], 0);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry")) {
            let metadata = entry.metadata().expect("it is there");
            let mode = metadata.permissions().mode() & 0o777;
            assert_eq!(mode & 0o077, 0, "{} has {mode:o}", entry.path().display());
            seen += 1;
            if metadata.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    assert!(seen > 10, "{seen}");
}
