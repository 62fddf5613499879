//! Commands over HTTP: they are the WebSocket's commands, carried out once each; refusals and their statuses.

use agentbench_auth::Role;
use serde_json::{Value, json};

use crate::support::client::create_session;
use crate::support::http::Ask;
use crate::support::server::Answer;
use crate::support::tokens::{claims, claims_for_project, evaluator, mint};
use crate::support::{
    TestServer, expect_code, expect_kind, kind_of, numbered, on_one_and_three_workers, seqs,
};

fn creation(id: &str) -> Value {
    json!({"id": id, "projectId": "p1", "testId": "t1", "agentName": "agent"})
}

fn creating(server: &TestServer, token: &str) -> Ask {
    server.ask("POST", "/api/v1/sessions").token(token)
}

fn commanding(server: &TestServer, session: &str, token: &str) -> Ask {
    server.ask("POST", &format!("/api/v1/sessions/{session}/commands")).token(token)
}

/// The name in an answer to a creation.
#[track_caller]
fn name_in(answer: &Answer, status: u16) -> String {
    let value = answer.value();
    assert_eq!((answer.status, &value["type"]), (status, &json!("session_created")), "{value}");
    value["sessionId"].as_str().expect("a session has a name").to_owned()
}

fn a_session_is_created_once_by_either_way(workers: usize) {
    let mut server = TestServer::with_workers(workers);
    let ada = evaluator("ada");
    let create = |server: &TestServer, body: &Value| creating(server, &ada).json(body).answer();
    let mut with_metadata = creation("by-http");
    with_metadata["metadata"] = json!({"run": [1, 2.5]});
    let made = create(&server, &with_metadata);
    let session = name_in(&made, 201);
    let value = made.value();
    assert_eq!(value["originalMessageId"], "by-http");
    assert_eq!(value["epoch"], value["session"]["epoch"]);
    assert_eq!(
        (&value["session"]["status"], &value["session"]["headSeq"], &value["session"]["metadata"]),
        (&json!("idle"), &json!(1), &json!({"run": [1, 2.5]}))
    );
    assert_eq!(value["session"]["participants"].as_array().map_or(0, Vec::len), 0, "it takes no part");
    assert_eq!(name_in(&create(&server, &with_metadata), 200), session);
    // By the socket it is the same session, and the other way round.
    let mut client = server.connect("ada");
    assert_eq!(client.create_with("by-http", &json!({"metadata": {"run": [1, 2.5]}})), session);
    let other = client.create("by-socket");
    assert_eq!(name_in(&create(&server, &creation("by-socket")), 200), other);
    assert_ne!(other, session);
    assert_eq!(client.info(&session)["participants"].as_array().map(Vec::len), Some(1), "the socket's");
    // Another content, another user, another life of the server.
    create(&server, &creation("by-http")).refused(409, "id_conflict");
    let bob = creating(&server, &evaluator("bob")).json(&with_metadata).answer();
    assert_ne!(name_in(&bob, 201), session);
    drop(client);
    server.restart();
    assert_eq!(name_in(&create(&server, &with_metadata), 200), session);
    let read = server.ask("GET", &format!("/api/v1/sessions/{session}")).token(&ada).answer().value();
    assert_eq!((&read["createdBy"], &read["headSeq"]), (&json!("ada"), &json!(1)));
}

/// Requests that come at the same time make one session, and one of them has made it.
fn the_same_creation_at_once_is_one(workers: usize) {
    let server = TestServer::with_workers(workers);
    let ada = evaluator("ada");
    let asks: Vec<_> = (0..6).map(|_| creating(&server, &ada).json(&creation("s"))).collect();
    let threads: Vec<_> = asks.into_iter().map(|ask| std::thread::spawn(move || ask.answer())).collect();
    let answers: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("it is answered")).collect();
    let made = answers.iter().filter(|answer| answer.status == 201).count();
    let mut names: Vec<_> = answers.iter().map(|answer| name_in(answer, answer.status)).collect();
    names.dedup();
    assert_eq!((made, names.len()), (1, 1));
    server.wait_for_metric("agentbench_sessions_active", 1);
}

