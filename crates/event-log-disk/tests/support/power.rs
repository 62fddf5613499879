//! One run of the engine on a disk in memory whose power is cut again and again; see `power_cuts.rs`.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agentbench_disk::{MemoryDisk, SectorSize};
use agentbench_event_log::conformance::{append, frame, session, submit};
use agentbench_event_log::{Append, Appended, EventLog, Frame, Health, LogError};
use agentbench_event_log_disk::{DiskConfig, DiskLog};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{EPOCH, open_synced, read_all};

const STARTS: usize = 5;
const SESSIONS: u64 = 6;

/// What one session's log must and may contain.
#[derive(Debug, Default)]
struct Expected {
    certain: Vec<Frame>,
    /// What follows, if it is there: frames with an unknown outcome.
    possible: Vec<Frame>,
    /// Whether it was to be deleted, with an unknown outcome.
    may_be_gone: bool,
}

impl Expected {
    fn head(&self) -> u64 {
        self.certain.last().map_or(0, Frame::last_seq)
    }
}

pub fn open_on(dir: &Path, disk: &MemoryDisk) -> DiskLog {
    let config = DiskConfig {
        segment_bytes: 64 << 10,
        purge_threshold: 256 << 10,
        // Only when the run says so.
        purge_interval: Duration::from_secs(3600),
        ..open_synced(dir)
    };
    let (log, report) = DiskLog::open_on(config, Arc::new(disk.clone())).unwrap();
    assert_eq!(report.missing, [], "what was promised is missing");
    log
}

