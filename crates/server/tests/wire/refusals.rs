//! Whatever a connection is refused for after its upgrade, the last message before the close is `disconnecting`, with the words of the
//! close. Clients whose package hides the close (Python's `websocket-client` with its reconnect, for one) learn of it by nothing else.

use std::cell::RefCell;
use std::time::Duration;

use agentbench_auth::{Claims, Role};
use agentbench_server::config::Config;
use agentbench_websocket::Opcode;
use serde_json::{Value, json};

use crate::support::client::frame;
use crate::support::tokens::{claims, evaluator, mint, now};
use crate::support::{Client, Opening, TestServer, kind_of, message};

/// What makes an opening ask for one form.
type Form = fn(Opening) -> Opening;

/// The forms of the wire: the farewell has to be readable in each.
const FORMS: [(&str, Form); 4] = [
    ("plain", |opening| opening),
    ("JSON", Opening::v1),
    ("MessagePack", Opening::msgpack),
    ("compressed", |opening| opening.v1().deflate()),
];

/// What provokes one refusal.
struct Scene<'a> {
    server: &'a TestServer,
    form: Form,
    user: String,
    /// Connections that stay open until the refusal was read.
    kept: RefCell<Vec<Client>>,
}

impl Scene<'_> {
    /// A browser's upgrade, which carries its token in the address.
    fn upgraded(&self, token: &str) -> Client {
        let opening = self.server.bare_opening().target(&format!("/ws?token={token}"));
        (self.form)(opening).open().expect("a browser's upgrade is completed")
    }

    fn connected(&self) -> Client {
        (self.form)(self.server.opening(&evaluator(&self.user))).connect()
    }

    fn connected_with(&self, producer: &str) -> Client {
        (self.form)(self.server.opening(&evaluator(&self.user)).producer(producer)).connect()
    }
}

