//! Authentication: accepted tokens, the texts of refusals, and the pages served beside the WebSocket.

use agentbench_auth::{Algorithm, Audience, Claims, KeyRing, Role, SigningKey, sign};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::support::server::Answer;
use crate::support::tokens::{SECRET, claims, evaluator, mint, mint_with, now};
use crate::support::{Client, TestServer, expect_code, expect_kind, message, wait_until};

const RSA_PUBLIC: &str = include_str!("../../../auth/tests/keys/rsa.public.pem");
const RSA_PRIVATE: &str = include_str!("../../../auth/tests/keys/rsa.private.pem");

fn unsigned(claims: &Claims) -> String {
    let part = |json: String| URL_SAFE_NO_PAD.encode(json);
    let payload = serde_json::to_string(claims).expect("claims are JSON");
    format!("{}.{}.", part(json!({"alg": "none", "typ": "JWT"}).to_string()), part(payload))
}

/// What is wrong with each, the token, and the words that it is refused with wherever it came from.
fn bad_tokens() -> Vec<(&'static str, String, &'static str)> {
    const UNREADABLE: &str = "the token cannot be read";
    const SIGNATURE: &str = "the token's signature is not valid";
    let ada = || claims("ada", Role::Evaluator);
    let good = mint(&ada());
    let (message, _) = good.rsplit_once('.').expect("three parts");
    vec![
        ("garbage", "garbage".to_owned(), UNREADABLE),
        ("three empty parts", "..".to_owned(), UNREADABLE),
        ("no signature", format!("{message}."), SIGNATURE),
        ("another's signature", format!("{message}.{}", URL_SAFE_NO_PAD.encode([7; 32])), SIGNATURE),
        ("too long", "x".repeat(9_000), UNREADABLE),
        ("expired", mint(&Claims { exp: Some(now() - 60), ..ada() }), "the token has expired"),
        ("no end", mint(&Claims { exp: None, ..ada() }), "the token has no exp claim"),
        (
            "issued in the future",
            mint(&Claims { iat: Some(now() + 600), ..ada() }),
            "the token is not valid yet",
        ),
        ("not yet valid", mint(&Claims { nbf: Some(now() + 600), ..ada() }), "the token is not valid yet"),
        (
            "another issuer",
            mint(&Claims { iss: Some("somebody".to_owned()), ..ada() }),
            "the token is from another issuer",
        ),
        ("no issuer", mint(&Claims { iss: None, ..ada() }), "the token has no iss claim"),
        (
            "another audience",
            mint(&Claims { aud: Some(Audience::One("elsewhere".to_owned())), ..ada() }),
            "the token is for another audience",
        ),
        (
            "another type",
            mint(&Claims { token_type: Some("refresh".to_owned()), ..ada() }),
            "the token is of another type",
        ),
        (
            "an unknown role",
            mint(&Claims { role: Some("owner".to_owned()), ..ada() }),
            "the token's role is not known",
        ),
        ("no user", mint(&Claims { user_id: None, ..ada() }), "the token has no userId claim"),
        (
            "another key",
            mint_with(&ada(), Algorithm::Hs256, b"a secret that nobody here trusts at all"),
            SIGNATURE,
        ),
        (
            "another algorithm",
            mint_with(&ada(), Algorithm::Hs512, SECRET.as_bytes()),
            "the token's algorithm is not the one of its key",
        ),
        ("alg none", unsigned(&ada()), "the token's algorithm is not the one of its key"),
    ]
}

fn assert_sent_away(mut client: Client, reason: &str, what: &str) {
    let before = client.expect_close(1008);
    assert_eq!(before.len(), 1, "{what}: why is all that is said before the close");
    expect_kind(&before[0], "disconnecting");
    assert_eq!(
        (&before[0]["data"]["code"], &before[0]["data"]["reconnect"]),
        (&json!(1008), &json!("never"))
    );
    assert_eq!(client.close.as_ref().map(|close| close.1.as_str()), Some(reason), "{what}");
}

