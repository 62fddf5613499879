//! Hot log files that are not as they were written: cut short, or with flipped bits.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

use agentbench_event_log::conformance::session;
use agentbench_event_log::{Appended, EventLog};
use agentbench_event_log_disk::{DiskConfig, DiskLog};
use support::{NOW, committed, copy, newest_file, nth, open, put, put_round, read_all};

fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x20], at).unwrap();
}

/// Runs `test` with a fresh copy of `dir`, for each of the places, on all processors.
fn for_copies(dir: &Path, places: impl Iterator<Item = u64>, test: impl Fn(&Path, u64) + Sync) {
    let places: Vec<_> = places.collect();
    let share = places.len().div_ceil(4).max(1);
    std::thread::scope(|scope| {
        for part in places.chunks(share) {
            let test = &test;
            scope.spawn(move || {
                for place in part {
                    let copied = tempfile::tempdir().unwrap();
                    copy(dir, copied.path());
                    test(copied.path(), *place);
                }
            });
        }
    });
}

#[test]
fn a_torn_last_write_is_cut_off_at_every_byte() {
    let dir = tempfile::tempdir().unwrap();
    let (before, after) = {
        let (log, _) = open(dir.path());
        put_round(&log, 3, 1);
        put_round(&log, 3, 2);
        drop(log);
        let before = newest_file(dir.path()).metadata().unwrap().len();
        let (log, _) = open(dir.path());
        put_round(&log, 3, 3);
        drop(log);
        (before, newest_file(dir.path()).metadata().unwrap().len())
    };
    assert!(after > before + 500);
    for_copies(dir.path(), before..after, |copied, len| {
        let file = OpenOptions::new().write(true).open(newest_file(copied)).unwrap();
        file.set_len(len).unwrap();
        let (log, report) = open(copied);
        // A batch begins with zeros, which alone are no sign of a write.
        let expected = usize::from(len > before + 8);
        assert!((expected..=1).contains(&report.damage.len()), "{len}: {:?}", report.damage);
        for n in 0..3 {
            assert_eq!(read_all(&log, n), (vec![nth(n, 1), nth(n, 2)], vec![]), "{len}");
        }
        put_round(&log, 3, 3);
        drop(log);
        let (log, report) = open(copied);
        assert_eq!(report.damage, []);
        assert_eq!(read_all(&log, 2).0, [nth(2, 1), nth(2, 2), nth(2, 3)]);
    });
}

#[test]
fn room_put_aside_for_writes_that_never_came_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    put_round(&open(dir.path()).0, 3, 1);
    let file = OpenOptions::new().write(true).open(newest_file(dir.path())).unwrap();
    file.set_len(3 << 20).unwrap();
    let (log, report) = open(dir.path());
    assert_eq!(report.damage, []);
    put_round(&log, 3, 2);
}

#[test]
fn a_flipped_byte_in_the_middle_costs_no_more_than_the_frame_it_hits() {
    const SESSIONS: u64 = 4;
    const ROUNDS: u64 = 6;
    let dir = tempfile::tempdir().unwrap();
    let mut ends = vec![newest_end(dir.path())];
    for ordinal in 1..=ROUNDS {
        let (log, _) = open(dir.path());
        put_round(&log, SESSIONS, ordinal);
        drop(log);
        ends.push(newest_end(dir.path()));
    }
    // All but the last batch: what hits that one cannot be told from a write that was cut short.
    let places = (ends[1]..ends[ROUNDS as usize - 1]).step_by(3);
    for_copies(dir.path(), places, |copied, at| {
        flip(&newest_file(copied), at);
        let (log, _) = open(copied);
        let mut lost = 0;
        for n in 0..SESSIONS {
            let (frames, holes) = read_all(&log, n);
            for frame in &frames {
                let ordinal = frame.last_seq() / 2;
                assert_eq!(*frame, nth(n, ordinal), "byte {at}: what is served is what was written");
            }
            for (from, to) in &holes {
                assert_eq!(to - from, 1, "byte {at}: exactly one frame is damaged");
            }
            assert_eq!((frames.len() + holes.len()) as u64, ROUNDS, "byte {at}");
            lost += holes.len();
        }
        assert!(lost <= 1, "byte {at}: {lost} frames lost");
        put_round(&log, SESSIONS, ROUNDS + 1);
        drop(log);
        let (log, _) = open(copied);
        assert_eq!(read_all(&log, 0).0.last(), Some(&nth(0, ROUNDS + 1)));
    });
}

fn newest_end(dir: &Path) -> u64 {
    if !dir.join("hot").exists() {
        return 0;
    }
    newest_file(dir).metadata().unwrap().len()
}

#[test]
fn a_flipped_byte_under_a_running_engine_costs_the_frame_it_hits() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    for ordinal in 1..=3 {
        put_round(&log, 8, ordinal);
    }
    let path = newest_file(dir.path());
    let bytes = std::fs::read(&path).unwrap();
    let body = nth(3, 2);
    let body = body.records().next().unwrap().1.body;
    let at = bytes.windows(body.len()).position(|window| window == body).unwrap();
    flip(&path, at as u64 + 20);
    for n in 0..8 {
        let (frames, holes) = read_all(&log, n);
        let expected = if n == 3 { vec![(3, 4)] } else { vec![] };
        assert_eq!((frames.len(), holes), (3 - expected.len(), expected), "{n}");
    }
    assert!(log.archive(session(3), NOW).is_err());
    assert_eq!(put(&log, 3, 4), committed(4), "a log that could not be archived goes on");
    log.archive(session(4), NOW).unwrap();
}

