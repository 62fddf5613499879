//! What a request's head may be: nothing in it that counts is unreadable, ambiguous or split in a way that another reader
//! would split otherwise.

use std::io::{Read, Write};

use agentbench_auth::Role;
use serde_json::json;

use crate::support::TestServer;
use crate::support::server::Answer;
use crate::support::tokens::{claims, evaluator, mint};

const UPGRADE: &str = "Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
/// In Latin-1, as Python's `requests` and others send what they are given.
const LATIN: &[u8] = b"gr\xf6\xdfe";

fn viewer() -> String {
    mint(&claims("vera", Role::Viewer))
}

fn raw(server: &TestServer, head: &[&[u8]]) -> Answer {
    let mut socket = server.socket();
    socket.write_all(&head.concat()).expect("it listens");
    Answer::read(socket)
}

#[test]
fn an_unreadable_header_is_refused_by_name_and_never_taken_as_absent() {
    let server = TestServer::with_workers(1);
    let session = server.connect("ada").create("heads");
    for name in [
        "Authorization",
        "Agentbench-Producer",
        "Origin",
        "Sec-WebSocket-Protocol",
        "Sec-WebSocket-Extensions",
    ] {
        let line = [name.as_bytes(), b": ", LATIN, b"\r\n\r\n"].concat();
        let answer = raw(&server, &[b"GET /ws HTTP/1.1\r\n", UPGRADE.as_bytes(), &line]);
        assert_eq!(answer.status, 400, "{name}: {}", answer.body);
        assert!(answer.body.to_ascii_lowercase().contains(&name.to_ascii_lowercase()), "{}", answer.body);
    }
    let stream = format!("GET /api/v1/sessions/{session}/stream HTTP/1.1\r\n");
    let token = format!("Authorization: Bearer {}\r\nHost: x\r\n", viewer());
    for name in ["Last-Event-ID", "Agentbench-Producer", "Origin", "Range", "Accept"] {
        let line = [name.as_bytes(), b": 000000000000000a:2:", LATIN, b"\r\n\r\n"].concat();
        let answer = raw(&server, &[stream.as_bytes(), token.as_bytes(), &line]);
        assert_eq!(answer.refused(400, "invalid_message")["field"], name);
        assert!(answer.head.contains("connection: close"), "{}", answer.head);
    }
    server.prove_well();
}

#[test]
fn names_in_the_address_are_percent_encoded_utf_8() {
    let server = TestServer::with_workers(1);
    let token = evaluator("ada");
    let open = |query: &str| server.opening(&token).target(&format!("/ws?{query}")).open();
    assert!(open("producerId=M%C3%BCller").is_ok() && open("producerId=%E6%9D%B1%E4%BA%AC").is_ok());
    let refused = open("producerId=M%FCller").err().expect("Latin-1");
    assert_eq!(refused.status, 400);
    assert!(refused.detail.starts_with("producerId in the address is not UTF-8"), "{}", refused.detail);
    let session = server.connect("ada").create("named");
    for (target, field) in [
        (format!("/api/v1/sessions/{session}/stream?lastEventId=a:1:gr%F6%DFe"), "lastEventId"),
        (format!("/api/v1/sessions/{session}/stream?from=%FF"), "from"),
        ("/api/v1/sessions?q=%C3".to_owned(), "q"),
    ] {
        let answer = server.ask("GET", &target).token(&viewer()).answer();
        assert_eq!(answer.refused(400, "invalid_message")["field"], field);
    }
    let event = json!({"id": "e", "type": "test_event", "timestamp": 1, "data": {"eventType": "x"}});
    let publish = |producer: &str| {
        let target = format!("/api/v1/sessions/{session}/events?producerId={producer}");
        server.ask("POST", &target).token(&token).json(&event).answer()
    };
    publish("M%FCller").refused(400, "invalid_message");
    // The same id of two producers is two events.
    for producer in ["M%C3%BCller", "J%C3%B6rg"] {
        assert!(!publish(producer).body.contains("duplicate"), "{producer}");
    }
}

