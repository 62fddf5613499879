//! The lifecycle of sessions: announcements of each step, repeated commands, and listings.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::create_session;
use crate::support::tokens::evaluator;
use crate::support::{
    Client, TestServer, expect_code, expect_kind, kind_of, numbered, on_one_and_three_workers, seqs,
};

fn step(client: &mut Client, session: &str, command: &Value) -> Value {
    let mut data = command.clone();
    data["sessionId"] = json!(session);
    client.command(&data)
}

fn command(name: &str) -> Value {
    json!({"command": name})
}

fn stop(outcome: &str) -> Value {
    json!({"command": "stop_test", "outcome": outcome, "reason": "because"})
}

/// Steps that lead from a new session into a state.
fn way_to(state: &str) -> Vec<Value> {
    let start = command("start_test");
    match state {
        "idle" => vec![],
        "running" => vec![start],
        "paused" => vec![start, command("pause_test")],
        "completed" => vec![start, stop("completed")],
        _ => vec![stop("error")],
    }
}

/// Every state and every step.
fn every_step_is_taken_or_refused(workers: usize) {
    let server = TestServer::with_workers(workers);
    let (none, some) = (None, Some);
    let steps = [
        command("start_test"),
        command("pause_test"),
        command("resume_test"),
        stop("completed"),
        stop("error"),
    ];
    let table = [
        ("idle", [some("running"), none, none, none, some("error")]),
        ("running", [none, some("paused"), none, some("completed"), some("error")]),
        ("paused", [none, none, some("running"), some("completed"), some("error")]),
        ("completed", [none; 5]),
        ("error", [none; 5]),
    ];
    for (state, targets) in table {
        for (at, target) in targets.into_iter().enumerate() {
            let mut client = server.connect("ada");
            let session = client.create(&format!("{state}-{at}"));
            way_to(state).iter().for_each(|one| drop(step(&mut client, &session, one)));
            assert_eq!(client.info(&session)["status"], state);
            let answer = step(&mut client, &session, &steps[at]);
            match target {
                Some(target) => {
                    assert_eq!(
                        (&answer["data"]["from"], &answer["data"]["status"]),
                        (&json!(state), &json!(target))
                    );
                    assert_eq!(client.info(&session)["status"], target);
                }
                None => {
                    expect_code(&answer, "invalid_transition");
                    let text = answer["data"]["error"].as_str().expect("a text");
                    assert!(text.contains(state), "{text}");
                    assert_eq!(client.info(&session)["status"], state);
                }
            }
        }
    }
}

