//! What intake takes, every reader gets: as JSON, as MessagePack, compressed, live, from the log, by HTTP. What one parser
//! reads and a stricter one does not stops nobody.

use serde_json::{Value, json};

use crate::support::client::value_of;
use crate::support::tokens::evaluator;
use crate::support::{
    Client, TestServer, event, expect_code, expect_kind, kind_of, message, on_one_and_three_workers,
};

/// `data` that JSON has and some parser stumbles over, and what a reader is to see under `m`.
fn awkward() -> Vec<(String, Value)> {
    let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    let with = |m: &str| format!(r#"{{"eventType":"x","m":{m}}}"#);
    let many: Vec<String> = (0..70_000).map(|n| n.to_string()).collect();
    let members: Vec<String> = (0..300).map(|n| format!("\"k{n}\":[{n},{{}}]")).collect();
    let mut cases = vec![
        (with(r#""\ud83d""#), json!("\u{fffd}")),
        (with(r#""a\ude00\ud83db""#), json!("a\u{fffd}\u{fffd}b")),
        (with(r#""\ud83d\ude00\u0000\/""#), json!("😀\0/")),
        (with(r#"{"\udfff":1}"#), json!({"\u{fffd}": 1})),
        (with("1e999"), json!("Infinity")),
        (with(&"9".repeat(310)), json!("Infinity")),
        (with("1e-999"), json!(0.0)),
        (with("18446744073709551615"), json!(u64::MAX)),
        (with("-9223372036854775808"), json!(i64::MIN)),
    ];
    for text in [nested(119), format!("[{}]", many.join(",")), format!("{{{}}}", members.join(","))] {
        let value = serde_json::from_str(&text).expect("a strict parser reads this");
        cases.push((with(&text), value));
    }
    cases
}

/// Reads entries and looks at each event as it comes.
fn check(reader: &mut Client, what: &str, first: u64, cases: &[(String, Value)]) {
    for (seq, (data, shown)) in (first..).zip(cases) {
        let entry = reader.wait_for("the entry", |it| it["seq"] == seq);
        let m = entry["data"]["m"].as_f64().filter(|m| m.is_infinite()).map(|_| json!("Infinity"));
        assert_eq!(m.as_ref().unwrap_or(&entry["data"]["m"]), shown, "{what}: {data:.60}");
    }
}

fn every_text_that_intake_takes_reaches_every_reader(workers: usize) {
    let server = TestServer::with_workers(workers);
    let cases = awkward();
    let mut owner = server.connect("ada");
    let session = owner.create("s");
    let readers = |server: &TestServer| {
        let opening = || server.opening(&evaluator("ada"));
        [
            ("JSON", opening().v1().connect()),
            ("JSON, compressed", opening().v1().deflate().connect()),
            ("MessagePack", opening().msgpack().connect()),
            ("MessagePack, compressed", opening().msgpack().deflate().connect()),
        ]
    };
    let mut live = readers(&server);
    for (_, reader) in &mut live {
        reader.join(&session, &json!("live"));
    }
    for (n, (data, _)) in cases.iter().enumerate() {
        let envelope = format!(
            r#"{{"id":"e{n}","type":"test_event","timestamp":1,"sessionId":"{session}","data":{data},"metadata":{{"requiresAck":true}}}}"#
        );
        owner.send_text(&envelope);
        expect_kind(&owner.reply_to(&format!("e{n}")), "ack");
    }
    for (what, reader) in &mut live {
        check(reader, what, 2, &cases);
    }
    for (what, reader) in &mut readers(&server) {
        reader.join(&session, &json!("start"));
        check(reader, what, 2, &cases);
        let history = json!({"command": "get_history", "sessionId": session, "fromSeq": 2, "limit": 1});
        expect_kind(&reader.command(&history), "session_history");
        let replay = json!({"command": "replay_session", "sessionId": session, "speed": 64});
        let id = reader.send_command(&replay);
        let end = reader
            .wait_for("the replay's end", |it| kind_of(it) == "replay_finished" || it["type"] == "error");
        assert_eq!(end["data"]["originalMessageId"], id.as_str(), "{what}");
    }
    let export = server.ask("GET", &format!("/api/v1/sessions/{session}/export")).token(&evaluator("ada"));
    let lines: Vec<Value> = export.answer().body.lines().map(value_of).collect();
    assert_eq!(lines.len(), cases.len() + 1);
    server.prove_well();
}

fn awkward_metadata_of_a_session_is_listed_in_every_form(workers: usize) {
    let server = TestServer::with_workers(workers);
    let mut owner = server.connect("ada");
    for (n, metadata) in [r#"{"m":"\ud83d"}"#, r#"{"m":1e999}"#, r#"{"m":[[[1]]]}"#].iter().enumerate() {
        owner.send_text(&format!(
            r#"{{"id":"s{n}","type":"control_command","timestamp":1,"data":{{"command":"create_session","projectId":"p","testId":"t","agentName":"a","metadata":{metadata}}}}}"#
        ));
        expect_kind(&owner.reply_to(&format!("s{n}")), "session_created");
    }
    for opening in [server.opening(&evaluator("ada")).v1(), server.opening(&evaluator("ada")).msgpack()] {
        let list = opening.connect().command(&json!({"command": "get_session_list"}));
        expect_kind(&list, "session_list");
        assert_eq!(list["data"]["sessions"].as_array().map(Vec::len), Some(3));
    }
    server.prove_well();
}

/// A page of history wraps an event in four levels, and a strict parser still reads it.
fn the_deepest_event_can_be_read_by_strict_parsers(workers: usize) {
    let server = TestServer::with_workers(workers);
    let mut owner = server.connect("ada");
    let session = owner.create_following("s");
    let levels = |count: usize| (0..count).fold(json!(1), |inner, _| json!({"children": [inner]}));
    // Two levels each, and the outermost object.
    let deep = json!({"eventType": "x", "tree": levels(59)});
    expect_kind(&owner.publish(&session, "deep", &deep), "ack");
    assert_eq!(owner.events_to(2).last().expect("it came")["data"], deep);
    let history = json!({"command": "get_history", "sessionId": session, "fromSeq": 2});
    owner.send_command(&history);
    assert_eq!(owner.wait_for_kind("session_history")["data"]["events"][0]["data"], deep);
}

/// The others of its frame are stored, and only the guilty one is refused, by its id.
fn one_message_that_cannot_be_taken_is_refused_alone(workers: usize) {
    let server = TestServer::with_workers(workers);
    let mut client = server.connect("ada");
    let session = client.create("s");
    let deep = (0..70).fold(json!(1), |inner, _| json!({"children": [inner]}));
    let good = |id: &str| event(&session, id, &json!({"eventType": "x"}));
    let frame = json!([good("a"), event(&session, "b", &json!({"tree": deep})), good("c"), good("d")]);
    let url = format!("/api/v1/sessions/{session}/events");
    client.send_text(&frame.to_string());
    for id in ["a", "c", "d"] {
        expect_kind(&client.reply_to(id), "ack");
    }
    let refused = client.reply_to("b");
    expect_code(&refused, "payload_too_large");
    assert_eq!((&refused["data"]["field"], &refused["data"]["retryable"]), (&json!("data"), &json!(false)));
    let answer = server.ask("POST", &url).token(&evaluator("ada")).body(frame.to_string()).answer().value();
    assert_eq!(answer["acks"].as_array().map(Vec::len), Some(3), "{answer}");
    assert_eq!(answer["errors"][0]["originalMessageId"], "b", "{answer}");

    // The same of what only MessagePack has.
    let mut packer = server.opening(&evaluator("ada")).msgpack().connect();
    packer.join_as_publisher(&session);
    let mut payload = bytes::BytesMut::new();
    let events = json!([good("e"), event(&session, "f", &json!({"m": "BINARY"})), good("g")]);
    agentbench_protocol::msgpack::from_json(events.to_string().as_bytes(), &mut payload).expect("JSON");
    let at = payload.windows(7).position(|part| part == b"\xa6BINARY").expect("it is there");
    payload[at..at + 7].copy_from_slice(b"\xc4\x05BINAR");
    packer.send_raw(&crate::support::client::frame(agentbench_websocket::Opcode::Binary, &payload));
    expect_code(&packer.reply_to("f"), "invalid_message");
    client.join(&session, &json!("start"));
    let ids: Vec<_> = client.events_to(6).iter().map(|entry| entry["id"].clone()).collect();
    assert_eq!(ids[1..], ["a", "c", "d", "e", "g"]);
    packer.send(&message("heartbeat", "still-here", &json!({})));
    packer.reply_to("still-here");
}

/// Seqs of the acked events by their ids, once all of them are acked.
fn acked(client: &mut Client, ids: &[String]) -> Vec<u64> {
    let mut seqs = std::collections::BTreeMap::new();
    while ids.iter().any(|id| !seqs.contains_key(id)) {
        let answer = client.wait_for("an answer", |it| kind_of(it) == "ack" || it["type"] == "error");
        expect_kind(&answer, "ack");
        let data = answer["data"].clone();
        let alone = json!([[data["originalMessageId"], data["seq"]]]);
        let pairs = data["acks"].as_array().or(alone.as_array()).expect("pairs").clone();
        let pair = |it: &Value| (it[0].as_str().expect("an id").to_owned(), it[1].as_u64().expect("a seq"));
        seqs.extend(pairs.iter().map(pair));
    }
    ids.iter().map(|id| seqs[id]).collect()
}

/// A large message is converted beside the worker, and what its sender sends after it waits.
fn a_large_message_keeps_its_place_among_small_ones(workers: usize) {
    let server = TestServer::with(workers, |config| config.max_payload = 8 * 1024 * 1024);
    let mut client = server.opening(&evaluator("ada")).msgpack().connect();
    let session = client.create("s");
    for round in 0..3 {
        let ids: Vec<_> = (0..6).map(|n| format!("e{round}-{n}")).collect();
        for (n, id) in ids.iter().enumerate() {
            let text = "x".repeat(if n % 3 == 1 { 2_000_000 } else { 10 });
            client.send(&event(&session, id, &json!({"text": text})));
        }
        assert_eq!(acked(&mut client, &ids), (2 + 6 * round..8 + 6 * round).collect::<Vec<u64>>());
    }
    // What cannot be converted is refused, and what follows is taken.
    let cut = [&[0x81][..], &[0xa1; 300_000]].concat();
    client.send_raw(&crate::support::client::frame(agentbench_websocket::Opcode::Binary, &cut));
    client.send(&event(&session, "after", &json!({})));
    let refused = client.wait_for("a refusal", |it| it["type"] == "error");
    expect_code(&refused, "malformed_json");
    assert_eq!(acked(&mut client, &["after".to_owned()]), [20]);
}

on_one_and_three_workers!(
    a_large_message_keeps_its_place_among_small_ones,
    every_text_that_intake_takes_reaches_every_reader,
    awkward_metadata_of_a_session_is_listed_in_every_form,
    the_deepest_event_can_be_read_by_strict_parsers,
    one_message_that_cannot_be_taken_is_refused_alone,
);