fn a_step_is_taken_once_by_either_way(workers: usize) {
    let mut server = TestServer::with_workers(workers);
    let ada = evaluator("ada");
    let session = name_in(&creating(&server, &ada).json(&creation("s")).answer(), 201);
    let step = |server: &TestServer, body: &Value| commanding(server, &session, &ada).json(body).answer();
    let mut follower = server.connect("bob");
    follower.join(&session, &json!("start"));
    let start = json!({"id": "go", "command": "start_test"});
    let first = step(&server, &start);
    let value = first.value();
    assert_eq!(first.status, 200, "{value}");
    let expected = json!({"type": "session_started", "originalMessageId": "go", "sessionId": session,
        "from": "idle", "status": "running", "seq": 2});
    assert_eq!(value, expected);
    let heard = follower.wait_for_kind("session_started");
    assert_eq!((&heard["seq"], &heard["sender"]["userId"]), (&json!(2), &json!("ada")));
    // The same again is the same answer, by either way.
    let mut again = expected;
    again["duplicate"] = json!(true);
    assert_eq!(step(&server, &start).value(), again);
    let mut client = server.connect("ada");
    let by_socket = client.command_as("go", &json!({"command": "start_test", "sessionId": session}));
    assert_eq!(by_socket["data"], again);
    client.command_as("hold", &json!({"command": "pause_test", "sessionId": session}));
    let hold = step(&server, &json!({"id": "hold", "command": "pause_test", "sessionId": session})).value();
    assert_eq!((&hold["type"], &hold["duplicate"]), (&json!("session_paused"), &json!(true)));
    let conflict = step(&server, &json!({"id": "go", "command": "pause_test"})).refused(409, "id_conflict");
    assert_eq!(conflict["originalMessageId"], "go");
    let wrong = step(&server, &json!({"id": "p2", "command": "pause_test"}));
    wrong.refused(409, "invalid_transition");
    drop((follower, client));
    server.restart();
    assert_eq!(step(&server, &start).value(), again);
    let resumed = step(&server, &json!({"id": "on", "command": "resume_test"})).value();
    assert_eq!((&resumed["type"], &resumed["seq"]), (&json!("session_resumed"), &json!(4)));
    let stop = json!({"id": "end", "command": "stop_test", "outcome": "error", "reason": "it broke"});
    let stopped = step(&server, &stop).value();
    assert_eq!((&stopped["status"], &stopped["reason"]), (&json!("error"), &json!("it broke")));
    let again = step(&server, &stop).value();
    assert_eq!((&again["seq"], &again["duplicate"]), (&json!(5), &json!(true)), "ended, and still answered");
    let mut reader = server.connect("bob");
    reader.join(&session, &json!("start"));
    assert_eq!(seqs(&reader.events_to(5)), [1, 2, 3, 4, 5], "each step is in the log once");
}

/// A whole run without a socket, and nobody hears of somebody who is not there.
fn a_run_needs_no_socket(workers: usize) {
    let server = TestServer::with_workers(workers);
    let ada = evaluator("ada");
    let session = name_in(&creating(&server, &ada).json(&creation("s")).answer(), 201);
    let mut watcher = server.connect("bob");
    watcher.join(&session, &json!("start"));
    let path = format!("/api/v1/sessions/{session}/events");
    commanding(&server, &session, &ada).json(&json!({"id": "1", "command": "start_test"})).answer().value();
    server.ask("POST", &path).token(&ada).json(&numbered(&session, 1)).answer().value();
    name_in(&creating(&server, &ada).json(&creation("s")).answer(), 200);
    commanding(&server, &session, &ada).json(&json!({"id": "2", "command": "stop_test"})).answer().value();
    let heard = watcher.events_to(4);
    let kinds: Vec<_> = heard.iter().filter(|it| it["type"] == "system_message").map(kind_of).collect();
    assert_eq!(kinds, ["session_created", "session_started", "session_stopped"]);
    assert!(watcher.settle(&session).iter().all(|it| kind_of(it) != "user_joined"));
    server.prove_well();
}

