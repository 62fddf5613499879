//! Following from any position: missed events arrive once and in order, and gaps are reported.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::tokens::evaluator;
use crate::support::{
    Client, TestServer, event, expect_code, expect_kind, kind_of, numbered, on_one_and_three_workers, seqs,
};

/// A session with its entries 1 to `count` + 1, and its epoch.
fn session_of(server: &TestServer, count: u64) -> (Client, String, Value) {
    let mut client = server.connect("ada");
    let session = client.create("s");
    client.publish_numbers(&session, 1..=count);
    let epoch = client.info(&session)["epoch"].clone();
    (client, session, epoch)
}

fn gaps(messages: &[Value]) -> Vec<Value> {
    messages.iter().filter(|it| kind_of(it) == "gap").map(|it| it["data"].clone()).collect()
}

struct Place {
    from: Value,
    reason: Option<&'static str>,
    /// First seq that is delivered.
    first: u64,
    gap: Option<(u64, u64, &'static str)>,
}

/// Every kind of position, asked for while the log has the seqs 1 to 21.
fn places(epoch: &Value) -> Vec<Place> {
    let at = |seq: u64, last: Option<&str>| match last {
        None => json!({"epoch": epoch, "seq": seq}),
        Some(last) => json!({"epoch": epoch, "seq": seq, "lastId": last}),
    };
    let good = |from: Value, first: u64| Place { from, reason: None, first, gap: None };
    let bad = |from: Value, reason, first, gap| Place { from, reason: Some(reason), first, gap: Some(gap) };
    let unknown = |seq: u64| json!({"epoch": "0000000000000001", "seq": seq, "lastId": "e9"});
    vec![
        good(json!("live"), 22),
        good(json!("start"), 1),
        good(at(0, None), 1),
        good(at(10, None), 11),
        good(at(21, None), 22),
        good(at(1, Some("s")), 2),
        good(at(10, Some("e9")), 11),
        good(at(21, Some("e20")), 22),
        bad(at(10, Some("another")), "diverged", 1, (1, 10, "diverged")),
        bad(unknown(10), "unknown_epoch", 1, (1, 10, "epoch")),
        bad(at(30, None), "ahead_of_log", 22, (22, 30, "diverged")),
        bad(at(30, Some("e29")), "ahead_of_log", 22, (22, 30, "diverged")),
    ]
}

fn joining_from_every_kind_of_place(workers: usize) {
    for restarted in [false, true] {
        let mut server = TestServer::with_workers(workers);
        let (publisher, session, epoch) = session_of(&server, 20);
        drop(publisher);
        if restarted {
            server.restart();
        }
        let mut readers = Vec::new();
        for place in places(&epoch) {
            let mut reader = server.connect("bob");
            let joined = reader.join(&session, &place.from)["data"].clone();
            assert_eq!(joined["recovered"], place.reason.is_none(), "{}: {joined}", place.from);
            assert_eq!(joined["reason"].as_str(), place.reason, "{}", place.from);
            assert_eq!((&joined["headSeq"], &joined["epoch"]), (&json!(21), &epoch));
            readers.push((reader, place));
        }
        let mut publisher = server.connect("ada");
        publisher.join_as_publisher(&session);
        publisher.publish_numbers(&session, 21..=25);
        for (mut reader, place) in readers {
            let seen = reader.events_to(26);
            assert_eq!(seqs(&seen), (place.first..=26).collect::<Vec<_>>(), "{}", place.from);
            let gap = gaps(&reader.settle(&session));
            let expected = place.gap.map(|(from, to, cause)| {
                json!({"type": "gap", "sessionId": session, "fromSeq": from, "toSeq": to, "cause": cause, "history": false})
            });
            assert_eq!(gap, expected.into_iter().collect::<Vec<_>>(), "{}", place.from);
        }
    }
}

/// Joins while somebody publishes as fast as it can: the past and the present meet without a seam.
fn the_past_and_the_present_meet_without_a_seam(workers: usize) {
    const EVENTS: u64 = 3_000;
    let server = TestServer::with(workers, |config| config.tail_bytes = 32 * 1024);
    let mut publisher = server.connect("ada");
    let session = publisher.create("s");
    let name = session.clone();
    let publishing = std::thread::spawn(move || {
        for chunk in 0..EVENTS / 20 {
            let batch: Vec<_> = (1..=20).map(|n| numbered(&name, chunk * 20 + n)).collect();
            publisher.send(&json!(batch));
            publisher.reply_to(&format!("e{}", chunk * 20 + 20));
        }
    });
    let readers: Vec<_> = (0..9)
        .map(|at| {
            let mut reader = match at % 3 {
                0 => server.opening(&evaluator("bob")).connect(),
                1 => server.opening(&evaluator("bob")).msgpack().connect(),
                _ => server.opening(&evaluator("bob")).v1().deflate().connect(),
            };
            let name = session.clone();
            std::thread::spawn(move || {
                let epoch = reader.info(&name)["epoch"].clone();
                let mut last = 0;
                // Leaves and comes back all the time.
                while last < EVENTS + 1 {
                    reader.join(&name, &json!({"epoch": epoch, "seq": last}));
                    let until = (last + 150).min(EVENTS + 1);
                    for seq in seqs(&reader.events_to(until)) {
                        assert_eq!(seq, last + 1, "without hole or repeat");
                        last = seq;
                    }
                    reader.command(&json!({"command": "leave_session", "sessionId": name}));
                    // What was on its way before it had left.
                    for seq in seqs(&reader.settle(&name)) {
                        assert_eq!(seq, last + 1, "without hole or repeat");
                        last = seq;
                    }
                }
            })
        })
        .collect();
    publishing.join().expect("all is published");
    readers.into_iter().for_each(|reader| reader.join().expect("all is read"));
}

fn leaving_ends_delivery_and_joining_again_begins_anew(workers: usize) {
    let server = TestServer::with_workers(workers);
    let (mut publisher, session, _) = session_of(&server, 3);
    let mut reader = server.connect("bob");
    reader.join(&session, &json!("start"));
    assert_eq!(seqs(&reader.events_to(4)), [1, 2, 3, 4]);
    // Once more from the start, without leaving.
    reader.join(&session, &json!("start"));
    assert_eq!(seqs(&reader.events_to(4)), [1, 2, 3, 4]);
    reader.join_as_publisher(&session);
    publisher.publish_numbers(&session, 4..=5);
    assert!(seqs(&reader.settle(&session)).is_empty(), "who only publishes gets no events");
    reader.join(&session, &json!("live"));
    publisher.publish_numbers(&session, 6..=6);
    assert_eq!(seqs(&reader.events_to(7)), [7]);
    let left = reader.command(&json!({"command": "leave_session", "sessionId": session}));
    expect_kind(&left, "session_left");
    publisher.publish_numbers(&session, 7..=8);
    assert!(seqs(&reader.settle(&session)).is_empty());
    expect_code(&reader.publish(&session, "x", &json!({})), "not_a_participant");
    let subscribed = reader.command(&json!({"command": "subscribe_session", "sessionId": session}));
    expect_kind(&subscribed, "session_subscribed");
    publisher.publish_numbers(&session, 9..=9);
    assert_eq!(seqs(&reader.events_to(10)), [10]);
    let left = reader.command(&json!({"command": "unsubscribe_session", "sessionId": session}));
    expect_kind(&left, "session_unsubscribed");
}

fn one_connection_follows_many_sessions(workers: usize) {
    const SESSIONS: usize = 40;
    let server = TestServer::with_workers(workers);
    let mut publisher = server.connect("ada");
    let sessions: Vec<_> = (0..SESSIONS).map(|n| publisher.create(&format!("s{n}"))).collect();
    let mut reader = server.connect("bob");
    for session in &sessions {
        reader.join(session, &json!("start"));
    }
    for n in 1..=20 {
        let round: Vec<_> = sessions.iter().map(|session| numbered(session, n)).collect();
        publisher.send(&json!(round));
    }
    let mut seen = std::collections::BTreeMap::<String, Vec<u64>>::new();
    for _ in 0..SESSIONS * 21 {
        let one = reader.wait_for("an entry", |it| it["seq"].is_u64());
        let name = one["sessionId"].as_str().expect("a name").to_owned();
        seen.entry(name).or_default().push(one["seq"].as_u64().expect("a seq"));
    }
    for session in &sessions {
        assert_eq!(seen[session], (1..=21).collect::<Vec<_>>());
    }
}

fn what_has_outlived_its_time_is_a_gap(workers: usize) {
    let server = TestServer::with_workers(workers);
    let mut publisher = server.connect("ada");
    let session = publisher.create("s");
    let mut quick = server.connect("bob");
    quick.join(&session, &json!("start"));
    for (n, ttl) in [(1, 0), (2, 50), (3, 50), (4, 0), (5, 50), (6, 80_000_000)] {
        let mut it = event(&session, &format!("e{n}"), &json!({"n": n}));
        it["metadata"]["ttl"] = json!(ttl);
        publisher.send(&it);
        publisher.reply_to(&format!("e{n}"));
    }
    assert!(seqs(&quick.events_to(7)).ends_with(&[7]));
    std::thread::sleep(Duration::from_millis(120));
    let mut late = server.connect("bob");
    late.join(&session, &json!("start"));
    assert_eq!(seqs(&late.events_to(7)), [1, 2, 5, 7]);
    // One gap for both, or one for each.
    let mut missing = Vec::new();
    for gap in gaps(&late.settle(&session)) {
        assert_eq!((&gap["cause"], &gap["history"]), (&json!("expired"), &json!(true)));
        missing.extend(gap["fromSeq"].as_u64().expect("a seq")..=gap["toSeq"].as_u64().expect("a seq"));
    }
    assert_eq!(missing, [3, 4, 6]);
    let history =
        late.command(&json!({"command": "get_history", "sessionId": session, "fromSeq": 3, "limit": 2}));
    assert_eq!(seqs(history["data"]["events"].as_array().expect("a page")), [3, 4], "the log keeps them");
}

fn history_comes_in_pages(workers: usize) {
    let server = TestServer::with_workers(workers);
    let (mut client, session, _) = session_of(&server, 25);
    let mut page = |from: u64, limit: u32| {
        let data = json!({"command": "get_history", "sessionId": session, "fromSeq": from, "limit": limit});
        let page = client.command(&data);
        expect_kind(&page, "session_history");
        let events = page["data"]["events"].as_array().expect("a page").clone();
        (seqs(&events), page["data"]["nextSeq"].as_u64())
    };
    assert_eq!(page(1, 10), ((1..=10).collect(), Some(11)));
    assert_eq!(page(11, 10), ((11..=20).collect(), Some(21)));
    assert_eq!(page(21, 10), ((21..=26).collect(), None));
    assert_eq!(page(26, 1), (vec![26], None));
    assert_eq!(page(25, 1), (vec![25], Some(26)));
    assert_eq!(page(27, 10), (vec![], None));
    assert_eq!(page(1_000_000, 10), (vec![], None));
}

fn a_replay_is_marked_complete_and_in_order(workers: usize) {
    let server = TestServer::with_workers(workers);
    let (mut client, session, _) = session_of(&server, 30);
    let data = json!({"command": "replay_session", "sessionId": session, "speed": 64, "fromSeq": 5});
    let started = client.command(&data);
    expect_kind(&started, "replay_started");
    assert_eq!((&started["data"]["fromSeq"], &started["data"]["toSeq"]), (&json!(5), &json!(31)));
    let finished = client.wait_for_kind("replay_finished");
    assert_eq!(finished["data"]["originalMessageId"], started["data"]["originalMessageId"]);
    assert_eq!(finished["data"]["toSeq"], 31);
    let events: Vec<_> = client.settle(&session).into_iter().filter(|it| it["seq"].is_u64()).collect();
    assert_eq!(seqs(&events), (5..=31).collect::<Vec<_>>());
    assert!(events.iter().all(|it| it["replay"] == true));
    // The past needs no participation, and a session that has ended has one, too.
    client.command(&json!({"command": "stop_test", "sessionId": session, "outcome": "error"}));
    let mut viewer = server.connect("bob");
    viewer.command(&json!({"command": "replay_session", "sessionId": session, "speed": 64}));
    assert_eq!(viewer.wait_for_kind("replay_finished")["data"]["toSeq"], 32);
}

/// A replay waits as the log did; a client that goes meanwhile is not held until the wait is over.
fn a_replay_ends_with_its_connection(workers: usize) {
    let server = TestServer::with_workers(workers);
    let (mut client, session, _) = session_of(&server, 1);
    std::thread::sleep(Duration::from_secs(4));
    client.publish_numbers(&session, 2..=2);
    let mut viewer = server.connect("bob");
    viewer.stream.set_read_timeout(Some(Duration::from_secs(8))).expect("a socket option");
    viewer.command(&json!({"command": "replay_session", "sessionId": session, "speed": 0.25}));
    assert_eq!(seqs(&viewer.events_to(2)), [1, 2]);
    viewer.finish_sending();
    // The pause takes 16 s; the socket ends before.
    viewer.rest();
    assert!(viewer.ended);
}

/// The log's next event is far away in time: only a stop ends the wait, and nothing comes after its answer.
fn a_replay_is_stopped(workers: usize) {
    let server = TestServer::with_workers(workers);
    let (mut client, session, _) = session_of(&server, 3);
    std::thread::sleep(Duration::from_secs(2));
    client.publish_numbers(&session, 4..=4);
    let mut viewer = server.connect("bob");
    let replay = json!({"command": "replay_session", "sessionId": session, "speed": 0.25});
    let stop =
        |began: &str| json!({"command": "stop_replay", "sessionId": session, "originalMessageId": began});
    viewer.command_as("r1", &replay);
    assert_eq!(seqs(&viewer.events_to(4)), [1, 2, 3, 4]);
    let stopped = viewer.command_as("end", &stop("r1"));
    expect_kind(&stopped, "replay_stopped");
    let expected =
        json!({"type": "replay_stopped", "originalMessageId": "end", "sessionId": session, "seq": 4});
    assert_eq!(stopped["data"], expected);
    let refused = viewer.command_as("again", &stop("r1"));
    expect_code(&refused, "invalid_message");
    assert_eq!(refused["data"]["field"], "data.originalMessageId");
    // Exactly what it names was sent, and its place is free again.
    for round in 0..6 {
        let id = format!("n{round}");
        viewer.command_as(&id, &replay);
        let last = viewer.command(&stop(&id))["data"]["seq"].as_u64().expect("a seq");
        let heard = viewer.settle(&session);
        let entries: Vec<_> = heard.iter().filter(|it| it["seq"].is_u64()).cloned().collect();
        assert_eq!(seqs(&entries), (1..=last).collect::<Vec<_>>());
        assert!(heard.iter().all(|it| kind_of(it) != "replay_finished"), "{heard:?}");
    }
    let (mut first, mut second) = (server.connect("cyd"), server.connect("cyd"));
    first.command_as("mine", &replay);
    expect_code(&second.command(&stop("mine")), "invalid_message");
    let elsewhere = client.create("elsewhere");
    let other = json!({"command": "stop_replay", "sessionId": elsewhere, "originalMessageId": "mine"});
    expect_code(&first.command(&other), "invalid_message");
    expect_kind(&first.command(&stop("mine")), "replay_stopped");
    let fast = json!({"command": "replay_session", "sessionId": session, "speed": 64});
    viewer.command_as("whole", &fast);
    assert_eq!(viewer.wait_for_kind("replay_finished")["data"]["originalMessageId"], "whole");
    expect_code(&viewer.command_as("late", &stop("whole")), "invalid_message");
}

fn reader_acks_are_shown(workers: usize) {
    let server = TestServer::with_workers(workers);
    let (mut client, session, _) = session_of(&server, 5);
    let mut reader = server.opening(&evaluator("bob")).v1().connect();
    reader.join(&session, &json!("start"));
    reader.events_to(6);
    let acked = |client: &mut Client, reader: &mut Client, seq: u64| {
        let ack = json!({"type": "ack", "sessionId": session, "seq": seq});
        reader.send(&crate::support::message("system_message", "a", &ack));
        reader.info(&session);
        let participants = client.info(&session)["participants"].clone();
        let find = |user: &str| {
            let list = participants.as_array().expect("a list");
            list.iter().find(|it| it["userId"] == user).expect("it takes part").clone()
        };
        assert_eq!(find("ada").get("ackedSeq"), None);
        find("bob")["ackedSeq"].as_u64()
    };
    assert_eq!(acked(&mut client, &mut reader, 3), Some(3));
    assert_eq!(acked(&mut client, &mut reader, 2), Some(3), "it never goes back");
    assert_eq!(acked(&mut client, &mut reader, 1000), Some(6), "nobody has read what is not there");
}

on_one_and_three_workers!(
    joining_from_every_kind_of_place,
    the_past_and_the_present_meet_without_a_seam,
    leaving_ends_delivery_and_joining_again_begins_anew,
    one_connection_follows_many_sessions,
    what_has_outlived_its_time_is_a_gap,
    history_comes_in_pages,
    a_replay_is_marked_complete_and_in_order,
    a_replay_ends_with_its_connection,
    a_replay_is_stopped,
    reader_acks_are_shown,
);