/// A refusal: its code, what the client is told to do, the settings that it needs, and what provokes it.
type Row = (&'static str, u16, &'static str, fn(&mut Config), fn(&Scene<'_>) -> Client);

fn as_ever(_: &mut Config) {}

fn admin() -> String {
    mint(&claims("root", Role::Admin))
}

const ROWS: [Row; 15] = [
    ("no token", 1008, "never", as_ever, |scene| {
        (scene.form)(scene.server.bare_opening()).open().expect("the upgrade is completed")
    }),
    ("garbage for a token", 1008, "never", as_ever, |scene| scene.upgraded("garbage")),
    ("an expired token", 1008, "never", as_ever, |scene| {
        let ended = Claims { exp: Some(now() - 600), ..claims(&scene.user, Role::Evaluator) };
        scene.upgraded(&mint(&ended))
    }),
    (
        "too many connections of a user",
        4429,
        "after",
        |it| it.security.user_connections = 1,
        |scene| {
            let first = scene.connected();
            scene.kept.borrow_mut().push(first);
            scene.upgraded(&evaluator(&scene.user))
        },
    ),
    (
        "malformed messages in a row",
        1008,
        "never",
        |it| it.malformed_limit = 2,
        |scene| {
            let mut client = scene.connected();
            (0..2).for_each(|_| client.send_text("{"));
            client
        },
    ),
    (
        "sending far beyond the rate",
        4429,
        "after",
        |it| it.connection_rate = 1,
        |scene| {
            let mut client = scene.connected();
            let burst: Vec<_> =
                (0..1010).map(|n| message("heartbeat", &format!("h{n}"), &json!({}))).collect();
            client.send(&json!(burst));
            client
        },
    ),
    (
        "a message that is too large",
        1009,
        "now",
        |it| it.max_payload = 2048,
        |scene| {
            let mut client = scene.connected();
            client.send_raw(&frame(Opcode::Text, &[b' '; 4000]));
            client
        },
    ),
    ("an unmasked frame", 1002, "now", as_ever, |scene| {
        let mut client = scene.connected();
        client.send_raw(&[0x81, 2, b'{', b'}']);
        client
    }),
    ("text that is not UTF-8", 1007, "now", as_ever, |scene| {
        let mut client = scene.connected();
        client.send_raw(&frame(Opcode::Text, b"{\"\xff\":1}"));
        client
    }),
    (
        "an unfinished message beyond the receive budget",
        1013,
        "after",
        |it| it.receive_budget = 64 << 10,
        |scene| {
            let mut client = scene.connected();
            let whole = frame(Opcode::Binary, &[0; 60 << 10]);
            client.send_raw(&whole[..50 << 10]);
            client
        },
    ),
    ("a token that is revoked", 4401, "refresh_token", as_ever, |scene| {
        let client = scene.connected();
        let revoke = scene.server.ask("POST", "/api/v1/tokens/revoke").token(&admin());
        assert_eq!(revoke.json(&json!({"userId": scene.user})).answer().status, 200);
        client
    }),
    ("an administrator's close", 4403, "never", as_ever, |scene| close(scene, "")),
    ("an administrator's close for now", 1001, "now", as_ever, |scene| close(scene, "?reconnect=now")),
    ("a newer connection of the producer", 4409, "never", as_ever, |scene| {
        let older = scene.connected_with("p");
        scene.connected_with("p");
        older
    }),
    (
        "pings without answers",
        4408,
        "now",
        |it| it.heartbeat_interval = Duration::from_millis(100),
        |scene| {
            let mut client = scene.connected();
            client.answers_pings = false;
            client
        },
    ),
];

fn close(scene: &Scene<'_>, query: &str) -> Client {
    let client = scene.connected();
    let path = format!("/api/v1/connections/{}{query}", client.client_id());
    assert_eq!(scene.server.ask("DELETE", &path).token(&admin()).answer().status, 202);
    client
}

/// Reads to the end, and compares the last message with the close.
#[track_caller]
fn assert_told(what: &str, client: &mut Client, code: u16, reconnect: &str) {
    let said = client.rest();
    let (closed_with, reason) = client.close.clone().unwrap_or_else(|| panic!("{what}: no close: {said:?}"));
    let last = said.last().unwrap_or_else(|| panic!("{what}: nothing is said before the close"));
    assert_eq!(kind_of(last), "disconnecting", "{what}: {last}");
    let data = &last["data"];
    assert_eq!((closed_with, &data["code"]), (code, &json!(code)), "{what}: {last}");
    assert_eq!(data["detail"], reason, "{what}: {last}");
    assert!(!reason.is_empty() && data["cause"].as_str().is_some_and(|it| !it.is_empty()), "{what}: {last}");
    assert_eq!(data["reconnect"], reconnect, "{what}: {last}");
    assert_eq!(data["afterMs"].is_u64(), reconnect == "after", "{what}: when to come back: {last}");
    let farewells = said.iter().filter(|it: &&Value| kind_of(it) == "disconnecting").count();
    assert_eq!(farewells, 1, "{what}: {said:?}");
}

#[test]
fn every_refusal_after_the_upgrade_says_disconnecting_last() {
    for (what, code, reconnect, settings, provoke) in ROWS {
        let server = TestServer::with(1, move |config| {
            config.security.failed_token_rate = 0;
            settings(config);
        });
        for (name, form) in FORMS {
            let scene =
                Scene { server: &server, form, user: format!("ada-{name}"), kept: RefCell::default() };
            assert_told(&format!("{what}, {name}"), &mut provoke(&scene), code, reconnect);
        }
    }
}

#[test]
fn a_restart_says_disconnecting_last_in_every_form() {
    let mut server = TestServer::with_workers(1);
    let clients = FORMS.map(|(name, form)| (name, form(server.opening(&evaluator("ada"))).connect()));
    let stopping = server.stop_aside();
    for (name, mut client) in clients {
        assert_told(&format!("a restart, {name}"), &mut client, 1012, "after");
    }
    stopping.join().expect("it stops");
}
