//! The audit log: its records of each decision, and its integrity.

use std::io::BufReader;
use std::path::{Path, PathBuf};

use agentbench_audit::faults::Faults;
use agentbench_audit::verify;
use agentbench_auth::{Claims, Role};
use agentbench_server::config::{Audit, Config};
use serde_json::{Value, json};

use crate::support::tokens::{claims, claims_for_project, evaluator, mint, now};
use crate::support::{TestServer, expect_code, expect_kind, wait_until};

fn audited(file: PathBuf) -> impl Fn(&mut Config) {
    move |config| {
        let (max_bytes, max_age) = (1 << 30, None);
        config.security.audit =
            Some(Audit { file: file.clone(), max_bytes, max_age, wait_when_full: true, ..Audit::default() });
    }
}

fn read(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).expect("the log is there");
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

/// Action, outcome and code of the lines about this user.
fn decisions<'a>(lines: &'a [Value], user: &str) -> Vec<(&'a str, &'a str, &'a str)> {
    let text = |line: &'a Value, field: &str| line[field].as_str().unwrap_or("");
    let of_user = lines.iter().filter(|line| line["user"] == user);
    of_user.map(|line| (text(line, "action"), text(line, "outcome"), text(line, "code"))).collect()
}

#[test]
fn who_did_what_is_written_and_holds_over_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("audit.jsonl");
    let mut server = TestServer::with(2, audited(file.clone()));
    let token = mint(&Claims { jti: Some("ticket-7".to_owned()), ..claims("ada", Role::Evaluator) });
    let mut ada = server.opening(&token).connect();
    let session = ada.create("audited");
    for command in ["start_test", "stop_test", "start_test"] {
        ada.command(&json!({"command": command, "sessionId": session}));
    }
    ada.command(&json!({"command": "get_history", "sessionId": session, "fromSeq": 1, "limit": 10}));
    expect_kind(
        &ada.command(&json!({"command": "refresh_token", "token": evaluator("ada")})),
        "token_refreshed",
    );
    ada.command(&json!({"command": "refresh_token", "token": "garbage"}));

    let mut eve = server.opening(&mint(&claims_for_project("eve", Role::Viewer, "elsewhere"))).connect();
    expect_code(&eve.command(&json!({"command": "join_session", "sessionId": session})), "session_not_found");
    expect_code(&eve.command(&json!({"command": "start_test", "sessionId": session})), "forbidden");
    let expired = mint(&Claims { exp: Some(now() - 600), ..claims("late", Role::Viewer) });
    assert_eq!(server.opening(&expired).open().err().map(|refused| refused.status), Some(401));
    server.stop();

    let lines = read(&file);
    assert_eq!(
        decisions(&lines, "ada"),
        [
            ("connect", "allowed", ""),
            ("create_session", "allowed", ""),
            ("start_test", "allowed", ""),
            ("stop_test", "allowed", ""),
            ("start_test", "refused", "invalid_transition"),
            ("get_history", "allowed", ""),
            ("refresh_token", "allowed", ""),
            ("refresh_token", "refused", "malformed"),
        ]
    );
    assert_eq!(
        decisions(&lines, "eve"),
        [
            ("connect", "allowed", ""),
            ("join_session", "refused", "forbidden"),
            ("command", "refused", "forbidden")
        ]
    );
    let of = |action: &str| lines.iter().find(|line| line["action"] == action).expect("it was written");
    assert_eq!(
        (&of("connect")["address"], &of("connect")["detail"]),
        (&json!("127.0.0.1"), &json!("ticket-7"))
    );
    assert_eq!(of("create_session")["session"], session.as_str());
    let stranger = lines.iter().find(|line| line["code"] == "expired").expect("the stranger is written");
    assert_eq!((&stranger["outcome"], &stranger["address"]), (&json!("refused"), &json!("127.0.0.1")));
    let text = std::fs::read_to_string(&file).expect("the log is there");
    assert!(!text.contains(&token) && !text.contains("garbage"), "no token is written");

    server.start();
    server.stop();
    let reader = BufReader::new(std::fs::File::open(&file).expect("the log is there"));
    let report = verify([reader], None).expect("it can be read");
    assert_eq!((report.findings, report.lost), (vec![], 0));
    let starts = read(&file).iter().filter(|line| line["action"] == "server_started").count();
    assert_eq!(starts, 2);
}

