//! Servers that are broken on purpose, and the suite that has to find out, by name.

#![cfg(feature = "sabotage")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::path::Path;
use std::process::{Command, Stdio};

const BINARY: &str = env!("CARGO_BIN_EXE_agentbench");

/// Runs a reliability scenario against servers with this defect, and gives the report.
fn report(defect: &str, scenario: &str) -> (Option<i32>, serde_json::Value) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(BINARY);
    command
        .args(["suite", "reliability", "--only", scenario, "--quick", "--messages", "400"])
        .args(["--seed", "7", "--json", "--output"])
        .arg(folder.path());
    report_of(command, defect)
}

fn report_of(mut command: Command, defect: &str) -> (Option<i32>, serde_json::Value) {
    command.env("AGENTBENCH_SABOTAGE", defect).stdin(Stdio::null()).stderr(Stdio::inherit());
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

#[test]
fn the_printed_command_fails_again_in_the_same_way() {
    let (_, first) = report("ack_before_log", "High");
    let replay = first["scenarios"][0]["replay"].as_str().unwrap().to_owned();
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    let path = format!(
        "{}:{}",
        Path::new(BINARY).parent().unwrap().display(),
        std::env::var("PATH").unwrap_or_default()
    );
    command.arg("-c").arg(format!("{replay} --json")).env("PATH", path).current_dir(folder.path());
    let (code, again) = report_of(command, "ack_before_log");
    assert_eq!(code, Some(1), "{replay}");
    assert_eq!(again["seed"], first["seed"]);
    // What is lost passes no proxy any more: only the plans are the same.
    assert_eq!(planned(&again), planned(&first));
    assert!(again["scenarios"][0]["verdict"]["counts"]["lost"].as_u64().unwrap_or(0) > 0, "{again:#}");
}

#[test]
fn a_failing_plan_is_shrunk_to_a_smaller_one_that_fails() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(BINARY);
        command
            .arg("suite")
            .arg("run")
            .args(arguments)
            .args(["--seed", "7", "--json", "--output"])
            .arg(folder.path());
        report_of(command, "skip_on_resume")
    };
    let (_, whole) = run(&["Low Failure Rate Test", "--quick", "--shrink", "6"]);
    let before = planned(&whole).iter().map(|(_, count)| count).sum::<u64>();
    let shrunk = std::fs::read_dir(folder.path()).unwrap().find_map(|run| {
        let path = run.unwrap().path().join("shrunk-low-failure-rate-test.toml");
        path.is_file().then_some(path)
    });
    // Whether a resume has anything to skip is a matter of moments: a plan of few faults may need several tries.
    let shrunk = shrunk.unwrap();
    let failed = (0..10).find_map(|_| {
        let (code, smaller) = run(&[shrunk.to_str().unwrap()]);
        (code == Some(1)).then_some(smaller)
    });
    let smaller = failed.expect("the shrunk plan fails");
    assert!(smaller["scenarios"][0]["verdict"]["counts"]["hole"].as_u64().unwrap_or(0) > 0);
    let after = planned(&smaller).iter().map(|(_, count)| count).sum::<u64>();
    assert!(after < before, "{after} of {before}");
}

/// Each kind of fault, and how often it was planned.
fn planned(report: &serde_json::Value) -> Vec<(String, u64)> {
    let faults = report["scenarios"][0]["faults"].as_array().unwrap().iter();
    let of = |fault: &serde_json::Value| {
        (fault["kind"].as_str().unwrap().to_owned(), fault["planned"].as_u64().unwrap())
    };
    faults.map(of).collect()
}
