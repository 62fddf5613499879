//! Trimming, archiving and deleting.

use std::time::Duration;

use agentbench_protocol::Head;

use super::{
    EPOCH, NO_LIMIT, NOW, OTHER_EPOCH, Storage, append, frame, head, not_found, put, put_nine, read_all,
    session, submit,
};
use crate::{Appended, EventLog, LogError, ReadLimit, Retention};

/// Conformance case: see the name.
pub fn trim_removes_whole_frames(storage: &impl Storage) {
    let log = storage.open();
    let frames = put_nine(&log);
    assert_eq!(log.trim(session(1), 1), Ok(1));
    assert_eq!(log.trim(session(1), 3), Ok(1));
    assert_eq!(log.trim(session(1), 4), Ok(4));
    assert_eq!(log.trim(session(1), 2), Ok(4), "trimming less than before changes nothing");
    assert_eq!(log.trim(session(1), 9), Ok(5));
    for from in 1..=4 {
        let read = log.read(session(1), from, NO_LIMIT);
        assert_eq!(read.err(), Some(LogError::Trimmed { first_seq: 5 }));
    }
    let reading = log.read(session(1), 5, NO_LIMIT).expect("readable");
    assert_eq!((reading.first_seq, reading.frames), (5, frames[2..].to_vec()));
    assert_eq!(put(&log, frame(10, 1, 10, 0)), Appended::Committed(head(10)));
}

/// Conformance case: see the name.
pub fn trim_of_everything_leaves_the_head(storage: &impl Storage) {
    let log = storage.open();
    put_nine(&log);
    assert_eq!(log.trim(session(1), u64::MAX), Ok(10));
    assert_eq!(log.read(session(1), 9, NO_LIMIT).err(), Some(LogError::Trimmed { first_seq: 10 }));
    let reading = log.read(session(1), 10, NO_LIMIT).expect("readable");
    assert_eq!((reading.head, reading.first_seq, reading.frames.len()), (head(9), 10, 0));
    assert_eq!(put(&log, frame(10, 2, 10, 0)), Appended::Committed(head(11)));
    assert_eq!(read_all(&log, session(1)), [frame(10, 2, 10, 0)]);
    assert_eq!(log.trim(session(1), u64::MAX), Ok(12));
}

/// Conformance case: see the name.
pub fn trim_is_refused_for_archived_and_missing_logs(storage: &impl Storage) {
    let log = storage.open();
    assert!(not_found(&log.trim(session(1), 1)));
    put_nine(&log);
    log.archive(session(1), NOW).expect("archivable");
    assert!(matches!(log.trim(session(1), 4), Err(LogError::Refused(_))));
}

/// Conformance case: see the name.
pub fn an_archived_log_can_be_read_and_not_appended_to(storage: &impl Storage) {
    let log = storage.open();
    let frames = put_nine(&log);
    log.archive(session(1), NOW).expect("archivable");
    assert_eq!(log.head(session(1)), Some(head(9)));
    assert_eq!(read_all(&log, session(1)), frames);
    for from in 1..=9 {
        let at = frames.partition_point(|frame| frame.last_seq() < from);
        let limit = ReadLimit { bytes: 0, events: 0 };
        let reading = log.read(session(1), from, limit).expect("readable");
        assert_eq!((reading.head, reading.frames), (head(9), frames[at..=at].to_vec()));
    }
    assert!(log.read(session(1), 10, NO_LIMIT).expect("readable").frames.is_empty());
    assert!(matches!(put(&log, frame(10, 1, 10, 0)), Appended::Unavailable(_)));
    assert_eq!(put(&log, frames[2].clone()), Appended::Committed(head(9)));
    let other = append(session(1), OTHER_EPOCH, frame(1, 1, 10, 0));
    assert_eq!(submit(&log, vec![other]), [Appended::Conflict(Some(head(9)))]);
    assert_eq!(put(&log, frame(8, 1, 10, 0)), Appended::Conflict(Some(head(9))));
    assert_eq!(log.head(session(1)), Some(head(9)));
}

/// Conformance case: see the name.
pub fn archiving_twice_is_harmless(storage: &impl Storage) {
    let log = storage.open();
    let frames = put_nine(&log);
    assert_eq!(log.archive(session(1), NOW), Ok(()));
    assert_eq!(log.archive(session(1), NOW), Ok(()));
    assert_eq!(read_all(&log, session(1)), frames);
    assert_eq!(log.list().expect("listable").len(), 1);
}

/// Conformance case: see the name.
pub fn a_trimmed_log_is_archived_as_it_is(storage: &impl Storage) {
    let log = storage.open();
    let frames = put_nine(&log);
    log.trim(session(1), 4).expect("trimmable");
    log.archive(session(1), NOW).expect("archivable");
    assert_eq!(read_all(&log, session(1)), frames[1..]);
    assert_eq!(log.read(session(1), 3, NO_LIMIT).err(), Some(LogError::Trimmed { first_seq: 4 }));

    let whole = append(session(2), EPOCH, frame(1, 4, 10, 0));
    submit(&log, vec![whole]);
    assert_eq!(log.trim(session(2), u64::MAX), Ok(5));
    log.archive(session(2), NOW).expect("archivable");
    let reading = log.read(session(2), 5, NO_LIMIT).expect("readable");
    assert_eq!((reading.head, reading.first_seq, reading.frames.len()), (head(4), 5, 0));
}

