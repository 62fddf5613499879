//! Sessions and events over HTTP: what is served, what is refused with which status, and that a publish is the same publish.

use agentbench_auth::{Claims, Role};
use serde_json::{Value, json};

use crate::support::http::Ask;
use crate::support::tokens::{claims, claims_for_project, evaluator, mint};
use crate::support::{TestServer, expect_kind, message, numbered, on_one_and_three_workers, seqs};

fn viewer() -> String {
    mint(&claims("vera", Role::Viewer))
}

fn admin() -> String {
    mint(&claims("root", Role::Admin))
}

fn posting(server: &TestServer, session: &str, token: &str) -> Ask {
    server.ask("POST", &format!("/api/v1/sessions/{session}/events")).token(token)
}

fn sessions_are_listed_in_pages_and_one_by_one(workers: usize) {
    let server = TestServer::with_workers(workers);
    let mut client = server.connect("ada");
    let names: Vec<_> = (0..7).map(|n| client.create(&format!("s{n}"))).collect();
    let other = client.create_with("other", &json!({"projectId": "p2"}));
    client.command(&json!({"command": "start_test", "sessionId": other}));
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let target = format!("/api/v1/sessions?projectId=p1&limit=3{cursor}");
        let page = server.ask("GET", &target).token(&viewer()).answer().value();
        seen.extend(page["sessions"].as_array().expect("a page").iter().map(|it| it["sessionId"].clone()));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let mut sorted: Vec<_> = seen.iter().filter_map(Value::as_str).collect();
    sorted.sort_unstable();
    let mut expected: Vec<_> = names.iter().map(String::as_str).collect();
    expected.sort_unstable();
    assert_eq!(sorted, expected, "each once");
    let running = server.ask("GET", "/api/v1/sessions?status=running").token(&viewer()).answer().value();
    assert_eq!(running["sessions"][0]["sessionId"], other);
    // Held to a project, for listing and for reading.
    let held = mint(&claims_for_project("pia", Role::Evaluator, "p2"));
    let listed = server.ask("GET", "/api/v1/sessions").token(&held).answer().value();
    assert_eq!(listed["sessions"].as_array().map(Vec::len), Some(1));
    let one = server.ask("GET", &format!("/api/v1/sessions/{other}")).token(&held).answer();
    assert_eq!((one.status, &one.value()["participants"][0]["userId"]), (200, &json!("ada")));
    for part in ["", "/events", "/export", "/stream"] {
        let answer = server.ask("GET", &format!("/api/v1/sessions/{}{part}", names[0])).token(&held).answer();
        answer.refused(404, "session_not_found");
    }
    for part in ["", "/events", "/export", "/stream"] {
        let unknown = format!("/api/v1/sessions/00000000-0000-8000-8000-000000000000{part}");
        server.ask("GET", &unknown).token(&held).answer().refused(404, "session_not_found");
    }
}

fn events_come_by_range_one_a_line(workers: usize) {
    let server = TestServer::with_workers(workers);
    let mut client = server.connect("ada");
    let session = client.create("s");
    client.publish_numbers(&session, 1..=40);
    client.send_text(&format!(
        "{{\"id\":\"wide\",\"type\":\"test_event\",\"timestamp\":1,\"sessionId\":\"{session}\",\"data\":{{\r\n \"a\": 1 }},\"metadata\":{{\"requiresAck\":true}}}}"
    ));
    client.reply_to("wide");
    let get = |query: &str| {
        let answer = server.ask("GET", &format!("/api/v1/sessions/{session}/events{query}"));
        answer.token(&viewer()).answer()
    };
    let whole = get("");
    assert_eq!(seqs(&whole.lines()), (1..=42).collect::<Vec<_>>());
    assert!(whole.head.contains("application/x-ndjson") && whole.head.contains("agentbench-head-seq: 42"));
    assert_eq!(whole.lines()[41]["data"], json!({"a": 1}));
    assert_eq!(seqs(&get("?fromSeq=10&toSeq=12").lines()), [10, 11, 12]);
    assert_eq!(seqs(&get("?fromSeq=41&limit=1").lines()), [41]);
    assert!(get("?fromSeq=43").lines().is_empty());
    for wrong in ["?fromSeq=0", "?fromSeq=x", "?toSeq=-1", "?limit=0", "?limit=1e3"] {
        get(wrong).refused(400, "invalid_message");
    }
    let export = server.ask("GET", &format!("/api/v1/sessions/{session}/export")).token(&viewer()).answer();
    assert_eq!(export.body, whole.body);
    assert!(export.head.contains(&format!("attachment; filename=\"{session}.ndjson\"")));
    // An ended session is served from the archive just the same.
    let stop = json!({"command": "stop_test", "sessionId": session, "outcome": "error"});
    expect_kind(&client.command(&stop), "session_stopped");
    server.wait_for_metric("agentbench_sessions_active", 0);
    assert_eq!(seqs(&get("?fromSeq=40").lines()), [40, 41, 42, 43]);
}

