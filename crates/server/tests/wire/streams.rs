//! Streams of Server-Sent Events: the same positions, gaps and closes as over WebSocket.

use std::time::Duration;

use agentbench_auth::Role;
use serde_json::{Value, json};

use crate::support::http::{Ask, Opened, Sse};
use crate::support::tokens::{claims, evaluator, mint};
use crate::support::{TestServer, event, kind_of, numbered, on_one_and_three_workers, wait_until};

fn stream(server: &TestServer, session: &str, query: &str) -> Ask {
    server.ask("GET", &format!("/api/v1/sessions/{session}/stream{query}")).token(&evaluator("sue"))
}

fn opened(ask: &Ask) -> (Opened, Sse) {
    let mut opened = ask.open();
    assert_eq!(opened.status, 200);
    let first = opened.next().expect("it says where it begins");
    assert_eq!(kind_of(&first.data), "session_joined", "{first:?}");
    (opened, first)
}

fn seqs(events: &[Sse]) -> Vec<u64> {
    events.iter().filter_map(|event| event.data["seq"].as_u64()).collect()
}

fn a_stream_is_the_log_from_a_position(workers: usize) {
    let server = TestServer::with_workers(workers);
    let mut client = server.connect("ada");
    let session = client.create("s");
    client.publish_numbers(&session, 1..=30);
    let (mut all, first) = opened(&stream(&server, &session, "?from=start"));
    assert_eq!(first.data["data"]["recovered"], true);
    let past = all.events_to(31);
    assert_eq!(seqs(&past), (1..=31).collect::<Vec<_>>());
    // What a browser sends back names the event, so that another history would be noticed.
    let id = past[9].id.clone().expect("an event has its position");
    assert!(id.ends_with(":10:e9"), "{id}");
    let (mut rest, greeting) = opened(&stream(&server, &session, "").header("Last-Event-ID", &id));
    assert_eq!(greeting.id.as_ref(), Some(&id), "whoever is cut off before the next event has lost nothing");
    assert_eq!(seqs(&rest.events_to(31)), (11..=31).collect::<Vec<_>>());
    let (mut live, greeting) = opened(&stream(&server, &session, ""));
    assert!(greeting.id.as_deref().is_some_and(|id| id.ends_with(":31")), "{greeting:?}");
    client.publish_numbers(&session, 31..=32);
    assert_eq!(seqs(&live.events_to(33)), [32, 33]);
    assert_eq!(seqs(&all.events_to(33)), [32, 33]);
    // Streams are participants, until they go.
    let names = |info: &Value| info["participants"].as_array().expect("a list").len();
    assert_eq!(names(&client.info(&session)), 4);
    drop((all, rest, live));
    wait_until("dead streams leave", || names(&client.info(&session)) == 1);
}

/// Unless it is asked to stay. Whoever comes back to an end that it has read gets the answer that ends an `EventSource`.
fn a_stream_ends_with_its_session(workers: usize) {
    let server = TestServer::with(workers, |config| config.heartbeat_interval = Duration::from_secs(3));
    let mut client = server.connect("ada");
    let session = client.create("s");
    let step = |command: &str| json!({"command": command, "sessionId": session});
    client.command(&step("start_test"));
    let (mut live, _) = opened(&stream(&server, &session, ""));
    let (mut staying, _) = opened(&stream(&server, &session, "?stay=1"));
    client.publish_numbers(&session, 1..=3);
    client.command(&step("stop_test"));
    let entries = live.events_to(6);
    assert_eq!(seqs(&entries), [3, 4, 5, 6]);
    let end = live.next().expect("the end is said");
    assert_eq!((&end.data["sessionId"], &end.data["status"]), (&json!(session), &json!("completed")));
    assert!(live.next().is_none(), "and nothing comes after it");
    assert_eq!(seqs(&staying.events_to(6)), [3, 4, 5, 6]);
    // Who comes and goes is told in between.
    assert!((0..20).any(|_| staying.heartbeat()), "it goes on");
    let (mut late, _) = opened(&stream(&server, &session, "?from=start"));
    assert_eq!(seqs(&late.events_to(6)), [1, 2, 3, 4, 5, 6]);
    assert_eq!(late.next().expect("the end is said").data["status"], "completed");
    let position = entries.last().and_then(|last| last.id.clone()).expect("an entry has its position");
    let back = stream(&server, &session, "").header("Last-Event-ID", &position).open();
    assert_eq!(back.status, 204);
    let answer = stream(&server, &session, "?stay=perhaps").answer();
    answer.refused(400, "invalid_message");
}

