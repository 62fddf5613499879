//! A disk that fails while the engine runs: fsync, writes, room.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::process::Command;
use std::sync::Arc;

use agentbench_event_log::conformance::{append, frame, outcomes, session, submit, submit_later};
use agentbench_event_log::{Appended, EventLog, Health, LogError};
use agentbench_event_log_disk::faults::Faults;
use agentbench_event_log_disk::{DiskConfig, DiskLog, OpenError};
use support::{EPOCH, NOW, committed, nth, open, open_synced, put, put_round, read_all};

fn open_with(config: DiskConfig) -> (DiskLog, Arc<Faults>) {
    let faults = Arc::new(Faults::default());
    (DiskLog::open_with_faults(config, faults.clone()).unwrap().0, faults)
}

#[test]
fn synced_means_an_fsync_before_each_answer() {
    let dir = tempfile::tempdir().unwrap();
    let (log, faults) = open_with(open_synced(dir.path()));
    for ordinal in 1..=20 {
        let before = faults.syncs();
        assert_eq!(put(&log, 1, ordinal), committed(ordinal));
        assert!(faults.syncs() > before);
    }
}

#[test]
fn logged_does_not_wait_for_the_disk_but_close_does() {
    let dir = tempfile::tempdir().unwrap();
    let (log, faults) = open_with(DiskConfig::new(dir.path()));
    let before = faults.syncs();
    for ordinal in 1..=20 {
        put(&log, 1, ordinal);
    }
    assert_eq!(faults.syncs(), before);
    log.close().unwrap();
    assert_eq!(faults.syncs(), before + 1);
}

#[test]
fn many_submits_share_an_fsync() {
    let dir = tempfile::tempdir().unwrap();
    let (log, faults) = open_with(open_synced(dir.path()));
    let before = faults.syncs();
    let told: Vec<_> =
        (0..2000).map(|n| submit_later(&log, vec![append(session(n), EPOCH, nth(n, 1))])).collect();
    for told in told {
        assert_eq!(outcomes(&told), [committed(1)]);
    }
    let syncs = faults.syncs() - before;
    assert!((1..1000).contains(&syncs), "{syncs}");
    assert_eq!(log.stats().frames, 2000);
    assert_eq!(log.stats().commits, syncs);
    assert_eq!(log.stats().queue_depth, 0);
}

#[test]
fn a_failed_fsync_ends_appends_until_the_log_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (log, faults) = open_with(open_synced(dir.path()));
        put_round(&log, 3, 1);
        faults.fail_syncs(true);
        let unknown = put(&log, 1, 2);
        assert!(matches!(&unknown, Appended::Unknown(reason) if reason.contains("fsync")), "{unknown:?}");
        assert!(matches!(log.health(), Health::Failed(_)));
        // A disk that works again changes nothing: what it forgot stays unknown.
        faults.fail_syncs(false);
        assert!(matches!(put(&log, 1, 2), Appended::Unavailable(_)));
        assert!(matches!(put(&log, 9, 1), Appended::Unavailable(_)));
        assert!(matches!(log.trim(session(1), 3), Err(LogError::Unavailable(_))));
        assert!(matches!(log.delete(session(1)), Err(LogError::Unavailable(_))));
        assert_eq!(read_all(&log, 1), (vec![nth(1, 1)], vec![]));
        assert!(matches!(log.close(), Err(LogError::Unavailable(_))));
    }
    let (log, report) = open(dir.path());
    assert_eq!(report.damage, []);
    assert_eq!(log.health(), Health::Writable);
    // The write itself had worked here, so the frame is there and sending it again is answered.
    assert_eq!(put(&log, 1, 2), committed(2));
    assert_eq!(read_all(&log, 1), (vec![nth(1, 1), nth(1, 2)], vec![]));
}

#[test]
fn an_fsync_that_fails_when_a_file_is_begun_ends_appends_too() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        DiskConfig { segment_bytes: 64 << 10, purge_threshold: 64 << 10, ..DiskConfig::new(dir.path()) };
    let (log, faults) = open_with(config);
    faults.fail_syncs(true);
    let mut ordinal = 1;
    while put(&log, 1, ordinal) == committed(ordinal) {
        ordinal += 1;
        assert!(ordinal < 5000, "a file of 64 KiB is followed by another");
    }
    assert!(matches!(log.health(), Health::Failed(_)));
    assert!(matches!(put(&log, 2, 1), Appended::Unavailable(_)));
    assert_eq!(read_all(&log, 1).0.len() as u64, ordinal - 1);
}

#[test]
fn a_failed_write_is_unknown_and_ends_appends() {
    for cut in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        {
            let (log, faults) = open_with(DiskConfig::new(dir.path()));
            put_round(&log, 3, 1);
            faults.cut_writes(cut);
            faults.fail_writes(!cut);
            assert!(matches!(put(&log, 1, 2), Appended::Unknown(_)));
            assert!(matches!(put(&log, 1, 2), Appended::Unavailable(_)));
            assert!(matches!(log.health(), Health::Failed(_)));
            assert_eq!(read_all(&log, 1), (vec![nth(1, 1)], vec![]));
            assert_eq!(log.head(session(1)), Some(agentbench_protocol::Head { epoch: EPOCH, seq: 2 }));
        }
        let (log, _) = open(dir.path());
        put_round(&log, 3, 2);
        assert_eq!(read_all(&log, 1), (vec![nth(1, 1), nth(1, 2)], vec![]));
    }
}