/// Many megabytes go through pieces of a step each, not through a buffer of the whole.
#[test]
fn a_long_session_is_streamed() {
    let server = TestServer::with_workers(1);
    let mut client = server.connect("ada");
    let session = client.create("s");
    for n in 0..60 {
        client.publish(&session, &format!("e{n}"), &json!({"text": "x".repeat(200_000)}));
    }
    let answer = server.ask("GET", &format!("/api/v1/sessions/{session}/events")).token(&viewer()).answer();
    assert_eq!(seqs(&answer.lines()), (1..=61).collect::<Vec<_>>());
}

/// An answer that is not read keeps one piece, and its connection is cut in time.
#[test]
fn a_reader_that_stops_is_cut_off() {
    let server = TestServer::with(1, |config| {
        config.slow_consumer_timeout = std::time::Duration::from_millis(300);
        config.send_buffer = 16 * 1024;
    });
    let mut client = server.connect("ada");
    let session = client.create("s");
    for n in 0..100 {
        client.publish(&session, &format!("e{n}"), &json!({"text": "x".repeat(100_000)}));
    }
    let mut opened = server.ask("GET", &format!("/api/v1/sessions/{session}/events")).token(&viewer()).open();
    assert_eq!(opened.status, 200);
    std::thread::sleep(std::time::Duration::from_millis(1_000));
    let bytes = opened.rest();
    assert!(bytes.len() < 9_000_000 && !bytes.ends_with(b"0\r\n\r\n"), "cut in the middle: {}", bytes.len());
}

fn a_publish_is_the_same_by_either_way(workers: usize) {
    let mut server = TestServer::with_workers(workers);
    let token = evaluator("ada");
    let mut client = server.opening(&token).producer("ext").connect();
    let session = client.create_following("s");
    client.publish_numbers(&session, 1..=2);
    let post = |server: &TestServer, body: &Value| {
        posting(server, &session, &token).header("Agentbench-Producer", "ext").json(body).answer()
    };
    let alone = post(&server, &numbered(&session, 3));
    assert_eq!(alone.status, 200);
    let value = alone.value();
    assert_eq!(
        (&value["acks"][0], &value["level"]),
        (&json!({"originalMessageId": "e3", "seq": 4}), &json!("logged"))
    );
    // Repeats of what came by the socket and by HTTP, and something new, in one body.
    let all: Vec<_> = (1..=5).map(|n| numbered(&session, n)).collect();
    let value = post(&server, &json!(all)).value();
    let acks: Vec<_> = value["acks"]
        .as_array()
        .expect("acks")
        .iter()
        .map(|ack| {
            (
                ack["originalMessageId"].as_str().expect("an id").to_owned(),
                ack["seq"].as_u64(),
                ack["duplicate"] == true,
            )
        })
        .collect();
    let expected: Vec<_> = (1..=5).map(|n| (format!("e{n}"), Some(n + 1), n < 4)).collect();
    assert_eq!(acks, expected);
    // And by the socket what came by HTTP.
    let ack = client.publish(&session, "e5", &json!({"eventType": "progress", "n": 5}));
    assert_eq!((&ack["data"]["seq"], &ack["data"]["duplicate"]), (&json!(6), &json!(true)));
    // Followers get one of each, from HTTP with the sender that it had.
    let events = client.events_to(6);
    assert_eq!(seqs(&events), (1..=6).collect::<Vec<_>>());
    assert_eq!((&events[4]["sender"]["userId"], &events[4]["id"]), (&json!("ada"), &json!("e4")));
    // Other content under a known id is refused, alone and among others.
    let mut other = numbered(&session, 2);
    other["data"]["n"] = json!("else");
    post(&server, &other).refused(409, "id_conflict");
    let mixed = post(&server, &json!([other, numbered(&session, 6), {"id": "x"}]));
    assert_eq!(mixed.status, 207);
    let value = mixed.value();
    assert_eq!(value["acks"], json!([{"originalMessageId": "e6", "seq": 7}]));
    let codes: Vec<_> =
        value["errors"].as_array().expect("errors").iter().map(|it| it["code"].clone()).collect();
    assert!(codes.contains(&json!("id_conflict")) && codes.contains(&json!("invalid_message")), "{codes:?}");
    // Another producer of the same user has ids of its own; and all of this outlives the process.
    let foreign = posting(&server, &session, &token).json(&numbered(&session, 1)).answer().value();
    assert_eq!(foreign["acks"][0]["seq"], 8);
    drop(client);
    server.restart();
    let again = post(&server, &numbered(&session, 4)).value();
    assert_eq!(again["acks"][0], json!({"originalMessageId": "e4", "seq": 5, "duplicate": true}));
}

