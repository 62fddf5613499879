//! Publishing: order, acks, repeats, checksums, and what a MessagePack client and a JSON client see of the same session.

use std::collections::BTreeMap;

use agentbench_protocol::AckLevel;
use serde_json::{Value, json};

use crate::support::tokens::evaluator;
use crate::support::{
    Client, TestServer, event, expect_code, expect_kind, message, numbered, on_one_and_three_workers, seqs,
};

/// Acks by event, in either form.
fn acks_for(client: &mut Client, ids: &[String]) -> BTreeMap<String, u64> {
    let mut acks = BTreeMap::new();
    while acks.len() < ids.len() {
        let ack = client.wait_for_kind("ack");
        let data = &ack["data"];
        if let Some(id) = data["originalMessageId"].as_str() {
            acks.insert(id.to_owned(), data["seq"].as_u64().expect("a seq"));
        }
        for pair in data["acks"].as_array().into_iter().flatten() {
            acks.insert(pair[0].as_str().expect("an id").to_owned(), pair[1].as_u64().expect("a seq"));
        }
        assert_eq!((&data["level"], data["epoch"].is_string()), (&json!("logged"), true), "{ack}");
    }
    acks
}

fn one_producers_order_is_kept(workers: usize) {
    let server = TestServer::with_workers(workers);
    let mut client = server.connect("ada");
    let session = client.create("s");
    let mut reader = server.connect("bob");
    reader.join(&session, &json!("live"));
    let ids: Vec<String> = (1..=320).map(|n| format!("e{n}")).collect();
    for chunk in 0..20 {
        let batch: Vec<_> = (1..=16).map(|n| numbered(&session, chunk * 16 + n)).collect();
        client.send(&json!(batch));
    }
    let acks = acks_for(&mut client, &ids);
    assert!(ids.iter().enumerate().all(|(at, id)| acks[id] == at as u64 + 2), "{acks:?}");
    let seen = reader.events_to(321);
    assert_eq!(seqs(&seen), (2..=321).collect::<Vec<_>>());
    assert!(seen.iter().zip(&ids).all(|(event, id)| event["id"] == *id));
    let fields = &seen[0];
    assert_eq!(fields["sessionId"], session);
    assert_eq!(fields["sender"]["userId"], "ada");
    assert_eq!(fields["sender"]["clientId"], client.client_id());
    assert!(fields["receivedAt"].is_u64());
    assert_eq!(fields["metadata"]["requiresAck"], true);
    assert_eq!(fields["data"], json!({"eventType": "progress", "n": 1}));
}

fn acks_are_single_for_plain_clients_and_coalesced_for_version_1(workers: usize) {
    let server = TestServer::with_workers(workers);
    for (protocol, coalesced) in
        [(None, false), (Some("agentbench.v1.json"), true), (Some("agentbench.v1.msgpack"), true)]
    {
        let opening = server.opening(&evaluator("ada"));
        let mut client = match protocol {
            None => opening.connect(),
            Some(protocol) => opening.protocol(protocol).connect(),
        };
        let session = client.create(protocol.unwrap_or("plain"));
        // A batch may be cut into frames of one event if the threads take turns, but not again and again.
        let mut rounds = (0..50_u64).map(|round| 16 * round + 1..16 * round + 17);
        let (batch, ids) = loop {
            let numbers = rounds.next().expect("acks go together at last");
            let batch: Vec<_> = numbers.clone().map(|n| numbered(&session, n)).collect();
            client.send(&json!(batch));
            let (mut acked, mut together) = (0, false);
            while acked < 16 {
                let ack = client.wait_for_kind("ack");
                acked += ack["data"]["acks"].as_array().map_or(1, Vec::len);
                together |= ack["data"]["acks"].is_array();
            }
            assert!(coalesced || !together, "a plain client gets single acks");
            if together == coalesced {
                break (batch, numbers.map(|n| format!("e{n}")).collect::<Vec<_>>());
            }
        };
        // What is published again is known already, one by one.
        client.send(&json!(batch));
        for id in &ids {
            let again = client.reply_to(id);
            assert_eq!(again["data"]["duplicate"], true, "{again}");
        }
    }
}

fn whoever_wants_no_ack_gets_none_but_refusals(workers: usize) {
    let server = TestServer::with_workers(workers);
    let mut client = server.connect("ada");
    let session = client.create("s");
    let quiet = |id: &str, n: u64| {
        let mut it = event(&session, id, &json!({"n": n}));
        it["metadata"] = Value::Null;
        it
    };
    client.send(&json!([quiet("a", 1), quiet("b", 2), quiet("a", 1)]));
    client.send(&quiet("a", 3));
    expect_code(&client.reply_to("a"), "id_conflict");
    assert!(client.settle(&session).iter().all(|it| it["data"]["type"] != "ack"));
    crate::support::wait_until("both are stored", || client.info(&session)["headSeq"] == 3);
}

