//! Every code of the protocol's table of errors, provoked from outside. What is refused never costs more than itself: after
//! each refusal the same connection goes on.
//!
//! `internal` stands for a mistake of the server; there is no input that is known to lead to one.

use agentbench_protocol::ErrorCode;
use serde_json::{Value, json};

use crate::support::client::{create_session, frame};
use crate::support::{
    Client, TestServer, event, expect_code, expect_kind, message, on_one_and_three_workers, tokens,
};
use agentbench_websocket::Opcode;

/// Codes that have a test of their own below.
const APART: [&str; 6] =
    ["session_limit", "payload_too_large", "rate_limited", "overloaded", "log_unavailable", "not_found"];

struct Row {
    send: String,
    code: &'static str,
    id: Option<&'static str>,
    field: Option<&'static str>,
}

fn row(send: &Value, code: &'static str, field: Option<&'static str>) -> Row {
    Row { send: send.to_string(), code, id: Some("r"), field }
}

fn unread(send: &str, code: &'static str, field: Option<&'static str>) -> Row {
    Row { send: send.to_owned(), code, id: None, field }
}

/// What the rows talk about.
struct Sessions {
    running: String,
    ended: String,
    foreign: String,
}

fn command(data: &Value) -> Value {
    message("control_command", "r", data)
}

fn shape_rows() -> Vec<Row> {
    let with = |name: &str, value: Value| {
        let mut it = message("heartbeat", "r", &json!({}));
        it[name] = value;
        it
    };
    let without = |name: &str| {
        let mut it = message("heartbeat", "r", &json!({}));
        it.as_object_mut().expect("an object").remove(name);
        it
    };
    let metadata = |name: &str, value: Value| with("metadata", json!({name: value}));
    let invalid = "invalid_message";
    vec![
        unread("{", "malformed_json", None),
        unread("", "malformed_json", None),
        unread("{\"id\":\"r\",}", "malformed_json", None),
        unread("{} {}", "malformed_json", None),
        unread("[{\"id\":\"r\"}", "malformed_json", None),
        unread(&"[".repeat(100_000), "malformed_json", None),
        unread("7", invalid, Some("")),
        unread("[]", invalid, Some("")),
        unread("[7]", invalid, Some("")),
        unread(&without("id").to_string(), invalid, Some("id")),
        unread(&with("id", json!(7)).to_string(), invalid, Some("id")),
        unread(&with("id", json!("")).to_string(), invalid, Some("id")),
        unread(&with("id", json!("x".repeat(129))).to_string(), invalid, Some("id")),
        unread(&with("id", json!("a b")).to_string(), invalid, Some("id")),
        row(&without("type"), invalid, Some("type")),
        row(&without("timestamp"), invalid, Some("timestamp")),
        row(&with("timestamp", json!("now")), invalid, Some("timestamp")),
        row(&without("data"), invalid, Some("data")),
        row(&with("data", json!([])), invalid, Some("data")),
        row(&with("sessionId", json!(1)), invalid, Some("sessionId")),
        row(&with("metadata", json!(1)), invalid, Some("metadata")),
        row(&metadata("priority", json!("urgent")), invalid, Some("metadata.priority")),
        row(&metadata("requiresAck", json!(1)), invalid, Some("metadata.requiresAck")),
        row(&metadata("ttl", json!(-1)), invalid, Some("metadata.ttl")),
        row(&metadata("retryCount", json!("x")), invalid, Some("metadata.retryCount")),
        row(&metadata("checksum", json!("crc32c:xyz")), invalid, Some("metadata.checksum")),
        row(&metadata("traceparent", json!("00-1-2-3")), invalid, Some("metadata.traceparent")),
        row(&metadata("note", json!("x".repeat(20_000))), invalid, Some("metadata")),
        row(&with("type", json!("greeting")), "unknown_type", None),
        row(&with("type", json!("error")), "unknown_type", None),
    ]
}