/// A command by HTTP is written down like the same one on the socket.
#[test]
fn commands_by_http_are_written_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("audit.jsonl");
    let mut server = TestServer::with(2, audited(file.clone()));
    let (ada, vera) = (evaluator("ada"), mint(&claims("vera", Role::Viewer)));
    let body = json!({"id": "s", "projectId": "p1", "testId": "t", "agentName": "a"});
    let create = |token: &str| server.ask("POST", "/api/v1/sessions").token(token).json(&body).answer();
    let made = create(&ada).value();
    create(&ada);
    create(&vera).refused(403, "forbidden");
    let session = made["sessionId"].as_str().expect("a name").to_owned();
    let path = format!("/api/v1/sessions/{session}/commands");
    for (id, command) in [("1", "start_test"), ("1", "start_test"), ("2", "start_test"), ("3", "fly")] {
        let body = json!({"id": id, "command": command});
        server.ask("POST", &path).token(&ada).json(&body).answer();
    }
    let start = json!({"id": "1", "command": "start_test"});
    server.ask("POST", &path).token(&vera).json(&start).answer().refused(403, "forbidden");
    let elsewhere = mint(&claims_for_project("eve", Role::Evaluator, "elsewhere"));
    server.ask("POST", &path).token(&elsewhere).json(&start).answer().refused(404, "session_not_found");
    server.stop();
    let lines = read(&file);
    assert_eq!(
        decisions(&lines, "ada"),
        [
            ("create_session", "allowed", ""),
            ("start_test", "allowed", ""),
            ("start_test", "refused", "invalid_transition"),
        ]
    );
    assert_eq!(decisions(&lines, "vera"), [("command", "refused", "forbidden"); 2]);
    assert_eq!(decisions(&lines, "eve"), [("start_test", "refused", "forbidden")]);
    let of = |action: &str| lines.iter().find(|line| line["action"] == action).expect("it was written");
    assert_eq!(
        (&of("create_session")["session"], &of("create_session")["address"]),
        (&json!(session), &json!("127.0.0.1"))
    );
}

#[test]
fn knocking_without_end_does_not_fill_the_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("audit.jsonl");
    let audited = audited(file.clone());
    let mut server = TestServer::with(1, move |config| {
        audited(config);
        config.security.failed_token_rate = 0;
    });
    for _ in 0..400 {
        server.opening("garbage").open().err().expect("the upgrade is refused");
    }
    let refused = server.metric("agentbench_connections_refused_total{cause=\"malformed\"}");
    assert_eq!(refused, 400);
    server.stop();
    let lines = read(&file);
    let written = lines.iter().filter(|line| line["code"] == "malformed").count();
    // Two hundred at once, a hundred each second after.
    assert!((200..=400).contains(&written), "{written}");
}

#[test]
fn a_name_cannot_make_lines_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("audit.jsonl");
    let mut server = TestServer::with(1, audited(file.clone()));
    let mut ada = server.connect("ada");
    let project = "p\n{\"action\":\"connect\",\"user\":\"root\"}\u{2028}\u{1b}[2J\u{202e}";
    let create = json!({"command": "create_session", "projectId": project, "testId": "t", "agentName": "a"});
    ada.command(&create);
    server.stop();
    let text = std::fs::read_to_string(&file).expect("the log is there");
    assert!(text.chars().all(|c| c == '\n' || (!c.is_control() && c != '\u{2028}' && c != '\u{202e}')));
    assert!(read(&file).iter().all(|line| line["user"] != "root"));
}