#[test]
fn a_head_that_two_readers_could_read_differently_is_refused() {
    let server = TestServer::with_workers(1);
    let healthz = |lines: &str| format!("GET /healthz HTTP/1.1\r\n{lines}\r\n");
    for (request, what) in [
        (healthz("X: y\r\n"), "no Host"),
        (healthz("Host: a\r\nHost: b\r\n"), "two Hosts"),
        (healthz("Host: a\nX: y\r\n"), "a lone LF between headers"),
        ("GET /healthz HTTP/1.1\nHost: a\r\n\r\n".to_owned(), "a lone LF behind the request"),
        ("GET /healthz HTTP/1.1\r\nHost: a\n\n".to_owned(), "a lone LF at the end"),
        (
            "POST /api/v1/sessions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
                .to_owned(),
            "Transfer-Encoding twice",
        ),
        (
            format!("GET /ws HTTP/1.1\r\n{UPGRADE}Origin: https://a.example\r\nOrigin: https://b.example\r\n\r\n"),
            "two Origins",
        ),
        (
            format!("GET /ws HTTP/1.1\r\n{UPGRADE}Agentbench-Producer: a\r\nAgentbench-Producer: b\r\n\r\n"),
            "two producers",
        ),
    ] {
        let answer = raw(&server, &[request.as_bytes()]);
        assert_eq!(answer.status, 400, "{what}: {}", answer.body);
    }
    let old = raw(&server, &[b"GET /healthz HTTP/1.0\r\n\r\n"]);
    assert_eq!(old.status, 200, "HTTP/1.0 has no Host");
}

#[test]
fn later_heads_of_a_kept_connection_are_held_to_the_same() {
    let server = TestServer::with_workers(1);
    let good = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let body = "POST /api/v1/sessions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n\n\n\r\n0\r\n\r\n";
    let last = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answers = |requests: &[&str]| {
        let mut socket = server.socket();
        let mut all = Vec::new();
        for request in requests {
            socket.write_all(request.as_bytes()).expect("it listens");
            // The next one is sent when this one was answered, or the connection has ended.
            let mut piece = [0; 4096];
            match socket.read(&mut piece) {
                Ok(count) if count > 0 => all.extend_from_slice(&piece[..count]),
                _ => break,
            }
        }
        String::from_utf8_lossy(&all).matches("HTTP/1.1 ").count()
    };
    assert_eq!(answers(&[good, body, good, last]), 4);
    for bad in [good.replacen("\r\n", "\n", 1), good.replace("x\r\n\r\n", "x\n\n")] {
        assert_eq!(answers(&[good, body, &bad, last]), 2, "{bad:?}");
    }
}

#[test]
fn a_target_in_absolute_form_is_served_as_its_path() {
    let server = TestServer::with_workers(1);
    for path in ["/ws", "/", ""] {
        let target = format!("http://bench.example{path}");
        server.opening(&evaluator("ada")).target(&target).connect();
    }
    let refused = server.opening(&evaluator("ada")).target("http://bench.example/else").open();
    assert_eq!(refused.err().map(|refused| refused.status), Some(404));
    assert_eq!(server.ask("GET", "http://bench.example/healthz").answer().body, "ok\n");
    // The target's host is the one that a page's origin is compared with, whatever Host says.
    let from = |origin: &str| {
        let opening = server.opening(&evaluator("ada")).target("http://bench.example/ws");
        opening.header("Origin", origin).open().err().map(|refused| refused.status)
    };
    assert_eq!((from("http://bench.example"), from("http://other.example")), (None, Some(403)));
}

#[test]
fn a_body_in_another_coding_is_said_to_be_so() {
    let server = TestServer::with_workers(1);
    let ask = |coding: &str| {
        let ask = server.ask("POST", "/api/v1/sessions").token(&evaluator("ada"));
        ask.header("Content-Encoding", coding).body("{}").answer()
    };
    for coding in ["gzip", "br", "gzip, identity"] {
        assert_eq!(ask(coding).refused(415, "invalid_message")["field"], "Content-Encoding");
    }
    ask("identity").refused(400, "invalid_message");
}

#[test]
fn a_kept_connection_ends_when_its_own_time_is_over() {
    let server = TestServer::with(1, |config| config.http_keep_alive = std::time::Duration::from_millis(50));
    let mut socket = server.socket();
    socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").expect("it listens");
    // The end of the connection is awaited: without the setting it would not come.
    assert_eq!(Answer::read(socket).status, 200);
}