fn the_ack_names_its_level(workers: usize) {
    let server = TestServer::with(workers, |config| config.ack_level = AckLevel::Synced);
    let mut client = server.connect("ada");
    assert_eq!(client.established["data"]["ackLevel"], "synced");
    let session = client.create("s");
    let ack = client.publish(&session, "e", &json!({}));
    assert_eq!(ack["data"]["level"], "synced", "{ack}");
    assert_eq!(ack["data"]["epoch"], client.info(&session)["epoch"]);
}

fn a_repeat_is_stored_once_for_its_producer(workers: usize) {
    let mut server = TestServer::with_workers(workers);
    let token = evaluator("ada");
    let mut client = server.opening(&token).producer("worker-1").connect();
    let session = client.create("s");
    let data = json!({"eventType": "score_update", "score": 0.5});
    assert_eq!(client.publish(&session, "e1", &data)["data"]["seq"], 2);
    // The same, while the first waits for the log.
    let twice = event(&session, "e2", &data);
    client.send(&json!([twice, twice]));
    let answers = [client.reply_to("e2"), client.reply_to("e2")];
    assert!(answers.iter().all(|ack| ack["data"]["seq"] == 3), "{answers:?}");
    assert_eq!(answers.iter().filter(|ack| ack["data"]["duplicate"] == true).count(), 1);

    let check = |client: &mut Client| {
        client.join_as_publisher(&session);
        let again = client.publish(&session, "e1", &data);
        assert_eq!(
            (&again["data"]["seq"], &again["data"]["duplicate"]),
            (&json!(2), &json!(true)),
            "{again}"
        );
        expect_code(&client.publish(&session, "e1", &json!({"score": 1})), "id_conflict");
    };
    check(&mut client);
    let mut newer = server.opening(&token).producer("worker-1").connect();
    check(&mut newer);
    let mut by_query =
        server.bare_opening().target(&format!("/?token={token}&producerId=worker-1")).connect();
    check(&mut by_query);
    drop((client, newer, by_query));
    server.restart();
    let mut after = server.opening(&token).producer("worker-1").connect();
    check(&mut after);
    // Another producer of the same user, and another user, have ids of their own.
    for (at, user) in [("worker-2", "ada"), ("worker-1", "bob")].into_iter().enumerate() {
        let mut other = server.opening(&evaluator(user.1)).producer(user.0).connect();
        other.join_as_publisher(&session);
        assert_eq!(other.publish(&session, "e1", &json!({"score": 1}))["data"]["seq"], at as u64 + 4);
    }
}

fn the_dedupe_window_is_as_long_as_set(workers: usize) {
    let mut server = TestServer::with(workers, |config| config.dedupe_window = 10);
    let mut client = server.connect("ada");
    let session = client.create("s");
    client.publish_numbers(&session, 1..=20);
    let again = |client: &mut Client, n: u64| {
        client.send(&numbered(&session, n));
        client.reply_to(&format!("e{n}"))["data"].clone()
    };
    assert_eq!(again(&mut client, 11)["duplicate"], true);
    drop(client);
    server.restart();
    let mut client = server.connect("ada");
    client.join_as_publisher(&session);
    assert_eq!(again(&mut client, 11)["duplicate"], true);
    assert_eq!(again(&mut client, 10)["seq"], 22, "what has left the window is new again");
}

fn checksums_are_checked_and_passed_on(workers: usize) {
    let server = TestServer::with_workers(workers);
    let mut client = server.connect("ada");
    let session = client.create_following("s");
    let data = r#"{ "spaced" :  "out",   "n": 1.50 }"#;
    let send = |client: &mut Client, id: &str, sum: u32| {
        client.send_text(&format!(
            r#"{{"id":"{id}","type":"test_event","timestamp":1,"sessionId":"{session}","data":{data},
                "metadata":{{"requiresAck":true,"checksum":"crc32c:{sum:08x}"}}}}"#
        ));
        client.reply_to(id)
    };
    let right = crc32c::crc32c(data.as_bytes());
    expect_code(&send(&mut client, "e1", right ^ 1), "checksum_mismatch");
    expect_kind(&send(&mut client, "e1", right), "ack");
    let seen = client.events_to(2).remove(1);
    assert_eq!(seen["metadata"]["checksum"], format!("crc32c:{right:08x}"));
    assert_eq!(
        client.last_text_with("\"e1\"").matches(data).count(),
        1,
        "data's bytes are as they were sent"
    );
}

