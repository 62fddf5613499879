//! Limits on the work and memory that one peer can cause: other clients are served meanwhile.

use std::time::Duration;

use agentbench_auth::Role;
use agentbench_websocket::{Deflater, Opcode, encode_frame, encode_header};
use bytes::BytesMut;
use serde_json::{Value, json};

use crate::support::client::MASK;
use crate::support::tokens::{claims, evaluator, mint};
use crate::support::{TestServer, event, expect_code, expect_kind, kind_of, message, wait_until};

/// The number that the server gave to a message of its own: they are counted in the order of writing.
fn number(message: &Value) -> u64 {
    let id = message["id"].as_str().expect("an id");
    id.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().expect("a number")
}

fn list(id: &str) -> Value {
    message("control_command", id, &json!({"command": "get_session_list", "limit": 500}))
}

#[test]
fn a_frame_of_lists_lets_others_have_their_turn() {
    let server = TestServer::with_workers(1);
    let mut innocent = server.connect("ada");
    let session = innocent.create("s");
    for n in 0..60 {
        innocent.create(&format!("more-{n}"));
    }
    let mut greedy = server.opening(&mint(&claims("vera", Role::Viewer))).connect();
    let lists: Vec<Value> = (0..500).map(|n| list(&format!("l{n}"))).collect();
    greedy.send(&json!(lists));
    greedy.reply_to("l0");
    // It came while the lists were made: one that waits for all of them is numbered behind them.
    let ack = number(&innocent.publish(&session, "e", &json!({"eventType": "x"})));
    let last = number(&greedy.reply_to("l499"));
    assert!(ack < last, "the ack has number {ack}, the last list {last}");
}

#[test]
fn costly_commands_count_as_many_messages() {
    let server = TestServer::with(1, |config| config.connection_rate = 100);
    let mut client = server.connect("ada");
    let session = client.create("s");
    let mut refused = 0;
    for n in 0..20 {
        client.send(&list(&format!("l{n}")));
        refused += u32::from(client.reply_to(&format!("l{n}"))["data"]["code"] == "rate_limited");
    }
    assert!(refused > 0, "two seconds' worth is ten lists");
    wait_until("the rate has room again", || {
        let info = json!({"command": "get_session_info", "sessionId": session});
        kind_of(&client.command(&info)) == "session_info"
    });
}

#[test]
fn a_users_bytes_have_a_rate_by_socket_and_http() {
    let server = TestServer::with(1, |config| config.user_byte_rate = 100_000);
    let mut client = server.connect("ada");
    let session = client.create("s");
    let data = json!({"eventType": "x", "text": "x".repeat(90_000)});
    let url = format!("/api/v1/sessions/{session}/events");
    let by_http = |id: &str| {
        let body = event(&session, id, &data);
        server.ask("POST", &url).token(&evaluator("ada")).json(&body).answer()
    };
    expect_kind(&client.publish(&session, "a", &data), "ack");
    assert_eq!(by_http("b").status, 200);
    let refused = client.publish(&session, "c", &data);
    expect_code(&refused, "rate_limited");
    assert!(refused["data"]["retryAfterMs"].as_u64() > Some(0), "{refused}");
    by_http("d").refused(429, "rate_limited");
    // Another user's rate is another one.
    let mut other = server.connect("bob");
    other.join_as_publisher(&session);
    expect_kind(&other.publish(&session, "e", &data), "ack");
}

/// What was stored is acked again, and the session can be ended.
#[test]
fn a_session_that_is_full_takes_no_more_events() {
    let server = TestServer::with(1, |config| config.max_session_bytes = Some(100_000));
    let mut client = server.connect("ada");
    let session = client.create("s");
    let data = json!({"eventType": "x", "text": "x".repeat(60_000)});
    expect_kind(&client.publish(&session, "a", &data), "ack");
    expect_kind(&client.publish(&session, "b", &data), "ack");
    let refused = client.publish(&session, "c", &data);
    expect_code(&refused, "payload_too_large");
    assert_eq!(refused["data"]["retryable"], false);
    assert_eq!(client.publish(&session, "b", &data)["data"]["duplicate"], true);
    let step = |command: &str| json!({"command": command, "sessionId": session});
    expect_kind(&client.command(&step("start_test")), "session_started");
    expect_kind(&client.command(&step("stop_test")), "session_stopped");
}

