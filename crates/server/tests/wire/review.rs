//! Reviewers: the permission to leave notes and scores, over every transport, and the contents of listings.

use agentbench_auth::{Claims, Role};
use serde_json::{Value, json};

use crate::support::tokens::{claims, claims_for_project, evaluator, mint};
use crate::support::{TestServer, event, expect_code, expect_kind, on_one_and_three_workers, wait_until};

/// A viewer whose token names the permission.
fn reviewer() -> String {
    let permissions = vec!["session:review".to_owned()];
    mint(&Claims { permissions, ..claims("rita", Role::Viewer) })
}

fn note() -> Value {
    json!({"eventType": "review_note", "text": "why did it click there?", "at": 1})
}

fn step() -> Value {
    json!({"eventType": "automation_step", "stepId": "a", "name": "open", "status": "running"})
}

fn reviewers_leave_notes_that_everybody_gets(workers: usize) {
    let server = TestServer::with_workers(workers);
    let mut ada = server.connect("ada");
    let session = ada.create_following("s");
    for (place, opening) in
        [server.opening(&reviewer()), server.opening(&reviewer()).msgpack()].into_iter().enumerate()
    {
        let mut rita = opening.connect();
        expect_kind(&rita.join(&session, &json!("live")), "session_joined");
        let score = json!({"eventType": "review_score", "criterion": "care", "score": 0.5});
        for (name, data) in [("note", note()), ("score", score)] {
            let ack = rita.publish(&session, &format!("{name}{place}"), &data);
            expect_kind(&ack, "ack");
            let seq = ack["data"]["seq"].as_u64().expect("a seq");
            let events = ada.events_to(seq);
            let got = events.last().expect("the event");
            assert_eq!((&got["data"], &got["sender"]["userId"]), (&data, &json!("rita")));
        }
        rita.send(&event(&session, &format!("step{place}"), &step()));
        expect_code(&rita.reply_to(&format!("step{place}")), "forbidden");
    }
}

fn whoever_publishes_does_not_review(workers: usize) {
    let server = TestServer::with_workers(workers);
    // Sessions with owners on several workers: the letter to another one is checked as well.
    for n in 0..4 {
        let mut ada = server.connect("ada");
        let session = ada.create(&format!("s{n}"));
        expect_kind(&ada.publish(&session, "step", &step()), "ack");
        let hidden = [
            r#"{"eventType":"review_note","text":"well done"}"#,
            r#"{"text":"well done","eventType":"review_score"}"#,
            r#"{"eventType":"review\u005fnote","text":"well done"}"#,
            r#"{"\u0065ventType":"\u0072eview_note","text":"well done"}"#,
        ];
        for (place, data) in hidden.iter().enumerate() {
            let id = format!("forged{place}");
            ada.send_text(&format!(
                r#"{{"id":"{id}","type":"test_event","timestamp":1,"sessionId":"{session}","data":{data}}}"#
            ));
            expect_code(&ada.reply_to(&id), "forbidden");
        }
        for (place, data) in [
            r#"{"eventType":"console_log","eventType":"review_note"}"#,
            r#"{"eventType":"review_note","\u0065ventType":"console_log"}"#,
        ]
        .iter()
        .enumerate()
        {
            let id = format!("twice{place}");
            ada.send_text(&format!(
                r#"{{"id":"{id}","type":"test_event","timestamp":1,"sessionId":"{session}","data":{data}}}"#
            ));
            let refused = ada.reply_to(&id);
            expect_code(&refused, "invalid_message");
            assert_eq!(refused["data"]["field"], "data.eventType");
        }
        assert_eq!(ada.info(&session)["headSeq"], 2, "nothing of it is in the log");
        let mut packed = server.opening(&evaluator("ada")).msgpack().connect();
        packed.join_as_publisher(&session);
        packed.send(&event(&session, "packed", &note()));
        expect_code(&packed.reply_to("packed"), "forbidden");
    }
}

