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
use serde_json::{Map, Value};

/// What the Rust machine has beyond what every client has.
const HAS: [&str; 0] = [];

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
    run("connect.json", 18);
}

#[test]
fn follow() {
    run("follow.json", 12);
}

#[test]
fn publish() {
    run("publish.json", 18);
}

#[test]
fn replay() {
    run("replay.json", 5);
}

#[test]
fn token() {
    run("token.json", 8);
}