/// 16 MiB of the same byte are 16 KB on the wire. Real messages are compressed 5 to 50 times.
#[test]
fn a_message_that_inflates_beyond_all_measure_is_refused() {
    let server = TestServer::with_workers(1);
    let mut client = server.opening(&evaluator("mallory")).deflate().connect();
    let text = message("heartbeat", "big", &json!({"text": " ".repeat(8 << 20)})).to_string();
    let mut packed = BytesMut::new();
    Deflater::new(9).compress(15, text.as_bytes(), &mut packed);
    let mut bomb = BytesMut::new();
    encode_frame(&mut bomb, Opcode::Text, true, &packed, Some(MASK));
    client.send_raw(&bomb);
    client.expect_close(1009);
    server.prove_well();
}

#[test]
fn who_may_not_publish_is_refused_before_a_large_message_is_read() {
    let server = TestServer::with_workers(1);
    let mut viewer = server.opening(&mint(&claims("vera", Role::Viewer))).msgpack().connect();
    // No MessagePack at all: nobody has looked.
    viewer.send_raw(&crate::support::client::frame(Opcode::Binary, &vec![0xc1; 300_000]));
    let refused = viewer.wait_for("a refusal", |it| it["type"] == "error");
    expect_code(&refused, "forbidden");
    let mut publisher = server.opening(&evaluator("ada")).msgpack().connect();
    publisher.send_raw(&crate::support::client::frame(Opcode::Binary, &vec![0xc1; 300_000]));
    expect_code(&publisher.wait_for("a refusal", |it| it["type"] == "error"), "malformed_json");
}

/// Begins a message of so many bytes and leaves out the last one.
fn begin(client: &mut crate::support::Client, bytes: usize) {
    client.send_raw(encode_header(Opcode::Binary, false, bytes + 1, Some(MASK)).as_ref());
    client.send_raw(&vec![0; bytes]);
}

#[test]
fn messages_that_do_not_end_give_their_room_to_newer_ones() {
    const MIB: usize = 1 << 20;
    let server = TestServer::with(1, |config| config.receive_budget = 6 * MIB);
    let held = |bytes: usize| {
        wait_until("it has arrived", || server.metric("agentbench_receive_buffer_bytes") >= bytes as i64);
    };
    // Two users, since half of the budget is the most that one may have.
    let mut first = server.connect("mallory");
    begin(&mut first, 2 * MIB);
    held(2 * MIB);
    let mut second = server.connect("moll");
    begin(&mut second, 2 * MIB);
    held(4 * MIB);
    let mut honest = server.connect("ada");
    let session = honest.create("s");
    let data = json!({"eventType": "x", "text": "x".repeat(2 * MIB + MIB / 2)});
    expect_kind(&honest.publish(&session, "large", &data), "ack");
    first.expect_close(1013);
    // One user's share.
    let mut more = server.connect("moll");
    begin(&mut more, 2 * MIB);
    more.expect_close(1013);
    assert_eq!(second.close, None);
}

/// Forty replays of one large event, which nobody takes: they wait for each other, and publishing goes on.
#[test]
fn readers_that_take_nothing_hold_no_more_than_they_may() {
    const EVENT: usize = 3 << 20;
    const BUDGET: usize = 8 << 20;
    let server = TestServer::with(1, |config| {
        config.read_budget = BUDGET;
        config.slow_consumer_timeout = Duration::from_secs(600);
    });
    let mut owner = server.connect("ada");
    let session = owner.create("s");
    let data = json!({"eventType": "x", "text": "x".repeat(EVENT)});
    expect_kind(&owner.publish(&session, "large", &data), "ack");
    let mut readers = Vec::new();
    for _ in 0..10 {
        let mut reader = server.opening(&evaluator("ada")).receive_buffer(4096).connect();
        for _ in 0..4 {
            reader.send_command(&json!({"command": "replay_session", "sessionId": session, "speed": 64}));
        }
        readers.push(reader);
    }
    let used = || server.metric("agentbench_queue_depth{queue=\"read_buffer\"}");
    wait_until("they hold something", || used() > EVENT as i64);
    for n in 0..50 {
        assert!(used() <= BUDGET as i64, "{}", used());
        expect_kind(&owner.publish(&session, &format!("e{n}"), &json!({"eventType": "x"})), "ack");
    }
    drop(readers);
    wait_until("everything was given back", || used() == 0);
    // And in turn everybody gets everything.
    let mut readers: Vec<_> = (0..6).map(|_| server.connect("ada")).collect();
    for reader in &mut readers {
        reader
            .send_command(&json!({"command": "get_history", "sessionId": session, "fromSeq": 2, "limit": 1}));
    }
    for reader in &mut readers {
        let page = reader.wait_for_kind("session_history");
        assert_eq!(page["data"]["events"][0]["data"], data);
    }
    wait_until("everything was given back", || used() == 0);
}