fn refusals_name_what_is_wrong(workers: usize) {
    let server = TestServer::with(workers, |config| config.max_payload = 32 * 1024);
    let ada = evaluator("ada");
    let session = name_in(&creating(&server, &ada).json(&creation("s")).answer(), 201);
    let before = server.metric("agentbench_errors_total{code=\"invalid_message\"}");
    let create = |body: &str| creating(&server, &ada).body(body).answer();
    let step = |body: &str| commanding(&server, &session, &ada).body(body).answer();
    for post in [&create as &dyn Fn(&str) -> Answer, &step] {
        post("").refused(400, "malformed_json");
        post("{\"id\":\"x\"").refused(400, "malformed_json");
        post(&format!("{{\"id\":{}1{}}}", "[".repeat(200), "]".repeat(200))).refused(400, "malformed_json");
        for body in ["[]", "7", "null", "[\"x\",\"start_test\"]", r#"{"id":"x","id":"y"}"#] {
            post(body).refused(400, "invalid_message");
        }
        for body in ["{}", r#"{"id":7}"#, r#"{"id":""}"#, r#"{"id":"a b"}"#, r#"{"id":null}"#] {
            assert_eq!(post(body).refused(400, "invalid_message")["field"], "id", "{body}");
        }
        let long = format!("{{\"id\":\"{}\"}}", "x".repeat(129));
        assert_eq!(post(&long).refused(400, "invalid_message")["field"], "id");
        post(&"x".repeat(40_000)).refused(413, "payload_too_large");
    }
    assert!(server.metric("agentbench_errors_total{code=\"invalid_message\"}") >= before + 22);
    let fields = [
        ("projectId", json!(null)),
        ("projectId", json!("")),
        ("testId", json!(7)),
        ("agentName", json!("x".repeat(300))),
        ("agentName", json!("a\u{0}b")),
        ("metadata", json!([1])),
        ("metadata", json!({"text": "x".repeat(20_000)})),
    ];
    for (field, value) in fields {
        let mut body = creation("wrong");
        body[field] = value;
        let refusal = create(&body.to_string()).refused(400, "invalid_message");
        assert_eq!((&refusal["field"], &refusal["originalMessageId"]), (&json!(field), &json!("wrong")));
        assert!(!refusal["error"].as_str().expect("a text").contains("data."), "{refusal}");
    }
    for named in ["join_session", "refresh_token", "create_session", "replay_session", "fly", ""] {
        let body = json!({"id": "x", "command": named}).to_string();
        assert_eq!(step(&body).refused(400, "unknown_command")["originalMessageId"], "x");
    }
    for (field, body) in [
        ("command", json!({"id": "x"})),
        ("command", json!({"id": "x", "command": 7})),
        ("outcome", json!({"id": "x", "command": "stop_test", "outcome": "won"})),
        ("reason", json!({"id": "x", "command": "stop_test", "reason": ""})),
        ("sessionId", json!({"id": "x", "command": "start_test", "sessionId": 7})),
        (
            "sessionId",
            json!({"id": "x", "command": "start_test", "sessionId": "00000000-0000-8000-8000-000000000000"}),
        ),
    ] {
        assert_eq!(step(&body.to_string()).refused(400, "invalid_message")["field"], field, "{body}");
    }
    let start = json!({"id": "x", "command": "start_test"});
    for unknown in ["nonsense", "00000000-0000-8000-8000-000000000000"] {
        commanding(&server, unknown, &ada).json(&start).answer().refused(404, "session_not_found");
    }
    let read = server.ask("GET", &format!("/api/v1/sessions/{session}")).token(&ada).answer().value();
    assert_eq!((&read["status"], &read["headSeq"]), (&json!("idle"), &json!(1)), "nothing had an effect");
    server.wait_for_metric("agentbench_receive_buffer_bytes", 0);
    server.prove_well();
}

