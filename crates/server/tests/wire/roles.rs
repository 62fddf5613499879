//! The protocol's table of roles and permissions, row by row, and the walls between projects.

use agentbench_auth::{Claims, Role};
use serde_json::{Value, json};

use crate::support::client::create_session;
use crate::support::tokens::{claims, claims_for_project, mint};
use crate::support::{Client, TestServer, expect_code, expect_kind, on_one_and_three_workers};

fn role_with(role: Role, permissions: &[&str]) -> Claims {
    let permissions = permissions.iter().map(|&name| name.to_owned()).collect();
    Claims { permissions, ..claims("somebody", role) }
}

/// Everything that a token may or may not permit, tried on a session that another user has made.
fn what_is_permitted(client: &mut Client, session: &str) -> [bool; 7] {
    let permitted = |answer: &Value| {
        if answer["type"] == "error" {
            expect_code(answer, "forbidden");
            return false;
        }
        true
    };
    let on = |name: &str| json!({"command": name, "sessionId": session});
    let join = permitted(&client.command(&on("join_session")));
    let info = permitted(&client.command(&on("get_session_info")));
    let history = permitted(&client.command(&on("get_history")));
    let list = permitted(&client.command(&json!({"command": "get_session_list"})));
    let id = client.fresh_id();
    let create = permitted(&client.command_as(&id, &create_session(&json!({}))));
    let publish = permitted(&client.publish(session, &id, &json!({})));
    let start = permitted(&client.command(&on("start_test")));
    [join, info, history, list, create, publish, start]
}

fn roles_and_permissions(workers: usize) {
    let server = TestServer::with_workers(workers);
    let reads = [true, true, true, true, false, false, false];
    let with = |create: bool, publish: bool, control: bool| {
        let mut all = reads;
        all[4..].copy_from_slice(&[create, publish, control]);
        all
    };
    let table = [
        (Role::Admin, vec![], [true; 7]),
        (Role::Evaluator, vec![], [true; 7]),
        (Role::Viewer, vec![], reads),
        (Role::Viewer, vec!["session:create"], with(true, false, false)),
        (Role::Viewer, vec!["session:publish"], with(false, true, false)),
        (Role::Viewer, vec!["session:control", "made:up"], with(false, false, true)),
        (Role::Viewer, vec!["run:automated_tests"], [true; 7]),
        (Role::Viewer, vec!["*"], [true; 7]),
    ];
    for (at, (role, permissions, expected)) in table.into_iter().enumerate() {
        let session = server.connect("owner").create(&format!("s{at}"));
        let mut client = server.opening(&mint(&role_with(role, &permissions))).connect();
        assert_eq!(what_is_permitted(&mut client, &session), expected, "{role} with {permissions:?}");
    }
}

fn a_project_is_a_wall(workers: usize) {
    let server = TestServer::with_workers(workers);
    let mut owner = server.connect("owner");
    let inside = owner.create_with("inside", &json!({"projectId": "p1"}));
    let outside = owner.create_with("outside", &json!({"projectId": "p2"}));
    let mut client = server.opening(&mint(&claims_for_project("ada", Role::Evaluator, "p1"))).connect();
    for name in [
        "join_session",
        "subscribe_session",
        "get_session_info",
        "get_history",
        "replay_session",
        "start_test",
        "pause_test",
        "resume_test",
        "stop_test",
        "leave_session",
        "unsubscribe_session",
    ] {
        let data =
            |session: &str| match client.command(&json!({"command": name, "sessionId": session}))["data"]
                .take()
            {
                Value::Object(mut data) => {
                    data.remove("originalMessageId");
                    Value::Object(data)
                }
                other => panic!("{other}"),
            };
        let [hidden, absent] = [&*outside, "00000000-0000-8000-8000-000000000000"].map(data);
        assert_eq!((&hidden, &hidden["code"]), (&absent, &json!("session_not_found")), "{name}");
    }
    let token = mint(&claims_for_project("ada", Role::Evaluator, "p1"));
    for (method, part, body) in [
        ("GET", "", ""),
        ("GET", "/events", ""),
        ("GET", "/export", ""),
        ("GET", "/stream", ""),
        ("POST", "/commands", "{\"id\":\"c\",\"command\":\"start_test\"}"),
        (
            "POST",
            "/events",
            "{\"id\":\"e\",\"type\":\"test_event\",\"timestamp\":1,\"data\":{\"eventType\":\"x\"}}",
        ),
    ] {
        let ask = |session: &str| {
            let target = format!("/api/v1/sessions/{session}{part}");
            server.ask(method, &target).token(&token).body(body).answer()
        };
        let [hidden, absent] = [&*outside, "00000000-0000-8000-8000-000000000000"].map(ask);
        hidden.refused(404, "session_not_found");
        assert_eq!((hidden.status, &hidden.body), (absent.status, &absent.body), "{method} {part}");
    }
    expect_code(&client.command_as("x", &create_session(&json!({"projectId": "p2"}))), "forbidden");
    assert_eq!(client.publish(&outside, "e", &json!({}))["type"], "error");
    let list = client.command(&json!({"command": "get_session_list"}));
    let listed: Vec<_> = list["data"]["sessions"].as_array().expect("a list").iter().collect();
    assert_eq!(listed.len(), 1, "{list}");
    assert_eq!(listed[0]["sessionId"], json!(inside));
    let hidden = client.command(&json!({"command": "get_session_list", "projectId": "p2"}));
    assert_eq!(hidden["data"]["sessions"], json!([]));
    client.join(&inside, &json!("start"));
    client.create_with("mine", &json!({"projectId": "p1"}));
    assert_eq!(owner.info(&outside)["headSeq"], 1);

    let mut admin = server.opening(&mint(&claims_for_project("root", Role::Admin, "p1"))).connect();
    admin.join(&outside, &json!("start"));
    let mut viewer = server.opening(&mint(&claims_for_project("eve", Role::Viewer, "p2"))).connect();
    expect_code(
        &viewer.command(&json!({"command": "get_history", "sessionId": inside})),
        "session_not_found",
    );
    viewer.join(&outside, &json!("start"));
}

/// What a connection has joined under one token it does not keep under another that would not let it in.
fn a_refreshed_token_does_not_reach_over_the_wall(workers: usize) {
    let server = TestServer::with_workers(workers);
    let token = |project| mint(&claims_for_project("ada", Role::Evaluator, project));
    let refresh = json!({"command": "refresh_token", "token": token("p2")});
    for at in 0..workers {
        let mut client = server.opening(&token("p1")).connect();
        let session = client.create(&format!("s{at}"));
        expect_code(&client.command(&refresh), "forbidden");
        expect_kind(&client.publish(&session, "e1", &json!({})), "ack");
        let leave = json!({"command": "leave_session", "sessionId": session});
        expect_kind(&client.command(&leave), "session_left");
        expect_kind(&client.command(&refresh), "token_refreshed");
        let join = json!({"command": "join_session", "sessionId": session});
        expect_code(&client.command(&join), "session_not_found");
    }
}

on_one_and_three_workers!(
    roles_and_permissions,
    a_project_is_a_wall,
    a_refreshed_token_does_not_reach_over_the_wall
);
