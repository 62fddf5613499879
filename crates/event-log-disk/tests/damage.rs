//! Segments, indexes and witness that are not as they were written. What is whole is served; what is not is told, as a gap or in
//! the report of the start; a start neither fails nor changes what it found; and the log goes on.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use agentbench_event_log::conformance::session;
use agentbench_event_log::{EventLog, Health, LogError};
use agentbench_event_log_disk::{DiskConfig, DiskLog};
use support::{NOW, committed, copy, newest_file, nth, open, put, put_round, read_all};

const SESSIONS: u64 = 4;
const ROUNDS: u64 = 12;
/// One session that has ended and is in the archive.
const ENDED: u64 = 99;

/// A folder of which all is known: it was closed.
fn fill(dir: &Path) {
    let (log, _) = open(dir);
    put(&log, ENDED, 1);
    log.archive(session(ENDED), NOW).unwrap();
    for ordinal in 1..=ROUNDS {
        put_round(&log, SESSIONS, ordinal);
    }
}

/// A folder without its indexes and witness, as if the process had been killed within a second.
fn fill_and_kill(dir: &Path) {
    fill(dir);
    for file in files_of(dir).keys().filter(|path| path.extension().is_some_and(|found| found == "idx")) {
        fs::remove_file(file).unwrap();
    }
    fs::remove_file(dir.join("segments.witness")).unwrap();
}

fn files_of(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(dir.join("segments")).unwrap().map(|file| file.unwrap().path());
    files.map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
}

fn segments_of(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    files_of(dir)
        .into_iter()
        .filter(|(path, _)| path.extension().is_some_and(|found| found == "seg"))
        .collect()
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, at).unwrap();
}

fn flip(path: &Path, at: u64) {
    let bytes = fs::read(path).unwrap();
    overwrite(path, at, &[bytes[at as usize] ^ 0x20]);
}

/// Runs `test` with a fresh copy of `dir`, for each of the cases, on all processors.
fn for_copies<T: Sync>(dir: &Path, cases: &[T], test: impl Fn(&Path, &T) + Sync) {
    let share = cases.len().div_ceil(4).max(1);
    std::thread::scope(|scope| {
        for part in cases.chunks(share) {
            let test = &test;
            scope.spawn(move || {
                for case in part {
                    let copied = tempfile::tempdir().unwrap();
                    copy(dir, copied.path());
                    test(copied.path(), case);
                }
            });
        }
    });
}

/// What a start of a damaged folder found.
struct Started {
    /// Number of frames that are told as gaps.
    gaps: u64,
    /// Number of frames that are not told as gaps.
    untold: u64,
    reports: usize,
}

/// Opens a damaged folder, and holds what comes of it against what was written.
fn start(dir: &Path, case: &str) -> Started {
    let before = segments_of(dir);
    let (log, report) = open(dir);
    assert_eq!(log.health(), Health::Writable, "{case}");
    let mut started = Started { gaps: 0, untold: 0, reports: report.damage.len() + report.missing.len() };
    let mut heads = Vec::new();
    for n in 0..SESSIONS {
        let is_there = log.head(session(n)).is_some();
        let (frames, holes) = if is_there { read_all(&log, n) } else { Default::default() };
        for frame in &frames {
            assert_eq!(*frame, nth(n, frame.last_seq() / 2), "{case}: what is served is what was written");
        }
        let told: u64 = holes.iter().map(|(from, to)| (to - from).div_ceil(2)).sum();
        started.gaps += told;
        started.untold += ROUNDS - told - frames.len() as u64;
        heads.push(log.head(session(n)).map_or(0, |head| head.seq / 2));
    }
    assert_eq!(read_all(&log, ENDED).0, [nth(ENDED, 1)], "{case}");
    for (path, bytes) in &before {
        assert_eq!(fs::read(path).unwrap(), *bytes, "{case}: a start changes nothing that is there");
    }
    for (n, head) in heads.iter().enumerate() {
        assert_eq!(put(&log, n as u64, head + 1), committed(head + 1), "{case}: the log goes on");
    }
    drop(log);
    let (log, _) = open(dir);
    for (n, head) in heads.iter().enumerate() {
        let last = read_all(&log, n as u64).0.last().cloned();
        assert_eq!(last, Some(nth(n as u64, head + 1)), "{case}: what followed is there");
    }
    started
}

