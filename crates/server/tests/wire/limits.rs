//! Clients that send too often or too slowly: each is refused with a code and counted, and no other client is affected.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use agentbench_server::config::{Audit, Config};
use serde_json::json;

use crate::support::tokens::evaluator;
use crate::support::{TestServer, event, expect_code, expect_kind, wait_until};

fn refused(server: &TestServer, cause: &str) -> i64 {
    server.metric(&format!("agentbench_connections_refused_total{{cause=\"{cause}\"}}"))
}

fn audit_to(file: PathBuf) -> Option<Audit> {
    Some(Audit { file, max_bytes: 1 << 30, max_age: None, wait_when_full: true, ..Audit::default() })
}

#[test]
fn a_user_has_so_many_connections_and_no_more() {
    let server = TestServer::with(2, |config| config.security.user_connections = 2);
    let mut first = server.connect("ada");
    let second = server.connect("ada");
    let mut third = server.opening(&evaluator("ada")).open().expect("the upgrade is completed");
    expect_kind(&third.expect_close(4429)[0], "disconnecting");
    let said = third.close.as_ref().map(|close| close.1.clone()).unwrap_or_default();
    assert!(said.contains("as many connections"), "{said}");
    assert_eq!(refused(&server, "user_connections"), 1);
    server.connect("bob");
    first.create("still-served");
    drop(second);
    // A place that is free is free for the same user.
    wait_until("the place is free", || {
        let mut client = server.opening(&evaluator("ada")).open().expect("the upgrade is completed");
        client.next().is_some()
    });
}

/// A page asks for the list before it opens its connection.
#[test]
fn requests_take_no_place_among_a_users_connections() {
    let server = TestServer::with(1, |config| config.security.user_connections = 1);
    for _ in 0..3 {
        let list = server.ask("GET", "/api/v1/sessions").token(&evaluator("ada")).answer();
        assert_eq!(list.status, 200);
    }
    let mut only = server.connect("ada");
    only.create("served");
    let list = server.ask("GET", "/api/v1/sessions").token(&evaluator("ada")).answer();
    assert_eq!(list.status, 200);
}

#[test]
fn a_user_has_so_many_live_sessions_and_no_more_even_after_a_restart() {
    let mut server = TestServer::with(3, |config| config.security.user_sessions = 2);
    let create =
        |id: &str| json!({"command": "create_session", "projectId": "p", "testId": id, "agentName": "a"});
    let mut ada = server.connect("ada");
    let session = ada.create("one");
    ada.create("two");
    expect_code(&ada.command(&create("three")), "session_limit");
    server.connect("bob").create("another's");
    server.stop();
    server.start();
    let mut ada = server.connect("ada");
    expect_code(&ada.command(&create("four")), "session_limit");
    ada.command(&json!({"command": "join_session", "sessionId": session}));
    ada.command(&json!({"command": "start_test", "sessionId": session}));
    ada.command(&json!({"command": "stop_test", "sessionId": session}));
    expect_kind(&ada.command(&create("five")), "session_created");
}

#[test]
fn an_address_opens_so_many_connections_a_second_and_no_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("audit.jsonl");
    let audit = file.clone();
    let mut server = TestServer::with(1, move |config: &mut Config| {
        config.security.address_connection_rate = 5;
        config.security.audit = audit_to(audit.clone());
    });
    let token = evaluator("ada");
    let answers: Vec<_> = (0..30).map(|_| server.opening(&token).open()).collect();
    let sent_away: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
    assert!(!sent_away.is_empty());
    assert!(sent_away.iter().all(|refused| refused.status == 429 && refused.retry_after == Some(1)));
    // The figures are asked for from the same address, so not before it may call again.
    wait_until("it may call again", || {
        let mut socket = server.socket();
        let _ = socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let mut answer = String::new();
        let _ = socket.read_to_string(&mut answer);
        std::thread::sleep(Duration::from_millis(200));
        answer.contains("connections_refused_total{cause=\"address_rate\"}")
    });
    server.stop();
    let text = std::fs::read_to_string(&file).expect("the log is there");
    assert!(text.contains("\"code\":\"address_rate\",\"address\":\"127.0.0.1\""), "{text}");
}

#[test]
fn an_address_sends_so_many_messages_a_second_and_no_more() {
    let server = TestServer::with(2, |config| config.security.address_rate = 20);
    let (mut ada, mut bob) = (server.connect("ada"), server.connect("bob"));
    let session = ada.create("busy");
    bob.command(&json!({"command": "join_session", "sessionId": session, "follow": false}));
    let mut refusals = 0;
    for n in 0..60 {
        for client in [&mut ada, &mut bob] {
            let id = format!("e{n}");
            client.send(&event(&session, &id, &json!({"n": n})));
            let reply = client.reply_to(&id);
            if reply["type"] == "error" {
                expect_code(&reply, "rate_limited");
                assert!(reply["data"]["retryAfterMs"].as_u64() > Some(0));
                refusals += 1;
            }
        }
    }
    // Forty at once, then twenty a second for both together.
    assert!(refusals > 0);
    // Requests count, too; who only asks how the server is does not.
    let ask = |path| server.ask("GET", path).token(&evaluator("cyd")).answer();
    let mut answers = (0..60).map(|_| ask("/api/v1/sessions"));
    let refused = answers.find(|answer| answer.status == 429).expect("requests are refused");
    assert!(refused.head.contains("retry-after"), "{}", refused.head);
    assert_eq!(ask("/healthz").status, 200);
}

#[test]
fn a_slow_head_is_given_one_deadline_however_it_is_slow() {
    let server = TestServer::with(1, |config| {
        config.auth_timeout = Duration::from_millis(300);
        config.security.proxy_protocol = true;
        config.security.trusted_proxies = "127.0.0.0/8".parse().expect("a network");
    });
    let drip = |bytes: &[u8]| {
        let mut socket = server.socket();
        for byte in bytes {
            // The server ends it before the last byte.
            if socket.write_all(&[*byte]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"), "{answer:?}");
    };
    drip(b"PROXY TCP4 192.0.2.1 127.0.0.1 1 2");
    drip(b"PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\nGET / HTTP/1.1\r\nHost: x\r\nX: y");
    let silent = server.socket();
    let mut socket = server.socket();
    socket
        .write_all(b"PROXY UNKNOWN\r\nGET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .expect("sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    assert!(answer.contains("connections_refused_total{cause=\"auth_timeout\"} 2"), "{answer}");
    drop(silent);
}
