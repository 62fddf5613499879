//! Bytes that no client should send, clients that never read, and clients that go without a word. Nobody else notices, and
//! nothing is kept.

use std::io::{Read, Write};
use std::time::Duration;

use agentbench_auth::Role;
use agentbench_websocket::{Deflater, Opcode, encode_frame, encode_header};
use bytes::BytesMut;
use serde_json::json;

use crate::support::client::{MASK, frame};
use crate::support::server::Answer;
use crate::support::tokens::{claims, evaluator, mint};
use crate::support::{TestServer, event, expect_code, expect_kind, message, wait_until};

/// The server as it was before: nobody is counted, and newcomers are served.
#[track_caller]
fn assert_unharmed(server: &TestServer) {
    server.wait_for_quiet();
    server.prove_well();
    server.wait_for_quiet();
}

fn raw(first: u8, second: u8, rest: &[u8]) -> Vec<u8> {
    [&[first, second], rest].concat()
}

#[test]
fn broken_frames_are_closed_with_their_code() {
    let server = TestServer::with_workers(1);
    let mut unmasked = BytesMut::new();
    encode_frame(&mut unmasked, Opcode::Text, false, b"{}", None);
    let masked = |first: u8, payload: &[u8]| {
        let mut bytes = frame(Opcode::Binary, payload).to_vec();
        bytes[0] = first;
        bytes
    };
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("unmasked", unmasked.to_vec(), 1002),
        ("RSV1 without compression", masked(0xc1, b"{}"), 1002),
        ("RSV2", masked(0xa1, b"{}"), 1002),
        ("RSV3", masked(0x91, b"{}"), 1002),
        ("opcode 3", masked(0x83, b"{}"), 1002),
        ("opcode 11", masked(0x8b, b"{}"), 1002),
        ("a fragmented ping", masked(0x09, b"x"), 1002),
        ("a ping of 126 bytes", masked(0x89, &[b'x'; 126]), 1002),
        ("a continuation of nothing", masked(0x80, b"{}"), 1002),
        ("a text inside a text", [masked(0x01, b"{"), masked(0x81, b"}")].concat(), 1002),
        ("a length in too many bytes", raw(0x81, 0x80 | 126, &[0, 1, 0, 0, 0, 0, b'x']), 1002),
        ("a length with its top bit", raw(0x81, 0xff, &[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), 1002),
        ("half a close code", masked(0x88, &[3]), 1002),
        ("close code 1005", masked(0x88, &1005_u16.to_be_bytes()), 1002),
        ("text that is no UTF-8", masked(0x81, b"{\"\xff\":1}"), 1007),
        ("cut UTF-8", [masked(0x01, b"\"\xc3"), masked(0x80, b"x\"")].concat(), 1007),
    ];
    for (what, bytes, code) in cases {
        let mut client = server.connect("mallory");
        client.send_raw(&bytes);
        let said = client.rest();
        assert_eq!(client.close.as_ref().map(|close| close.0), Some(code), "{what}");
        expect_kind(said.last().expect("it is told why"), "disconnecting");
        let again = server.connect("ada");
        assert_eq!(again.say_goodbye(1000).0, 1000, "{what}");
    }
    assert_unharmed(&server);
}

#[test]
fn frames_in_any_pieces_are_understood() {
    let server = TestServer::with_workers(1);
    let mut client = server.connect("ada");
    let text = message("heartbeat", "pieces", &json!({"text": "é€😀"})).to_string();
    let mut pieces = BytesMut::new();
    for (at, byte) in text.bytes().enumerate() {
        let opcode = if at == 0 { Opcode::Text } else { Opcode::Continuation };
        let mut one = frame(opcode, &[byte]);
        one[0] &= if at + 1 == text.len() { 0xff } else { 0x7f };
        pieces.extend_from_slice(&one);
        pieces.extend_from_slice(&frame(Opcode::Ping, b"between"));
    }
    for byte in pieces.chunks(3) {
        client.send_raw(byte);
    }
    assert_eq!(client.reply_to("pieces")["data"]["echo"]["text"], "é€😀");
    assert!(client.pongs > 0);
    let both = message("heartbeat", "as-binary", &json!({})).to_string();
    client.send_raw(&frame(Opcode::Binary, both.as_bytes()));
    client.reply_to("as-binary");
    assert_eq!(client.say_goodbye(4000).0, 4000);
}