fn command_rows(at: &Sessions) -> Vec<Row> {
    let invalid = "invalid_message";
    let on = |name: &str, session: &str| command(&json!({"command": name, "sessionId": session}));
    let join =
        |from: Value| command(&json!({"command": "join_session", "sessionId": at.running, "from": from}));
    let elsewhere = tokens::evaluator("somebody-else");
    vec![
        row(&command(&json!({})), invalid, Some("data.command")),
        row(&command(&json!({"command": "fly"})), "unknown_command", None),
        row(&command(&json!({"command": "start_test"})), invalid, Some("data.sessionId")),
        row(&command(&create_session(&json!({"agentName": 7}))), invalid, Some("data.agentName")),
        row(&command(&create_session(&json!({"metadata": []}))), invalid, Some("data.metadata")),
        row(&command(&json!({"command": "get_session_list", "limit": 0})), invalid, Some("data.limit")),
        row(&command(&json!({"command": "get_session_list", "cursor": "x"})), invalid, Some("data.cursor")),
        row(
            &command(&json!({"command": "get_history", "sessionId": at.running, "fromSeq": 0})),
            invalid,
            Some("data.fromSeq"),
        ),
        row(
            &command(&json!({"command": "replay_session", "sessionId": at.running, "speed": 65})),
            invalid,
            Some("data.speed"),
        ),
        row(&on("stop_replay", &at.running), invalid, Some("data.originalMessageId")),
        row(
            &command(&json!({"command": "stop_replay", "sessionId": at.running, "originalMessageId": "r"})),
            invalid,
            Some("data.originalMessageId"),
        ),
        row(&command(&json!({"command": "refresh_token", "token": "x"})), "not_authenticated", None),
        row(&command(&json!({"command": "refresh_token", "token": elsewhere})), "forbidden", None),
        row(&on("join_session", "8c0d5b1e-0000-8000-8000-000000000000"), "session_not_found", None),
        row(&on("join_session", "no-uuid"), "session_not_found", None),
        row(&on("start_test", "8c0d5b1e-0000-8000-8000-000000000000"), "session_not_found", None),
        row(&on("get_history", "8c0d5b1e-0000-8000-8000-000000000000"), "session_not_found", None),
        row(&on("start_test", &at.running), "invalid_transition", None),
        row(&on("resume_test", &at.ended), "invalid_transition", None),
        row(&join(json!("now")), "invalid_position", Some("data.from")),
        row(&join(json!({"epoch": "x", "seq": 1})), "invalid_position", Some("data.from")),
        row(&join(json!({"epoch": "0000000000000001", "seq": -1})), "invalid_position", Some("data.from")),
    ]
}

fn event_rows(at: &Sessions) -> Vec<Row> {
    let invalid = "invalid_message";
    let publish = |session: &str| event(session, "r", &json!({}));
    let mut nowhere = publish("x");
    nowhere["sessionId"] = Value::Null;
    let mut damaged = publish(&at.running);
    damaged["metadata"]["checksum"] = json!("crc32c:00000000");
    let ack = |data: Value| message("system_message", "r", &data);
    vec![
        row(&nowhere, invalid, Some("sessionId")),
        row(&publish("8c0d5b1e-0000-8000-8000-000000000000"), "session_not_found", None),
        row(&publish(&at.foreign), "not_a_participant", None),
        row(&publish(&at.ended), "session_closed", None),
        row(&damaged, "checksum_mismatch", None),
        Row {
            id: Some("known"),
            ..row(&event(&at.running, "known", &json!({"other": 1})), "id_conflict", None)
        },
        row(&ack(json!({"type": "gap"})), invalid, Some("data")),
        row(
            &ack(json!({"type": "session_left", "originalMessageId": "x", "sessionId": at.running})),
            invalid,
            Some("data.type"),
        ),
        row(&ack(json!({"type": "ack", "seq": 1})), invalid, Some("data.sessionId")),
        row(&ack(json!({"type": "ack", "sessionId": at.foreign, "seq": 1})), "not_a_participant", None),
    ]
}

