//! Inspection by operators: CPU profiles, and live frames.

use std::io::{Read, Write};

use agentbench_auth::Role;

use serde_json::{Value, json};

use super::support::http::Opened;
use super::support::tokens::{claims, claims_for_project, evaluator, mint};
use super::support::{Client, Opening, TestServer, on_one_and_three_workers};

fn admin() -> String {
    mint(&claims("root", Role::Admin))
}

/// Work for the server, until it is told to stop.
fn keep_busy(mut client: Client, session: &str, stop: &std::sync::atomic::AtomicBool) {
    for n in 0.. {
        if stop.load(std::sync::atomic::Ordering::Relaxed) {
            return;
        }
        client.publish(session, &format!("busy{n}"), &serde_json::json!({"n": n}));
    }
}

#[test]
fn a_profile_is_for_administrators_where_it_is_turned_on() {
    let off = TestServer::with_workers(1);
    let refused = off.ask("POST", "/api/v1/profile").token(&admin()).answer();
    refused.refused(404, "not_found");
    let server = TestServer::with(1, |config| config.operations.enable_profiling = true);
    server.ask("POST", "/api/v1/profile").token(&evaluator("eve")).answer().refused(403, "forbidden");
    for wrong in ["0", "61", "x"] {
        let asked = server.ask("POST", &format!("/api/v1/profile?seconds={wrong}")).token(&admin());
        asked.answer().refused(400, "invalid_message");
    }
    let stop = std::sync::atomic::AtomicBool::new(false);
    let mut client = server.connect("ada");
    let session = client.create_following("s");
    std::thread::scope(|scope| {
        scope.spawn(|| keep_busy(client, &session, &stop));
        let first = server.ask("POST", "/api/v1/profile?seconds=2").token(&admin());
        let first = scope.spawn(move || first.answer());
        // One at a time: whichever comes second is told to come back.
        std::thread::sleep(std::time::Duration::from_millis(500));
        let second = server.ask("POST", "/api/v1/profile?seconds=1").token(&admin()).answer();
        second.refused(503, "overloaded");
        let svg = first.join().expect("an answer");
        assert_eq!(svg.status, 200, "{}", svg.body);
        assert!(svg.head.contains("content-type: image/svg+xml"), "{}", svg.head);
        let document = roxmltree::Document::parse(&svg.body).expect("it is XML");
        assert!(document.descendants().any(|node| node.has_tag_name("rect")));
        let folded = server.ask("POST", "/api/v1/profile?seconds=1").token(&admin());
        let folded = folded.header("Accept", "text/plain").answer();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let lines: Vec<_> = folded.body.lines().collect();
        assert!(!lines.is_empty(), "a busy server has samples");
        for line in lines {
            let (stack, count) = line.rsplit_once(' ').expect("a stack and a count");
            assert!(!stack.is_empty() && count.parse::<u64>().is_ok(), "{line}");
        }
    });
    who_goes_away_takes_the_profile_along(&server);
}

/// The timer is the process's, and so are these tests: one after the other.
fn who_goes_away_takes_the_profile_along(server: &TestServer) {
    let mut socket = server.socket();
    let token = admin();
    write!(socket, "POST /api/v1/profile?seconds=60 HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n")
        .expect("it listens");
    socket.set_nonblocking(true).expect("a socket option");
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(socket.read(&mut [0; 1]).is_err(), "nothing is answered yet");
    drop(socket);
    super::support::wait_until("somebody else may take one", || {
        server.ask("POST", "/api/v1/profile?seconds=1").token(&admin()).answer().status == 200
    });
}

/// A look at frames that has begun.
fn look(server: &TestServer, path: &str, token: &str) -> Opened {
    let mut look = server.ask("GET", path).token(token).header("Accept", "text/event-stream").open();
    assert_eq!(look.status, 200, "{path}");
    let first = look.next().expect("a first line").data;
    assert!(first["inspecting"].is_string(), "{first}");
    look
}