/// Begin and end of each frame's record in the segment.
fn records(bytes: &[u8]) -> Vec<(u64, u64)> {
    let mut places = Vec::new();
    for n in 0..SESSIONS {
        for ordinal in 1..=ROUNDS {
            let frame = nth(n, ordinal);
            let at =
                bytes.windows(frame.bytes().len()).position(|window| window == &frame.bytes()[..]).unwrap();
            // The header stands before the frame.
            places.push((at as u64 - 80, (at + frame.bytes().len()) as u64));
        }
    }
    places
}

#[test]
fn every_flipped_byte_costs_the_frame_that_it_is_in_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let path = newest_file(dir.path());
    let bytes = fs::read(&path).unwrap();
    let records = records(&bytes);
    let begin = records.iter().map(|(begin, _)| *begin).min().unwrap();
    let places: Vec<u64> = (begin..bytes.len() as u64).step_by(5).collect();
    for_copies(dir.path(), &places, |copied, at| {
        flip(&newest_file(copied), *at);
        let hit = records.iter().filter(|(begin, end)| (*begin..*end).contains(at)).count() as u64;
        let started = start(copied, &format!("byte {at}"));
        assert_eq!((started.gaps, started.untold), (hit, 0), "byte {at}");
    });
}

/// What a disk may return for a stretch of a file.
#[derive(Debug, Clone, Copy)]
enum Loss {
    Zeros,
    Junk,
    /// What was there before the file had these records: other records.
    Old,
    /// The stretch behind it, which in turn has this one's content.
    Swapped,
}

fn lose(path: &Path, at: u64, len: usize, loss: Loss) {
    let bytes = fs::read(path).unwrap();
    let at = at as usize;
    let len = len.min(bytes.len() - at);
    let stretch = &bytes[at..at + len];
    match loss {
        Loss::Zeros => overwrite(path, at as u64, &vec![0; len]),
        Loss::Junk => overwrite(path, at as u64, &(0..len).map(|n| (n * 7 + 13) as u8).collect::<Vec<_>>()),
        Loss::Old => {
            let mut old = stretch.to_vec();
            old.rotate_left(len / 3);
            overwrite(path, at as u64, &old);
        }
        Loss::Swapped => {
            let next = bytes[at + len..].iter().copied().take(len).collect::<Vec<_>>();
            overwrite(path, at as u64, &next);
            overwrite(path, (at + len) as u64, &stretch[..next.len()]);
        }
    }
}

fn losses(len: u64) -> Vec<(u64, usize, Loss)> {
    let mut cases = Vec::new();
    for sector in [512, 4096, 16384] {
        for at in (0..len).step_by(sector) {
            for loss in [Loss::Zeros, Loss::Junk, Loss::Old, Loss::Swapped] {
                cases.push((at, sector, loss));
            }
        }
    }
    cases
}

/// Number of records of a segment that are not as they were.
fn changed(before: &[u8], now: &[u8]) -> u64 {
    let is_changed = |(begin, end): &(u64, u64)| {
        let (begin, end) = (*begin as usize, *end as usize);
        now.get(begin..end) != Some(&before[begin..end])
    };
    records(before).iter().filter(|record| is_changed(record)).count() as u64
}

#[test]
fn every_lost_sector_costs_the_frames_in_it_and_each_is_told() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let bytes = fs::read(newest_file(dir.path())).unwrap();
    for_copies(dir.path(), &losses(bytes.len() as u64), |copied, (at, len, loss)| {
        let case = format!("{len} bytes at {at}: {loss:?}");
        lose(&newest_file(copied), *at, *len, *loss);
        let hit = changed(&bytes, &fs::read(newest_file(copied)).unwrap());
        let started = start(copied, &case);
        assert_eq!((started.gaps, started.untold), (hit, 0), "{case}");
    });
}