fn sessions(server: &TestServer, client: &mut Client) -> Sessions {
    let running = client.create("running");
    expect_kind(&client.publish(&running, "known", &json!({})), "ack");
    expect_kind(&client.command(&json!({"command": "start_test", "sessionId": running})), "session_started");
    let ended = client.create("ended");
    let stop = json!({"command": "stop_test", "sessionId": ended, "outcome": "error"});
    expect_kind(&client.command(&stop), "session_stopped");
    let foreign = server.connect("owner").create("foreign");
    Sessions { running, ended, foreign }
}

#[track_caller]
fn check(row: &Row, refused: &Value) {
    expect_code(refused, row.code);
    let data = &refused["data"];
    assert_eq!(data["field"].as_str(), row.field, "{refused}");
    assert_eq!(data["originalMessageId"].as_str(), row.id, "{refused}");
    let retryable = ["session_limit", "checksum_mismatch", "rate_limited", "overloaded", "log_unavailable"];
    assert_eq!(data["retryable"], retryable.contains(&row.code), "{refused}");
    assert!(data["error"].as_str().is_some_and(|text| !text.is_empty()), "{refused}");
}

fn every_row_is_refused_with_its_code_and_the_connection_goes_on(workers: usize) {
    let server = TestServer::with_workers(workers);
    let mut client = server.connect("ada");
    let at = sessions(&server, &mut client);
    let mut rows = shape_rows();
    rows.extend(command_rows(&at));
    rows.extend(event_rows(&at));
    for row in &rows {
        client.send_text(&row.send);
        let refused = client.wait_for("a refusal", |it| it["type"] == "error");
        check(row, &refused);
        client.send(&message("heartbeat", "still-here", &json!({})));
        client.reply_to("still-here");
    }
    for code in ErrorCode::ALL.iter().map(|code| code.as_str()) {
        let provoked = rows.iter().any(|row| row.code == code) || APART.contains(&code);
        assert!(provoked || code == "internal", "{code} has no test");
    }
    assert_eq!(client.publish(&at.running, "after-all", &json!({}))["data"]["seq"], 4);
}

fn what_is_not_message_pack_is_refused(workers: usize) {
    let server = TestServer::with_workers(workers);
    let mut client = server.opening(&tokens::evaluator("ada")).msgpack().connect();
    let rows: [(&[u8], &str); 4] = [
        (b"\xc1", "malformed_json"),
        (b"", "malformed_json"),
        (b"\x81\xa2id\xc4\x01a", "invalid_message"),
        (b"\x81\x01\x01", "invalid_message"),
    ];
    for (bytes, code) in rows {
        let sent = frame(Opcode::Binary, bytes);
        client.send_raw(&sent);
        expect_code(&client.next().expect("a refusal"), code);
    }
    client.create("still-fine");
}

fn sessions_beyond_the_limit_are_refused_until_one_ends(workers: usize) {
    let server = TestServer::with(workers, |config| config.max_sessions = 2);
    let mut client = server.connect("ada");
    let first = client.create("one");
    client.create("two");
    let refused = client.command_as("three", &create_session(&json!({})));
    expect_code(&refused, "session_limit");
    assert_eq!(refused["data"]["retryable"], true);
    assert!(refused["data"]["retryAfterMs"].is_u64(), "{refused}");
    assert_eq!(client.create("one"), first, "what is there already is no new session");
    let stop = json!({"command": "stop_test", "sessionId": first, "outcome": "error"});
    expect_kind(&client.command(&stop), "session_stopped");
    client.create("three");
}

/// A burst that arrives in one message is counted session by session, too.
fn a_burst_of_creations_does_not_slip_past_the_limit(workers: usize) {
    let server = TestServer::with(workers, |config| config.max_sessions = 2);
    let mut client = server.connect("ada");
    let burst: Vec<_> =
        (0..10).map(|n| message("control_command", &format!("c{n}"), &create_session(&json!({})))).collect();
    client.send(&json!(burst));
    let replies: Vec<_> = (0..10).map(|n| client.reply_to(&format!("c{n}"))).collect();
    let created = replies.iter().filter(|it| it["data"]["type"] == "session_created").count();
    assert_eq!(created, 2, "{replies:?}");
}

