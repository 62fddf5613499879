//! Administration of connections: listing, closing, close reasons, revocation, draining, reloading.

use std::time::Duration;

use agentbench_auth::{Claims, Role};
use agentbench_server::Control;
use serde_json::{Value, json};

use crate::support::tokens::{claims, evaluator, mint, now};
use crate::support::{TestServer, expect_code, expect_kind, kind_of, on_one_and_three_workers, wait_until};

fn admin() -> String {
    mint(&claims("root", Role::Admin))
}

fn get(server: &TestServer, path: &str) -> Value {
    let answer = server.ask("GET", &format!("/api/v1/connections{path}")).token(&admin()).answer();
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.value()
}

/// The record of an end, once it is there.
fn why(server: &TestServer, name: &str) -> Value {
    let path = format!("/api/v1/connections/{name}/why");
    wait_until("its end is known", || server.ask("GET", &path).token(&admin()).answer().status == 200);
    get(server, &format!("/{name}/why"))
}

fn connections_are_listed_once_over_all_pages(workers: usize) {
    let server = TestServer::with_workers(workers);
    let clients: Vec<_> = (0..10).map(|n| server.connect(if n % 2 == 0 { "ada" } else { "bob" })).collect();
    let (mut seen, mut query) = (Vec::new(), "?limit=3".to_owned());
    loop {
        let page = get(&server, &query);
        let some = page["connections"].as_array().expect("a page").clone();
        assert!((1..=3).contains(&some.len()), "{page}");
        seen.extend(some.iter().map(|it| it["clientId"].as_str().expect("a name").to_owned()));
        match page["nextCursor"].as_str() {
            Some(next) => query = format!("?limit=3&cursor={next}"),
            None => break,
        }
    }
    let mut names: Vec<_> = clients.iter().map(|client| client.client_id().to_owned()).collect();
    seen.sort_unstable();
    names.sort_unstable();
    assert_eq!(seen, names);
    let bobs = get(&server, "?userId=bob");
    assert_eq!(bobs["connections"].as_array().map(Vec::len), Some(5));
    let one = get(&server, &format!("/{}", clients[1].client_id()));
    assert_eq!((&one["userId"], &one["transport"]), (&json!("bob"), &json!("websocket")));
    assert!(one["address"].as_str().is_some_and(|address| address == "127.0.0.1"), "{one}");
}

fn an_administrator_closes_a_connection_and_it_is_explained(workers: usize) {
    let server = TestServer::with_workers(workers);
    let mut client = server.opening(&evaluator("ada")).producer("ext").connect();
    let session = client.create("s");
    let name = client.client_id().to_owned();
    let path = format!("/api/v1/connections/{name}");
    let open = server.ask("GET", &format!("{path}/why")).token(&admin()).answer();
    open.refused(404, "not_found");
    assert_eq!(get(&server, &format!("/{name}"))["sessions"], json!([session]));
    let closing = server.ask("DELETE", &path).token(&admin()).answer();
    assert_eq!((closing.status, closing.value()), (202, json!({"clientId": name, "code": 4403})));
    let said = client.expect_close(4403);
    let last = said.last().expect("it is told why");
    assert_eq!((kind_of(last), &last["data"]["reconnect"]), ("disconnecting", &json!("never")));
    let why = why(&server, &name);
    assert_eq!((&why["cause"], &why["code"]), (&json!("forbidden"), &json!(4403)));
    assert_eq!((&why["userId"], &why["reconnect"]), (&json!("ada"), &json!("never")));
    assert!(why["endedAt"].as_u64() >= why["connectedAt"].as_u64());
    drop(client);
    wait_until("it is not listed", || server.ask("GET", &path).token(&admin()).answer().status == 404);
    server.ask("DELETE", &path).token(&admin()).answer().refused(404, "not_found");
    let mut other = server.connect("ada");
    let path = format!("/api/v1/connections/{}?reconnect=now", other.client_id());
    assert_eq!(server.ask("DELETE", &path).token(&admin()).answer().status, 202);
    let said = other.expect_close(1001);
    assert_eq!(said.last().map(|it| &it["data"]["reconnect"]), Some(&json!("now")));
}

/// Each way in which a connection ends says so last, and leaves the evidence.
#[test]
fn ends_are_explained_with_their_evidence() {
    let server = TestServer::with(1, |config| {
        config.malformed_limit = 3;
        config.max_payload = 2048;
        config.heartbeat_interval = Duration::from_millis(100);
    });
    let end = |what: &str, mut client: crate::support::Client, code: u16| {
        let said = client.expect_close(code);
        let last = said.last().expect("something is said");
        assert_eq!(kind_of(last), "disconnecting", "{what}: {last}");
        assert_eq!(last["data"]["code"], code, "{what}");
        let why = why(&server, client.client_id());
        assert_eq!((&why["code"], &why["detail"]), (&json!(code), &last["data"]["detail"]), "{what}");
        why
    };
    let mut malformed = server.connect("ada");
    (0..3).for_each(|_| malformed.send_text("{"));
    let why_malformed = end("malformed", malformed, 1008);
    assert_eq!(why_malformed["evidence"]["limit"], json!({"setting": "MALFORMED_LIMIT", "value": 3}));
    let mut large = server.connect("ada");
    large.send_text(&format!("{{\"id\":\"{}\"}}", "x".repeat(4000)));
    assert_eq!(end("large", large, 1009)["evidence"]["limit"]["setting"], "MAX_PAYLOAD");
    let mut silent = server.connect("ada");
    silent.answers_pings = false;
    let why_silent = end("silent", silent, 4408);
    assert_eq!(why_silent["evidence"]["unansweredPings"], 2, "{why_silent}");
    assert_eq!(why_silent["evidence"]["limit"]["setting"], "HEARTBEAT_INTERVAL");
    let replaced = server.opening(&evaluator("ada")).producer("p").connect();
    let _newer = server.opening(&evaluator("ada")).producer("p").connect();
    end("replaced", replaced, 4409);
    let polite = server.connect("ada");
    let name = polite.client_id().to_owned();
    polite.say_goodbye(1000);
    let why_polite = why(&server, &name);
    assert_eq!((&why_polite["cause"], &why_polite["code"]), (&json!("client"), &json!(1000)));
    let lost = server.connect("ada");
    let name = lost.client_id().to_owned();
    lost.reset();
    let why_lost = why(&server, &name);
    assert_eq!((&why_lost["cause"], &why_lost["code"]), (&json!("lost"), &Value::Null));
}

