//! Servers that are broken on purpose: the simulation finds each defect, says what it broke, and shrinks the way to it.
#![cfg(feature = "sabotage")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use agentbench_simulation::shrink::shrink;
use agentbench_simulation::{Setup, defects, guard};

/// Worlds in which a defect has to show, and the steps of each.
const WORLDS: u64 = 60;
const STEPS: usize = 3_000;
/// A schedule that a person can read.
const READABLE: usize = 120;

/// What each defect breaks; any of these names.
const BREAKS: [(&str, &[&str]); 7] = [
    ("ack_before_commit", &["acked before the commit"]),
    ("forget_window", &["stored twice"]),
    ("starve_follower", &["in the log but never delivered", "hole without a gap record"]),
    ("stale_head", &["position not honoured"]),
    ("back_from_removal", &["catalog differs from the log", "removed session is back"]),
    ("ghosts", &["ghost in a session"]),
    ("permit_twice", &["held for nothing"]),
];

fn is_found(defect: &str) {
    let (sabotage, names) = BREAKS.into_iter().find(|(name, _)| *name == defect).unwrap();
    let mut seen = Vec::new();
    for seed in 1..=WORLDS {
        let setup = Setup { sabotage: Some(sabotage), ..Setup::of(seed) };
        let outcome = guard::by_seed(setup, STEPS);
        let found = outcome.findings.iter().find(|found| names.contains(&&*found.name));
        let Some(found) = found else {
            seen.extend(outcome.findings.into_iter().map(|found| found.name));
            continue;
        };
        let shrunk = shrink(setup, outcome.steps, &found.name, |_| {});
        println!("{defect}: seed {seed}, {found}, in {} steps", shrunk.len());
        assert!(shrunk.len() < READABLE, "{defect}: {} steps are left", shrunk.len());
        let again = guard::by_steps(setup, &shrunk).findings;
        assert!(again.iter().any(|other| other.name == found.name), "{defect}: {again:?}");
        return;
    }
    seen.sort();
    seen.dedup();
    panic!("{defect}: none of {names:?} in {WORLDS} worlds, but {seen:?}");
}

#[test]
fn each_defect_has_a_test() {
    assert_eq!(BREAKS.map(|(name, _)| name), defects::NAMES);
}

#[test]
fn an_ack_before_the_commit_is_found() {
    is_found("ack_before_commit");
}

#[test]
fn a_forgotten_window_is_found() {
    is_found("forget_window");
}

#[test]
fn a_starved_follower_is_found() {
    is_found("starve_follower");
}

#[test]
fn a_stale_head_is_found() {
    is_found("stale_head");
}

#[test]
fn a_session_back_from_removal_is_found() {
    is_found("back_from_removal");
}

#[test]
fn ghosts_are_found() {
    is_found("ghosts");
}

#[test]
fn a_permit_given_back_twice_is_found() {
    is_found("permit_twice");
}