/// One run.
struct Run {
    random: StdRng,
    dir: tempfile::TempDir,
    disk: MemoryDisk,
    sessions: BTreeMap<u64, Expected>,
    /// Makes each frame's content its own.
    frames: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let sector = if random.random_bool(0.5) { SectorSize::Bytes512 } else { SectorSize::Bytes4096 };
        let disk = MemoryDisk::new(seed, sector);
        let sessions = (0..SESSIONS).map(|number| (number, Expected::default())).collect();
        Self { random, dir: tempfile::tempdir().unwrap(), disk, sessions, frames: 0 }
    }

    /// Compares the log with what was answered, and takes what it has of unknown frames for certain.
    fn check(&mut self, log: &DiskLog) {
        assert_eq!(log.health(), Health::Writable);
        for (number, expected) in &mut self.sessions {
            let mut found = Vec::new();
            if log.head(session(*number)).is_some() {
                let (frames, holes) = read_all(log, *number);
                assert_eq!(holes, [], "session {number} has holes");
                found = frames;
            }
            if found.is_empty() && expected.may_be_gone {
                *expected = Expected::default();
            }
            let certain = expected.certain.len();
            assert!(found.len() >= certain, "session {number} lost frames: {} of {certain}", found.len());
            let may_be = expected.certain.iter().chain(&expected.possible);
            let is_known =
                found.len() <= certain + expected.possible.len() && may_be.zip(&found).all(|(a, b)| a == b);
            assert!(is_known, "session {number} has a frame that was not answered so");
            *expected = Expected { certain: found, ..Expected::default() };
        }
    }

    fn plan_faults(&mut self) {
        let random = &mut self.random;
        match random.random_range(0..10) {
            0..=5 => self.disk.power_cut_after(random.random_range(0..60)),
            6 => self.disk.fail_sync_after(random.random_range(0..20)),
            7 => self.disk.fail_write_after(random.random_range(0..20)),
            8 => self.disk.shorten_write_after(random.random_range(0..20)),
            _ => self.disk.limit_room(Some(random.random_range(0..200_000))),
        }
    }

    /// One or more frames of one or more sessions, in one submit.
    fn draw_appends(&mut self) -> Vec<Append> {
        let count = self.random.random_range(1..12);
        let most = *[100, 3000, 40_000].get(self.random.random_range(0..3usize)).unwrap();
        let mut heads: BTreeMap<_, _> =
            self.sessions.iter().map(|(number, expected)| (*number, expected.head())).collect();
        let appends = (0..count).map(|_| {
            let number = self.random.random_range(0..SESSIONS);
            let head = heads.get_mut(&number).unwrap();
            self.frames += 1;
            let body = self.random.random_range(20..most);
            let next = frame(*head + 1, self.random.random_range(1..4), body, self.frames as u8);
            *head = next.last_seq();
            append(session(number), EPOCH, next)
        });
        appends.collect()
    }

    fn append_some(&mut self, log: &DiskLog) {
        let appends = self.draw_appends();
        let answers = submit(log, appends.clone());
        for (append, answer) in appends.into_iter().zip(answers) {
            let number = (0..SESSIONS).find(|number| session(*number) == append.session).unwrap();
            let expected = self.sessions.get_mut(&number).unwrap();
            match answer {
                Appended::Committed(head) => {
                    assert_eq!(expected.possible, [], "nothing is committed after an unknown frame");
                    assert_eq!(head.seq, append.frame.last_seq());
                    expected.certain.push(append.frame);
                }
                Appended::Unknown(_) => expected.possible.push(append.frame),
                // A frame behind one that was refused does not follow the head.
                Appended::Full | Appended::Unavailable(_) | Appended::Conflict(_) => {}
            }
        }
    }

    fn delete_one(&mut self, log: &DiskLog) {
        let number = self.random.random_range(0..SESSIONS);
        let expected = self.sessions.get_mut(&number).unwrap();
        match log.delete(session(number)) {
            Ok(()) => *expected = Expected::default(),
            Err(LogError::NotFound(_)) => assert_eq!(expected.certain, []),
            // A full disk has taken nothing.
            Err(_) => expected.may_be_gone = matches!(log.health(), Health::Failed(_)),
        }
    }

    /// From one start to the next.
    fn live_once(&mut self) {
        let log = open_on(self.dir.path(), &self.disk);
        self.check(&log);
        self.plan_faults();
        for _ in 0..self.random.random_range(1..25) {
            match self.random.random_range(0..20) {
                0 => drop(log.purge()),
                1 => self.disk.limit_room(None),
                2 => self.delete_one(&log),
                _ => self.append_some(&log),
            }
        }
        self.end(log);
    }

    /// The process ends, mostly with the power.
    fn end(&mut self, log: DiskLog) {
        if self.disk.has_power() && self.random.random_bool(0.3) {
            self.disk.clear_faults();
            return drop(log);
        }
        let next = self.disk.power_cut();
        drop(log);
        self.disk = next;
    }

    fn finish(mut self) -> BTreeMap<PathBuf, Vec<u8>> {
        for _ in 0..STARTS {
            self.live_once();
        }
        let log = open_on(self.dir.path(), &self.disk);
        self.check(&log);
        self.append_some(&log);
        assert!(
            self.sessions.values().all(|expected| expected.possible.is_empty()),
            "it takes appends again"
        );
        drop(log);
        let log = open_on(self.dir.path(), &self.disk);
        self.check(&log);
        drop(log);
        // The witness names the time.
        let is_witness = |path: &Path| path.extension().is_some_and(|found| found == "witness");
        let relative = |path: PathBuf| path.strip_prefix(self.dir.path()).map(Path::to_owned).unwrap_or(path);
        let files = self.disk.image().into_iter().filter(|(path, _)| !is_witness(path));
        files.map(|(path, bytes)| (relative(path), bytes)).collect()
    }
}

pub fn run(seed: u64) -> BTreeMap<PathBuf, Vec<u8>> {
    catch_unwind(AssertUnwindSafe(|| Run::new(seed).finish())).unwrap_or_else(|panic| {
        eprintln!("failed with AGENTBENCH_TEST_SEED={seed}");
        resume_unwind(panic)
    })
}