#[test]
fn what_the_index_does_not_know_is_told_too() {
    let dir = tempfile::tempdir().unwrap();
    fill_and_kill(dir.path());
    let bytes = fs::read(newest_file(dir.path())).unwrap();
    for_copies(dir.path(), &losses(bytes.len() as u64), |copied, (at, len, loss)| {
        let case = format!("{len} bytes at {at}: {loss:?}");
        lose(&newest_file(copied), *at, *len, *loss);
        let hit = changed(&bytes, &fs::read(newest_file(copied)).unwrap());
        let is_end = at + *len as u64 >= bytes.len() as u64;
        let started = start(copied, &case);
        assert_eq!(started.gaps + started.untold, hit, "{case}: nothing else is lost");
        // Zeros at the very end look like a file that was never written further, and nothing says otherwise.
        assert!(started.untold == 0 || started.reports > 0 || is_end, "{case}: it is said");
    });
}

#[test]
fn a_damaged_or_missing_index_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let index = newest_file(dir.path()).with_extension("idx");
    let len = fs::metadata(&index).unwrap().len();
    for_copies(dir.path(), &losses(len), |copied, (at, len, loss)| {
        let case = format!("{len} bytes at {at}: {loss:?}");
        lose(&newest_file(copied).with_extension("idx"), *at, *len, *loss);
        let started = start(copied, &case);
        assert_eq!((started.gaps, started.untold, started.reports), (0, 0, 0), "{case}");
    });
}

#[test]
fn a_segment_that_ends_early_is_told_frame_by_frame() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let bytes = fs::read(newest_file(dir.path())).unwrap();
    let records = records(&bytes);
    let lengths: Vec<u64> = (0..bytes.len() as u64).step_by(37).collect();
    for_copies(dir.path(), &lengths, |copied, len| {
        OpenOptions::new().write(true).open(newest_file(copied)).unwrap().set_len(*len).unwrap();
        let hit = records.iter().filter(|(_, end)| end > len).count() as u64;
        let started = start(copied, &format!("{len} bytes"));
        assert_eq!((started.gaps, started.untold), (hit, 0), "{len} bytes");
        assert!(started.reports > 0, "{len} bytes");
    });
}

#[test]
fn a_last_write_that_was_cut_short_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    fill_and_kill(dir.path());
    let bytes = fs::read(newest_file(dir.path())).unwrap();
    let records = records(&bytes);
    let last_round = records.iter().map(|(_, end)| *end).max().unwrap() - 1000;
    let lengths: Vec<u64> = (last_round..bytes.len() as u64).step_by(3).collect();
    for_copies(dir.path(), &lengths, |copied, len| {
        OpenOptions::new().write(true).open(newest_file(copied)).unwrap().set_len(*len).unwrap();
        let cut = records.iter().filter(|(_, end)| end > len).count() as u64;
        let started = start(copied, &format!("{len} bytes"));
        assert_eq!((started.gaps, started.untold), (0, cut), "{len} bytes");
    });
}

#[test]
fn a_missing_segment_is_told() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    for without_index in [false, true] {
        let copied = tempfile::tempdir().unwrap();
        copy(dir.path(), copied.path());
        let path = newest_file(copied.path());
        fs::remove_file(&path).unwrap();
        if without_index {
            fs::remove_file(path.with_extension("idx")).unwrap();
        }
        let (log, report) = open(copied.path());
        assert!(report.missing.iter().any(|missing| missing.what.contains("missing")), "{report:?}");
        for n in 0..SESSIONS {
            match log.head(session(n)) {
                None => assert!(without_index),
                Some(head) => {
                    assert_eq!(head.seq, ROUNDS * 2);
                    assert_eq!(read_all(&log, n).0, []);
                }
            }
        }
        assert_eq!(read_all(&log, ENDED).0, [nth(ENDED, 1)]);
    }
}

#[test]
fn an_unreadable_witness_is_told_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    flip(&dir.path().join("segments.witness"), 30);
    let started = start(dir.path(), "witness");
    assert_eq!((started.gaps, started.untold, started.reports), (0, 0, 1));
}