#[test]
fn a_new_session_whose_first_write_fails_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let (log, faults) = open_with(DiskConfig::new(dir.path()));
    faults.limit_room(Some(10));
    assert_eq!(put(&log, 1, 1), Appended::Full);
    assert_eq!(log.head(session(1)), None);
    assert_eq!(log.list().unwrap().len(), 0);
    faults.limit_room(None);
    assert_eq!(put(&log, 1, 1), committed(1));
}

#[test]
fn no_room_is_answered_full_and_goes_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (log, faults) = open_with(open_synced(dir.path()));
        put_round(&log, 5, 1);
        faults.limit_room(Some(100));
        let files = std::fs::read_dir(dir.path().join("segments")).unwrap().count();
        for _ in 0..50 {
            assert_eq!(put(&log, 1, 2), Appended::Full);
        }
        assert_eq!(log.health(), Health::Full);
        assert_eq!(std::fs::read_dir(dir.path().join("segments")).unwrap().count(), files);
        faults.limit_room(None);
        put_round(&log, 5, 2);
        assert_eq!(log.health(), Health::Writable);
    }
    let (log, report) = open(dir.path());
    assert_eq!(report.damage, []);
    for n in 0..5 {
        assert_eq!(read_all(&log, n), (vec![nth(n, 1), nth(n, 2)], vec![]));
    }
}

/// A small file system in memory, for as long as this lives.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(dir.path()).status();
        assert!(
            mounted.is_ok_and(|status| status.success()),
            "this test has to mount a tmpfs: run it as root"
        );
        Self(dir)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

#[test]
fn a_disk_that_is_really_full_refuses_and_takes_appends_again() {
    let disk = SmallDisk::mount();
    let ballast = disk.0.path().join("ballast");
    let mut ordinal = 1;
    {
        let (log, _) = open(disk.0.path());
        let large = |ordinal: u64| frame(ordinal, 1, 100_000, ordinal as u8);
        let put = |ordinal| submit(&log, vec![append(session(1), EPOCH, large(ordinal))]).remove(0);
        assert!(matches!(put(ordinal), Appended::Committed(_)));
        std::fs::write(&ballast, vec![1; 4 << 20]).unwrap();
        loop {
            match put(ordinal + 1) {
                Appended::Committed(_) => ordinal += 1,
                Appended::Full => break,
                other => panic!("{other:?}"),
            }
        }
        assert!(ordinal > 10);
        for _ in 0..20 {
            assert_eq!(put(ordinal + 1), Appended::Full);
        }
        assert_eq!(log.health(), Health::Full);
        assert!(matches!(log.archive(session(1), NOW), Ok(()) | Err(LogError::Unavailable(_))));
        std::fs::remove_file(&ballast).unwrap();
        if !log.list().unwrap()[0].archived {
            assert!(matches!(put(ordinal + 1), Appended::Committed(_)));
            ordinal += 1;
            assert_eq!(log.health(), Health::Writable);
        }
        let frames = read_all(&log, 1).0;
        assert_eq!(frames, (1..=ordinal).map(large).collect::<Vec<_>>());
    }
    let (log, report) = open(disk.0.path());
    assert_eq!(report.damage, []);
    assert_eq!(read_all(&log, 1).0.len() as u64, ordinal);
}

#[test]
fn a_directory_is_opened_once_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    let second = DiskLog::open(DiskConfig::new(dir.path())).err().unwrap();
    assert!(second.to_string().contains(&std::process::id().to_string()), "{second}");
    assert!(matches!(second, OpenError::InUse { .. }));
    drop(log);
    open(dir.path());
}

#[test]
fn a_completion_may_own_the_last_reference_to_the_engine() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    let log = Arc::new(log);
    let own = log.clone();
    let (done, told) = std::sync::mpsc::channel();
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let dropped = move |outcomes| {
        gone.recv().unwrap();
        drop(own);
        done.send(outcomes).unwrap();
    };
    log.submit(vec![append(session(1), EPOCH, nth(1, 1))], Box::new(dropped));
    drop(log);
    go.send(()).unwrap();
    assert_eq!(outcomes(&told), [committed(1)]);
    // The directory is free a moment later, when the thread has ended.
    let (log, report) = loop {
        match DiskLog::open(DiskConfig::new(dir.path())) {
            Err(OpenError::InUse { .. }) => std::thread::yield_now(),
            opened => break opened.unwrap(),
        }
    };
    assert_eq!((read_all(&log, 1).0, report.damage), (vec![nth(1, 1)], vec![]));
}

#[test]
fn a_completion_that_panics_disturbs_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    log.submit(vec![append(session(1), EPOCH, nth(1, 1))], Box::new(|_| panic!("on purpose")));
    assert_eq!(put(&log, 1, 2), committed(2));
}