fn refusals_have_the_status_of_their_code(workers: usize) {
    let server = TestServer::with(workers, |config| config.max_payload = 4096);
    let mut client = server.connect("ada");
    let session = client.create("s");
    let ada = evaluator("ada");
    let post = |body: &str| posting(&server, &session, &ada).body(body).answer();
    post("").refused(400, "malformed_json");
    post("{").refused(400, "malformed_json");
    post("[]").refused(400, "invalid_message");
    post("7").refused(400, "invalid_message");
    posting(&server, &session, &ada).body([0xff, 0xfe]).answer().refused(400, "malformed_json");
    let missing = post(r#"{"id":"e","type":"test_event","timestamp":1}"#).refused(400, "invalid_message");
    assert_eq!((&missing["field"], &missing["originalMessageId"]), (&json!("data"), &json!("e")));
    let command = message("control_command", "c", &json!({"command": "start_test"}));
    post(&command.to_string()).refused(400, "invalid_message");
    let elsewhere = numbered("00000000-0000-8000-8000-000000000000", 1);
    post(&elsewhere.to_string()).refused(400, "invalid_message");
    let mut checked = numbered(&session, 1);
    checked["metadata"]["checksum"] = json!("crc32c:00000000");
    post(&checked.to_string()).refused(400, "checksum_mismatch");
    let large = json!({"id": "l", "type": "test_event", "timestamp": 1, "data": {"text": "x".repeat(5000)}});
    post(&large.to_string()).refused(413, "payload_too_large");
    let good = numbered(&session, 1);
    let bare = server.ask("POST", &format!("/api/v1/sessions/{session}/events")).json(&good).answer();
    bare.refused(401, "not_authenticated");
    assert!(bare.head.contains("www-authenticate: bearer"));
    posting(&server, &session, "nonsense").json(&good).answer().refused(401, "not_authenticated");
    posting(&server, &session, &viewer()).json(&good).answer().refused(403, "forbidden");
    let held = mint(&claims_for_project("pia", Role::Evaluator, "p2"));
    posting(&server, &session, &held).json(&good).answer().refused(404, "session_not_found");
    posting(&server, "nonsense", &ada).json(&good).answer().refused(404, "session_not_found");
    let unknown = "00000000-0000-8000-8000-000000000000";
    let absent = json!({"id": "e", "type": "test_event", "timestamp": 1, "data": {}});
    posting(&server, unknown, &ada).json(&absent).answer().refused(404, "session_not_found");
    let wide = posting(&server, &session, &ada).header("Agentbench-Producer", "a b").json(&good).answer();
    wide.refused(400, "invalid_message");
    // A token in the address is for streams only.
    let target = format!("/api/v1/sessions?token={}", viewer());
    server.ask("GET", &target).answer().refused(401, "not_authenticated");
    expect_kind(
        &client.command(&json!({"command": "stop_test", "sessionId": session, "outcome": "error"})),
        "session_stopped",
    );
    posting(&server, &session, &ada).json(&good).answer().refused(409, "session_closed");
    server.wait_for_metric("agentbench_receive_buffer_bytes", 0);
    server.prove_well();
}

#[test]
fn a_full_disk_is_said_and_passes() {
    let server = TestServer::with_workers(1);
    let mut client = server.connect("ada");
    let session = client.create("s");
    let ada = evaluator("ada");
    server.faults.limit_room(Some(0));
    let refused = posting(&server, &session, &ada).json(&numbered(&session, 1)).answer();
    refused.refused(503, "log_unavailable");
    server.faults.limit_room(None);
    let taken = posting(&server, &session, &ada).json(&numbered(&session, 1)).answer();
    assert_eq!(taken.value()["acks"][0]["seq"], 2);
}

/// The rate is the user's, not the request's: requests of their own do not get around it.
#[test]
fn requests_share_the_users_rate() {
    let server = TestServer::with(1, |config| config.user_rate = 5);
    let mut client = server.connect("ada");
    let session = client.create("s");
    let ada = evaluator("ada");
    let answers: Vec<_> =
        (0..12).map(|n| posting(&server, &session, &ada).json(&numbered(&session, n)).answer()).collect();
    let refused = answers.iter().find(|answer| answer.status == 429).expect("a burst is refused in the end");
    refused.refused(429, "rate_limited");
    assert!(refused.head.contains("retry-after: "));
}

#[test]
fn hostile_requests_are_refused_in_words() {
    let server = TestServer::with_workers(1);
    let admin = admin();
    let paths = [
        "/api/v1/sessions/%00",
        "/api/v1/sessions/..%2f..%2fetc%2fpasswd/export",
        "/api/v1/sessions/%ff%fe/events",
        "/api/v1/sessions//events",
        "/api/v1/sessions/a%20b/stream",
        "/api/v1/connections/c",
        "/api/v1/connections/c%00/why",
        "/api/v1/connections/cffffffffffffffffffffffffff",
        "/api/v1/connections/%22%3Cscript%3E",
        "/api/v1",
        "/api/v1/",
        "/api/v2/sessions",
        "/api/v1/sessions/../../metrics",
        "//",
        "/%",
        "/api/v1/sessions?cursor=%00",
        "/api/v1/sessions?limit=99999999999999999999",
        "/api/v1/sessions?status=%F0%9F",
        "/api/v1/connections?cursor=x&limit=1",
        "/api/v1/connections?limit=0",
    ];
    for path in paths {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "BREW"] {
            let answer = server.ask(method, path).token(&admin).body("{\"a\":").answer();
            assert!((400..500).contains(&answer.status), "{method} {path}: {}", answer.status);
            if method == "GET" {
                assert_eq!(answer.value()["type"], "error", "{path}");
                assert!(!answer.body.contains("<script"), "{path}");
            }
        }
    }
    for body in [
        "",
        "null",
        "[]",
        "{}",
        "{\"jti\":1}",
        "{\"jti\":\"\"}",
        "{\"jti\":\"a\",\"userId\":\"b\"}",
        "{\"issuedBefore\":-1}",
        "{\"issuedBefore\":99999999999999}",
        "{\"other\":1}",
        "\u{0}",
    ] {
        let answer = server.ask("POST", "/api/v1/tokens/revoke").token(&admin).body(body).answer();
        assert_eq!(answer.status, 400, "{body}: {}", answer.body);
    }
    let deep = "[".repeat(100_000);
    let answer = server.ask("POST", "/api/v1/tokens/revoke").token(&admin).body(deep).answer();
    answer.refused(413, "payload_too_large");
    server.prove_well();
}

