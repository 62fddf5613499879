//! Alerts end to end: they fire and clear on real conditions, and are reported on every channel. `agentbench alerts selftest`
//! shows that every rule can be provoked.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use agentbench_auth::Role;
use agentbench_server::config::{Limit, Webhook};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::tokens::{claims, evaluator, mint};
use crate::support::{TestServer, wait_until};

const SECRET: &str = "a secret of the webhook";

fn admin() -> String {
    mint(&claims("root", Role::Admin))
}

fn alerts(server: &TestServer) -> Value {
    server.ask("GET", "/api/v1/alerts").token(&admin()).answer().value()
}

fn state(server: &TestServer, name: &str) -> Value {
    let all = alerts(server);
    let rules = all["rules"].as_array().expect("rules");
    rules.iter().find(|rule| rule["name"] == name).expect("the rule")["state"].clone()
}

/// A server on which the disk is never free enough, and nothing else is wrong.
fn server_with_full_disk(webhook: Option<Webhook>) -> TestServer {
    TestServer::with(1, move |config| {
        config.watch.limits = vec![
            ("disk_free", Limit { threshold: 101.0, for_ms: 300, clear_ms: 0 }),
            ("memory", Limit { threshold: 100.0, for_ms: 0, clear_ms: 0 }),
        ];
        config.watch.webhook.clone_from(&webhook);
    })
}

#[test]
fn what_is_wrong_is_told_everywhere() {
    let server = server_with_full_disk(None);
    server.ask("GET", "/api/v1/alerts").token(&evaluator("ada")).answer().refused(403, "forbidden");
    wait_until("it fires", || state(&server, "disk_free") == "firing");
    assert_eq!(state(&server, "memory"), "ok");
    assert_eq!(server.metric("agentbench_alert_state{alert=\"disk_free\",severity=\"critical\"}"), 2);
    let all = alerts(&server);
    let names: Vec<_> = all["rules"].as_array().expect("rules").iter().map(|rule| &rule["name"]).collect();
    assert_eq!(names, ["memory", "disk_free"], "the others are off");
    let states: Vec<_> = all["changes"].as_array().expect("changes").iter().map(|it| &it["state"]).collect();
    assert_eq!(states, ["firing", "pending"], "newest first");
    let stats = server.ask("GET", "/api/v1/stats").token(&admin()).answer().value();
    let firing = &stats["alerts"][0];
    assert_eq!((&firing["name"], &firing["state"]), (&json!("disk_free"), &json!("firing")));
    assert!(firing["since"].as_u64() > Some(0) && firing["threshold"] == 101.0, "{firing}");
}

#[test]
fn a_rule_clears_when_its_cause_is_gone() {
    let server = TestServer::with(1, |config| {
        config.watch.stall_after = std::time::Duration::from_millis(100);
        config.watch.limits = vec![("stalled_sessions", Limit { threshold: 0.0, for_ms: 0, clear_ms: 100 })];
    });
    let mut client = server.connect("ada");
    let session = client.create("s");
    client.command(&json!({"command": "start_test", "sessionId": session}));
    wait_until("it fires", || state(&server, "stalled_sessions") == "firing");
    client.command(&json!({"command": "stop_test", "sessionId": session, "outcome": "completed"}));
    wait_until("it clears", || state(&server, "stalled_sessions") == "ok");
}

/// Reads one POST and answers it.
fn take_post(mut socket: TcpStream, status: &str) -> (String, String) {
    socket.set_read_timeout(Some(crate::support::PATIENCE)).expect("a timeout");
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte).expect("a head");
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).expect("a text").to_ascii_lowercase();
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let length = header("content-length").and_then(|text| text.parse().ok()).expect("a length");
    let mut body = vec![0; length];
    socket.read_exact(&mut body).expect("a body");
    write!(socket, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .expect("it listens");
    (head, String::from_utf8(body).expect("a text"))
}

#[test]
fn the_webhook_gets_signed_messages_and_is_asked_again() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/hooks/x?key=1", listener.local_addr().expect("bound"));
    let server = server_with_full_disk(Some(Webhook { url, secret: SECRET.into(), authority: None }));
    let accept = || listener.accept().expect("it calls").0;
    let (_, first) = take_post(accept(), "503 Service Unavailable");
    let (head, body) = take_post(accept(), "204 No Content");
    assert_eq!(body, first, "the same message again");
    assert!(head.starts_with("post /hooks/x?key=1 http/1.1"), "{head}");
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let timestamp = header("agentbench-timestamp").expect("a timestamp");
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("a key");
    mac.update(format!("{timestamp}.{body}").as_bytes());
    let digits: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(header("agentbench-signature"), Some(format!("sha256={digits}").as_str()));
    let message: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((&message["name"], &message["state"]), (&json!("disk_free"), &json!("firing")));
    assert_eq!(message["node"], "embedded");
    server.wait_for_metric("agentbench_alert_webhook_total{outcome=\"sent\"}", 1);
    // The queue is among those that are shown.
    assert_eq!(server.metric("agentbench_queue_bound{queue=\"alert_webhook\"}"), 64);
}

#[test]
fn a_server_whose_webhook_does_not_answer_stops_all_the_same() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("bound"));
    let mut server = server_with_full_disk(Some(Webhook { url, secret: SECRET.into(), authority: None }));
    let _held = listener.accept().expect("it calls");
    server.stop();
}

#[test]
fn the_rules_for_prometheus_are_taken_by_it() {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/deploy/prometheus-rules.yml");
    let text = std::fs::read_to_string(&rules).expect("the rules");
    assert_eq!(text, agentbench_server::prometheus_rules(), "stale: run cargo xtask codegen");
    match Command::new("promtool").args(["check", "rules"]).arg(&rules).output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => eprintln!("LEFT OUT: promtool cannot be run ({error}); cargo xtask setup installs it"),
    }
}
