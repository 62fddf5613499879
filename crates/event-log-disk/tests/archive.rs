//! The archive on disk: crashes between its steps, damage, retention, the catalogue.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use agentbench_event_log::conformance::{append, frame, session, submit};
use agentbench_event_log::{Appended, EventLog, Frame, LogError, ReadLimit, Retention};
use agentbench_event_log_disk::{DiskConfig, DiskLog};
use agentbench_protocol::{Epoch, Head};
use proptest::prelude::*;
use support::{EPOCH, NO_LIMIT, NOW, committed, copy, nth, open, put, put_round, read_all};

/// Small blocks, so that a log has many of them.
fn config(dir: &Path) -> DiskConfig {
    let mut config = DiskConfig::new(dir);
    config.archive.block_bytes = 2000;
    config.archive.open_files = 2;
    config
}

fn file_of(dir: &Path, number: u64) -> PathBuf {
    let id = session(number).to_string();
    dir.join("archive").join(&id[34..]).join(format!("{id}.abz"))
}

/// Session 1 with 50 frames of 2 events each, archived.
fn archived(dir: &Path) -> DiskLog {
    let (log, _) = DiskLog::open(config(dir)).unwrap();
    for ordinal in 1..=50 {
        put(&log, 1, ordinal);
    }
    log.archive(session(1), NOW).unwrap();
    log
}

fn expected() -> Vec<Frame> {
    (1..=50).map(|ordinal| nth(1, ordinal)).collect()
}

#[test]
fn every_range_is_read_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let log = archived(dir.path());
    for from in 1..=100 {
        for events in [1, 7, 60] {
            let limit = ReadLimit { bytes: usize::MAX, events };
            let frames = log.read(session(1), from, limit).unwrap().frames;
            let first = (from as usize - 1) / 2;
            let count = events.div_ceil(2).min(50 - first);
            assert_eq!(frames, expected()[first..first + count], "{from} {events}");
        }
    }
}

#[test]
fn a_range_read_touches_only_the_blocks_it_needs() {
    let dir = tempfile::tempdir().unwrap();
    drop(archived(dir.path()));
    let path = file_of(dir.path(), 1);
    let mut bytes = std::fs::read(&path).unwrap();
    // The first block, right behind the header, is gone.
    bytes[72..112].fill(0);
    std::fs::write(&path, bytes).unwrap();
    let (log, _) = open(dir.path());
    let Err(LogError::Damaged { from: 1, to, .. }) = log.read(session(1), 1, NO_LIMIT) else { panic!() };
    assert!((2..50).contains(&to), "{to}");
    let frames = log.read(session(1), to + 1, NO_LIMIT).unwrap().frames;
    assert_eq!(frames, expected()[to as usize / 2..]);
}

#[test]
fn an_archived_session_leaves_the_hot_log() {
    let dir = tempfile::tempdir().unwrap();
    let log = archived(dir.path());
    assert!(log.list().unwrap()[0].archived);
    drop(log);
    let (log, report) = open(dir.path());
    assert_eq!((report.sessions, report.frames), (1, 0));
    let usage = log.disk_usage();
    assert_eq!(usage.archived, 1);
    assert_eq!(usage.archive_bytes, std::fs::metadata(file_of(dir.path(), 1)).unwrap().len());
    assert!(usage.hot_bytes > 0);
}

/// The directory as a crash leaves it that comes when the copy is complete and the hot log still has the original.
fn crashed_between(dir: &Path) {
    {
        let (log, _) = DiskLog::open(config(dir)).unwrap();
        for ordinal in 1..=50 {
            put(&log, 1, ordinal);
        }
    }
    let before = tempfile::tempdir().unwrap();
    copy(&dir.join("segments"), before.path());
    DiskLog::open(config(dir)).unwrap().0.archive(session(1), NOW).unwrap();
    std::fs::remove_dir_all(dir.join("segments")).unwrap();
    copy(before.path(), &dir.join("segments"));
}

#[test]
fn a_crash_between_copy_and_removal_leaves_one_archived_log() {
    for with_catalogue in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        crashed_between(dir.path());
        if !with_catalogue {
            std::fs::write(dir.path().join("archive/catalogue"), []).unwrap();
        }
        for _ in 0..2 {
            let (log, report) = open(dir.path());
            assert_eq!(report.damage, []);
            let list = log.list().unwrap();
            assert_eq!((list.len(), list[0].archived, list[0].head.seq), (1, true, 100));
            assert_eq!(read_all(&log, 1), (expected(), vec![]));
            assert!(matches!(put(&log, 1, 51), Appended::Unavailable(_)));
        }
        assert_eq!(open(dir.path()).1.frames, 0);
    }
}

