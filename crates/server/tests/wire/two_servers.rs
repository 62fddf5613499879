//! Two servers on one log: a client of either has the same session, whoever writes to it.

use std::thread;

use agentbench_event_log::memory::MemoryLog;
use serde_json::{Value, json};

use crate::support::{Client, TestServer, on_one_and_three_workers, seqs, wait_until};

fn two_servers(workers: usize) -> [TestServer; 2] {
    let log = MemoryLog::new();
    let other = log.another_writer();
    [TestServer::on_log(workers, log), TestServer::on_log(workers, other)]
}

fn ids(events: &[Value]) -> Vec<String> {
    events.iter().map(|event| event["id"].as_str().expect("an id").to_owned()).collect()
}

/// Publishes `count` events, waiting for none, and returns the seqs of their acks.
fn publish_many(client: &mut Client, session: &str, name: &str, count: usize) -> Vec<u64> {
    for n in 0..count {
        client.send(&json!({
            "id": format!("{name}{n}"), "type": "test_event", "timestamp": 1, "sessionId": session,
            "data": {"n": n}, "metadata": {"requiresAck": true},
        }));
    }
    let mut acked = Vec::new();
    while acked.len() < count {
        let ack = client.wait_for_kind("ack");
        match ack["data"]["acks"].as_array() {
            Some(pairs) => acked.extend(pairs.iter().map(|pair| pair[1].as_u64().expect("a seq"))),
            None => acked.push(ack["data"]["seq"].as_u64().expect("a seq")),
        }
    }
    acked
}

/// Both write as fast as they can, so that each is second again and again.
fn writers_at_both_make_one_order(workers: usize) {
    const EVENTS: usize = 400;
    let servers = two_servers(workers);
    let mut creator = servers[0].connect("ada");
    let session = creator.create("shared");
    let mut followers: Vec<_> = servers.iter().map(|server| server.connect("rev")).collect();
    for follower in &mut followers {
        follower.join(&session, &json!("start"));
    }
    let mut writers = [(servers[0].connect("ann"), "a"), (servers[1].connect("ben"), "b")];
    let mut acked: Vec<u64> = thread::scope(|scope| {
        let session = &session;
        let running: Vec<_> = writers
            .iter_mut()
            .map(|(client, name)| {
                client.join_as_publisher(session);
                scope.spawn(move || publish_many(client, session, name, EVENTS))
            })
            .collect();
        running.into_iter().flat_map(|writer| writer.join().expect("it publishes")).collect()
    });
    acked.sort_unstable();
    let last = 2 * EVENTS as u64 + 1;
    assert_eq!(acked, (2..=last).collect::<Vec<_>>(), "each event has one place");
    let [first, second] = &mut followers[..] else { panic!("two followers") };
    let (first, second) = (first.events_to(last), second.events_to(last));
    assert_eq!(seqs(&first), (1..=last).collect::<Vec<_>>());
    assert_eq!(ids(&first), ids(&second), "both see one order");
    for name in ["a", "b"] {
        let own: Vec<_> = ids(&first).into_iter().filter(|id| id.starts_with(name)).collect();
        let expected: Vec<_> = (0..EVENTS).map(|n| format!("{name}{n}")).collect();
        assert_eq!(own, expected, "each writer's order is kept");
    }
}

fn a_client_goes_on_at_the_other_server(workers: usize) {
    let [mut ours, theirs] = two_servers(workers);
    let mut client = ours.connect("ada");
    let session = client.create_following("moving");
    client.publish_numbers(&session, 1..=10);
    let read = client.events_to(11);
    let ack = client.publish(&session, "last", &json!({"n": 11}));
    let epoch = ack["data"]["epoch"].clone();
    ours.stop();
    let mut again = theirs.connect("ada");
    let joined = again.join(
        &session,
        &json!({"epoch": epoch, "seq": read.len(), "lastId": read.last().expect("events")["id"]}),
    );
    assert_eq!((&joined["data"]["recovered"], &joined["data"]["headSeq"]), (&json!(true), &json!(12)));
    assert_eq!(ids(&again.events_to(12)), ["last"]);
    // The ack might have been lost with the server.
    let repeated = again.publish(&session, "last", &json!({"n": 11}));
    assert_eq!((&repeated["data"]["duplicate"], &repeated["data"]["seq"]), (&json!(true), &json!(12)));
}

fn what_one_server_does_is_known_to_the_other(workers: usize) {
    let [ours, theirs] = two_servers(workers);
    let mut client = ours.connect("ada");
    let session = client.create("known");
    // At once: it may not have been told yet.
    let mut other = theirs.connect("ada");
    assert_eq!(other.info(&session)["status"], "idle");
    let token = crate::support::tokens::evaluator("ada");
    let list = || {
        let list = theirs.ask("GET", "/api/v1/sessions").token(&token).answer().value();
        list["sessions"].as_array().expect("a list").clone()
    };
    wait_until("it is listed", || list().len() == 1);
    client.command(&json!({"command": "start_test", "sessionId": session}));
    client.command(&json!({"command": "stop_test", "outcome": "completed", "sessionId": session}));
    wait_until("its end is listed", || list()[0]["status"] == "completed");
    let event = json!({"id": "late", "type": "test_event", "timestamp": 1, "data": {"n": 1}});
    let path = format!("/api/v1/sessions/{session}/events");
    let late = theirs.ask("POST", &path).token(&token).json(&event).answer();
    assert!(late.body.contains("session_closed"), "{}", late.body);
}

on_one_and_three_workers!(
    writers_at_both_make_one_order,
    a_client_goes_on_at_the_other_server,
    what_one_server_does_is_known_to_the_other
);