/// Lines up to one that is as it should be.
fn lines_to(look: &mut Opened, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    let mut lines = Vec::new();
    loop {
        let line = look.next().expect("the look goes on").data;
        let found = wanted(&line);
        lines.push(line);
        if found {
            return lines;
        }
    }
}

fn a_connection_s_frames_are_seen_in_every_form(workers: usize) {
    let server = TestServer::with_workers(workers);
    let forms: [fn(Opening) -> Opening; 4] =
        [|it| it.v1(), |it| it.v1().msgpack(), |it| it.v1().deflate(), |it| it.v1().msgpack().deflate()];
    for (n, form) in forms.into_iter().enumerate() {
        let mut client = form(server.opening(&evaluator("ada"))).connect();
        let session = client.create_following(&format!("s{n}"));
        let path = format!("/api/v1/connections/{}/frames", client.client_id());
        let mut look = look(&server, &format!("{path}?payloads=true"), &admin());
        let text = "long ".repeat(1_000);
        let ack = client.publish(&session, "e1", &json!({"eventType": "progress", "text": text}));
        client.events_to(2);
        let lines = lines_to(&mut look, |line| line["direction"] == "out" && line["seq"] == 2);
        let published = lines.iter().find(|line| line["direction"] == "in").expect("it came in");
        assert_eq!(published["type"], "test_event", "{published}");
        assert_eq!((&published["name"], &published["id"]), (&json!("progress"), &json!("e1")));
        assert!(published["payload"].as_str().expect("asked for").contains("long long"), "{published}");
        assert!(lines.iter().any(|line| line["direction"] == "out" && line["name"] == "ack"), "{lines:?}");
        assert!(ack["data"]["seq"] == 2);
        let delivered = lines.last().expect("the last one");
        assert!(delivered["payload"].as_str().expect("asked for").contains("long long"), "{delivered}");
        // Its end is the look's.
        client.say_goodbye(1000);
        let lines = lines_to(&mut look, |line| line["ended"] == true);
        assert!(lines.iter().any(|line| line["opcode"] == "close" && line["code"] == 1000), "{lines:?}");
        assert!(look.next().is_none());
    }
}

fn a_session_s_look_sees_all_participants_and_no_payload(workers: usize) {
    let server = TestServer::with_workers(workers);
    let mut ada = server.connect("ada");
    let session = ada.create_following("s");
    let mut other = server.connect("eve");
    let elsewhere = other.create_following("t");
    let mut look = look(&server, &format!("/api/v1/sessions/{session}/frames"), &admin());
    let mut bob = server.connect("bob");
    bob.join(&session, &json!("live"));
    other.publish(&elsewhere, "not-to-be-seen", &json!({"n": 1}));
    ada.publish(&session, "e1", &json!({"eventType": "progress", "hush": "a-payload"}));
    bob.events_to(2);
    let mut readers = std::collections::BTreeSet::new();
    while readers.len() < 2 {
        let lines = lines_to(&mut look, |line| line["direction"] == "out" && line["seq"] == 2);
        let text = format!("{lines:?}");
        assert!(!text.contains("a-payload") && !text.contains("not-to-be-seen"), "{text}");
        readers.insert(lines.last().expect("a line")["clientId"].as_str().expect("a name").to_owned());
    }
    assert_eq!(readers, [ada.client_id().to_owned(), bob.client_id().to_owned()].into());
}

on_one_and_three_workers!(
    a_connection_s_frames_are_seen_in_every_form,
    a_session_s_look_sees_all_participants_and_no_payload,
);

#[test]
fn a_filter_leaves_frames_out() {
    let server = TestServer::with_workers(1);
    let mut client = server.connect("ada");
    let session = client.create_following("s");
    let path = format!("/api/v1/connections/{}/frames?filter=in,test_event", client.client_id());
    let mut look = look(&server, &path, &admin());
    client.info(&session);
    client.publish(&session, "e1", &json!({"n": 1}));
    let line = look.next().expect("a line").data;
    assert_eq!((&line["direction"], &line["id"]), (&json!("in"), &json!("e1")), "{line}");
}

