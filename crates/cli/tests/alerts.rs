//! The self-test of alerts, as an operator runs it: every rule fires on its cause and clears without it.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::process::Command;

#[test]
fn every_alert_fires_and_clears() {
    let output = Command::new(env!("CARGO_BIN_EXE_agentbench"))
        .args(["alerts", "selftest", "--json"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let result: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let rules = result["rules"].as_array().unwrap();
    assert_eq!(rules.len(), 18, "one for each rule: {said}");
    assert!(rules.iter().all(|rule| rule["fired"] == true && rule["cleared"] == true), "{said}");
}