fn every_form_sees_the_same_content(workers: usize) {
    let server = TestServer::with_workers(workers);
    let token = evaluator("ada");
    let open = || server.opening(&token);
    let mut clients = vec![
        open().connect(),
        open().v1().connect(),
        open().msgpack().connect(),
        open().deflate().connect(),
        open().msgpack().deflate().connect(),
    ];
    let session = clients[0].create("s");
    for client in &mut clients {
        client.join(&session, &json!("start"));
    }
    let contents = [
        json!({}),
        json!({"deep": {"er": [{"and": [[], {}, [null, true, false]]}]}, "text": "é€😀\u{0}\"\\\n", "n": [0, -1, 1.5, 1e300, u64::MAX, i64::MIN]}),
        json!({"": {"type": "ack"}, "long": "abc".repeat(5_000), "list": (0..70_000).collect::<Vec<_>>()}),
    ];
    let mut seq = 1;
    for (at, content) in contents.iter().enumerate() {
        for (by, client) in clients.iter_mut().enumerate() {
            let ack = client.publish(&session, &format!("e{at}-{by}"), content);
            seq += 1;
            assert_eq!(ack["data"]["seq"], seq, "{ack}");
        }
    }
    let views: Vec<_> = clients.iter_mut().map(|client| client.events_to(seq)).collect();
    for view in &views {
        assert_eq!(view, &views[0]);
    }
    for (at, seen) in views[0].iter().skip(1).enumerate() {
        assert_eq!(seen["data"], contents[at / clients.len()]);
    }
}

/// Both directions: what is large goes compressed, what is small goes as it is.
fn compression(workers: usize) {
    let server = TestServer::with_workers(workers);
    let token = evaluator("ada");
    let mut plain = server.opening(&token).connect();
    let mut packed = server.opening(&token).deflate().connect();
    assert!(packed.compresses() && !plain.compresses());
    let session = plain.create("s");
    packed.join(&session, &json!("live"));
    let data = json!({"text": "the same again ".repeat(10_000)});
    let frame = packed.encode(&event(&session, "e1", &data));
    assert!(frame.len() < 10_000, "the client's frame is compressed: {}", frame.len());
    packed.send_raw(&frame);
    let before = packed.bytes_read;
    assert_eq!(packed.events_to(2)[0]["data"], data);
    assert!(packed.bytes_read - before < 10_000, "{} bytes came", packed.bytes_read - before);
    expect_kind(&packed.reply_to("e1"), "ack");
    plain.join(&session, &json!("start"));
    assert_eq!(plain.events_to(2)[1]["data"], data);
    assert!(plain.bytes_read > 100_000);
    let off = TestServer::with(1, |config| config.compression = false);
    assert!(!off.opening(&token).deflate().connect().compresses());
}

fn events_up_to_the_largest_payload_pass(workers: usize) {
    let server = TestServer::with(workers, |config| config.tail_bytes = 1024);
    let mut client = server.connect("ada");
    let session = client.create_following("s");
    let large = json!({"text": "x".repeat(10 << 20)});
    for n in 0..3 {
        expect_kind(&client.publish(&session, &format!("small-{n}"), &json!({"n": n})), "ack");
        expect_kind(&client.publish(&session, &format!("large-{n}"), &large), "ack");
    }
    assert_eq!(seqs(&client.events_to(7)), [1, 2, 3, 4, 5, 6, 7]);
    let mut late = server.opening(&evaluator("bob")).msgpack().connect();
    late.join(&session, &json!("start"));
    assert_eq!(late.events_to(7)[2]["data"], large);
}

fn heartbeats_are_echoed(workers: usize) {
    let server = TestServer::with_workers(workers);
    for opening in [server.opening(&evaluator("ada")), server.opening(&evaluator("ada")).msgpack()] {
        let mut client = opening.connect();
        client.send(&message("heartbeat", "h1", &json!({"sent": 123.5, "list": [1, {}]})));
        let echo = client.reply_to("h1");
        assert_eq!(echo["type"], "heartbeat");
        assert_eq!(echo["data"]["echo"], json!({"sent": 123.5, "list": [1, {}]}));
        assert!(echo["data"]["serverTime"].as_u64() > Some(1_700_000_000_000));
    }
}

/// One array with everything in it, good and bad: each is answered for itself, in order.
fn an_array_is_taken_one_by_one(workers: usize) {
    let server = TestServer::with_workers(workers);
    let mut client = server.connect("ada");
    let session = client.create("s");
    client.send(&json!([
        message("heartbeat", "h", &json!({})),
        numbered(&session, 1),
        {"id": "bad", "type": "test_event", "timestamp": 1},
        numbered(&session, 2),
        7,
        message("control_command", "i", &json!({"command": "get_session_info", "sessionId": session})),
    ]));
    assert_eq!(client.reply_to("h")["type"], "heartbeat");
    assert_eq!(client.reply_to("e1")["data"]["seq"], 2);
    expect_code(&client.reply_to("bad"), "invalid_message");
    assert_eq!(client.reply_to("e2")["data"]["seq"], 3);
    expect_code(&client.wait_for("a refusal", |it| it["type"] == "error"), "invalid_message");
    expect_kind(&client.reply_to("i"), "session_info");
}

on_one_and_three_workers!(
    one_producers_order_is_kept,
    acks_are_single_for_plain_clients_and_coalesced_for_version_1,
    whoever_wants_no_ack_gets_none_but_refusals,
    the_ack_names_its_level,
    a_repeat_is_stored_once_for_its_producer,
    the_dedupe_window_is_as_long_as_set,
    checksums_are_checked_and_passed_on,
    every_form_sees_the_same_content,
    compression,
    events_up_to_the_largest_payload_pass,
    heartbeats_are_echoed,
    an_array_is_taken_one_by_one,
);
