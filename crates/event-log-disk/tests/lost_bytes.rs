//! A disk that loses bytes without a word: a stretch of zeros, a file that is empty or gone. What was acknowledged is
//! there, or its loss is said; and a start that fails changes nothing.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use agentbench_event_log::conformance::session;
use agentbench_event_log::{Appended, EventLog, Health, LogError};
use agentbench_event_log_disk::{ArchiveLog, DiskConfig, DiskLog};
use support::{NOW, committed, copy, newest_file, nth, open, put, put_round, read_all};

const LIVE: u64 = 4;
const ROUNDS: u64 = 30;
/// One session that has ended and is in the archive.
const ENDED: u64 = 99;
const LOST: usize = 4096;

/// A folder with live sessions of many frames, and one ended session.
fn fill(dir: &Path) {
    let config = DiskConfig { segment_bytes: 64 << 10, purge_threshold: 1 << 30, ..DiskConfig::new(dir) };
    let (log, _) = DiskLog::open(config).unwrap();
    put(&log, ENDED, 1);
    log.archive(session(ENDED), NOW).unwrap();
    for ordinal in 1..=ROUNDS {
        put_round(&log, LIVE, ordinal);
    }
}

fn hot_files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(dir.join("hot")).unwrap().map(|file| file.unwrap());
    // The lock file of raft-engine has no content of interest.
    files.map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap())).collect()
}

/// Opens a damaged folder in the way that a server does, and holds what comes of it against what was acknowledged.
/// Tells whether the hot log could be opened.
fn hold_to_the_promises(dir: &Path, case: &str) -> bool {
    let before = hot_files(dir);
    match DiskLog::open(DiskConfig::new(dir)) {
        Ok((log, report)) => {
            let mut is_all_there = true;
            for n in 0..LIVE {
                let there = log.head(session(n)).map(|_| read_all(&log, n).0).unwrap_or_default();
                let wrong = there.iter().find(|frame| **frame != nth(n, frame.last_seq() / 2));
                assert_eq!(wrong, None, "{case}: what is served is what was written");
                is_all_there &= there.len() as u64 == ROUNDS;
            }
            let is_said = !report.missing.is_empty() || !report.damage.is_empty();
            assert!(is_all_there || is_said, "{case}: acknowledged frames are gone without a word");
            assert_eq!(read_all(&log, ENDED).0, [nth(ENDED, 1)], "{case}");
            true
        }
        Err(error) => {
            assert!(error.is_of_the_hot_log(), "{case}: {error}");
            assert_eq!(hot_files(dir), before, "{case}: a start that failed changes nothing");
            let (archive, report) = ArchiveLog::open(&DiskConfig::new(dir), &error).unwrap();
            assert_eq!(report.damage[0].what, error.to_string());
            assert_eq!(read_all(&archive, ENDED).0, [nth(ENDED, 1)], "{case}");
            assert!(matches!(archive.health(), Health::Failed(why) if why == error.to_string()));
            assert!(matches!(put(&archive, 0, ROUNDS + 1), Appended::Unavailable(_)), "{case}");
            let unknown = archive.read(session(0), 1, support::NO_LIMIT);
            assert!(matches!(unknown, Err(LogError::Unavailable(_))), "{case}: it may be in the hot log");
            false
        }
    }
}

#[test]
fn four_kib_of_zeros_anywhere_in_the_newest_file_lose_nothing_silently() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let size = fs::metadata(newest_file(dir.path())).unwrap().len();
    let mut opened = 0;
    let places: Vec<u64> = (0..size).step_by(1531).collect();
    for at in &places {
        let copied = tempfile::tempdir().unwrap();
        copy(dir.path(), copied.path());
        let file = OpenOptions::new().write(true).open(newest_file(copied.path())).unwrap();
        let count = LOST.min((size - at) as usize);
        file.write_all_at(&vec![0; count], *at).unwrap();
        opened += u64::from(hold_to_the_promises(copied.path(), &format!("zeros at byte {at}")));
    }
    assert!(opened < places.len() as u64, "some of these cannot be worked around");
}

