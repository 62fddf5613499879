//! Power cuts at the level `logged`, which promises nothing about them: the log opens all the same, serves nothing that was not
//! written, says what is missing between what is there, goes on, and has all that an earlier close made durable, also what a
//! clean-up was moving at that moment.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agentbench_disk::{MemoryDisk, SectorSize};
use agentbench_event_log::conformance::{append, frame, session, submit};
use agentbench_event_log::{Appended, EventLog, Frame, Health};
use agentbench_event_log_disk::{DiskConfig, DiskLog};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use support::{EPOCH, read_all};

const RUNS: u64 = 120;
const SESSIONS: u64 = 6;
/// Its frames are removed again and again, so that segments have dead records between those that live.
const CHURNING: u64 = 0;

fn open(dir: &Path, disk: &MemoryDisk) -> DiskLog {
    let config = DiskConfig {
        segment_bytes: 64 << 10,
        purge_threshold: 64 << 10,
        purge_interval: Duration::from_secs(3600),
        ..DiskConfig::new(dir)
    };
    DiskLog::open_on(config, Arc::new(disk.clone())).unwrap().0
}

/// The frame of a session that begins at `seq`: one event.
fn nth(number: u64, seq: u64) -> Frame {
    frame(seq, 1, 200 + (seq as usize * 37 + number as usize * 11) % 3000, (number * 31 + seq) as u8)
}

fn append_some(log: &DiskLog, random: &mut StdRng, count: usize) {
    for _ in 0..count {
        let number = if random.random_bool(0.7) { CHURNING } else { random.random_range(1..SESSIONS) };
        let next = log.head(session(number)).map_or(1, |head| head.seq + 1);
        drop(submit(log, vec![append(session(number), EPOCH, nth(number, next))]));
    }
}

fn run(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let disk = MemoryDisk::new(seed, SectorSize::Bytes512);
    let log = open(dir.path(), &disk);
    append_some(&log, &mut random, 300);
    let durable: Vec<u64> =
        (0..SESSIONS).map(|number| log.head(session(number)).map_or(0, |head| head.seq)).collect();
    drop(log);
    let log = open(dir.path(), &disk);
    disk.power_cut_after(random.random_range(0..120));
    for _ in 0..3 {
        let head = log.head(session(CHURNING)).map_or(0, |head| head.seq);
        drop(log.trim(session(CHURNING), head));
        drop(log.purge());
        append_some(&log, &mut random, 20);
    }
    let disk = disk.power_cut();
    drop(log);
    let log = open(dir.path(), &disk);
    assert_eq!(log.health(), Health::Writable);
    for number in 1..SESSIONS {
        let (frames, holes) = read_all(&log, number);
        for frame in &frames {
            assert_eq!(*frame, nth(number, frame.first_seq()), "session {number}");
        }
        let durable = durable[number as usize];
        let lost = holes.iter().find(|(from, _)| *from <= durable);
        assert_eq!(lost, None, "session {number} was durable up to {durable}");
        assert!(log.head(session(number)).unwrap().seq >= durable, "session {number}");
        let next = log.head(session(number)).unwrap().seq + 1;
        let outcome = submit(&log, vec![append(session(number), EPOCH, nth(number, next))]);
        assert!(matches!(outcome[..], [Appended::Committed(_)]), "{outcome:?}");
    }
}

#[test]
fn what_was_durable_survives_a_power_cut_at_any_step_of_a_clean_up() {
    let runs = std::env::var("AGENTBENCH_TEST_SEEDS").map_or(RUNS, |text| text.parse().unwrap());
    for seed in 0..runs {
        println!("seed {seed}");
        run(seed);
    }
}
