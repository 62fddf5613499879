//! What holds across closing and reopening an engine.

use agentbench_protocol::Head;
use bytes::Bytes;

use super::{
    EPOCH, NO_LIMIT, NOW, OTHER_EPOCH, Storage, append, frame, head, listed, outcomes, put, put_nine,
    read_all, session, submit, submit_later,
};
use crate::{Appended, EventLog, LogError};

/// Conformance case: see the name.
pub fn close_ends_appends_and_not_reads(storage: &impl Storage) {
    let log = storage.open();
    let frames = put_nine(&log);
    assert_eq!(log.close(), Ok(()));
    assert_eq!(log.close(), Ok(()));
    assert!(matches!(put(&log, frame(10, 1, 10, 0)), Appended::Unavailable(_)));
    assert_eq!(read_all(&log, session(1)), frames);
    assert_eq!(log.head(session(1)), Some(head(9)));
}

/// Conformance case: see the name.
pub fn close_commits_what_is_in_flight(storage: &impl Storage) {
    let log = storage.open();
    let told: Vec<_> =
        (0..100).map(|n| submit_later(&log, vec![append(session(n), EPOCH, frame(1, 1, 1000, 0))])).collect();
    assert_eq!(log.close(), Ok(()));
    for told in told {
        assert_eq!(outcomes(&told), [Appended::Committed(head(1))]);
    }
}

/// Conformance case: see the name.
pub fn logs_are_there_after_reopening(storage: &impl Storage) {
    let (frames, before) = {
        let log = storage.open();
        let mut other = append(session(2), OTHER_EPOCH, frame(1, 7, 2000, 4));
        other.summary = Some(Bytes::from_static(b"two"));
        submit(&log, vec![other]);
        (put_nine(&log), listed(&log))
    };
    for _ in 0..2 {
        let log = storage.open();
        assert_eq!(listed(&log), before);
        assert_eq!(read_all(&log, session(1)), frames);
        assert_eq!(read_all(&log, session(2)), [frame(1, 7, 2000, 4)]);
        assert_eq!(log.head(session(2)), Some(Head { epoch: OTHER_EPOCH, seq: 7 }));
    }
}

/// Conformance case: see the name.
pub fn appends_go_on_after_reopening(storage: &impl Storage) {
    let mut expected = put_nine(&storage.open());
    for first in 10..15 {
        let log = storage.open();
        expected.push(frame(first, 1, 60, 5));
        assert_eq!(put(&log, frame(first, 1, 60, 5)), Appended::Committed(head(first)));
        submit(&log, vec![append(session(first), EPOCH, frame(1, 1, 10, 0))]);
        assert_eq!(read_all(&log, session(1)), expected);
    }
    assert_eq!(storage.open().list().expect("listable").len(), 6);
}

/// Conformance case: see the name.
pub fn the_identical_frame_is_known_after_reopening(storage: &impl Storage) {
    let frames = put_nine(&storage.open());
    let log = storage.open();
    assert_eq!(put(&log, frames[2].clone()), Appended::Committed(head(9)));
    assert_eq!(put(&log, frame(5, 5, 40, 99)), Appended::Conflict(Some(head(9))));
    assert_eq!(read_all(&log, session(1)), frames);
}

/// Conformance case: see the name.
pub fn trims_are_kept_over_reopening(storage: &impl Storage) {
    let frames = {
        let log = storage.open();
        submit(&log, vec![append(session(2), EPOCH, frame(1, 4, 10, 0))]);
        log.trim(session(2), u64::MAX).expect("trimmable");
        let frames = put_nine(&log);
        log.trim(session(1), 4).expect("trimmable");
        frames
    };
    let log = storage.open();
    assert_eq!(read_all(&log, session(1)), frames[1..]);
    assert_eq!(log.read(session(1), 3, NO_LIMIT).err(), Some(LogError::Trimmed { first_seq: 4 }));
    assert_eq!(log.head(session(2)), Some(head(4)));
    let reading = log.read(session(2), 5, NO_LIMIT).expect("readable");
    assert_eq!((reading.first_seq, reading.frames.len()), (5, 0));
    let next = append(session(2), EPOCH, frame(5, 1, 10, 0));
    assert_eq!(submit(&log, vec![next]), [Appended::Committed(head(5))]);
}

/// Conformance case: see the name.
pub fn archived_logs_are_there_after_reopening(storage: &impl Storage) {
    let (frames, before) = {
        let log = storage.open();
        let mut other = append(session(2), OTHER_EPOCH, frame(1, 7, 2000, 4));
        other.summary = Some(Bytes::from_static(b"two"));
        submit(&log, vec![other]);
        let frames = put_nine(&log);
        log.archive(session(1), NOW).expect("archivable");
        log.archive(session(2), NOW).expect("archivable");
        (frames, listed(&log))
    };
    for _ in 0..2 {
        let log = storage.open();
        assert_eq!(listed(&log), before);
        assert!(log.list().expect("listable").iter().all(|log| log.archived));
        assert_eq!(read_all(&log, session(1)), frames);
        assert!(matches!(put(&log, frame(10, 1, 10, 0)), Appended::Unavailable(_)));
    }
}

/// Conformance case: see the name.
pub fn deleted_logs_stay_deleted_after_reopening(storage: &impl Storage) {
    {
        let log = storage.open();
        for n in 1..=4 {
            submit(&log, vec![append(session(n), EPOCH, frame(1, 1, 10, n as u8))]);
        }
        log.archive(session(2), NOW).expect("archivable");
        log.archive(session(3), NOW).expect("archivable");
        for n in 1..=3 {
            log.delete(session(n)).expect("deletable");
        }
        let again = append(session(3), OTHER_EPOCH, frame(1, 1, 10, 9));
        submit(&log, vec![again]);
    }
    let log = storage.open();
    let found: Vec<_> = listed(&log).into_iter().map(|(session, head, _)| (session, head)).collect();
    assert_eq!(found, [(session(3), Head { epoch: OTHER_EPOCH, seq: 1 }), (session(4), head(1))]);
    assert_eq!(read_all(&log, session(3)), [frame(1, 1, 10, 9)]);
}

/// Conformance case: see the name.
pub fn what_close_answered_is_there_after_reopening(storage: &impl Storage) {
    {
        let log = storage.open();
        put_nine(&log);
        let told = submit_later(&log, vec![append(session(1), EPOCH, frame(10, 1, 10, 0))]);
        assert_eq!(log.close(), Ok(()));
        assert_eq!(outcomes(&told), [Appended::Committed(head(10))]);
    }
    assert_eq!(storage.open().head(session(1)), Some(head(10)));
}