/// Conformance case: see the name.
pub fn archive_of_a_log_that_is_not_there_is_not_found(storage: &impl Storage) {
    assert!(not_found(&storage.open().archive(session(1), NOW)));
}

/// Conformance case: see the name.
pub fn a_deleted_log_is_gone(storage: &impl Storage) {
    let log = storage.open();
    put_nine(&log);
    log.delete(session(1)).expect("deletable");
    assert_eq!(log.head(session(1)), None);
    assert!(not_found(&log.read(session(1), 1, NO_LIMIT)));
    assert!(log.list().expect("listable").is_empty());
    assert_eq!(put(&log, frame(10, 1, 10, 0)), Appended::Conflict(None));
}

/// Conformance case: see the name.
pub fn an_archived_log_can_be_deleted(storage: &impl Storage) {
    let log = storage.open();
    put_nine(&log);
    log.archive(session(1), NOW).expect("archivable");
    log.delete(session(1)).expect("deletable");
    assert_eq!(log.head(session(1)), None);
    assert!(not_found(&log.read(session(1), 1, NO_LIMIT)));
    assert!(log.list().expect("listable").is_empty());
}

/// Conformance case: see the name.
pub fn a_deleted_log_can_be_created_again_in_another_epoch(storage: &impl Storage) {
    let log = storage.open();
    for (n, archived) in [(1, false), (2, true)] {
        submit(&log, vec![append(session(n), EPOCH, frame(1, 9, 10, 0))]);
        if archived {
            log.archive(session(n), NOW).expect("archivable");
        }
        log.delete(session(n)).expect("deletable");
        let new = frame(1, 2, 10, 77);
        let again = append(session(n), OTHER_EPOCH, new.clone());
        assert_eq!(submit(&log, vec![again]), [Appended::Committed(Head { epoch: OTHER_EPOCH, seq: 2 })]);
        assert_eq!(read_all(&log, session(n)), [new]);
    }
}

/// Conformance case: see the name.
pub fn a_deleted_log_does_not_come_back_by_an_append_of_before(storage: &impl Storage) {
    let log = storage.open();
    for (n, archived) in [(1, false), (2, true)] {
        let first = append(session(n), EPOCH, frame(1, 3, 10, 0));
        let second = append(session(n), EPOCH, frame(4, 1, 10, 0));
        submit(&log, vec![first.clone()]);
        if archived {
            log.archive(session(n), NOW).expect("archivable");
        }
        log.delete(session(n)).expect("deletable");
        assert_eq!(submit(&log, vec![first, second]), [Appended::Conflict(None), Appended::Conflict(None)]);
        assert_eq!(log.head(session(n)), None);
    }
}

/// Conformance case: see the name.
pub fn retention_removes_the_oldest_archived_logs(storage: &impl Storage) {
    let log = storage.open();
    for n in 1..=5 {
        submit(&log, vec![append(session(n), EPOCH, frame(1, 2, 100, 0))]);
    }
    for n in (1..=4).rev() {
        log.archive(session(n), NOW + n * 1_000).expect("archivable");
    }
    let limit = |age, bytes, at_most| Retention {
        max_age: Some(Duration::from_millis(age)),
        max_bytes: bytes,
        at_most,
    };
    let now = NOW + 4_000;
    assert_eq!(log.retain(now, limit(3_000, None, 0)), Ok(vec![]), "not older than three seconds");
    assert_eq!(log.retain(now, limit(1_500, None, 1)), Ok(vec![(session(1), EPOCH)]));
    assert_eq!(log.retain(now, limit(1_500, Some(u64::MAX), 0)), Ok(vec![(session(2), EPOCH)]));
    assert_eq!(log.head(session(2)), None);
    assert_eq!(log.retain(now, Retention::default()), Ok(vec![]), "no limit");
    assert_eq!(log.retain(0, limit(0, Some(0), 0)), Ok(vec![(session(3), EPOCH), (session(4), EPOCH)]));
    assert_eq!(log.retain(u64::MAX, limit(0, Some(0), 0)), Ok(vec![]), "a live log is never removed");
    assert_eq!(log.head(session(5)), Some(head(2)));
}

/// Conformance case: see the name.
pub fn delete_of_a_log_that_is_not_there_is_not_found(storage: &impl Storage) {
    let log = storage.open();
    assert!(not_found(&log.delete(session(1))));
    put_nine(&log);
    log.delete(session(1)).expect("deletable");
    assert!(not_found(&log.delete(session(1))));
}