/// Whoever asks gets the reply, followers get the log's entry, and participants that do not follow hear of it, too.
fn everybody_hears_of_a_step(workers: usize) {
    let server = TestServer::with_workers(workers);
    let mut owner = server.connect("ada");
    let session = owner.create("s");
    let mut follower = server.connect("bob");
    follower.join(&session, &json!("start"));
    let mut publisher = server.connect("cyd");
    publisher.join_as_publisher(&session);
    let steps = [
        (command("start_test"), "session_started"),
        (command("pause_test"), "session_paused"),
        (command("resume_test"), "session_resumed"),
        (stop("completed"), "session_stopped"),
    ];
    for (at, (data, kind)) in steps.iter().enumerate() {
        let seq = at as u64 + 2;
        let reply = step(&mut owner, &session, data);
        expect_kind(&reply, kind);
        assert_eq!((&reply["data"]["seq"], reply.get("seq")), (&json!(seq), None), "{reply}");
        for heard in [follower.wait_for_kind(kind), publisher.wait_for_kind(kind)] {
            assert_eq!(heard["seq"], seq, "{heard}");
            assert_eq!(heard["sender"]["userId"], "ada");
            assert!(heard["data"].get("originalMessageId").is_none(), "{heard}");
        }
    }
    let kinds = |messages: Vec<Value>| {
        messages.iter().filter(|it| it["seq"].is_u64()).map(|it| kind_of(it).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(kinds(follower.settle(&session)), ["session_created"], "nothing comes twice");
    assert!(kinds(publisher.settle(&session)).is_empty());
    assert!(kinds(owner.settle(&session)).is_empty(), "who does not follow has its replies");
    let info = owner.info(&session);
    assert_eq!(
        (&info["status"], &info["reason"], &info["headSeq"]),
        (&json!("completed"), &json!("because"), &json!(5))
    );
    assert!(info["startedAt"].is_u64() && info["endedAt"].is_u64(), "{info}");
}

fn a_follower_gets_the_reply_and_the_entry(workers: usize) {
    let server = TestServer::with_workers(workers);
    let mut client = server.connect("ada");
    let session = client.create_following("s");
    let reply = step(&mut client, &session, &command("start_test"));
    assert_eq!(reply["data"]["seq"], 2);
    let entries = client.events_to(2);
    assert_eq!(entries.iter().map(kind_of).collect::<Vec<_>>(), ["session_created", "session_started"]);
}

fn a_repeated_command_has_its_effect_once(workers: usize) {
    let mut server = TestServer::with_workers(workers);
    let mut client = server.connect("ada");
    let session = client.create("s");
    let on = |name: &str| json!({"command": name, "sessionId": session});
    let first = client.command_as("start", &on("start_test"));
    assert_eq!(first["data"].get("duplicate"), None);
    for _ in 0..2 {
        let again = server.connect("ada").command_as("start", &on("start_test"));
        expect_kind(&again, "session_started");
        assert_eq!((&again["data"]["seq"], &again["data"]["duplicate"]), (&json!(2), &json!(true)));
        client = server.connect("ada");
    }
    expect_code(&client.command_as("start", &on("pause_test")), "id_conflict");
    drop(client);
    server.restart();
    let mut client = server.connect("ada");
    assert_eq!(client.command_as("start", &on("start_test"))["data"]["seq"], 2);
    expect_kind(&client.command_as("stop", &on("stop_test")), "session_stopped");
    drop(client);
    server.restart();
    let mut client = server.connect("ada");
    let again = client.command_as("stop", &on("stop_test"));
    assert_eq!((&again["data"]["seq"], &again["data"]["duplicate"]), (&json!(3), &json!(true)), "{again}");
}

fn a_session_is_created_once(workers: usize) {
    let mut server = TestServer::with_workers(workers);
    let mut client = server.connect("ada");
    let more = json!({"metadata": {"build": [1, 2]}});
    let created = client.command_as("same", &create_session(&more));
    let names = |it: &Value| (it["data"]["sessionId"].clone(), it["data"]["epoch"].clone());
    let first = names(&created);
    assert_eq!(created["data"]["session"]["metadata"], json!({"build": [1, 2]}));
    assert_eq!(names(&client.command_as("same", &create_session(&more))), first);
    // Both at once, before the log has answered.
    let twice = crate::support::message("control_command", "both", &create_session(&json!({})));
    client.send(&json!([twice, twice]));
    assert_eq!(names(&client.reply_to("both")), names(&client.reply_to("both")));
    let mut other = server.connect("ada");
    assert_eq!(names(&other.command_as("same", &create_session(&more))), first, "on another connection, too");
    expect_code(&other.command_as("same", &create_session(&json!({}))), "id_conflict");
    assert_ne!(names(&server.connect("bob").command_as("same", &create_session(&more))), first);
    drop((client, other));
    server.restart();
    let mut client = server.connect("ada");
    assert_eq!(names(&client.command_as("same", &create_session(&more))), first, "after a restart, too");
    expect_code(&client.command_as("same", &create_session(&json!({"testId": "t2"}))), "id_conflict");
    // Creating it made the connection a participant.
    let session = first.0.as_str().expect("a name").to_owned();
    expect_kind(&client.publish(&session, "e1", &json!({})), "ack");
    assert_eq!(client.info(&session)["headSeq"], 2);
}

fn ids_of(page: &Value) -> Vec<String> {
    let sessions = page["data"]["sessions"].as_array().expect("a list");
    sessions.iter().map(|it| it["sessionId"].as_str().expect("a name").to_owned()).collect()
}

fn lists_are_filtered_and_paged(workers: usize) {
    let server = TestServer::with_workers(workers);
    let mut client = server.connect("ada");
    let mut running = Vec::new();
    for n in 0..12 {
        let session = client.create_with(&format!("s{n}"), &json!({"projectId": format!("p{}", n % 3)}));
        if n % 4 == 0 {
            step(&mut client, &session, &command("start_test"));
            running.push(session);
        }
    }
    let list = |client: &mut Client, more: Value| {
        let mut data = command("get_session_list");
        more.as_object().expect("fields").iter().for_each(|(name, value)| data[name] = value.clone());
        client.command(&data)
    };
    let mut found = ids_of(&list(&mut client, json!({"status": "running"})));
    found.sort();
    running.sort();
    assert_eq!(found, running);
    assert_eq!(ids_of(&list(&mut client, json!({"projectId": "p1"}))).len(), 4);
    assert_eq!(ids_of(&list(&mut client, json!({"projectId": "p1", "status": "running"}))).len(), 1);
    let (mut all, mut cursor) = (Vec::new(), Value::Null);
    loop {
        let page = list(&mut client, json!({"limit": 5, "cursor": cursor}));
        all.extend(ids_of(&page));
        cursor = page["data"]["nextCursor"].clone();
        if cursor.is_null() {
            break;
        }
        // What comes meanwhile is newer than the page and does not move it.
        client.create(&format!("late-{}", all.len()));
    }
    assert_eq!(all.len(), 12);
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 12, "each once");
}

fn a_session_that_nobody_uses_expires(workers: usize) {
    let server = TestServer::with(workers, |config| {
        config.session_timeout = Duration::from_millis(1500);
        config.heartbeat_interval = Duration::from_secs(1);
    });
    let mut client = server.connect("ada");
    let session = client.create("s");
    client.publish_numbers(&session, 1..=3);
    let kept = client.create("kept");
    expect_kind(&client.command(&json!({"command": "leave_session", "sessionId": session})), "session_left");
    crate::support::wait_until("it expires", || client.info(&session)["status"] == "expired");
    assert_eq!(client.info(&kept)["status"], "idle", "somebody takes part in that one");
    let joined = client.join(&session, &json!("start"));
    assert_eq!(joined["data"]["headSeq"], 5);
    let entries = client.events_to(5);
    assert_eq!(seqs(&entries), [1, 2, 3, 4, 5]);
    expect_kind(&entries[4], "session_expired");
    assert_eq!(entries[4]["data"]["from"], "idle");
    expect_code(&client.publish(&session, "late", &json!({})), "session_closed");
    let start = json!({"command": "start_test", "sessionId": session});
    expect_code(&client.command(&start), "invalid_transition");
    let listed = client.command(&json!({"command": "get_session_list", "status": "expired"}));
    assert_eq!(ids_of(&listed), [session]);
}

fn ended_sessions_are_archived_and_stay_readable(workers: usize) {
    let mut server = TestServer::with(workers, |config| config.tail_bytes = 1024);
    let mut client = server.connect("ada");
    let session = client.create_following("s");
    client.publish_numbers(&session, 1..=50);
    let reply = step(&mut client, &session, &stop("error"));
    assert_eq!(reply["data"]["seq"], 52);
    assert_eq!(seqs(&client.events_to(52)), (1..=52).collect::<Vec<_>>());
    let check = |server: &TestServer| {
        let mut reader = server.opening(&evaluator("bob")).connect();
        reader.join(&session, &json!("start"));
        assert_eq!(seqs(&reader.events_to(52)), (1..=52).collect::<Vec<_>>());
        expect_code(&reader.publish(&session, "late", &numbered(&session, 1)), "session_closed");
    };
    check(&server);
    drop(client);
    server.restart();
    check(&server);
    server.restart();
    check(&server);
}

on_one_and_three_workers!(
    every_step_is_taken_or_refused,
    everybody_hears_of_a_step,
    a_follower_gets_the_reply_and_the_entry,
    a_repeated_command_has_its_effect_once,
    a_session_is_created_once,
    lists_are_filtered_and_paged,
    a_session_that_nobody_uses_expires,
    ended_sessions_are_archived_and_stay_readable,
);