#[test]
fn a_deflate_bomb_is_cut_off() {
    let server = TestServer::with(1, |config| config.max_payload = 1 << 20);
    let mut client = server.opening(&evaluator("mallory")).deflate().connect();
    let mut packed = BytesMut::new();
    Deflater::new(9).compress(15, &vec![b' '; 64 << 20], &mut packed);
    assert!(packed.len() < 128 * 1024, "a small frame: {}", packed.len());
    let mut bomb = BytesMut::new();
    encode_frame(&mut bomb, Opcode::Text, true, &packed, Some(MASK));
    client.send_raw(&bomb);
    let said = client.expect_close(1009);
    expect_code(&said[0], "payload_too_large");
    assert_unharmed(&server);
}

#[test]
fn what_does_not_inflate_is_refused() {
    let server = TestServer::with_workers(1);
    let mut client = server.opening(&evaluator("mallory")).deflate().connect();
    let mut broken = BytesMut::new();
    encode_frame(&mut broken, Opcode::Text, true, &[0xff; 64], Some(MASK));
    client.send_raw(&broken);
    client.expect_close(1007);
    assert_unharmed(&server);
}

#[test]
fn a_claimed_gibibyte_is_refused_before_it_comes() {
    let server = TestServer::with_workers(1);
    let mut client = server.connect("mallory");
    client.send_raw(&encode_header(Opcode::Text, false, 1 << 30, Some(MASK)));
    let said = client.expect_close(1009);
    expect_code(&said[0], "payload_too_large");
    expect_kind(&said[1], "disconnecting");
    assert_unharmed(&server);
}

#[test]
fn messages_without_end_break_the_receive_budget_and_nobody_else() {
    let server = TestServer::with(1, |config| config.receive_budget = 256 * 1024);
    let mut bystander = server.connect("ada");
    let session = bystander.create("s");
    let mut client = server.connect("mallory");
    let mut piece = frame(Opcode::Continuation, &[b' '; 16 * 1024]);
    piece[0] &= 0x7f;
    let mut first = piece.clone();
    first[0] = 0x01;
    client.send_raw(&first);
    // What the server does not take any more ends in an error here.
    for _ in 0..1000 {
        if client.stream.write_all(&piece).is_err() {
            break;
        }
    }
    let said = client.rest();
    assert_eq!(client.close.as_ref().map(|close| close.0), Some(1013), "{said:?}");
    expect_code(&said[0], "overloaded");
    assert_eq!(said[1]["data"]["reconnect"], "after");
    expect_kind(&bystander.publish(&session, "e", &json!({})), "ack");
    drop(bystander);
    assert_unharmed(&server);
}

