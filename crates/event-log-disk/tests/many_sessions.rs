//! Many sessions, and logs that live long: memory, opening time and disk use. Figures are printed, not judged
//! (`-- --nocapture`); what is judged is that everything is there and that disk use is bounded.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::time::{Duration, Instant};

use agentbench_event_log::conformance::{append, frame, session, submit};
use agentbench_event_log::{Appended, EventLog};
use agentbench_event_log_disk::{DiskConfig, DiskLog};
use bytes::Bytes;
use support::{EPOCH, NOW, committed, nth, put, put_round, read_all};

/// Memory of this process, in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn a_hundred_thousand_sessions() {
    const SESSIONS: u64 = 100_000;
    let dir = tempfile::tempdir().unwrap();
    let before = resident();
    {
        let (log, _) = DiskLog::open(DiskConfig::new(dir.path())).unwrap();
        for ordinal in 1..=3 {
            for part in 0..SESSIONS / 1000 {
                let one = |n: u64| {
                    let mut append = append(session(n), EPOCH, nth(n, ordinal));
                    append.summary = (ordinal == 1).then(|| Bytes::from(vec![7; 200]));
                    append
                };
                let appends = (part * 1000..(part + 1) * 1000).map(one).collect();
                assert!(submit(&log, appends).iter().all(|outcome| *outcome == committed(ordinal)));
            }
        }
        println!("{} bytes of memory per session while running", (resident() - before) / SESSIONS);
    }
    let (log, report) = DiskLog::open(DiskConfig::new(dir.path())).unwrap();
    println!("opened {SESSIONS} sessions in {:?}; {} bytes on disk", report.took, report.bytes);
    assert_eq!((report.sessions as u64, report.frames, report.damage), (SESSIONS, 3 * SESSIONS, vec![]));
    let begun = Instant::now();
    let list = log.list().unwrap();
    println!("listed in {:?}", begun.elapsed());
    assert_eq!(list.len() as u64, SESSIONS);
    assert!(list.iter().all(|log| log.head.seq == 6 && log.summary.len() == 200));
    for n in [0, 1, 77_777, SESSIONS - 1] {
        assert_eq!(read_all(&log, n).0, [nth(n, 1), nth(n, 2), nth(n, 3)]);
    }
}

#[test]
fn disk_use_is_bounded_while_sessions_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let config = DiskConfig {
        segment_bytes: 256 << 10,
        purge_threshold: 1 << 20,
        purge_interval: Duration::from_millis(20),
        ..DiskConfig::new(dir.path())
    };
    let (log, _) = DiskLog::open(config.clone()).unwrap();
    // These live on and on, with old frames that have to be kept: a few, and more than one wants to move.
    put_round(&log, 50, 1);
    for ordinal in 1..=200 {
        put(&log, 900, ordinal);
    }
    let mut most = 0;
    for n in 1000..1400 {
        for first in 1..=20 {
            let one = append(session(n), EPOCH, frame(first, 1, 3000, 1));
            assert!(matches!(submit(&log, vec![one])[..], [Appended::Committed(_)]));
        }
        log.delete(session(n)).unwrap();
        if n % 20 == 0 {
            log.purge().unwrap();
            most = most.max(log.disk_usage().hot_bytes);
        }
    }
    println!("24 MB written, at most {most} bytes on disk");
    assert!(most < 6 << 20, "{most}");
    let check = |log: &DiskLog| {
        for n in 0..50 {
            assert_eq!(read_all(log, n), (vec![nth(n, 1)], vec![]));
        }
        assert_eq!(read_all(log, 900).0, (1..=200).map(|ordinal| nth(900, ordinal)).collect::<Vec<_>>());
        assert_eq!(log.list().unwrap().len(), 51);
    };
    check(&log);
    put_round(&log, 50, 2);
    drop(log);
    let (log, report) = DiskLog::open(config).unwrap();
    assert_eq!(report.damage, []);
    for n in 0..50 {
        assert_eq!(read_all(&log, n).0.len(), 2);
    }
}

#[test]
fn many_archived_sessions_are_opened_quickly() {
    const SESSIONS: u64 = 2000;
    let dir = tempfile::tempdir().unwrap();
    {
        let (log, _) = DiskLog::open(DiskConfig::new(dir.path())).unwrap();
        put_round(&log, SESSIONS, 1);
        let begun = Instant::now();
        (0..SESSIONS).for_each(|n| log.archive(session(n), NOW).unwrap());
        println!("archived {SESSIONS} sessions in {:?}", begun.elapsed());
    }
    let (log, report) = DiskLog::open(DiskConfig::new(dir.path())).unwrap();
    println!("opened {SESSIONS} archived sessions in {:?}", report.took);
    assert_eq!((report.sessions as u64, report.frames, report.damage), (SESSIONS, 0, vec![]));
    assert!(log.list().unwrap().iter().all(|log| log.archived && log.head.seq == 2));
    assert_eq!(read_all(&log, 1234).0, [nth(1234, 1)]);
}
