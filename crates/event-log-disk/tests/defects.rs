//! Defects that are planted in the engine, each of which the power cuts find: so they can fail.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::panic::catch_unwind;

use agentbench_event_log_disk::faults::{Defect, plant};
use support::power::run;

/// More than enough: each is found within forty.
const SEEDS: u64 = 400;

// One test, since a defect is planted in the whole process.
#[test]
fn every_planted_defect_is_found() {
    for defect in Defect::ALL {
        plant(Some(defect));
        let found = (0..SEEDS).find(|seed| catch_unwind(|| run(*seed)).is_err());
        plant(None);
        assert!(found.is_some(), "{defect:?} was not found in {SEEDS} runs");
    }
    for seed in 0..5 {
        run(seed);
    }
}
