//! Folders of the former engine: their logs are moved at the first start, whole, and whatever interrupts it.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use agentbench_event_log::{EventLog, LogError};
use agentbench_event_log_disk::{DiskConfig, DiskLog, OpenError, migrate};
use agentbench_protocol::SessionId;
use support::{NO_LIMIT, copy, open};

const FOLDERS: [&str; 6] =
    ["old-small", "old-various", "old-cleaned", "old-groups", "old-killed", "old-damaged"];

fn fixture(name: &str) -> (tempfile::TempDir, Vec<String>) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let dir = tempfile::tempdir().unwrap();
    copy(&from, dir.path());
    let expected = fs::read_to_string(dir.path().join("expected")).unwrap();
    fs::remove_file(dir.path().join("expected")).unwrap();
    let mut lines: Vec<_> =
        expected.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
    lines.sort_unstable();
    (dir, lines)
}

/// One session as a line of the file `expected`.
fn line(log: &DiskLog, session: SessionId) -> String {
    let listed = log.find(session).unwrap();
    let (mut from, mut first_seq, mut crc, mut count, mut holes) = (1, 1, 0, 0, String::new());
    while from <= listed.head.seq {
        match log.read(session, from, NO_LIMIT) {
            Ok(reading) => {
                first_seq = reading.first_seq;
                for frame in &reading.frames {
                    crc = crc32c::crc32c_append(crc, frame.bytes());
                    from = frame.last_seq() + 1;
                    count += 1;
                }
            }
            Err(LogError::Trimmed { first_seq: first }) => (from, first_seq) = (first, first),
            Err(LogError::Damaged { from: begin, to, .. }) => {
                holes.push_str(&format!(" {begin}-{to}"));
                from = to + 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    let kind = if listed.archived { "archived" } else { "live" };
    let (epoch, head) = (listed.head.epoch.as_u64(), listed.head.seq);
    let summary = crc32c::crc32c(&listed.summary);
    format!("{kind} {session} {epoch:x} {first_seq} {head} {summary:08x} {count} {crc:08x}{holes}")
}

fn lines(log: &DiskLog) -> Vec<String> {
    let mut lines: Vec<_> = log.list().unwrap().iter().map(|listed| line(log, listed.session)).collect();
    lines.sort_unstable();
    lines
}

fn is_migrated(dir: &Path, expected: &[String], case: &str) {
    let (log, _) = open(dir);
    assert_eq!(lines(&log), expected, "{case}");
    drop(log);
    for gone in ["hot", "hot.witness", "segments.incoming", "segments/migrated"] {
        assert!(!dir.join(gone).exists(), "{case}: {gone}");
    }
    let (log, report) = open(dir);
    assert_eq!(lines(&log), expected, "{case}: again");
    assert_eq!(report.damage, [], "{case}: again");
}

#[test]
fn every_log_is_as_the_former_engine_served_it() {
    for name in FOLDERS {
        let (dir, expected) = fixture(name);
        is_migrated(dir.path(), &expected, name);
    }
}

#[test]
fn damage_of_the_old_folder_is_told_once() {
    let (dir, _) = fixture("old-damaged");
    assert_eq!(open(dir.path()).1.damage.len(), 3);
    assert_eq!(open(dir.path()).1.damage, []);
}

fn all_files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(all_files(&path));
        } else if path.file_name().is_some_and(|name| name != "lock") {
            files.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    files.sort_unstable();
    files
}

#[test]
fn a_dry_run_says_what_would_be_done_and_changes_nothing() {
    let (dir, expected) = fixture("old-cleaned");
    let before = all_files(dir.path());
    let plan = migrate(&DiskConfig::new(dir.path()), true).unwrap().unwrap();
    let live = expected.iter().filter(|line| line.starts_with("live"));
    assert_eq!(plan.sessions, live.count());
    assert!(plan.frames > 20 && plan.fits(), "{plan:?}");
    assert_eq!(all_files(dir.path()), before);
    assert!(migrate(&DiskConfig::new(dir.path()), false).unwrap().is_some());
    assert_eq!(migrate(&DiskConfig::new(dir.path()), true).unwrap(), None);
    is_migrated(dir.path(), &expected, "after the command");
}

/// What a kill in each step leaves.
#[test]
fn a_migration_that_was_interrupted_is_completed_by_the_next_start() {
    let (done, expected) = fixture("old-various");
    drop(open(done.path()));
    let segments = done.path().join("segments");
    type Leave = fn(&Path, &Path);
    let steps: [(&str, Leave); 5] = [
        ("half a copy", |dir, segments| {
            copy(segments, &dir.join("segments.incoming"));
            for file in fs::read_dir(dir.join("segments.incoming")).unwrap() {
                let file = fs::OpenOptions::new().write(true).open(file.unwrap().path()).unwrap();
                file.set_len(file.metadata().unwrap().len() / 2).unwrap();
            }
        }),
        ("a whole copy without the mark", |dir, segments| copy(segments, &dir.join("segments.incoming"))),
        ("an empty new folder", |dir, _| fs::create_dir(dir.join("segments")).unwrap()),
        ("the switch is done", |dir, segments| {
            copy(segments, &dir.join("segments"));
            fs::write(dir.join("segments/migrated"), b"").unwrap();
        }),
        ("a part of the old folder is removed", |dir, segments| {
            copy(segments, &dir.join("segments"));
            fs::write(dir.join("segments/migrated"), b"").unwrap();
            fs::remove_file(dir.join("hot/0000000000000001.raftlog")).unwrap();
        }),
    ];
    for (name, leave) in steps {
        let (dir, _) = fixture("old-various");
        leave(dir.path(), &segments);
        is_migrated(dir.path(), &expected, name);
    }
}

#[test]
fn an_old_folder_beside_new_segments_is_refused_and_both_are_kept() {
    let (dir, _) = fixture("old-small");
    drop(open(dir.path()));
    let (other, _) = fixture("old-various");
    copy(&other.path().join("hot"), &dir.path().join("hot"));
    let before = all_files(dir.path());
    let error = DiskLog::open(DiskConfig::new(dir.path())).err().unwrap();
    assert!(matches!(&error, OpenError::Config(what) if what.contains("both have logs")), "{error}");
    assert_eq!(all_files(dir.path()), before);
}
