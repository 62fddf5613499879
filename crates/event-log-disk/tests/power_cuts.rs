//! The engine on a disk in memory whose power is cut, again and again: what was answered is true after each start.
//!
//! A run is drawn from one seed: sessions, sizes of frames, faults, and the moment of each power cut, often in the middle of
//! a write or sync. After it, the disk has what was synced, and of everything else what chance left. Then the log is opened again and
//! must say:
//! - each frame answered `Committed`, whole and in order;
//! - of the frames answered `Unknown` as many as there are, whole and in order;
//! - nothing else, so nothing that was answered `Full` or `Unavailable`;
//! - and it takes appends again.
//!
//! A failed run prints its seed; `AGENTBENCH_TEST_SEED=17` makes that run alone, and `AGENTBENCH_TEST_SEEDS=3000` as many runs instead of the
//! usual ones.
//!
//! On the disk in memory are the segments, their indexes and the witness. Lock and archive are on the operating system's disk,
//! which loses nothing here.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use agentbench_disk::{MemoryDisk, SectorSize};
use agentbench_event_log::conformance::{append, frame, session, submit};
use agentbench_event_log::{Appended, EventLog, Health};
use agentbench_event_log_disk::DiskLog;
use support::power::{open_on, run};
use support::{EPOCH, read_all};

const RUNS: u64 = 60;

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn what_was_answered_is_true_after_every_power_cut() {
    if let Some(seed) = number_from("AGENTBENCH_TEST_SEED") {
        run(seed);
        return;
    }
    for seed in 0..number_from("AGENTBENCH_TEST_SEEDS").unwrap_or(RUNS) {
        run(seed);
    }
}

#[test]
fn one_seed_leaves_the_same_bytes() {
    for seed in 0..5 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}

/// The operating system takes what it could not write for written, and shows it to the next process.
#[test]
fn what_is_found_after_a_failed_sync_is_durable_before_it_is_answered() {
    let mut found = 0;
    for seed in 0..60 {
        let dir = tempfile::tempdir().unwrap();
        let disk = MemoryDisk::new(seed, SectorSize::Bytes512);
        let log = open_on(dir.path(), &disk);
        let told =
            |log: &DiskLog, ordinal| submit(log, vec![append(session(1), EPOCH, frame(ordinal, 1, 600, 7))]);
        assert!(matches!(told(&log, 1)[..], [Appended::Committed(_)]));
        disk.fail_sync_after(0);
        assert!(matches!(told(&log, 2)[..], [Appended::Unknown(_)]));
        drop(log);
        let log = open_on(dir.path(), &disk);
        if log.head(session(1)).unwrap().seq == 2 {
            assert!(matches!(told(&log, 2)[..], [Appended::Committed(_)]), "it is there already");
            found += 1;
            let disk = disk.power_cut();
            drop(log);
            let frames = read_all(&open_on(dir.path(), &disk), 1).0;
            assert_eq!(frames.len(), 2, "seed {seed}");
        }
    }
    assert!(found > 5, "{found}");
}

/// One commit of two batches: the second starts a new file, and the sync of the finished one fails.
#[test]
fn a_failed_sync_of_a_file_that_was_finished_in_the_same_commit_is_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let disk = MemoryDisk::new(1, SectorSize::Bytes512);
    let log = open_on(dir.path(), &disk);
    // The first sync is that of the folder with the new file's name.
    disk.fail_sync_after(1);
    let large = |number| append(session(number), EPOCH, frame(1, 1, 70_000, 7));
    let answers = submit(&log, vec![large(1), large(2)]);
    assert!(matches!(answers[..], [Appended::Unknown(_), Appended::Unknown(_)]), "{answers:?}");
    assert!(matches!(log.health(), Health::Failed(_)));
}