fn messages_beyond_the_rate_are_refused_and_taken_later(workers: usize) {
    let server = TestServer::with(workers, |config| config.connection_rate = 50);
    let mut client = server.connect("ada");
    let session = client.create("s");
    let burst: Vec<_> = (0..200).map(|n| event(&session, &format!("e{n}"), &json!({}))).collect();
    client.send(&json!(burst));
    let replies: Vec<_> = (0..200).map(|n| client.reply_to(&format!("e{n}"))).collect();
    let refused = replies.iter().find(|it| it["type"] == "error").expect("the burst is over the rate");
    expect_code(refused, "rate_limited");
    assert_eq!(refused["data"]["retryable"], true);
    let wait = refused["data"]["retryAfterMs"].as_u64().expect("it says when");
    std::thread::sleep(std::time::Duration::from_millis(wait + 50));
    let again = refused["data"]["originalMessageId"].as_str().expect("it says which").to_owned();
    expect_kind(&client.publish(&session, &again, &json!({})), "ack");
    assert!(replies.iter().filter(|it| it["data"]["type"] == "ack").count() >= 99);
}

fn a_user_has_one_rate_for_all_connections(workers: usize) {
    let server = TestServer::with(workers, |config| config.user_rate = 20);
    let mut clients = [server.connect("ada"), server.connect("ada")];
    let burst: Vec<_> = (0..200).map(|n| message("heartbeat", &format!("h{n}"), &json!({}))).collect();
    let mut answered = 0;
    for client in &mut clients {
        client.send(&json!(burst));
        answered += (0..200).filter(|n| client.reply_to(&format!("h{n}"))["type"] == "heartbeat").count();
    }
    assert!((40..400).contains(&answered), "{answered} of 400");
    let mut other = server.connect("bob");
    other.send(&message("heartbeat", "h", &json!({})));
    assert_eq!(other.reply_to("h")["type"], "heartbeat");
}

fn whoever_ignores_the_rate_is_closed(workers: usize) {
    let server = TestServer::with(workers, |config| config.connection_rate = 1);
    let mut client = server.connect("ada");
    let burst: Vec<_> = (0..1010).map(|n| message("heartbeat", &format!("h{n}"), &json!({}))).collect();
    client.send(&json!(burst));
    let rest = client.expect_close(4429);
    let last = rest.last().expect("it is told why");
    expect_kind(last, "disconnecting");
    assert_eq!((&last["data"]["reconnect"], &last["data"]["code"]), (&json!("after"), &json!(4429)));
}

/// With one worker only: an owner on another one takes events out of the backlog meanwhile.
#[test]
fn a_full_backlog_refuses_the_lower_priorities_first() {
    let server = TestServer::with(1, |config| config.commit_backlog = 100_000);
    let mut client = server.connect("ada");
    let session = client.create("s");
    // One array is taken in one turn, in which the log cannot answer: the backlog only grows.
    let classes = ["low", "normal", "high", "critical"];
    let mut burst = Vec::new();
    for class in classes {
        for n in 0..100 {
            let mut it = event(&session, &format!("{class}-{n}"), &json!({"text": "x".repeat(1000)}));
            it["metadata"]["priority"] = json!(class);
            burst.push(it);
        }
    }
    client.send(&json!(burst));
    let mut stored = 1;
    for class in classes {
        let replies: Vec<_> = (0..100).map(|n| client.reply_to(&format!("{class}-{n}"))).collect();
        let refused = replies.iter().find(|it| it["type"] == "error").expect("the backlog fills up");
        expect_code(refused, "overloaded");
        assert!(refused["data"]["retryAfterMs"].is_u64(), "{refused}");
        let taken = replies.iter().filter(|it| it["data"]["type"] == "ack").count() as u64;
        assert!(taken > 0, "there was room left for {class}");
        stored += taken;
    }
    expect_kind(&client.publish(&session, "low-99", &json!({"text": "x".repeat(1000)})), "ack");
    assert_eq!(client.info(&session)["headSeq"], stored + 1);
}

