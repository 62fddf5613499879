//! Presence: joins and leaves are announced to participants, however a connection ends.

use serde_json::{Value, json};

use crate::support::client::create_session;
use crate::support::tokens::evaluator;
use crate::support::{TestServer, kind_of, message, on_one_and_three_workers, wait_until};

fn names(presence: &Value) -> Vec<&str> {
    let list = presence["data"]["participants"].as_array().expect("a list");
    let mut names: Vec<_> = list.iter().filter_map(|it| it["userId"].as_str()).collect();
    names.sort_unstable();
    names
}

fn coming_and_going_is_told(workers: usize) {
    let server = TestServer::with_workers(workers);
    let mut ada = server.connect("ada");
    let session = ada.create("s");
    let mut bob = server.connect("bob");
    bob.join_as_publisher(&session);
    let joined = ada.wait_for_kind("user_joined");
    assert_eq!(joined["data"]["user"]["userId"], "bob");
    assert_eq!(joined["data"]["user"]["clientId"], bob.client_id());
    assert_eq!((names(&joined), &joined["data"]["count"]), (vec!["ada", "bob"], &json!(2)));
    assert!(joined.get("seq").is_none(), "presence is not logged");
    let mut cyd = server.connect("cyd");
    cyd.join(&session, &json!("live"));
    for client in [&mut ada, &mut bob] {
        assert_eq!(names(&client.wait_for_kind("user_joined")), ["ada", "bob", "cyd"]);
    }
    assert!(cyd.settle(&session).iter().all(|it| kind_of(it) != "user_joined"), "it knows that itself");

    bob.command(&json!({"command": "leave_session", "sessionId": session}));
    for client in [&mut ada, &mut cyd] {
        let left = client.wait_for_kind("user_left");
        assert_eq!(left["data"]["user"]["userId"], "bob");
        assert_eq!((names(&left), &left["data"]["count"]), (vec!["ada", "cyd"], &json!(2)));
    }
    cyd.reset();
    let left = ada.wait_for_kind("user_left");
    assert_eq!((names(&left), &left["data"]["user"]["userId"]), (vec!["ada"], &json!("cyd")));
    assert_eq!(ada.info(&session)["participants"].as_array().map(Vec::len), Some(1));
}

fn a_newer_connection_of_a_producer_replaces_the_older(workers: usize) {
    let server = TestServer::with_workers(workers);
    let open = |user: &str, producer: &str| server.opening(&evaluator(user)).producer(producer).connect();
    let mut watcher = server.connect("ada");
    let session = watcher.create("s");
    let mut older = open("bob", "worker-1");
    older.join(&session, &json!("live"));
    let mut others =
        [open("bob", "worker-2"), open("cyd", "worker-1"), server.connect("bob"), server.connect("bob")];
    let mut newer = open("bob", "worker-1");
    let said = older.expect_close(4409);
    let last = &said.last().expect("it is told why")["data"];
    assert_eq!((&last["cause"], &last["reconnect"]), (&json!("replaced"), &json!("never")));
    drop(older);
    watcher.wait_for_kind("user_left");
    newer.join_as_publisher(&session);
    newer.publish_numbers(&session, 1..=1);
    for other in &mut others {
        other.send(&message("heartbeat", "h", &json!({})));
        other.reply_to("h");
    }
    drop(newer);
    // Whose place is free again replaces nobody.
    wait_until("it is gone", || server.metric("agentbench_connections") == 5);
    open("bob", "worker-1").join(&session, &json!("live"));
}

/// Whoever goes before the answer comes has not stayed.
fn nobody_stays_behind_who_left_before_the_answer(workers: usize) {
    let server = TestServer::with_workers(workers);
    let mut watcher = server.connect("ada");
    let session = watcher.create("s");
    for round in 0..40 {
        let mut client = server.connect("bob");
        let create = message("control_command", &format!("c{round}"), &create_session(&json!({})));
        let join = json!({"command": "join_session", "sessionId": session, "from": "start"});
        let join = message("control_command", &format!("j{round}"), &join);
        client.send(&json!([create, join]));
        if round % 2 == 0 { client.reset() } else { drop(client) }
    }
    server.wait_for_metric("agentbench_connections", 1);
    wait_until("nobody is left in the session", || {
        watcher.info(&session)["participants"].as_array().map(Vec::len) == Some(1)
    });
    let list = watcher.command(&json!({"command": "get_session_list", "limit": 500}));
    for listed in list["data"]["sessions"].as_array().expect("a list") {
        let name = listed["sessionId"].as_str().expect("a name");
        if name != session {
            wait_until("nobody is left in any", || watcher.info(name)["participants"] == json!([]));
        }
    }
}

on_one_and_three_workers!(
    coming_and_going_is_told,
    a_newer_connection_of_a_producer_replaces_the_older,
    nobody_stays_behind_who_left_before_the_answer,
);
