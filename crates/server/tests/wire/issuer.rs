//! Keys from an issuer: rotation with overlap, keys that are not known yet, an issuer that is down, and one that is asked no
//! more often than the settings allow.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentbench_auth::{Algorithm, Claims, KeyRing, Role, SigningKey, sign};
use agentbench_server::config::{Config, Jwks};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::support::tokens::{claims, evaluator};
use crate::support::{TestServer, expect_code, expect_kind, wait_until};

const P256_PUBLIC: &str = include_str!("../../../auth/tests/keys/p256.public.pem");
const P256_PRIVATE: &str = include_str!("../../../auth/tests/keys/p256.private.pem");
const ED25519_PUBLIC: &str = include_str!("../../../auth/tests/keys/ed25519.public.pem");
const ED25519_PRIVATE: &str = include_str!("../../../auth/tests/keys/ed25519.private.pem");

/// The raw public key, which these keys' DER ends with.
fn tail(pem: &str, bytes: usize) -> Vec<u8> {
    let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(text).expect("PEM is base64");
    der[der.len() - bytes..].to_vec()
}

fn first_key() -> Value {
    let point = tail(P256_PUBLIC, 64);
    let (x, y) = (URL_SAFE_NO_PAD.encode(&point[..32]), URL_SAFE_NO_PAD.encode(&point[32..]));
    json!({"kid": "first", "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "x": x, "y": y})
}

fn second_key() -> Value {
    let x = URL_SAFE_NO_PAD.encode(tail(ED25519_PUBLIC, 32));
    json!({"kid": "second", "kty": "OKP", "crv": "Ed25519", "x": x, "key_ops": ["verify"]})
}

fn signed(kid: &str, claims: &Claims) -> String {
    let key = match kid {
        "first" => SigningKey::from_private_pem(Algorithm::Es256, P256_PRIVATE),
        _ => SigningKey::from_private_pem(Algorithm::EdDsa, ED25519_PRIVATE),
    };
    sign(claims, &key.expect("a private key").with_kid(kid)).expect("it signs")
}

fn token(kid: &str) -> String {
    signed(kid, &claims("ada", Role::Evaluator))
}

struct State {
    keys: Vec<Value>,
    is_up: bool,
    header: String,
    asked: usize,
}

/// A server of keys in this process.
#[derive(Clone)]
struct FakeIssuer {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
}

impl FakeIssuer {
    fn start(keys: Vec<Value>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let state = State { keys, is_up: true, header: String::new(), asked: 0 };
        let issuer = Self { state: Arc::new(Mutex::new(state)), address };
        let serving = issuer.clone();
        // Ends with the process of the tests.
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                serving.answer(socket);
            }
        });
        issuer
    }

    fn answer(&self, mut socket: std::net::TcpStream) {
        let mut head = [0; 2048];
        let count = socket.read(&mut head).unwrap_or(0);
        assert!(head[..count].starts_with(b"GET /keys?set=1 HTTP/1.1\r\n"));
        let mut state = self.state.lock().expect("no test has panicked in it");
        state.asked += 1;
        let body = json!({"keys": state.keys}).to_string();
        let status = if state.is_up { "200 OK" } else { "503 Service Unavailable" };
        let (length, header) = (body.len(), &state.header);
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{header}Connection: close\r\n\r\n{body}"
        );
        // Whoever does not wait for it gets none.
        let _ = socket.write_all(answer.as_bytes());
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().expect("no test has panicked in it"));
    }

    fn asked(&self) -> usize {
        self.state.lock().expect("no test has panicked in it").asked
    }

    fn settings(&self, min_interval: Duration, max_age: Duration) -> impl Fn(&mut Config) + use<> {
        let url = format!("http://{}/keys?set=1", self.address);
        move |config| {
            config.security.failed_token_rate = 0;
            config.security.jwks = Some(Jwks { url: url.clone(), authority: None, max_age, min_interval });
        }
    }
}

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(20);

fn gets_in(server: &TestServer, token: &str) -> bool {
    let Ok(mut client) = server.opening(token).open() else { return false };
    client.next().is_some_and(|hello| hello["data"]["type"] == "connection_established")
}

