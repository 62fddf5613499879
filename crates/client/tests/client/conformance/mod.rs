//! The cases of `/conformance`: what every client of the protocol decides in the same situation.
//!
//! - `runner`: gives the machine what happens. `compare`: what comes out, against the case. `settings`, `socket`: the other end of its wire.
//! - `names`: the cases' short names for sessions and epochs. `written`: outcomes and items as the cases write them.

mod compare;
mod names;
mod runner;
mod settings;
mod socket;
mod written;

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// What the Rust machine has beyond what every client has.
const HAS: [&str; 1] = ["stopReplay"];

/// One case; see `/conformance/README.md`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    title: String,
    #[serde(default)]
    settings: Map<String, Value>,
    begin: Begin,
    #[serde(default)]
    needs: Vec<String>,
    steps: Vec<Map<String, Value>>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
enum Begin {
    New,
    Connected,
    Publisher,
}

/// Runs a file of cases, and tells all that fail.
fn run(file: &str, at_least: usize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/client").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let cases: Vec<Case> =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mine: Vec<_> =
        cases.iter().filter(|case| case.needs.iter().all(|need| HAS.contains(&need.as_str()))).collect();
    assert!(mine.len() >= at_least, "{file}: {} cases, and there were {at_least}", mine.len());
    let failed: Vec<_> = mine
        .iter()
        .filter_map(|case| Some(format!("{}: {}", case.title, runner::run(case).err()?)))
        .collect();
    assert!(failed.is_empty(), "{} of {} cases fail:\n{}", failed.len(), mine.len(), failed.join("\n"));
}

#[test]
fn every_file_of_cases_is_run() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/client");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(
        files,
        ["commands.json", "connect.json", "follow.json", "publish.json", "replay.json", "token.json"]
    );
}

#[test]
fn commands() {
    run("commands.json", 8);
}

#[test]
fn connect() {
    run("connect.json", 20);
}

#[test]
fn follow() {
    run("follow.json", 13);
}

#[test]
fn publish() {
    run("publish.json", 22);
}

#[test]
fn replay() {
    run("replay.json", 6);
}

/// What only this client has: a user who waits until a replay has stopped.
#[test]
fn a_stop_that_is_waited_for_is_answered_refused_or_done_with_its_connection() {
    let begun = |key: u64, replay: u64, name: &str| {
        let (sent, data) = (
            json!({"replay": {"key": key, "replay": replay, "session": "S", "speed": 1, "fromSeq": 1}, "sent": [{"id": name}]}),
            json!({"type": "replay_started", "originalMessageId": name, "sessionId": "S", "fromSeq": 1, "toSeq": 6, "speed": 1}),
        );
        [sent, json!({"say": data, "told": [{"reply": key}]})]
    };
    let stop = |key: u64, replay: u64, name: &str, of: &str| {
        json!({"stopReplay": {"key": key, "replay": replay, "session": "S"},
            "sent": [{"id": name, "data": {"command": "stop_replay", "originalMessageId": of}}]})
    };
    let mut steps = begun(1, 9, "$one").to_vec();
    steps.push(stop(2, 9, "$stop", "$one"));
    steps.push(
        json!({"say": {"type": "replay_stopped", "originalMessageId": "$stop", "sessionId": "S", "seq": 3},
        "told": [{"reply": 2, "data": {"type": "replay_stopped", "seq": 3}}]}),
    );
    steps.extend(begun(3, 10, "$two"));
    steps.push(stop(4, 10, "$late", "$two"));
    steps.push(
        json!({"refuse": {"code": "invalid_message", "retryable": false, "originalMessageId": "$late"},
        "told": [{"failed": 4, "kind": "refused"}]}),
    );
    steps.extend(begun(5, 11, "$three"));
    steps.push(json!({"entries": [{"seq": 1, "replay": true}], "told": [{"follow": 11, "seq": 1}]}));
    steps.push(stop(6, 11, "$cut", "$three"));
    steps.push(json!({"closed": {"code": null, "reason": "cut"}, "actions": ["disconnect"],
        "told": [{"reply": 6, "data": {"type": "replay_stopped", "seq": 1}}, {"connection": "disconnected"}, {"connection": "reconnecting"}]}));
    steps.push(json!({"elapse": 2000, "actions": ["connect"]}));
    steps.push(json!({"greet": {}, "told": [{"connection": "connected"}]}));
    let case = json!({"title": "waiting", "begin": "connected", "steps": steps});
    let case: Case = serde_json::from_value(case).unwrap();
    runner::run(&case).unwrap();
}

#[test]
fn token() {
    run("token.json", 10);
}