/// A slow reader that takes something all the time is not cut off for the size of an event.
#[test]
fn a_large_event_by_range_may_take_longer_than_a_pause_may() {
    use std::io::Read;
    let server = TestServer::with(1, |config| config.slow_consumer_timeout = Duration::from_millis(700));
    let mut owner = server.connect("ada");
    let session = owner.create("s");
    let data = json!({"eventType": "x", "text": "x".repeat(12 << 20)});
    expect_kind(&owner.publish(&session, "large", &data), "ack");
    let url = format!("/api/v1/sessions/{session}/events?fromSeq=2");
    let mut opened = server.ask("GET", &url).token(&evaluator("ada")).open();
    assert_eq!(opened.status, 200);
    let mut seen = 0;
    let mut piece = vec![0; 1 << 20];
    loop {
        let count = opened.reader.read(&mut piece).expect("it is not cut");
        if count == 0 {
            break;
        }
        seen += count;
        if seen % 3 == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    assert!(seen > 12 << 20, "{seen}");
}

/// A server whose read memory two readers take by taking nothing, and a session with an event that fills more than a
/// third of it.
fn short_of_read_memory() -> (TestServer, String) {
    let server = TestServer::with(1, |config| {
        config.read_budget = 7 << 20;
        config.slow_consumer_timeout = Duration::from_secs(600);
        config.send_buffer = 16 * 1024;
    });
    let mut owner = server.connect("ada");
    let session = owner.create("s");
    let data = json!({"eventType": "x", "text": "x".repeat(3 << 20)});
    expect_kind(&owner.publish(&session, "large", &data), "ack");
    (server, session)
}

/// The readers have the memory and take nothing: one more reader gets its answer all the same, long before they would
/// have been cut off for themselves.
fn expect_room_for_one_more(server: &TestServer, session: &str) {
    let used = || server.metric("agentbench_queue_depth{queue=\"read_buffer\"}");
    wait_until("they hold the memory", || used() > 6 << 20);
    let url = format!("/api/v1/sessions/{session}/events?fromSeq=2");
    let lines = server.ask("GET", &url).token(&evaluator("ada")).answer().lines();
    assert_eq!(lines[0]["data"]["text"].as_str().map(str::len), Some(3 << 20));
}

#[test]
fn ranges_that_nobody_reads_make_room_for_others() {
    let (server, session) = short_of_read_memory();
    let url = format!("/api/v1/sessions/{session}/events?fromSeq=2");
    let unread = [(); 2].map(|()| server.ask("GET", &url).token(&evaluator("ada")).sent());
    expect_room_for_one_more(&server, &session);
    drop(unread);
}

#[test]
fn streams_that_nobody_reads_make_room_for_others() {
    let (server, session) = short_of_read_memory();
    let url = format!("/api/v1/sessions/{session}/stream?from=start");
    let unread = [(); 2].map(|()| server.ask("GET", &url).token(&evaluator("ada")).sent());
    expect_room_for_one_more(&server, &session);
    drop(unread);
}

#[test]
fn sockets_that_nobody_reads_make_room_for_others() {
    let (server, session) = short_of_read_memory();
    let unread = [(); 2].map(|()| {
        let mut reader = server.opening(&evaluator("ada")).receive_buffer(4096).connect();
        let replay = json!({"command": "replay_session", "sessionId": session, "speed": 64});
        reader.send_command(&replay);
        reader
    });
    expect_room_for_one_more(&server, &session);
    let names = unread.each_ref().map(|reader| reader.client_id().to_owned());
    let admin = mint(&claims("root", Role::Admin));
    // At least one had to go, and is told by which limit.
    let limits: Vec<Value> = names
        .iter()
        .map(|name| server.ask("GET", &format!("/api/v1/connections/{name}/why")).token(&admin).answer())
        .filter(|why| why.status == 200)
        .map(|why| why.value()["evidence"]["limit"]["setting"].clone())
        .collect();
    assert!(limits.contains(&json!("READ_BUDGET")), "{limits:?}");
}