#[test]
fn damage_is_carried_along_by_the_clean_up() {
    let dir = tempfile::tempdir().unwrap();
    let config = DiskConfig {
        segment_bytes: 64 << 10,
        purge_threshold: 128 << 10,
        purge_interval: std::time::Duration::from_secs(3600),
        ..DiskConfig::new(dir.path())
    };
    let (log, _) = DiskLog::open(config.clone()).unwrap();
    for ordinal in 1..=3 {
        put_round(&log, 8, ordinal);
    }
    let path = newest_file(dir.path());
    let bytes = std::fs::read(&path).unwrap();
    let body = nth(3, 2);
    let body = body.records().next().unwrap().1.body;
    let at = bytes.windows(body.len()).position(|window| window == body).unwrap();
    flip(&path, at as u64 + 20);
    for ordinal in 1..3000 {
        assert_eq!(put(&log, 100, ordinal), committed(ordinal));
        if ordinal % 500 == 0 {
            log.trim(session(100), ordinal * 2).unwrap();
            log.purge().unwrap();
        }
    }
    assert!(!path.exists(), "the oldest file is cleaned up in spite of the damage");
    let check = |log: &DiskLog| {
        for n in 0..8 {
            let (frames, holes) = read_all(log, n);
            let expected = if n == 3 { vec![(3, 4)] } else { vec![] };
            assert_eq!((frames.len(), holes), (3 - expected.len(), expected), "{n}");
        }
    };
    check(&log);
    drop(log);
    check(&DiskLog::open(config).unwrap().0);
}

/// Two sessions with two frames each; the place of the last frame of session 0, which has another batch behind it.
fn with_an_end_to_damage(dir: &Path) -> u64 {
    let (log, _) = open(dir);
    put_round(&log, 2, 1);
    put(&log, 0, 2);
    put(&log, 1, 2);
    drop(log);
    let bytes = std::fs::read(newest_file(dir)).unwrap();
    let frame = nth(0, 2);
    bytes.windows(frame.bytes().len()).position(|window| window == &frame.bytes()[..]).unwrap() as u64
}

#[test]
fn a_damaged_last_frame_is_said_and_the_log_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let at = with_an_end_to_damage(dir.path());
    flip(&newest_file(dir.path()), at + 40);
    let (log, _) = open(dir.path());
    assert_eq!(read_all(&log, 0), (vec![nth(0, 1)], vec![(3, 4)]));
    assert_eq!(read_all(&log, 1), (vec![nth(1, 1), nth(1, 2)], vec![]));
    assert_eq!(put(&log, 0, 3), committed(3));
}

#[test]
fn a_log_whose_head_is_not_known_takes_no_appends() {
    let dir = tempfile::tempdir().unwrap();
    let at = with_an_end_to_damage(dir.path());
    // The entry's header stands before the frame.
    flip(&newest_file(dir.path()), at - 30);
    let (log, report) = open(dir.path());
    assert!(report.damage[0].what.contains("accepts no appends"), "{:?}", report.damage);
    for ordinal in [2, 3] {
        let refused = put(&log, 0, ordinal);
        assert!(!matches!(refused, Appended::Committed(_)), "{refused:?}");
    }
    assert_eq!(read_all(&log, 0).0, [nth(0, 1)]);
    assert_eq!(put(&log, 1, 3), committed(3), "other logs go on");
}

#[test]
fn an_older_file_that_is_gone_or_headless_is_refused_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        DiskConfig { segment_bytes: 64 << 10, purge_threshold: 1 << 30, ..DiskConfig::new(dir.path()) };
    {
        let (log, _) = DiskLog::open(config.clone()).unwrap();
        for ordinal in 1..2000 {
            put(&log, 1, ordinal);
        }
    }
    let second = dir.path().join("hot").join("0000000000000002.raftlog");
    let bytes = std::fs::read(&second).unwrap();
    flip(&second, 3);
    let error = DiskLog::open(config.clone()).err().unwrap().to_string();
    assert!(error.contains("0000000000000002"), "{error}");
    std::fs::remove_file(&second).unwrap();
    let error = DiskLog::open(config.clone()).err().unwrap().to_string();
    assert!(error.contains("missing"), "{error}");
    std::fs::write(&second, bytes).unwrap();
    assert_eq!(read_all(&DiskLog::open(config).unwrap().0, 1).0.len(), 1999);
}

#[test]
fn a_lost_stretch_is_refused_or_said_and_nothing_wrong_is_served() {
    const SESSIONS: u64 = 4;
    const ROUNDS: u64 = 12;
    let dir = tempfile::tempdir().unwrap();
    for ordinal in 1..=ROUNDS {
        put_round(&open(dir.path()).0, SESSIONS, ordinal);
    }
    let size = newest_end(dir.path());
    for_copies(dir.path(), (0..size - 1024).step_by(101), |copied, at| {
        let file = OpenOptions::new().write(true).open(newest_file(copied)).unwrap();
        file.write_all_at(&[0xee; 1024], at).unwrap();
        let Ok((log, report)) = DiskLog::open(DiskConfig::new(copied)) else { return };
        for listed in log.list().unwrap() {
            let n = (0..SESSIONS).find(|n| session(*n) == listed.session).unwrap();
            let (frames, holes) = read_all(&log, n);
            for frame in &frames {
                assert_eq!(*frame, nth(n, frame.last_seq() / 2), "byte {at}");
            }
            let lost: u64 = holes.iter().map(|(from, to)| to - from + 1).sum();
            let whole = frames.len() as u64 * 2 + lost == ROUNDS * 2;
            assert!(whole || !report.damage.is_empty(), "byte {at}: what is missing is said");
        }
    });
}
