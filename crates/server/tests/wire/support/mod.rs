//! Test support: a server in this process, clients that can also send invalid input, and tokens.

pub(crate) mod client;
pub(crate) mod http;
pub(crate) mod server;
pub(crate) mod tokens;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub(crate) use client::{Client, Opening};
pub(crate) use server::TestServer;

/// The timeout of waits in tests. Generous, since it does not measure speed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `done` returns true.
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A message as a client sends it.
pub(crate) fn message(kind: &str, id: &str, data: &Value) -> Value {
    json!({"id": id, "type": kind, "timestamp": 1, "data": data})
}

/// A `test_event` that asks for an ack.
pub(crate) fn event(session: &str, id: &str, data: &Value) -> Value {
    json!({"id": id, "type": "test_event", "timestamp": 1, "sessionId": session, "data": data,
           "metadata": {"requiresAck": true}})
}

/// A numbered event: `e7` with `{"n": 7}`.
pub(crate) fn numbered(session: &str, n: u64) -> Value {
    event(session, &format!("e{n}"), &json!({"eventType": "progress", "n": n}))
}

/// The value of `data.type`.
pub(crate) fn kind_of(message: &Value) -> &str {
    message["data"]["type"].as_str().unwrap_or_default()
}

/// The seqs of messages, without those that have none.
pub(crate) fn seqs(messages: &[Value]) -> Vec<u64> {
    messages.iter().filter_map(|message| message["seq"].as_u64()).collect()
}

/// Fails unless the message is the error with this code.
#[track_caller]
pub(crate) fn expect_code(message: &Value, code: &str) {
    assert_eq!(message["type"], "error", "{message}");
    assert_eq!(message["data"]["code"], code, "{message}");
}

/// Fails unless the message is the system message of this type.
#[track_caller]
pub(crate) fn expect_kind(message: &Value, kind: &str) {
    assert_eq!(message["type"], "system_message", "{message}");
    assert_eq!(message["data"]["type"], kind, "{message}");
}

/// Makes one test with one worker and one with three of each function that takes the number of workers. With three, the
/// connections of a test are spread over all of them, so that most are not where their session's owner is.
macro_rules! on_one_and_three_workers {
    ($($name:ident),* $(,)?) => {
        mod one_worker {
            $(#[test] fn $name() { super::$name(1); })*
        }
        mod three_workers {
            $(#[test] fn $name() { super::$name(3); })*
        }
    };
}
pub(crate) use on_one_and_three_workers;
