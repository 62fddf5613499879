//! Warnings in acks: a field of a known event type that readers will not understand is stored, and its publisher is told.

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::tokens::evaluator;
use crate::support::{TestServer, event, expect_code, on_one_and_three_workers};

fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// The fields that the ack of an event warns of.
fn warned(ack: &Value) -> Vec<&str> {
    let warnings = ack["warnings"].as_array().into_iter().flatten();
    warnings.map(|warning| warning["field"].as_str().expect("a field")).collect()
}

fn publish(client: &mut Client, session: &str, id: &str, data: &Value) -> Value {
    client.send(&event(session, id, data));
    client.reply_to(id)
}

fn doubtful_fields_are_stored_and_named(workers: usize) {
    let server = TestServer::with_workers(workers);
    let cases = [
        (json!({"eventType": "score_update", "score": "0.9"}), vec!["data.score"]),
        (json!({"eventType": "score_update", "score": 1, "max": -1}), vec!["data.max"]),
        (json!({"eventType": "progress", "percent": "50 %"}), vec!["data.percent"]),
        (json!({"eventType": "evidence", "hash": "not one"}), vec!["data.hash"]),
        (json!({"eventType": "score_update", "score": 0.9, "max": 1}), vec![]),
        (json!({"eventType": "anything", "score": "0.9"}), vec![]),
    ];
    for protocol in [None, Some("agentbench.v1.json"), Some("agentbench.v1.msgpack")] {
        let opening = server.opening(&evaluator("ada"));
        let mut client = match protocol {
            None => opening.connect(),
            Some(protocol) => opening.protocol(protocol).connect(),
        };
        let session = client.create(protocol.unwrap_or("plain"));
        for (n, (data, fields)) in cases.iter().enumerate() {
            let ack = publish(&mut client, &session, &format!("e{n}"), data);
            assert_eq!(
                (&ack["data"]["type"], warned(&ack["data"])),
                (&json!("ack"), fields.clone()),
                "{data}"
            );
            let again = publish(&mut client, &session, &format!("e{n}"), data);
            assert_eq!((&again["data"]["duplicate"], warned(&again["data"])), (&json!(true), fields.clone()));
            let path = format!("/api/v1/sessions/{session}/events");
            let body = json!({"id": format!("h{n}"), "type": "test_event", "timestamp": 1, "data": data});
            let ask = server.ask("POST", &path).token(&evaluator("ada"));
            let published = ask.body(body.to_string().as_bytes()).answer();
            assert_eq!((published.status, warned(&published.value()["acks"][0])), (200, fields.clone()));
        }
        assert_eq!(client.info(&session)["headSeq"], 1 + 2 * cases.len(), "all are stored");
    }
}

fn evidence_that_was_not_uploaded_is_named(workers: usize) {
    let server = TestServer::with_workers(workers);
    let mut client = server.connect("ada");
    let session = client.create("s");
    let path = |bytes: &[u8]| format!("/api/v1/evidence/{}?sessionId={session}", hash(bytes));
    let (stored, partly, missing) = (b"stored".to_vec(), vec![7; 2_000_000], b"missing".to_vec());
    let put = |bytes: &[u8]| server.ask("PUT", &path(bytes)).token(&evaluator("ada"));
    assert_eq!(put(&stored).header("Content-Type", "image/png").body(&stored[..]).answer().status, 201);
    let range = format!("bytes 0-999999/{}", partly.len());
    let begun = put(&partly).header("Content-Type", "image/png").header("Content-Range", &range);
    assert_eq!(begun.body(&partly[..1_000_000]).answer().status, 202);
    for (id, bytes, expected) in
        [("a", &stored, vec![]), ("b", &partly, vec![]), ("c", &missing, vec!["data.hash"])]
    {
        let data = json!({"eventType": "evidence", "hash": hash(bytes)});
        let ack = publish(&mut client, &session, id, &data);
        assert_eq!(warned(&ack["data"]), expected, "{ack}");
        let body = json!({"id": format!("h{id}"), "type": "test_event", "timestamp": 1, "data": data});
        let ask = server.ask("POST", &format!("/api/v1/sessions/{session}/events")).token(&evaluator("ada"));
        let published = ask.body(body.to_string().as_bytes()).answer().value();
        assert_eq!(warned(&published["acks"][0]), expected, "{published}");
    }
}

fn a_strict_publisher_is_refused_instead(workers: usize) {
    let server = TestServer::with_workers(workers);
    let mut strict = server.opening(&evaluator("ada")).target("/ws?strict=1").connect();
    let session = strict.create("s");
    let doubtful = json!({"eventType": "score_update", "score": "0.9"});
    let refused = publish(&mut strict, &session, "a", &doubtful);
    expect_code(&refused, "invalid_message");
    assert_eq!(refused["data"]["field"], "data.score");
    let sound = json!({"eventType": "score_update", "score": 0.9});
    assert_eq!(publish(&mut strict, &session, "b", &sound)["data"]["type"], "ack");
    let post = |switch: &str, data: &Value| {
        let ask = server.ask("POST", &format!("/api/v1/sessions/{session}/events?strict={switch}"));
        let body = json!({"id": "c", "type": "test_event", "timestamp": 1, "data": data});
        ask.token(&evaluator("ada")).body(body.to_string().as_bytes()).answer()
    };
    post("1", &doubtful).refused(400, "invalid_message");
    post("yes", &sound).refused(400, "invalid_message");
    assert_eq!(post("0", &doubtful).status, 200);
    let head = strict.info(&session)["headSeq"].clone();
    assert_eq!(head, 3, "what was refused is not stored");
}

on_one_and_three_workers!(
    doubtful_fields_are_stored_and_named,
    evidence_that_was_not_uploaded_is_named,
    a_strict_publisher_is_refused_instead,
);