#[test]
fn only_administrators_look_and_payloads_need_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("audit.jsonl");
    let audit = agentbench_server::config::Audit {
        file: file.clone(),
        max_bytes: 1 << 20,
        max_age: None,
        wait_when_full: true,
        ..agentbench_server::config::Audit::default()
    };
    let mut server = TestServer::with(1, move |config| config.security.audit = Some(audit.clone()));
    let mut client = server.connect("ada");
    let session = client.create_following("s");
    let connection = format!("/api/v1/connections/{}/frames", client.client_id());
    let of_session = format!("/api/v1/sessions/{session}/frames");
    let mut lister = claims("lister", Role::Viewer);
    lister.permissions = vec!["session:read".into(), "connection:list".into()];
    let lister = mint(&lister);
    for path in [&connection, &of_session] {
        server.ask("GET", path).answer().refused(401, "not_authenticated");
        server.ask("GET", path).token(&evaluator("eve")).answer().refused(403, "forbidden");
        let payloads = format!("{path}?payloads=true");
        server.ask("GET", &payloads).token(&lister).answer().refused(403, "forbidden");
        server
            .ask("GET", &format!("{path}?payloads=some"))
            .token(&admin())
            .answer()
            .refused(400, "invalid_message");
        look(&server, path, &lister);
        look(&server, &payloads, &admin());
    }
    server
        .ask("GET", "/api/v1/connections/c00000000000/frames")
        .token(&admin())
        .answer()
        .refused(404, "not_found");
    // Held to another project, a token shows nothing of this one.
    let mut elsewhere = claims_for_project("eve", Role::Viewer, "elsewhere");
    elsewhere.permissions = vec!["session:read".into(), "connection:list".into()];
    let elsewhere = mint(&elsewhere);
    server.ask("GET", &connection).token(&elsewhere).answer().refused(403, "forbidden");
    server.ask("GET", &of_session).token(&elsewhere).answer().refused(404, "session_not_found");
    drop(client);
    server.stop();
    let log = std::fs::read_to_string(file).expect("an audit log");
    for part in ["inspect_connection", "inspect_session", "with payloads", "without payloads"] {
        assert!(log.contains(part), "{part}: {log}");
    }
    assert_eq!(log.matches("\"inspect_connection\",\"outcome\":\"refused\"").count(), 2, "{log}");
}

#[test]
fn a_reader_that_is_behind_is_seen_from_a_whole_frame_on() {
    let server = TestServer::with(1, |config| config.send_buffer = 8 * 1024);
    let mut writer = server.connect("ada");
    let session = writer.create("s");
    let mut slow = server.opening(&evaluator("bob")).receive_buffer(8 * 1024).connect();
    slow.join(&session, &json!("live"));
    let text = "x".repeat(20_000);
    writer.publish(&session, "first", &json!({"text": text}));
    for n in 0..50 {
        writer.publish(&session, &format!("e{n}"), &json!({"text": text}));
    }
    // Its socket is full, in the midst of something.
    let path = format!("/api/v1/connections/{}/frames?filter=out,test_event", slow.client_id());
    let mut look = look(&server, &path, &admin());
    slow.events_to(52);
    let lines = lines_to(&mut look, |line| line["seq"] == 52);
    let seqs: Vec<_> = lines.iter().map(|line| line["seq"].as_u64().expect("a seq")).collect();
    assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seqs:?}");
}

#[test]
fn a_look_ends_with_its_token() {
    let server = TestServer::with_workers(1);
    let client = server.connect("ada");
    let mut eve = claims("eve", Role::Admin);
    eve.jti = Some("of-the-look".into());
    let mut look = look(&server, &format!("/api/v1/connections/{}/frames", client.client_id()), &mint(&eve));
    let revoked =
        server.ask("POST", "/api/v1/tokens/revoke").token(&admin()).json(&json!({"jti": "of-the-look"}));
    assert_eq!(revoked.answer().status, 200);
    lines_to(&mut look, |line| line["ended"] == true);
    assert!(look.next().is_none());
}