fn a_position_that_cannot_be_honoured_is_said(workers: usize) {
    let server = TestServer::with_workers(workers);
    let mut client = server.connect("ada");
    let session = client.create("s");
    client.publish_numbers(&session, 1..=5);
    let epoch = client.info(&session)["epoch"].as_str().expect("an epoch").to_owned();
    let cases = [
        (format!("{epoch}:3:other"), "diverged", Some((1, 3)), 1),
        (format!("{epoch}:900"), "ahead_of_log", Some((7, 900)), 7),
        ("0000000000000001:3".to_owned(), "unknown_epoch", Some((1, 3)), 1),
    ];
    for (position, reason, gap, next) in cases {
        let (mut opened, first) = opened(&stream(&server, &session, "").header("Last-Event-ID", &position));
        assert_eq!(
            (&first.data["data"]["recovered"], &first.data["data"]["reason"]),
            (&json!(false), &json!(reason))
        );
        let said = opened.next().expect("a gap");
        let range = (said.data["data"]["fromSeq"].as_u64(), said.data["data"]["toSeq"].as_u64());
        assert_eq!((kind_of(&said.data), range), ("gap", (gap.map(|it| it.0), gap.map(|it| it.1))));
        if next == 1 {
            assert_eq!(seqs(&opened.events_to(6)), (1..=6).collect::<Vec<_>>());
        }
    }
    for wrong in ["x", "0000000000000001", "0000000000000001:x", ":::"] {
        let answer = stream(&server, &session, "").header("Last-Event-ID", wrong).answer();
        answer.refused(400, "invalid_position");
    }
}

fn events_that_outlived_their_time_are_a_gap(workers: usize) {
    let server = TestServer::with_workers(workers);
    let mut client = server.connect("ada");
    let session = client.create("s");
    client.publish_numbers(&session, 1..=1);
    for n in 0..2 {
        let mut mortal = event(&session, &format!("m{n}"), &json!({}));
        mortal["metadata"]["ttl"] = json!(1);
        client.send(&mortal);
        client.reply_to(&format!("m{n}"));
    }
    client.publish_numbers(&session, 2..=2);
    std::thread::sleep(Duration::from_millis(20));
    let (mut opened, _) = opened(&stream(&server, &session, "?from=start"));
    let (mut said, mut gone) = (Vec::new(), Vec::new());
    while seqs(&said).last() != Some(&5) {
        let next = opened.next().expect("the stream goes on");
        if kind_of(&next.data) == "gap" {
            assert_eq!(next.data["data"]["cause"], "expired", "{next:?}");
            let to = next.data["data"]["toSeq"].as_u64().expect("a seq");
            gone.extend(next.data["data"]["fromSeq"].as_u64().expect("a seq")..=to);
            let moved = next.id.as_deref().is_some_and(|id| id.ends_with(&format!(":{to}")));
            assert!(moved, "the gap moves the position");
        }
        said.push(next);
    }
    assert_eq!((seqs(&said), gone), (vec![1, 2, 5], vec![3, 4]));
}

/// Publishers go on while the server restarts; the stream is taken up again at its last id, and sees each event once.
fn a_stream_goes_on_over_a_restart(workers: usize) {
    let mut server = TestServer::with_workers(workers);
    let mut client = server.connect("ada");
    let session = client.create("s");
    drop(client);
    let (mut seen, mut last) = (Vec::new(), None::<String>);
    for life in 0..3_u64 {
        let mut client = server.connect("ada");
        client.join_as_publisher(&session);
        let ask = stream(&server, &session, "?from=start");
        let ask = match &last {
            Some(id) => ask.header("Last-Event-ID", id),
            None => ask,
        };
        let (mut opened, first) = opened(&ask);
        assert_eq!(first.data["data"]["recovered"], true);
        client.publish_numbers(&session, life * 20 + 1..=life * 20 + 20);
        // Some of it is read, the rest is on its way when the server stops.
        let read = opened.events_to(life * 20 + 11);
        last = read.last().and_then(|event| event.id.clone());
        seen.extend(seqs(&read));
        let stopping = server.stop_aside();
        let mut end = None;
        while let Some(event) = opened.next() {
            if event.id.is_some() && event.data["seq"].is_u64() {
                seen.extend(event.data["seq"].as_u64());
                last = event.id;
            } else {
                end = Some(event.data);
            }
        }
        drop(client);
        stopping.join().expect("it stops");
        let end = end.expect("it is told why");
        assert_eq!((kind_of(&end), &end["data"]["reconnect"]), ("disconnecting", &json!("after")));
        server.start();
    }
    let ask = stream(&server, &session, "").header("Last-Event-ID", &last.expect("it has read"));
    let (mut opened, _) = opened(&ask);
    if seen.last() < Some(&61) {
        seen.extend(seqs(&opened.events_to(61)));
    }
    assert_eq!(seen, (1..=61).collect::<Vec<_>>(), "without hole or repeat");
}

/// What the streams of a session share is given back, so that others can read.
#[test]
fn streams_of_many_sessions_fit_the_least_memory_for_reading() {
    let server = TestServer::with(1, |config| config.read_budget = 256 * 1024);
    let mut client = server.connect("ada");
    let sessions = ["a", "b", "c"].map(|name| client.create(name));
    let mut streams: Vec<Vec<Opened>> = Vec::new();
    for session in &sessions {
        streams.push((0..2).map(|_| opened(&stream(&server, session, "")).0).collect());
    }
    for round in 1..=3 {
        for (session, streams) in sessions.iter().zip(&mut streams) {
            client.publish(session, &format!("e{round}"), &json!({"n": round}));
            for stream in streams {
                assert_eq!(seqs(&stream.events_to(round + 1)).last(), Some(&(round + 1)));
            }
        }
    }
}