#[test]
fn half_a_head_has_a_limited_time() {
    let server = TestServer::with(1, |config| {
        config.auth_timeout = Duration::from_millis(300);
        config.http_keep_alive = Duration::from_millis(300);
    });
    let mut half = server.socket();
    half.write_all(b"GET /ws HTTP/1.1\r\nHost: x\r\n").expect("it listens");
    let silent = server.socket();
    let mut slow = server.socket();
    let dripping = std::thread::spawn(move || {
        // One byte after the other: each in time, the head never.
        for byte in b"GET /ws HTTP/1.1\r\nX-Slow: ".iter().chain(std::iter::repeat_n(&b'x', 2000)) {
            if slow.write_all(&[*byte]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("a slow head was waited for");
    });
    assert_eq!(Answer::read(half).status, 408);
    let mut nothing = Vec::new();
    (&silent).read_to_end(&mut nothing).expect("the server ends it");
    assert!(nothing.is_empty());
    dripping.join().expect("it is ended, too");
    let mut keep_alive = server.socket();
    keep_alive.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").expect("it listens");
    let mut all = Vec::new();
    keep_alive.read_to_end(&mut all).expect("an idle HTTP connection ends, too");
    assert_unharmed(&server);
}

#[test]
fn huge_heads_are_refused() {
    let server = TestServer::with_workers(1);
    let one_header = format!("GET /ws HTTP/1.1\r\nX-Long: {}\r\n\r\n", "x".repeat(20_000));
    let many_headers = format!("GET /ws HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(100));
    let no_end = format!("GET /{}", "x".repeat(20_000));
    for head in [one_header, many_headers, no_end] {
        let mut socket = server.socket();
        socket.write_all(head.as_bytes()).expect("it listens");
        assert_eq!(Answer::read(socket).status, 431, "{} bytes", head.len());
    }
    assert_unharmed(&server);
}

/// Commands are sent without a look at the answers; the server stops reading instead of hoarding, and forgets nothing.
#[test]
fn ten_thousand_pipelined_commands_are_all_answered() {
    const COUNT: usize = 10_000;
    let server = TestServer::with_workers(1);
    let mut client = server.opening(&evaluator("ada")).receive_buffer(4096).connect();
    let session = client.create("s");
    let data = json!({"command": "get_session_info", "sessionId": session});
    let bytes: Vec<u8> = (0..COUNT)
        .flat_map(|n| client.encode(&message("control_command", &format!("c{n}"), &data)).to_vec())
        .collect();
    let mut writer = client.stream.try_clone().expect("a second handle");
    let writing = std::thread::spawn(move || writer.write_all(&bytes).expect("all is taken in the end"));
    let mut other = server.connect("bob");
    for n in 0..50 {
        other.send(&message("heartbeat", &format!("h{n}"), &json!({})));
        other.reply_to(&format!("h{n}"));
    }
    for n in 0..COUNT {
        let answer = client.next().expect("an answer");
        assert_eq!(answer["data"]["originalMessageId"], format!("c{n}"), "in the order of the questions");
    }
    writing.join().expect("the writer is done");
    drop((client, other));
    assert_unharmed(&server);
}

/// Small questions with large answers: what waits for one connection is bounded, whatever it asks for.
#[test]
fn answers_that_nobody_reads_are_bounded() {
    let server = TestServer::with(1, |config| config.slow_consumer_timeout = Duration::from_secs(1));
    let mut owner = server.connect("owner");
    let padding = json!({"text": "x".repeat(15_000)});
    let burst: Vec<_> = (0..500)
        .map(|n| {
            let data = crate::support::client::create_session(&json!({"metadata": padding}));
            message("control_command", &format!("s{n}"), &data)
        })
        .collect();
    owner.send(&json!(burst));
    (0..500).for_each(|n| drop(owner.reply_to(&format!("s{n}"))));
    drop(owner);

    let mut greedy = server.opening(&evaluator("mallory")).receive_buffer(4096).connect();
    let list = json!({"command": "get_session_list", "limit": 500});
    let questions: Vec<_> = (0..500).map(|n| message("control_command", &format!("q{n}"), &list)).collect();
    let before = resident_bytes();
    greedy.send(&json!(questions));
    wait_until("it is sent away", || {
        server.metric("agentbench_connections_closed_total{cause=\"slow_consumer\"}") == 1
    });
    let grown = resident_bytes().saturating_sub(before);
    // All answers together have 3.7 GB.
    assert!(grown < 256 << 20, "{grown} bytes were kept for one connection");
    drop(greedy);
    assert_unharmed(&server);
}

/// The same with answers that have to be read from the disk first.
#[test]
fn pages_of_history_that_nobody_reads_are_bounded() {
    let server = TestServer::with(1, |config| config.slow_consumer_timeout = Duration::from_secs(1));
    let mut greedy = server.opening(&evaluator("mallory")).receive_buffer(4096).connect();
    let session = greedy.create("s");
    for n in 0..16 {
        let data = json!({"text": "x".repeat(256 * 1024)});
        expect_kind(&greedy.publish(&session, &format!("e{n}"), &data), "ack");
    }
    let page = json!({"command": "get_history", "sessionId": session});
    let questions: Vec<_> = (0..1024).map(|n| message("control_command", &format!("q{n}"), &page)).collect();
    let before = resident_bytes();
    greedy.send(&json!(questions));
    wait_until("it is sent away", || {
        server.metric("agentbench_connections_closed_total{cause=\"slow_consumer\"}") == 1
    });
    drop(greedy);
    assert_unharmed(&server);
    let grown = resident_bytes().saturating_sub(before);
    // All answers together have over 1 GB.
    assert!(grown < 256 << 20, "{grown} bytes were kept for one connection");
}

/// Memory of this process at its highest.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux says so");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a figure");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}

#[test]
fn a_client_that_never_reads_holds_up_nobody_and_is_closed() {
    const EVENTS: u64 = 400;
    let server = TestServer::with(1, |config| {
        config.slow_consumer_timeout = Duration::from_millis(400);
        config.tail_bytes = 256 * 1024;
        config.send_buffer = 64 * 1024;
    });
    let mut publisher = server.connect("ada");
    let session = publisher.create("s");
    let mut stuck = server.opening(&evaluator("mallory")).receive_buffer(4096).connect();
    stuck.join(&session, &json!("live"));
    let mut reader = server.connect("bob");
    reader.join(&session, &json!("live"));
    let reading = std::thread::spawn(move || reader.events_to(EVENTS + 1));
    for n in 0..EVENTS {
        expect_kind(
            &publisher.publish(&session, &format!("e{n}"), &json!({"text": "x".repeat(10_000)})),
            "ack",
        );
    }
    let seen = reading.join().expect("the reader is served");
    assert_eq!(crate::support::seqs(&seen), (2..=EVENTS + 1).collect::<Vec<_>>());
    wait_until("it is closed", || {
        server.metric("agentbench_connections_closed_total{cause=\"slow_consumer\"}") == 1
    });
    let said = stuck.rest();
    assert!(stuck.close.as_ref().is_none_or(|close| close.0 == 4408), "{:?}", stuck.close);
    let got = crate::support::seqs(&said);
    assert!(got.is_sorted() && got.len() < EVENTS as usize, "what came is a beginning");
    // Whoever comes back has missed nothing.
    let mut back = server.opening(&evaluator("mallory")).connect();
    let epoch = back.info(&session)["epoch"].clone();
    let last = got.last().copied().unwrap_or(1);
    back.join(&session, &json!({"epoch": epoch, "seq": last}));
    assert_eq!(
        crate::support::seqs(&back.events_to(EVENTS + 1)),
        (last + 1..=EVENTS + 1).collect::<Vec<_>>()
    );
    drop((publisher, stuck, back));
    assert_unharmed(&server);
}

/// Slow is not dead: whoever reads a little now and then gets everything, from the log.
#[test]
fn a_slow_reader_catches_up_from_the_log() {
    const EVENTS: u64 = 300;
    let server = TestServer::with(1, |config| {
        config.tail_bytes = 64 * 1024;
        config.send_buffer = 16 * 1024;
    });
    let mut publisher = server.connect("ada");
    let session = publisher.create("s");
    let mut slow = server.opening(&evaluator("bob")).receive_buffer(4096).connect();
    slow.join(&session, &json!("start"));
    for n in 0..EVENTS {
        let sizes = [10, 3_000, 40_000];
        let data = json!({"text": "x".repeat(sizes[n as usize % 3])});
        expect_kind(&publisher.publish(&session, &format!("e{n}"), &data), "ack");
    }
    let seen = slow.events_to(EVENTS + 1);
    assert_eq!(crate::support::seqs(&seen), (1..=EVENTS + 1).collect::<Vec<_>>());
    assert!(server.metric("agentbench_catch_up_reads_total") > 0);
}

#[test]
fn pings_that_nobody_answers_end_a_connection() {
    let server = TestServer::with(1, |config| config.heartbeat_interval = Duration::from_millis(700));
    let mut alive = server.connect("ada");
    let session = alive.create_following("s");
    let mut dead = server.connect("bob");
    dead.join(&session, &json!("live"));
    dead.answers_pings = false;
    let dying = std::thread::spawn(move || dead.expect_close(4408));
    // Waiting for it answers the pings of this one, and there were more of them than may go unanswered.
    alive.wait_for_kind("user_left");
    alive.info(&session);
    expect_kind(dying.join().expect("it was closed").last().expect("it is told why"), "disconnecting");
}

#[test]
fn resets_in_the_middle_of_everything_leave_nothing_behind() {
    let server = TestServer::with_workers(1);
    let mut watcher = server.connect("ada");
    let session = watcher.create_following("s");
    for round in 0..30 {
        let mut client = server.opening(&evaluator("bob")).receive_buffer(4096).connect();
        client.send_command(&json!({"command": "join_session", "sessionId": session, "from": "start"}));
        let id = format!("e{round}");
        let bytes = client.encode(&event(&session, &id, &json!({"text": "x".repeat(2000)})));
        match round % 3 {
            0 => client.send_raw(&bytes),
            1 => client.send_raw(&bytes[..bytes.len() / 2]),
            _ => {}
        }
        client.reset();
    }
    wait_until("all of them are gone", || {
        watcher.info(&session)["participants"].as_array().map(Vec::len) == Some(1)
    });
    drop(watcher);
    assert_unharmed(&server);
}

#[test]
fn connections_beyond_the_limit_are_told_to_come_later() {
    let server = TestServer::with(1, |config| config.max_connections = 2);
    let token = evaluator("ada");
    let held = [server.opening(&token).connect(), server.opening(&token).connect()];
    let refused = server.opening(&token).open().err().expect("there is no place");
    assert_eq!((refused.status, refused.retry_after.is_some()), (503, true));
    assert_eq!(server.get("/healthz").status, 200, "plain HTTP is served all the same");
    drop(held);
    wait_until("there are places again", || server.server().connections() == 0);
    server.opening(&token).connect();
}

#[test]
fn malformed_messages_in_a_row_end_a_connection() {
    let server = TestServer::with(1, |config| config.malformed_limit = 3);
    let mut client = server.opening(&mint(&claims("eve", Role::Viewer))).connect();
    let publish = event("8c0d5b1e-0000-8000-8000-000000000000", "e", &json!({}));
    for _ in 0..3 {
        for _ in 0..2 {
            client.send_text("{");
            expect_code(&client.next().expect("a refusal"), "malformed_json");
        }
        // Refused for another reason: that is no malformed message.
        client.send(&publish);
        expect_code(&client.next().expect("a refusal"), "forbidden");
    }
    for _ in 0..3 {
        client.send_text("{");
    }
    let said = client.expect_close(1008);
    assert_eq!(said.iter().filter(|it| it["type"] == "error").count(), 3);
    assert_eq!(said.last().expect("it is told why")["data"]["reconnect"], "never");
    assert_unharmed(&server);
}

/// The script that a message holds is never sent back as it came.
#[test]
fn refusals_do_not_echo_what_was_sent() {
    let server = TestServer::with_workers(1);
    let mut client = server.connect("mallory");
    let script = "<script>alert(1)</script>";
    for text in [
        format!("{{\"{script}\""),
        json!({"id": "a b", "type": script, "timestamp": 1, "data": {}}).to_string(),
        json!({"id": "x", "type": script, "timestamp": 1, "data": {}}).to_string(),
        json!({"id": "x", "type": "control_command", "timestamp": 1, "data": {"command": script}})
            .to_string(),
    ] {
        client.send_text(&text);
        let refused = client.next().expect("a refusal");
        assert!(!refused.to_string().contains("script"), "{refused}");
    }
}
