//! What the fault tests share: frames that can be told apart, and reading all that can be read.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

pub mod power;

use std::path::{Path, PathBuf};

use agentbench_event_log::conformance::{append, frame, session, submit};
use agentbench_event_log::{Appended, EventLog, Frame, LogError, ReadLimit};
use agentbench_event_log_disk::{DiskConfig, DiskLog, Durability, RecoveryReport};
use agentbench_protocol::{Epoch, Head};

pub const EPOCH: Epoch = Epoch::from_u64(0xabc);
/// When a log is archived, ms since 1970.
pub const NOW: u64 = 1_700_000_000_000;
pub const NO_LIMIT: ReadLimit = ReadLimit { bytes: usize::MAX, events: usize::MAX };

pub fn open(dir: &Path) -> (DiskLog, RecoveryReport) {
    DiskLog::open(DiskConfig::new(dir)).unwrap()
}

pub fn open_synced(dir: &Path) -> DiskConfig {
    DiskConfig { durability: Durability::Synced, ..DiskConfig::new(dir) }
}

/// The frame with this ordinal: two events, told apart by session and ordinal.
pub fn nth(number: u64, ordinal: u64) -> Frame {
    frame(ordinal * 2 - 1, 2, 60, (number * 31 + ordinal) as u8)
}

pub fn put(log: &impl EventLog, number: u64, ordinal: u64) -> Appended {
    submit(log, vec![append(session(number), EPOCH, nth(number, ordinal))]).remove(0)
}

pub fn committed(ordinal: u64) -> Appended {
    Appended::Committed(Head { epoch: EPOCH, seq: ordinal * 2 })
}

/// Appends frame `ordinal` to each session, in one submit.
pub fn put_round(log: &impl EventLog, sessions: u64, ordinal: u64) {
    let appends = (0..sessions).map(|n| append(session(n), EPOCH, nth(n, ordinal))).collect();
    assert_eq!(submit(log, appends), vec![committed(ordinal); sessions as usize]);
}

/// All that can be read of a session: frames, and the seqs that are said to be damaged or gone. Panics on anything else.
pub fn read_all(log: &impl EventLog, number: u64) -> (Vec<Frame>, Vec<(u64, u64)>) {
    let (mut frames, mut holes) = (Vec::new(), Vec::new());
    let mut from = 1;
    loop {
        match log.read(session(number), from, NO_LIMIT) {
            Ok(reading) if reading.frames.is_empty() => {
                assert_eq!(from, reading.head.seq + 1);
                return (frames, holes);
            }
            Ok(reading) => {
                assert_eq!(reading.frames[0].first_seq(), from);
                from = reading.frames.last().unwrap().last_seq() + 1;
                frames.extend(reading.frames);
            }
            Err(LogError::Damaged { from: begin, to, .. }) => {
                assert!(begin <= from && from <= to);
                holes.push((begin, to));
                from = to + 1;
            }
            Err(LogError::Trimmed { first_seq }) if from < first_seq => {
                holes.push((from, first_seq - 1));
                from = first_seq;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// The newest file of the hot log.
pub fn newest_file(dir: &Path) -> PathBuf {
    let files = std::fs::read_dir(dir.join("segments")).unwrap().map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|found| found == "seg")).max().unwrap()
}

/// Copies the whole directory.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let path = file.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}