/// A reader that takes nothing costs a piece or two, is cut off in time, and goes on from its position later.
#[test]
fn a_slow_stream_costs_a_cursor_and_is_cut_off() {
    let server = TestServer::with(1, |config| {
        config.slow_consumer_timeout = Duration::from_millis(4000);
        config.send_buffer = 16 * 1024;
    });
    let mut client = server.connect("ada");
    let session = client.create("s");
    let text = "x".repeat(100_000);
    for n in 0..300 {
        client.publish(&session, &format!("big{n}"), &json!({"text": text}));
    }
    // Everything is there before it begins to take nothing: so much it is behind, however slow this machine is.
    let (mut slow, _) = opened(&stream(&server, &session, "?from=start"));
    slow.events_to(1);
    let listed = server.ask("GET", "/api/v1/connections?userId=sue").token(&admin()).answer().value();
    let name = listed["connections"][0]["clientId"].as_str().expect("it is listed").to_owned();
    wait_until("it is cut off", || {
        let why = server.ask("GET", &format!("/api/v1/connections/{name}/why")).token(&admin()).answer();
        why.status == 200
    });
    let why = server.ask("GET", &format!("/api/v1/connections/{name}/why")).token(&admin()).answer().value();
    assert_eq!((&why["code"], &why["transport"]), (&json!(4408), &json!("sse")));
    assert_eq!(why["evidence"]["limit"], json!({"setting": "SLOW_CONSUMER_TIMEOUT", "value": 4000}));
    assert!(
        why["evidence"]["lag"].as_u64().is_some_and(|lag| lag > 250),
        "what it has not got is not with it: {why}"
    );
    server.wait_for_metric("agentbench_connections", 1);
    // What it had taken is a beginning of the log; the rest comes from there.
    let (mut seqs_seen, mut last) = (vec![1], None);
    while let Some(event) = slow.next() {
        seqs_seen.extend(event.data["seq"].as_u64());
        last = event.id.or(last);
    }
    let ask = stream(&server, &session, "?from=start");
    let (mut again, _) = opened(&match &last {
        Some(id) => ask.header("Last-Event-ID", id),
        None => ask,
    });
    let next = last.map_or(1, |_| seqs_seen.len() as u64 + 1);
    assert_eq!(seqs(&again.events_to(301)), (next..=301).collect::<Vec<_>>());
}

fn admin() -> String {
    mint(&claims("root", Role::Admin))
}

#[test]
fn an_event_source_may_give_its_token_in_the_address() {
    let server = TestServer::with(1, |config| config.heartbeat_interval = Duration::from_millis(50));
    let mut client = server.connect("ada");
    let session = client.create("s");
    let target = format!("/api/v1/sessions/{session}/stream");
    server.ask("GET", &target).answer().refused(401, "not_authenticated");
    let ask = server.ask("GET", &format!("{target}?token={}&from=start", evaluator("eve")));
    let (mut opened, _) = opened(&ask);
    opened.events_to(1);
    assert!(opened.heartbeat(), "an idle stream shows that it lives");
    client.send(&numbered(&session, 1));
    opened.events_to(2);
}

/// nginx with `gzip on` for event streams holds them back to their end, unless this header forbids it; and no cache may keep one.
#[test]
fn a_stream_forbids_proxies_to_hold_it_back() {
    let server = TestServer::with_workers(1);
    let session = server.connect("ada").create("s");
    for origin in [None, Some("http://127.0.0.1:5173")] {
        let ask = stream(&server, &session, "");
        let ask = if let Some(origin) = origin { ask.header("Origin", origin) } else { ask };
        let mut opened = ask.open();
        assert_eq!(opened.status, 200);
        for line in ["content-type: text/event-stream", "cache-control: no-store", "x-accel-buffering: no"] {
            assert!(opened.head.lines().any(|it| it == line), "{line} is not in {}", opened.head);
        }
        assert!(opened.next().is_some());
    }
}

#[test]
fn streams_count_as_connections() {
    let server = TestServer::with(1, |config| config.max_connections = 2);
    let mut client = server.connect("ada");
    let session = client.create("s");
    let (first, _) = opened(&stream(&server, &session, ""));
    let refused = stream(&server, &session, "").answer();
    refused.refused(503, "overloaded");
    assert!(refused.head.contains("retry-after: "));
    drop(first);
    wait_until("its place is free", || server.server().connections() == 1);
    opened(&stream(&server, &session, ""));
}

on_one_and_three_workers!(
    a_stream_ends_with_its_session,
    a_stream_is_the_log_from_a_position,
    a_position_that_cannot_be_honoured_is_said,
    events_that_outlived_their_time_are_a_gap,
    a_stream_goes_on_over_a_restart,
);