#[test]
fn damage_under_a_running_engine_is_counted_once_and_its_segment_is_kept() {
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
    let bytes = fs::read(&path).unwrap();
    let frame = nth(3, 2);
    let at = bytes.windows(frame.bytes().len()).position(|window| window == &frame.bytes()[..]).unwrap();
    flip(&path, at as u64 + 50);
    let check = |log: &DiskLog| {
        for n in 0..8 {
            let (frames, holes) = read_all(log, n);
            let expected = if n == 3 { vec![(3, 4)] } else { vec![] };
            assert_eq!((frames.len(), holes), (3 - expected.len(), expected), "{n}");
        }
    };
    check(&log);
    check(&log);
    assert_eq!(log.stats().damaged_frames, 1);
    assert!(matches!(log.archive(session(3), NOW), Err(LogError::Damaged { from: 3, to: 4, .. })));
    for ordinal in 1..3000 {
        assert_eq!(put(&log, 100, ordinal), committed(ordinal));
        if ordinal % 500 == 0 {
            log.trim(session(100), ordinal * 2).unwrap();
            log.purge().unwrap();
        }
    }
    let mut kept = frame.bytes().to_vec();
    kept[50] ^= 0x20;
    assert_eq!(fs::read(&path).unwrap()[at..][..kept.len()], kept, "the segment is kept as evidence");
    assert_eq!(put(&log, 3, 4), committed(4), "a log that could not be archived goes on");
    drop(log);
    let (log, _) = DiskLog::open(config).unwrap();
    log.delete(session(3)).unwrap();
    log.purge().unwrap();
    assert_eq!(read_all(&log, 4).0.len(), 3);
}

#[test]
fn the_scrub_finds_what_nobody_reads() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    flip(&newest_file(dir.path()), 2000);
    let file = archive_file(dir.path());
    flip(&file, 80);
    let (log, _) = open(dir.path());
    // Only what is finished is read.
    put_round(&log, SESSIONS, ROUNDS + 1);
    while log.stats().damaged_frames < 2 {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// The file of an archived log of several blocks, in a folder of its own.
fn archived(dir: &Path) -> PathBuf {
    let mut config = DiskConfig::new(dir);
    config.archive.block_bytes = 900;
    let (log, _) = DiskLog::open(config).unwrap();
    for ordinal in 1..=ROUNDS {
        put(&log, ENDED, ordinal);
    }
    log.archive(session(ENDED), NOW).unwrap();
    archive_file(dir)
}

fn archive_file(dir: &Path) -> PathBuf {
    let shards = fs::read_dir(dir.join("archive")).unwrap().map(|file| file.unwrap().path());
    let files = shards.filter(|path| path.is_dir()).flat_map(|dir| fs::read_dir(dir).unwrap());
    let mut files = files.map(|file| file.unwrap().path());
    files.find(|path| path.extension().is_some_and(|found| found == "abz")).unwrap()
}

#[test]
fn every_flipped_byte_of_an_archived_log_costs_no_more_than_its_block() {
    let dir = tempfile::tempdir().unwrap();
    let path = archived(dir.path());
    let len = fs::metadata(&path).unwrap().len();
    let (whole, holes) = read_all(&open(dir.path()).0, ENDED);
    assert_eq!((whole.len() as u64, holes.len()), (ROUNDS, 0));
    let places: Vec<u64> = (0..len).collect();
    for_copies(dir.path(), &places, |copied, at| {
        flip(&archive_file(copied), *at);
        let (frames, holes) = read_all(&open(copied).0, ENDED);
        assert!(frames.iter().all(|frame| whole.contains(frame)), "byte {at}");
        let lost: u64 = holes.iter().map(|(from, to)| to - from + 1).sum();
        assert_eq!(frames.len() as u64 * 2 + lost, ROUNDS * 2, "byte {at}");
        assert!(holes.len() <= 1 && lost <= 10, "byte {at}: {holes:?}");
    });
}

#[test]
fn the_blocks_of_an_archived_log_are_found_without_the_end_of_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = archived(dir.path());
    let len = fs::metadata(&path).unwrap().len();
    let (whole, _) = read_all(&open(dir.path()).0, ENDED);
    for kept in (len / 2..len).step_by(7) {
        let copied = tempfile::tempdir().unwrap();
        copy(dir.path(), copied.path());
        OpenOptions::new().write(true).open(archive_file(copied.path())).unwrap().set_len(kept).unwrap();
        let (frames, holes) = read_all(&open(copied.path()).0, ENDED);
        assert_eq!(frames, whole[..frames.len()], "{kept} bytes");
        assert!(frames.len() as u64 >= ROUNDS / 4, "{kept} bytes: {holes:?}");
    }
}