#[test]
fn a_crash_while_a_file_is_written_leaves_the_live_log() {
    let dir = tempfile::tempdir().unwrap();
    put_round(&open(dir.path()).0, 2, 1);
    let half = dir.path().join("archive/incoming").join(session(1).to_string());
    std::fs::write(&half, b"half a file").unwrap();
    let (log, report) = open(dir.path());
    assert_eq!(report.damage, []);
    assert!(!half.exists());
    assert_eq!(put(&log, 1, 2), committed(2));
    assert!(log.list().unwrap().iter().all(|log| !log.archived));
}

#[test]
fn a_live_log_that_went_on_beats_an_older_copy() {
    let dir = tempfile::tempdir().unwrap();
    crashed_between(dir.path());
    let archive = tempfile::tempdir().unwrap();
    copy(&dir.path().join("archive"), archive.path());
    std::fs::remove_dir_all(dir.path().join("archive")).unwrap();
    assert_eq!(put(&open(dir.path()).0, 1, 51), committed(51));
    std::fs::remove_dir_all(dir.path().join("archive")).unwrap();
    copy(archive.path(), &dir.path().join("archive"));
    let (log, _) = open(dir.path());
    assert_eq!(read_all(&log, 1).0.len(), 51);
    assert_eq!(put(&log, 1, 52), committed(52));
    assert!(!file_of(dir.path(), 1).exists());
}

#[test]
fn a_removal_that_was_noted_is_finished_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let log = archived(dir.path());
    let file = std::fs::read(file_of(dir.path(), 1)).unwrap();
    log.delete(session(1)).unwrap();
    drop(log);
    std::fs::write(file_of(dir.path(), 1), file).unwrap();
    let (log, report) = open(dir.path());
    assert_eq!((report.damage, log.list().unwrap().len()), (vec![], 0));
    assert!(!file_of(dir.path(), 1).exists());
}

#[test]
fn a_damaged_catalogue_is_made_again_from_the_files() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (log, _) = DiskLog::open(config(dir.path())).unwrap();
        put_round(&log, 10, 1);
        for n in 0..10 {
            log.archive(session(n), NOW).unwrap();
        }
        log.delete(session(4)).unwrap();
    }
    let path = dir.path().join("archive/catalogue");
    let whole = std::fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(37) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let (log, report) = open(dir.path());
        // The list itself, and the deleted log if its removal was on the damaged part.
        assert!((1..=2).contains(&report.damage.len()), "{at}");
        assert_eq!(log.list().unwrap().len(), 9, "{at}");
        drop(log);
        let (log, report) = open(dir.path());
        assert_eq!((report.damage.len(), log.list().unwrap().len()), (0, 9), "{at}");
        assert_eq!(read_all(&log, 9).0, [nth(9, 1)]);
    }
}

#[test]
fn a_file_that_is_gone_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    drop(archived(dir.path()));
    std::fs::remove_file(file_of(dir.path(), 1)).unwrap();
    let (log, report) = open(dir.path());
    assert!(report.damage[0].what.contains("missing"), "{:?}", report.damage);
    assert_eq!(log.list().unwrap().len(), 0);
}

#[test]
fn a_file_of_another_session_is_not_served() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (log, _) = open(dir.path());
        put_round(&log, 2, 1);
        (0..2).for_each(|number| log.archive(session(number), NOW).unwrap());
    }
    // As by a mistake while files are restored from a copy.
    std::fs::copy(file_of(dir.path(), 1), file_of(dir.path(), 0)).unwrap();
    let (log, _) = open(dir.path());
    assert_eq!(read_all(&log, 0), (vec![], vec![(1, 2)]));
    assert_eq!(read_all(&log, 1).0, [nth(1, 1)]);
}

#[test]
fn a_damaged_header_of_a_listed_file_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    drop(archived(dir.path()));
    let mut bytes = std::fs::read(file_of(dir.path(), 1)).unwrap();
    bytes[20] ^= 1;
    std::fs::write(file_of(dir.path(), 1), bytes).unwrap();
    let (log, _) = DiskLog::open(config(dir.path())).unwrap();
    assert_eq!(read_all(&log, 1).0, expected());
}