#[test]
fn a_bad_token_is_refused_in_the_same_words_wherever_it_came_from() {
    let server = TestServer::with(1, |config| config.security.failed_token_rate = 0);
    for (what, token, words) in bad_tokens() {
        let in_header = server.opening(&token).open().err().expect("the upgrade is refused");
        assert_eq!((in_header.status, in_header.detail.as_str()), (401, words), "{what}");
        let over_http = server.ask("GET", "/api/v1/sessions").token(&token).answer();
        assert_eq!(over_http.refused(401, "not_authenticated")["error"], words, "{what}");
        let target = format!("/ws?token={token}");
        let protocol = format!("bearer.{token}");
        for opening in [server.bare_opening().target(&target), server.bare_opening().v1().protocol(&protocol)]
        {
            let client = opening.open().expect("a browser's upgrade is completed");
            assert_sent_away(client, words, what);
        }
    }
    for opening in [server.bare_opening(), server.bare_opening().target("/?token="), server.opening("")] {
        let client = opening.open().expect("the upgrade is completed");
        let words = "no token was sent: Authorization: Bearer TOKEN, or the subprotocol bearer.TOKEN (agentbench token mint makes one)";
        assert_sent_away(client, words, "no token");
    }
    assert_eq!(server.metric("agentbench_connections_refused_total{cause=\"bad_signature\"}"), 3 * 4);
    server.wait_for_quiet();
    server.prove_well();
}

#[test]
fn a_good_token_is_served_while_refusals_of_its_address_wait() {
    let server = TestServer::with(1, |config| config.security.failed_token_rate = 1);
    let mut refused: Vec<_> =
        (0..6).map(|_| server.ask("GET", "/api/v1/stats").token("garbage").sent()).collect();
    server.prove_well();
    assert_eq!(server.ask("GET", "/api/v1/sessions").token(&evaluator("ada")).answer().status, 200);
    for socket in refused.drain(..) {
        assert_eq!(Answer::read(socket).status, 401);
    }
}

fn rsa_ring() -> KeyRing {
    let keys = json!({"keys": [{"alg": "RS256", "publicKeyPem": RSA_PUBLIC}]});
    KeyRing::from_json(&keys.to_string()).expect("the keys are right")
}

#[test]
fn a_public_key_is_no_secret() {
    let server = TestServer::with_keys(1, |_| {}, rsa_ring);
    let ada = claims("ada", Role::Evaluator);
    for secret in [RSA_PUBLIC, RSA_PUBLIC.trim_end()] {
        let forged = mint_with(&ada, Algorithm::Hs256, secret.as_bytes());
        let refused = server.opening(&forged).open().err().expect("HS256 with the public key");
        assert_eq!(
            (refused.status, refused.detail.as_str()),
            (401, "the token's algorithm is not the one of its key")
        );
    }
    let key = SigningKey::from_private_pem(Algorithm::Rs256, RSA_PRIVATE).expect("a private key");
    server.opening(&sign(&ada, &key).expect("it signs")).connect();
}

#[test]
fn new_keys_leave_open_connections_alone() {
    let server = TestServer::with_workers(1);
    let mut client = server.connect("ada");
    server.server().set_keys(rsa_ring());
    let late = server.opening(&evaluator("ada")).open().err().expect("a token of the old key");
    assert_eq!(late.status, 401);
    client.create("still-here");
}

#[test]
fn a_token_comes_by_header_query_or_subprotocol() {
    let server = TestServer::with_workers(1);
    let token = evaluator("ada");
    let bearer = format!("bearer.{token}");
    let query = format!("/ws?token={token}");
    let cases = [
        (server.opening(&token), None),
        (server.bare_opening().header("authorization", &format!("bearer {token}")), None),
        (server.opening(&token).target("/"), None),
        (server.bare_opening().target(&query), None),
        (server.bare_opening().target(&format!("/?token={token}&producerId=p")), None),
        (server.bare_opening().protocol(&bearer).v1(), Some("agentbench.v1.json")),
        (server.bare_opening().v1().protocol(&bearer), Some("agentbench.v1.json")),
        (server.bare_opening().msgpack().protocol(&bearer), Some("agentbench.v1.msgpack")),
        (server.opening(&token).msgpack().v1(), Some("agentbench.v1.msgpack")),
        (server.opening(&token).protocol("something.else").v1(), Some("agentbench.v1.json")),
        (server.opening(&token).protocol("something.else"), None),
    ];
    for (opening, protocol) in cases {
        let client = opening.connect();
        assert_eq!(client.protocol.as_deref(), protocol);
        let hello = &client.established["data"];
        assert_eq!((&hello["ackLevel"], &hello["heartbeatInterval"]), (&json!("logged"), &json!(30_000)));
        assert!(hello["tokenExpiresAt"].as_u64() > Some(now() * 1000), "{hello}");
    }
}

#[test]
fn a_token_alone_is_no_subprotocol() {
    let server = TestServer::with_workers(1);
    let bearer = format!("bearer.{}", evaluator("ada"));
    for opening in
        [server.bare_opening().protocol(&bearer), server.bare_opening().protocol(&bearer).protocol("x")]
    {
        let refused = opening.open().err().expect("a browser would drop it without a word");
        let words = "offer the subprotocol agentbench.v1.json beside bearer.<token>";
        assert_eq!((refused.status, refused.detail.as_str()), (400, words));
    }
}