fn a_full_disk_refuses_publishes_and_readers_go_on(workers: usize) {
    let server = TestServer::with_workers(workers);
    let mut client = server.connect("ada");
    let session = client.create("s");
    client.publish_numbers(&session, 1..=5);
    server.faults.limit_room(Some(0));
    for id in ["no-room", "no-room-either"] {
        let refused = client.publish(&session, id, &json!({}));
        expect_code(&refused, "log_unavailable");
        assert_eq!(refused["data"]["retryable"], true);
        assert!(refused["data"]["retryAfterMs"].is_u64(), "{refused}");
    }
    let refused = client.command_as("nowhere", &create_session(&json!({})));
    expect_code(&refused, "log_unavailable");
    let start = json!({"command": "start_test", "sessionId": session});
    expect_code(&client.command(&start), "log_unavailable");
    assert_eq!(server.get("/readyz").status, 503);
    let mut reader = server.connect("bob");
    assert_eq!(reader.join(&session, &json!("start"))["data"]["headSeq"], 6);
    assert_eq!(reader.events_to(6).len(), 6);

    server.faults.limit_room(None);
    expect_kind(&client.publish(&session, "no-room", &json!({})), "ack");
    expect_kind(&client.command(&start), "session_started");
    assert_eq!(server.get("/readyz").status, 200);
    assert_eq!(reader.events_to(8).len(), 2, "without hole or repeat");
    client.create("nowhere");
}

fn a_failed_disk_refuses_publishes_until_a_restart(workers: usize) {
    let mut server =
        TestServer::with(workers, |config| config.ack_level = agentbench_protocol::AckLevel::Synced);
    let mut client = server.connect("ada");
    let session = client.create("s");
    assert_eq!(client.publish(&session, "e1", &json!({}))["data"]["level"], "synced");
    server.faults.fail_syncs(true);
    expect_code(&client.publish(&session, "e2", &json!({})), "log_unavailable");
    server.faults.fail_syncs(false);
    expect_code(&client.publish(&session, "e3", &json!({})), "log_unavailable");
    assert_eq!(server.get("/readyz").status, 503);
    drop(client);
    server.abandon();
    server.start();
    let mut client = server.connect("ada");
    client.join(&session, &json!("start"));
    for id in ["e1", "e2", "e3"] {
        expect_kind(&client.publish(&session, id, &json!({})), "ack");
    }
    let seen = client.events_to(4);
    let ids: std::collections::BTreeSet<_> = seen.iter().map(|it| it["id"].to_string()).collect();
    assert_eq!(ids.len(), 4, "each once: {seen:?}");
}

fn a_message_too_large_is_said_to_be_so(workers: usize) {
    let server = TestServer::with(workers, |config| config.max_payload = 4096);
    let mut client = server.connect("ada");
    assert_eq!(client.established["data"]["maxPayload"], 4096);
    client.send(&message("heartbeat", "h", &json!({"text": "x".repeat(5000)})));
    let said = client.expect_close(1009);
    expect_code(&said[0], "payload_too_large");
    assert_eq!(said[0]["data"]["retryable"], false);
    server.prove_well();
}

on_one_and_three_workers!(
    every_row_is_refused_with_its_code_and_the_connection_goes_on,
    what_is_not_message_pack_is_refused,
    sessions_beyond_the_limit_are_refused_until_one_ends,
    a_burst_of_creations_does_not_slip_past_the_limit,
    messages_beyond_the_rate_are_refused_and_taken_later,
    a_user_has_one_rate_for_all_connections,
    whoever_ignores_the_rate_is_closed,
    a_full_disk_refuses_publishes_and_readers_go_on,
    a_failed_disk_refuses_publishes_until_a_restart,
    a_message_too_large_is_said_to_be_so,
);