/// What is described is there, and nothing of it is open to everybody.
#[test]
fn every_described_route_exists_and_wants_a_token() {
    let server = TestServer::with_workers(1);
    let described = server.ask("GET", "/api/v1/openapi.json").answer().value();
    assert_eq!(described["openapi"], "3.1.0");
    let mut count = 0;
    for (path, methods) in described["paths"].as_object().expect("paths") {
        for (method, operation) in
            methods.as_object().expect("methods").iter().filter(|it| *it.0 != "parameters")
        {
            let open = operation["security"].as_array().is_some_and(Vec::is_empty);
            let path = path.replace("{sessionId}", "x").replace("{clientId}", "x");
            let answer = server.ask(&method.to_uppercase(), &path).answer();
            assert_eq!(answer.status, if open { 200 } else { 401 }, "{method} {path}");
            count += 1;
        }
    }
    assert_eq!(count, 24);
}

#[test]
fn pages_of_other_origins_need_to_be_allowed() {
    let server = TestServer::with(2, |config| {
        config.allowed_origins =
            agentbench_server::config::Origins::parse("https://app.example, self", true).expect("a list");
    });
    let from = |method: &str, origin: &str| {
        server.ask(method, "/api/v1/sessions").token(&viewer()).header("Origin", origin)
    };
    let preflight = |origin: &str| {
        from("OPTIONS", origin)
            .header("Access-Control-Request-Method", "GET")
            .header("Access-Control-Request-Headers", "authorization")
            .answer()
    };
    let allowed = preflight("https://app.example");
    assert_eq!(allowed.status, 204);
    assert!(
        allowed.head.contains("access-control-allow-origin: https://app.example\r\n"),
        "{}",
        allowed.head
    );
    for header in ["authorization", "traceparent"] {
        let line = allowed.head.lines().find(|line| line.starts_with("access-control-allow-headers: "));
        assert!(line.is_some_and(|line| line.contains(header)), "{}", allowed.head);
    }
    preflight("https://evil.example").refused(403, "forbidden");
    let read = from("GET", "https://app.example").answer();
    assert!(read.status == 200 && read.head.contains("access-control-allow-origin: https://app.example"));
    let denied = from("GET", "https://evil.example").answer();
    assert!(!denied.head.contains("access-control-allow-origin") && denied.head.contains("vary: origin"));
    // The WebSocket: browsers apply no rule there, so the server does.
    let opening = || server.opening(&evaluator("ada"));
    let refused = opening().header("Origin", "https://evil.example").open().err().expect("it is refused");
    assert_eq!(refused.status, 403);
    assert!(opening().header("Origin", "https://app.example").open().is_ok());
    assert!(opening().open().is_ok(), "no browser, no origin");
    assert_eq!(server.metric("agentbench_connections_refused_total{cause=\"origin\"}"), 2);
}