#[test]
fn a_newest_file_that_was_emptied_cut_or_removed_is_said() {
    type Damage = fn(&Path);
    let cases: [(&str, Damage); 5] = [
        ("emptied", |path| fs::write(path, b"").unwrap()),
        ("removed", |path| fs::remove_file(path).unwrap()),
        ("only its header is left", |path| {
            OpenOptions::new().write(true).open(path).unwrap().set_len(80).unwrap();
        }),
        ("cut at half", |path| {
            let file = OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        }),
        ("all are gone", |path| fs::remove_dir_all(path.parent().unwrap()).unwrap()),
    ];
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    for (name, damage) in cases {
        let copied = tempfile::tempdir().unwrap();
        copy(dir.path(), copied.path());
        damage(&newest_file(copied.path()));
        if !copied.path().join("hot").exists() {
            fs::create_dir(copied.path().join("hot")).unwrap();
        }
        if hold_to_the_promises(copied.path(), name) {
            // Said once: with the next commits the witness goes on from what is there.
            let (log, _) = open(copied.path());
            put(&log, 200, 1);
            drop(log);
            let (log, report) = open(copied.path());
            assert_eq!((report.missing, put(&log, 200, 2)), (vec![], committed(2)), "{name}");
        }
    }
}

#[test]
fn what_is_missing_names_the_file_and_the_bytes() {
    let dir = tempfile::tempdir().unwrap();
    put_round(&open(dir.path()).0, LIVE, 1);
    let path = newest_file(dir.path());
    let size = fs::metadata(&path).unwrap().len();
    fs::write(&path, b"").unwrap();
    let (_, report) = open(dir.path());
    let [missing] = &report.missing[..] else { panic!("{:?}", report.missing) };
    assert!(missing.what.contains("file 1") && missing.what.contains(&size.to_string()), "{missing:?}");
    assert!(report.witnessed_at.is_some());
}

#[test]
fn a_log_that_was_killed_cleaned_up_or_is_of_an_older_version_misses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        DiskConfig { segment_bytes: 64 << 10, purge_threshold: 128 << 10, ..DiskConfig::new(dir.path()) };
    for life in 0..4 {
        let (log, report) = DiskLog::open(config.clone()).unwrap();
        assert_eq!((report.missing, report.damage), (vec![], vec![]), "life {life}");
        for ordinal in life * 500 + 1..=(life + 1) * 500 {
            put(&log, 1, ordinal);
        }
        log.trim(session(1), life * 1000 + 900).unwrap();
        log.purge().unwrap();
    }
    fs::remove_file(dir.path().join("hot.witness")).unwrap();
    assert_eq!(DiskLog::open(config.clone()).unwrap().1.missing, []);
    fs::write(dir.path().join("hot.witness"), "agentbench-witness 1 append=9").unwrap();
    let (_, report) = DiskLog::open(config).unwrap();
    assert!(report.missing.is_empty() && report.damage[0].what.contains("witness"), "{report:?}");
}

#[test]
fn damaged_bytes_are_kept_before_they_are_changed() {
    let dir = tempfile::tempdir().unwrap();
    put_round(&open(dir.path()).0, LIVE, 1);
    put_round(&open(dir.path()).0, LIVE, 2);
    let path = newest_file(dir.path());
    let bytes = fs::read(&path).unwrap();
    // The last batch loses its end.
    let cut = &bytes[..bytes.len() - 7];
    fs::write(&path, cut).unwrap();
    let (log, report) = open(dir.path());
    let said = &report.damage[0].what;
    let name = said.split_whitespace().find(|word| word.starts_with("quarantine/")).unwrap();
    let kept = fs::read(dir.path().join(name)).unwrap();
    assert!(cut.ends_with(&kept) && kept.len() > 100, "{said}");
    drop(log);
    let there = fs::read_dir(dir.path().join("quarantine")).unwrap().count();
    assert_eq!(open(dir.path()).1.damage, []);
    assert_eq!(fs::read_dir(dir.path().join("quarantine")).unwrap().count(), there);
}