fn the_same_holds_for_requests(workers: usize) {
    let server = TestServer::with_workers(workers);
    let session = server.connect("ada").create("s");
    let post = |token: &str, body: &Value| {
        let ask = server.ask("POST", &format!("/api/v1/sessions/{session}/events"));
        ask.token(token).json(body).answer()
    };
    let events = json!([event(&session, "n", &note()), event(&session, "s", &step())]);
    let by_reviewer = post(&reviewer(), &events);
    assert_eq!(by_reviewer.status, 207, "{}", by_reviewer.body);
    let told = by_reviewer.value();
    assert_eq!(told["acks"][0]["originalMessageId"], "n");
    assert_eq!(
        (&told["errors"][0]["code"], &told["errors"][0]["originalMessageId"]),
        (&json!("forbidden"), &json!("s"))
    );
    let by_agent = post(&evaluator("ada"), &events).value();
    assert_eq!(by_agent["acks"][0]["originalMessageId"], "s");
    assert_eq!(by_agent["errors"][0]["originalMessageId"], "n");
    post(&mint(&claims("vera", Role::Viewer)), &events).refused(403, "forbidden");
    let both = Claims { permissions: vec!["session:review".into()], ..claims("boss", Role::Evaluator) };
    assert_eq!(post(&mint(&both), &events).status, 200);
    let foreign = Claims {
        permissions: vec!["session:review".into()],
        ..claims_for_project("pia", Role::Viewer, "p2")
    };
    let alone = event(&session, "foreign", &note());
    post(&mint(&foreign), &alone).refused(404, "session_not_found");
}

fn sessions_tell_their_progress(workers: usize) {
    let mut server = TestServer::with_workers(workers);
    let mut ada = server.connect("ada");
    let (session, done) = (ada.create("s"), ada.create("done"));
    let listed = |server: &TestServer, session: &str| {
        let page = server.ask("GET", "/api/v1/sessions").token(&evaluator("ada")).answer().value();
        let sessions = page["sessions"].as_array().expect("a page").clone();
        sessions.into_iter().find(|it| it["sessionId"] == session).expect("it is listed")["progress"].clone()
    };
    assert_eq!((&ada.info(&session)["progress"], listed(&server, &session)), (&Value::Null, Value::Null));
    for (id, percent) in [("a", 10), ("b", 42)] {
        ada.publish(&session, id, &json!({"eventType": "progress", "percent": percent}));
    }
    ada.publish(&session, "c", &json!({"eventType": "console_log", "level": "info", "message": "progress"}));
    assert_eq!((&ada.info(&session)["progress"], listed(&server, &session)), (&json!(42.0), json!(42.0)));
    ada.command(&json!({"command": "start_test", "sessionId": done}));
    ada.publish(&done, "d", &json!({"eventType": "progress", "percent": 100}));
    ada.command(&json!({"command": "stop_test", "sessionId": done}));
    drop(ada);
    server.restart();
    assert_eq!(listed(&server, &done), 100.0, "an ended session is told from its summary");
    // A live one as soon as somebody has asked for it.
    let mut ada = server.connect("ada");
    assert_eq!(ada.info(&session)["progress"], 42.0);
    wait_until("the list tells it", || listed(&server, &session) == 42.0);
}

fn sessions_are_searched(workers: usize) {
    let server = TestServer::with_workers(workers);
    let mut ada = server.connect("ada");
    let shop = ada.create_with("a", &json!({"agentName": "MGX", "testId": "Shop checkout"}));
    let signup = ada.create_with("b", &json!({"agentName": "Replit", "testId": "signup"}));
    let search = |text: &str| {
        let ask = server.ask("GET", &format!("/api/v1/sessions?q={text}")).token(&evaluator("ada"));
        let found = ask.answer().value()["sessions"].clone();
        found.as_array().expect("a page").iter().map(|it| it["sessionId"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(search("mgx"), [json!(shop)]);
    assert_eq!(search("SHOP%20CHECK"), [json!(shop)]);
    assert_eq!(search(&signup[..13]), [json!(signup)]);
    assert_eq!(search("nobody"), Vec::<Value>::new());
    assert_eq!(search("").len(), 2);
    let listed = ada.command(&json!({"command": "get_session_list", "q": "REPL"}));
    assert_eq!(listed["data"]["sessions"].as_array().map(Vec::len), Some(1));
    let long = "x".repeat(2000);
    let ask = server.ask("GET", &format!("/api/v1/sessions?q={long}")).token(&evaluator("ada"));
    assert_eq!(ask.answer().refused(400, "invalid_message")["field"], "q");
    expect_code(&ada.command(&json!({"command": "get_session_list", "q": long})), "invalid_message");
}

on_one_and_three_workers! {
    reviewers_leave_notes_that_everybody_gets,
    whoever_publishes_does_not_review,
    the_same_holds_for_requests,
    sessions_tell_their_progress,
    sessions_are_searched,
}