fn revoke(server: &TestServer, what: &Value) -> u16 {
    server.ask("POST", "/api/v1/tokens/revoke").token(&admin()).json(what).answer().status
}

fn revoked_tokens_end_open_connections_and_stay_out(workers: usize) {
    let mut server = TestServer::with_workers(workers);
    let with_id =
        |user: &str, jti: &str| mint(&Claims { jti: Some(jti.to_owned()), ..claims(user, Role::Evaluator) });
    let (one, other) = (with_id("ada", "t1"), with_id("ada", "t2"));
    let mut setup = server.opening(&other).connect();
    let session = setup.create("s");
    let mut revoked: Vec<_> = (0..4).map(|_| server.opening(&one).connect()).collect();
    let target = format!("/api/v1/sessions/{session}/stream");
    let mut stream = server.ask("GET", &target).token(&one).open();
    assert_eq!(stream.status, 200);
    assert_eq!(revoke(&server, &json!({"jti": "t1"})), 200);
    for client in &mut revoked {
        let said = client.expect_close(4401);
        let last = said.last().expect("it is told why");
        assert_eq!((kind_of(last), &last["data"]["reconnect"]), ("disconnecting", &json!("refresh_token")));
    }
    let mut last = None;
    while let Some(event) = stream.next() {
        last = Some(event.data);
    }
    assert_eq!(last.map(|it| it["data"]["code"].clone()), Some(json!(4401)), "the stream ends, too");
    // The other token of the same user goes on, but cannot be exchanged for the revoked one.
    expect_code(&setup.command(&json!({"command": "refresh_token", "token": one})), "not_authenticated");
    expect_kind(
        &setup.command(&json!({"command": "get_session_info", "sessionId": session})),
        "session_info",
    );
    // It survives a restart, for sockets and requests alike.
    drop((setup, revoked));
    server.restart();
    let refused = server.opening(&one).open().err().expect("the upgrade is refused");
    assert_eq!((refused.status, refused.detail.as_str()), (401, "the token was revoked"));
    server.ask("GET", "/api/v1/sessions").token(&one).answer().refused(401, "not_authenticated");
    let mut again = server.opening(&other).connect();
    // All tokens of a user that are there, and none that come later.
    let ada_later = mint(&Claims { iat: Some(now() + 4), ..claims("ada", Role::Evaluator) });
    assert_eq!(revoke(&server, &json!({"userId": "ada"})), 200);
    again.expect_close(4401);
    assert!(server.opening(&ada_later).open().is_ok());
    server.ask("GET", "/api/v1/sessions").token(&ada_later).answer().lines();
    // Everybody's older ones.
    let old = mint(&Claims { iat: Some(now() - 1000), ..claims("bob", Role::Evaluator) });
    let mut bob = server.opening(&old).connect();
    assert_eq!(revoke(&server, &json!({"issuedBefore": (now() - 500) * 1000})), 200);
    bob.expect_close(4401);
    assert_eq!(server.ask("GET", "/api/v1/sessions").token(&old).answer().status, 401);
    server.connect("bob");
}

#[test]
fn draining_and_reloading_are_the_hosts_to_do() {
    let server = TestServer::with_workers(2);
    let post = |path: &str| server.ask("POST", path).token(&admin()).answer();
    // Nobody listens: nothing happens.
    post("/api/v1/drain").refused(503, "overloaded");
    post("/api/v1/reload").refused(503, "overloaded");
    assert_eq!(server.get("/readyz").status, 200);
    let mut requests = server.server().control();
    let host = std::thread::spawn(move || {
        let answers = [Ok("read the keys".to_owned()), Err("no such file".to_owned())];
        for answer in answers {
            match requests.blocking_recv() {
                Some(Control::Reload(reply)) => reply.send(answer).expect("somebody waits"),
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(requests.blocking_recv(), Some(Control::Drain)));
    });
    assert_eq!(post("/api/v1/reload").value(), json!({"detail": "read the keys"}));
    assert_eq!(post("/api/v1/reload").refused(409, "invalid_transition")["error"], "no such file");
    let mut client = server.connect("ada");
    let session = client.create("s");
    assert_eq!(post("/api/v1/drain").status, 202);
    host.join().expect("the host was told");
    // Not ready and nobody new, but who is there is served until the host stops the server.
    assert_eq!(server.get("/readyz").status, 503);
    assert_eq!(server.opening(&evaluator("bob")).open().err().map(|refused| refused.status), Some(503));
    let publish = server.ask("POST", &format!("/api/v1/sessions/{session}/events")).token(&admin());
    publish.json(&json!({})).answer().refused(503, "overloaded");
    assert_eq!(client.publish(&session, "e", &json!({}))["data"]["seq"], 2);
    assert_eq!(post("/api/v1/drain").status, 202, "once more is no mistake");
}

on_one_and_three_workers!(
    connections_are_listed_once_over_all_pages,
    an_administrator_closes_a_connection_and_it_is_explained,
    revoked_tokens_end_open_connections_and_stay_out,
);