fn permissions_are_those_of_the_socket(workers: usize) {
    let server = TestServer::with_workers(workers);
    let ada = evaluator("ada");
    let session = name_in(&creating(&server, &ada).json(&creation("s")).answer(), 201);
    let start = json!({"id": "x", "command": "start_test"});
    let bare = server.ask("POST", "/api/v1/sessions").json(&creation("b")).answer();
    bare.refused(401, "not_authenticated");
    commanding(&server, &session, "nonsense").json(&start).answer().refused(401, "not_authenticated");
    let viewer = mint(&claims("vera", Role::Viewer));
    let held = mint(&claims_for_project("pia", Role::Evaluator, "p2"));
    for token in [&viewer, &held] {
        creating(&server, token).json(&creation("n")).answer().refused(403, "forbidden");
    }
    commanding(&server, &session, &viewer).json(&start).answer().refused(403, "forbidden");
    commanding(&server, &session, &held).json(&start).answer().refused(404, "session_not_found");
    let mut own = creation("own");
    own["projectId"] = json!("p2");
    let own = name_in(&creating(&server, &held).json(&own).answer(), 201);
    let stop = json!({"id": "y", "command": "stop_test", "outcome": "error"});
    assert_eq!(commanding(&server, &own, &held).json(&stop).answer().status, 200);
}

#[test]
fn limits_hold_for_requests_too() {
    let server = TestServer::with(1, |config| config.security.user_sessions = 2);
    let ada = evaluator("ada");
    let first = name_in(&creating(&server, &ada).json(&creation("s0")).answer(), 201);
    name_in(&creating(&server, &ada).json(&creation("s1")).answer(), 201);
    let refused = creating(&server, &ada).json(&creation("s2")).answer();
    assert_eq!(refused.refused(503, "session_limit")["originalMessageId"], "s2");
    assert!(refused.head.contains("retry-after: "));
    let mut client = server.connect("ada");
    expect_code(&client.command_as("s3", &create_session(&json!({}))), "session_limit");
    let stop = json!({"id": "end", "command": "stop_test", "outcome": "error"});
    commanding(&server, &first, &ada).json(&stop).answer().value();
    name_in(&creating(&server, &ada).json(&creation("s2")).answer(), 201);
}

#[test]
fn commands_share_the_users_rate() {
    let server = TestServer::with(1, |config| config.user_rate = 5);
    let ada = evaluator("ada");
    let answers: Vec<_> = (0..12).map(|_| creating(&server, &ada).json(&creation("s")).answer()).collect();
    let refused = answers.iter().find(|answer| answer.status == 429).expect("a burst is refused in the end");
    refused.refused(429, "rate_limited");
    assert!(refused.head.contains("retry-after: "));
}

/// What the log did not take has not happened, and may be sent again under its id.
#[test]
fn a_full_disk_undoes_a_command() {
    let server = TestServer::with_workers(1);
    let ada = evaluator("ada");
    let create = || creating(&server, &ada).json(&creation("s")).answer();
    server.faults.limit_room(Some(0));
    create().refused(503, "log_unavailable");
    server.faults.limit_room(None);
    let session = name_in(&create(), 201);
    let start = || commanding(&server, &session, &ada).json(&json!({"id": "go", "command": "start_test"}));
    server.faults.limit_room(Some(0));
    start().answer().refused(503, "log_unavailable");
    server.faults.limit_room(None);
    let started = start().answer().value();
    assert_eq!((&started["type"], started.get("duplicate")), (&json!("session_started"), None));
    let mut client = server.connect("ada");
    expect_kind(&client.command(&json!({"command": "pause_test", "sessionId": session})), "session_paused");
}

on_one_and_three_workers!(
    a_session_is_created_once_by_either_way,
    the_same_creation_at_once_is_one,
    a_step_is_taken_once_by_either_way,
    a_run_needs_no_socket,
    refusals_name_what_is_wrong,
    permissions_are_those_of_the_socket,
);