#[test]
fn figures_are_those_of_the_server() {
    let server = TestServer::with_workers(2);
    let mut client = server.connect("ada");
    let session = client.create("s");
    client.publish_numbers(&session, 1..=20);
    client.publish(&session, "e1", &json!({"not": "the same"}));
    server.ask("GET", "/api/v1/stats").token(&evaluator("ada")).answer().refused(403, "forbidden");
    let stats = server.ask("GET", "/api/v1/stats").token(&admin()).answer().value();
    assert_eq!((&stats["connectedClients"], &stats["activeSessions"]), (&json!(1), &json!(1)));
    assert_eq!(stats["totalMessages"], 21);
    for rate in ["messagesPerSecond", "commitLatency", "errorRate"] {
        assert!(stats[rate].as_f64().is_some_and(|rate| rate > 0.0), "{stats}");
    }
    assert!(stats["memoryUsage"]["rss"].as_u64().is_some_and(|rss| rss > 1 << 20), "{stats}");
}

#[test]
fn a_token_without_the_permission_gets_nothing_of_an_administrators() {
    let server = TestServer::with_workers(1);
    let calls = [
        ("GET", "/api/v1/connections"),
        ("GET", "/api/v1/connections/c0/why"),
        ("GET", "/api/v1/connections/c0"),
        ("DELETE", "/api/v1/connections/c0"),
        ("POST", "/api/v1/tokens/revoke"),
        ("POST", "/api/v1/drain"),
        ("POST", "/api/v1/reload"),
        ("GET", "/api/v1/stats"),
        ("GET", "/api/v1/alerts"),
    ];
    let listing =
        mint(&Claims { permissions: vec!["connection:list".to_owned()], ..claims("lin", Role::Viewer) });
    for (method, path) in calls {
        for token in [viewer(), evaluator("ada")] {
            server.ask(method, path).token(&token).body("{\"jti\":\"x\"}").answer().refused(403, "forbidden");
        }
        let answer = server.ask(method, path).token(&listing).body("{\"jti\":\"x\"}").answer();
        assert_eq!(answer.status == 403, method != "GET", "{method} {path}");
    }
    server.ask("GET", "/api/v1/connections/c0/why").token(&admin()).answer().refused(404, "not_found");
    // All but the three that a token for listing connections is enough for.
    assert_eq!(server.metric("agentbench_http_requests_total{status=\"4xx\"}"), 25);
    assert_eq!(server.metric("agentbench_http_requests_total{status=\"5xx\"}"), 0);
}

on_one_and_three_workers!(
    sessions_are_listed_in_pages_and_one_by_one,
    events_come_by_range_one_a_line,
    a_publish_is_the_same_by_either_way,
    refusals_have_the_status_of_their_code,
);
