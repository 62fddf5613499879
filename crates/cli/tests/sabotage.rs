//! Servers that are broken on purpose, and the suite that has to find out, by name.

#![cfg(feature = "sabotage")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::process::{Command, Stdio};

const BINARY: &str = env!("CARGO_BIN_EXE_agentbench");

/// Runs a reliability scenario against servers with this defect, and gives the report.
fn report(defect: &str, scenario: &str) -> (Option<i32>, serde_json::Value) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(BINARY);
    command
        .args(["suite", "reliability", "--only", scenario, "--quick", "--messages", "400"])
        .args(["--seed", "7", "--json", "--output"])
        .arg(folder.path())
        .env("AGENTBENCH_SABOTAGE", defect)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    for name in ["TEST_CLIENT_COUNT", "TEST_MESSAGES_PER_CLIENT", "TEST_DURATION", "TEST_FAILURE_RATE"] {
        command.env_remove(name);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let report = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    (output.status.code(), report)
}

/// The suite fails this server, and one of the findings has this name and a witness.
fn is_found(defect: &str, name: &str) {
    let (code, report) = report(defect, "Extreme");
    let scenario = &report["scenarios"][0];
    assert_eq!(code, Some(1), "{}", scenario["reasons"]);
    assert_eq!(scenario["status"], "failed");
    let verdict = &scenario["verdict"];
    assert!(verdict["counts"][name].as_u64().unwrap_or(0) > 0, "{}", verdict["counts"]);
    let findings = verdict["findings"].as_array().unwrap();
    let witness = findings.iter().find(|finding| finding["kind"] == name).unwrap();
    assert!(witness["session"].is_string() && witness["client"].is_string(), "{witness}");
}

#[test]
fn a_server_that_acks_before_its_log_has_it_loses() {
    is_found("ack_before_log", "lost");
}

#[test]
fn a_server_that_forgets_what_it_has_seen_stores_twice() {
    is_found("forget_dedupe", "stored_twice");
}

#[test]
fn a_server_that_skips_on_resume_leaves_a_hole() {
    is_found("skip_on_resume", "hole");
}

#[test]
fn a_server_that_swaps_two_delivers_out_of_order() {
    is_found("swap_two", "out_of_order");
}

#[test]
fn the_same_run_against_a_whole_server_passes() {
    let (code, report) = report("", "Extreme");
    assert_eq!(code, Some(0), "{}", report["scenarios"][0]["reasons"]);
}