#[test]
fn plain_http() {
    let server = TestServer::with_workers(1);
    server.prove_well();
    assert_eq!((server.get("/healthz").status, server.get("/healthz").body.as_str()), (200, "ok\n"));
    assert_eq!(server.get("/readyz").status, 200);
    assert_eq!(server.get("/").status, 200);
    assert_eq!(server.get("/nothing/here").status, 404);
    let plain = server.get("/ws");
    assert_eq!(plain.status, 426);
    assert!(plain.head.contains("upgrade: websocket"), "{}", plain.head);
    let metrics = server.get("/metrics");
    assert_eq!(metrics.status, 200);
    for name in
        ["connections", "sessions_active", "events_received_total", "acks_total", "log_commit_seconds_count"]
    {
        assert!(metrics.body.contains(&format!("agentbench_{name}")), "{name} in {}", metrics.body);
    }
}

#[test]
fn metrics_can_be_turned_off() {
    let server = TestServer::with(1, |config| config.enable_metrics = false);
    assert_eq!(server.get("/metrics").status, 404);
}

#[test]
fn upgrades_that_are_none_get_an_http_status() {
    let server = TestServer::with_workers(1);
    let token = evaluator("ada");
    let refused = server.opening(&token).target("/elsewhere").open().err().expect("no such path");
    assert_eq!(refused.status, 404);
    let long = server.opening(&token).producer(&"x".repeat(129)).open().err().expect("the name is too long");
    assert_eq!(long.status, 400);
    let upgrade = "Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13";
    let cases = [
        (format!("POST /ws HTTP/1.1\r\n{upgrade}\r\n{key}\r\n\r\n"), 405),
        (format!("GET /ws HTTP/1.0\r\n{upgrade}\r\n{key}\r\n\r\n"), 505),
        (format!("GET /ws HTTP/1.1\r\n{upgrade}\r\n\r\n"), 426),
        (format!("GET /ws HTTP/1.1\r\n{upgrade}\r\nSec-WebSocket-Version: 13\r\n\r\n"), 400),
        (format!("GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{key}\r\n\r\n"), 400),
        ("\u{16}\u{3}\u{1} this is no HTTP\r\n\r\n".to_owned(), 400),
    ];
    for (request, status) in cases {
        use std::io::Write;
        let mut socket = server.socket();
        socket.write_all(request.as_bytes()).expect("it listens");
        assert_eq!(Answer::read(socket).status, status, "{request}");
    }
}

#[test]
fn a_new_token_keeps_a_connection_open_that_an_old_one_would_end() {
    let server = TestServer::with_workers(1);
    // Still taken, since clocks differ; its grace is over ten seconds after its end.
    let ending = mint(&Claims { exp: Some(now() - 3), ..claims("ada", Role::Evaluator) });
    let mut left = server.opening(&ending).connect();
    let mut renewed = server.opening(&ending).connect();
    let fresh = renewed.command(&json!({"command": "refresh_token", "token": evaluator("ada")}));
    expect_kind(&fresh, "token_refreshed");
    assert!(fresh["data"]["tokenExpiresAt"].as_u64() > Some(now() * 1000 + 60_000), "{fresh}");

    let said = left.expect_close(4401);
    let last = &said.last().expect("it is told why")["data"];
    assert_eq!((&last["type"], &last["reconnect"]), (&json!("disconnecting"), &json!("refresh_token")));
    renewed.create("still-here");
    wait_until("it is counted", || {
        server.metric("agentbench_connections_closed_total{cause=\"token_expired\"}") == 1
    });
}

#[test]
fn a_new_token_is_for_the_same_user_and_changes_what_is_permitted() {
    let server = TestServer::with_workers(1);
    let mut client = server.connect("ada");
    let refresh = |token: &str| json!({"command": "refresh_token", "token": token});
    expect_code(&client.command(&refresh(&evaluator("bob"))), "forbidden");
    expect_code(&client.command(&refresh("garbage")), "not_authenticated");
    let session = client.create("mine");
    let viewer = mint(&claims("ada", Role::Viewer));
    expect_kind(&client.command(&refresh(&viewer)), "token_refreshed");
    expect_code(&client.publish(&session, "e", &json!({})), "forbidden");
    expect_kind(&client.command(&refresh(&evaluator("ada"))), "token_refreshed");
    expect_kind(&client.publish(&session, "e", &json!({})), "ack");
    client.send(&message("heartbeat", "h", &json!({})));
    client.reply_to("h");
}