#[test]
fn many_archived_logs_are_read_in_turn() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = DiskLog::open(config(dir.path())).unwrap();
    put_round(&log, 6, 1);
    for n in 0..6 {
        log.archive(session(n), 1_000 * n).unwrap();
    }
    let bytes = log.disk_usage().archive_bytes;
    assert_eq!(log.retain(u64::MAX, Retention::default()), Ok(vec![]));
    let limit = |max_age, max_bytes| Retention { max_age, max_bytes, at_most: 0 };
    assert_eq!(log.retain(0, limit(Some(Duration::ZERO), None)), Ok(vec![]));

    let size = std::fs::metadata(file_of(dir.path(), 0)).unwrap().len();
    assert_eq!(log.retain(0, limit(None, Some(bytes - 1))), Ok(vec![(session(0), EPOCH)]));
    assert_eq!(log.disk_usage().archive_bytes, bytes - size);
    assert_eq!(log.head(session(0)), None);

    assert_eq!(log.retain(u64::MAX, limit(Some(Duration::MAX), None)), Ok(vec![]));
    let second = Some(Duration::from_secs(1));
    assert_eq!(log.retain(4_000, limit(second, None)), Ok(vec![(session(1), EPOCH), (session(2), EPOCH)]));
    drop(log);
    assert_eq!(open(dir.path()).0.list().unwrap().len(), 3);
}

#[test]
fn a_removed_session_can_be_archived_again() {
    let dir = tempfile::tempdir().unwrap();
    let log = archived(dir.path());
    read_all(&log, 1);
    log.delete(session(1)).unwrap();
    let epoch = Epoch::from_u64(5);
    let again = frame(1, 3, 10, 3);
    submit(&log, vec![append(session(1), epoch, again.clone())]);
    log.archive(session(1), NOW).unwrap();
    assert_eq!(read_all(&log, 1).0, [again]);
    assert_eq!(log.head(session(1)), Some(Head { epoch, seq: 3 }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_byte_of_a_file_is_damaged_nothing_wrong_is_served(place in 0.0..1.0, mask in 1_u8.., cut: bool) {
        // One directory for all cases: only the file differs.
        static ORIGINAL: std::sync::OnceLock<(tempfile::TempDir, Vec<u8>)> = std::sync::OnceLock::new();
        let (dir, whole) = ORIGINAL.get_or_init(|| {
            let dir = tempfile::tempdir().unwrap();
            drop(archived(dir.path()));
            let whole = std::fs::read(file_of(dir.path(), 1)).unwrap();
            (dir, whole)
        });
        let at = (place * whole.len() as f64) as usize;
        let mut bytes = whole.clone();
        if cut { bytes.truncate(at) } else { bytes[at] ^= mask }
        std::fs::write(file_of(dir.path(), 1), bytes).unwrap();
        let (log, _) = open(dir.path());
        let (frames, holes) = read_all(&log, 1);
        for frame in &frames {
            prop_assert_eq!(frame, &nth(1, frame.last_seq() / 2));
        }
        let lost: u64 = holes.iter().map(|(from, to)| to - from + 1).sum();
        prop_assert_eq!(frames.len() as u64 * 2 + lost, 100);
    }
}

/// A file as version 1 writes it. What is on people's disks must stay readable.
const VERSION_1: &[u8] = include_bytes!("fixtures/archive-v1.abz");

#[test]
fn a_file_of_version_1_is_read() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    std::fs::create_dir_all(file_of(dir.path(), 1).parent().unwrap()).unwrap();
    std::fs::write(file_of(dir.path(), 1), VERSION_1).unwrap();
    let (log, report) = open(dir.path());
    assert_eq!(report.damage, []);
    assert_eq!(read_all(&log, 1), (expected(), vec![]));
    assert_eq!(log.head(session(1)), Some(Head { epoch: EPOCH, seq: 100 }));
}

#[test]
#[ignore = "writes a file to be kept as a fixture when the format gets a new version"]
fn write_a_fixture() {
    let dir = tempfile::tempdir().unwrap();
    drop(archived(dir.path()));
    let to = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/archive-new.abz");
    std::fs::copy(file_of(dir.path(), 1), to).unwrap();
}

#[test]
fn one_call_of_retention_removes_no_more_than_it_may() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    put_round(&log, 6, 1);
    (0..6).for_each(|n| log.archive(session(n), NOW).unwrap());
    let retention = Retention { max_age: Some(Duration::from_millis(1)), max_bytes: None, at_most: 4 };
    let removed: Vec<_> = (0..3).map(|_| log.retain(u64::MAX, retention).unwrap().len()).collect();
    assert_eq!(removed, [4, 2, 0]);
}