#[test]
fn a_stuck_audit_log_holds_up_what_must_be_written_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, faults) = (folder.path().join("audit.jsonl"), Faults::default());
    let audit = Audit { file: file.clone(), queue: 8, faults: faults.clone(), ..Audit::default() };
    let mut server = TestServer::with(1, move |config| config.security.audit = Some(audit.clone()));
    let mut ada = server.connect("ada");
    let session = ada.create_following("s");
    let mut other = server.connect("other");
    faults.hang(true);
    let history =
        || server.ask("GET", &format!("/api/v1/sessions/{session}/events")).token(&evaluator("ada"));
    // What was decided before may still wait there, too.
    let mut asked = 0;
    while server.metric("agentbench_queue_depth{queue=\"audit\"}") < 8 {
        assert_eq!(history().answer().status, 200, "there is room");
        asked += 1;
    }
    std::thread::scope(|scope| {
        // One decision waits for its line, as a task.
        let ask = history();
        let waiting = scope.spawn(move || ask.answer());
        expect_code(&other.command(&json!({"command": "join_session", "sessionId": session})), "overloaded");
        for path in ["/healthz", "/metrics", "/readyz"] {
            let answer = server.get(path);
            assert!([200, 503].contains(&answer.status), "{path}");
        }
        let ready = server.get("/readyz");
        assert!(ready.status == 503 && ready.body.contains("audit_log_stuck"), "{}", ready.body);
        assert!(ready.body.contains("audit.jsonl") && ready.body.contains("8 of 8"), "{}", ready.body);
        let ack = ada.publish(&session, "e1", &json!({"n": 1}));
        expect_kind(&ack, "ack");
        faults.hang(false);
        assert_eq!(waiting.join().expect("it answers").status, 200);
    });
    wait_until("the lines are written", || server.get("/readyz").status == 200);
    server.stop();
    let lines = read(&file);
    let histories = decisions(&lines, "ada").into_iter().filter(|(action, ..)| *action == "get_history");
    assert_eq!(histories.count(), asked + 1, "every decision that was made is written");
    let reader = BufReader::new(std::fs::File::open(&file).expect("the log is there"));
    assert_eq!(verify([reader], None).expect("it can be read").lost, 0);
}

#[test]
fn a_full_disk_of_the_audit_log_is_named_and_over_when_there_is_room() {
    let folder = tempfile::tempdir().expect("a folder");
    let faults = Faults::default();
    let audit = Audit {
        file: folder.path().join("audit.jsonl"),
        queue: 4,
        faults: faults.clone(),
        ..Audit::default()
    };
    let server = TestServer::with(1, move |config| {
        config.security.audit = Some(audit.clone());
        let limit = agentbench_server::config::Limit { threshold: 0.2, for_ms: 0, clear_ms: 0 };
        config.watch.limits = vec![("audit_stuck", limit)];
    });
    let alert = || server.metric("agentbench_alert_state{alert=\"audit_stuck\",severity=\"critical\"}");
    faults.fill(true);
    let token = evaluator("ada");
    let refused = std::iter::repeat_with(|| server.opening(&token).open().is_err()).take(16).any(|it| it);
    assert!(refused, "a connection is a decision, too");
    wait_until("it is named", || server.get("/readyz").body.contains("no space"));
    wait_until("the alert fires", || alert() == 2);
    faults.fill(false);
    wait_until("it goes on", || server.get("/readyz").status == 200);
    wait_until("the alert clears", || alert() == 0);
    server.prove_well();
}

#[test]
fn what_one_user_is_refused_is_written_at_a_rate_and_counted() {
    const REFUSED: u64 = 400;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("audit.jsonl");
    let mut server = TestServer::with(1, audited(file.clone()));
    let session = server.connect("ada").create("s");
    let mut vera = server.opening(&mint(&claims("vera", Role::Viewer))).connect();
    for _ in 0..REFUSED {
        expect_code(&vera.command(&json!({"command": "start_test", "sessionId": session})), "forbidden");
    }
    wait_until("the rest is said", || {
        let text = std::fs::read_to_string(&file).expect("the log is there");
        text.contains("refusals were not written down")
            || text.contains("refusals before it were not written down")
    });
    let count = |lines: &[Value]| {
        let of_vera = lines.iter().filter(|line| line["user"] == "vera" && line["outcome"] == "refused");
        of_vera.fold((0, 0), |(written, said), line| {
            let detail = line["detail"].as_str().unwrap_or("");
            let number = detail
                .split(['(', ' '])
                .filter(|_| detail.contains("not written down"))
                .find_map(|it| it.parse::<u64>().ok());
            (written + u64::from(line["action"] == "command"), said + number.unwrap_or(0))
        })
    };
    wait_until("all are accounted for", || {
        let (written, said) = count(&read(&file));
        written + said == REFUSED
    });
    let (written, said) = count(&read(&file));
    // Forty at once, twenty each second after.
    assert!(written >= 40 && said >= 1, "{written} written, {said} said");
    assert_eq!(server.metric("agentbench_audit_left_out_total"), i64::try_from(said).expect("a number"));
    server.stop();
}