#[test]
fn keys_rotate_with_overlap_and_nobody_is_refused() {
    let issuer = FakeIssuer::start(vec![first_key()]);
    let server = TestServer::with(2, issuer.settings(SHORT, LONG));
    let mut early = server.opening(&token("first")).connect();
    assert!(gets_in(&server, &evaluator("bob")), "the server's own keys are good, too");
    issuer.change(|state| state.keys.push(second_key()));
    std::thread::sleep(SHORT * 2);
    // The first token with the new name has it fetched; both are good meanwhile.
    assert!(gets_in(&server, &token("second")) && gets_in(&server, &token("first")));
    assert_eq!(issuer.asked(), 2);
    let refresh = |kid: &str| json!({"command": "refresh_token", "token": token(kid)});
    expect_kind(&early.command(&refresh("second")), "token_refreshed");
    issuer.change(|state| drop(state.keys.remove(0)));
    std::thread::sleep(SHORT * 2);
    assert!(!gets_in(&server, &signed_by_unknown()), "this only makes the server look");
    assert!(!gets_in(&server, &token("first")), "a key that was taken back is good no longer");
    assert!(gets_in(&server, &token("second")));
    early.create("open-all-the-time");
}

/// A token whose key nobody knows.
fn signed_by_unknown() -> String {
    let key = SigningKey::from_private_pem(Algorithm::EdDsa, ED25519_PRIVATE).expect("a private key");
    sign(&claims("eve", Role::Viewer), &key.with_kid("unknown")).expect("it signs")
}

#[test]
fn a_token_that_comes_over_the_socket_waits_for_its_key() {
    let issuer = FakeIssuer::start(vec![first_key()]);
    let server = TestServer::with(1, issuer.settings(SHORT, LONG));
    let mut ada = server.opening(&token("first")).connect();
    issuer.change(|state| state.keys.push(second_key()));
    std::thread::sleep(SHORT * 2);
    let refresh = |token: String| json!({"command": "refresh_token", "token": token});
    expect_kind(&ada.command(&refresh(token("second"))), "token_refreshed");
    expect_code(&ada.command(&refresh(signed_by_unknown())), "not_authenticated");
    ada.create("still-there");
}

#[test]
fn a_token_that_comes_by_http_waits_for_its_key() {
    let issuer = FakeIssuer::start(vec![first_key()]);
    let server = TestServer::with(1, issuer.settings(SHORT, LONG));
    issuer.change(|state| state.keys.push(second_key()));
    std::thread::sleep(SHORT * 2);
    let status = |token: &str| server.ask("GET", "/api/v1/sessions").token(token).answer().status;
    assert_eq!(status(&token("second")), 200);
    assert_eq!(status(&signed_by_unknown()), 401);
}

#[test]
fn names_of_keys_that_are_made_up_do_not_make_the_server_ask_without_end() {
    let issuer = FakeIssuer::start(vec![first_key()]);
    let server = TestServer::with(2, issuer.settings(LONG, LONG));
    for _ in 0..50 {
        assert!(!gets_in(&server, &signed_by_unknown()));
    }
    assert_eq!(issuer.asked(), 1, "at the start, and not again");
    assert!(gets_in(&server, &token("first")));
}

#[test]
fn the_server_lives_without_its_issuer() {
    let issuer = FakeIssuer::start(vec![first_key()]);
    let server = TestServer::with(1, issuer.settings(SHORT, SHORT));
    issuer.change(|state| state.is_up = false);
    let asked = issuer.asked();
    wait_until("it has asked in vain", || issuer.asked() > asked + 2);
    assert!(gets_in(&server, &token("first")), "what was known stays");
    // Keys that cannot be used are no better than none.
    issuer.change(|state| {
        (state.is_up, state.keys) = (true, vec![json!({"kty": "oct", "k": "AAAA", "alg": "HS256"})]);
    });
    let asked = issuer.asked();
    wait_until("it has asked in vain", || issuer.asked() > asked + 2);
    assert!(gets_in(&server, &token("first")));
    assert!(server.metric("agentbench_reloads_total{what=\"issuer\",outcome=\"refused\"}") > 4);
    issuer.change(|state| state.keys = vec![second_key()]);
    wait_until("the new keys are good", || gets_in(&server, &token("second")));

    // One that is down at the start, too.
    issuer.change(|state| state.is_up = false);
    let late = TestServer::with_keys(1, issuer.settings(SHORT, SHORT), || KeyRing::from_secret(b""));
    assert!(!gets_in(&late, &token("second")));
    issuer.change(|state| state.is_up = true);
    wait_until("the issuer is back", || gets_in(&late, &token("second")));
}

#[test]
fn the_issuers_word_on_age_is_kept() {
    let issuer = FakeIssuer::start(vec![first_key()]);
    issuer.change(|state| state.header = "Cache-Control: max-age=0\r\n".to_owned());
    let server = TestServer::with(1, issuer.settings(SHORT, LONG));
    wait_until("it asks again although it need not for an hour", || issuer.asked() > 3);
    assert!(gets_in(&server, &token("first")));
}
