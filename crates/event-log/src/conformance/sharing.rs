//! Several writers: whoever was second is told, reads on, and appends after that; and outcomes that get lost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::{
    EPOCH, NO_LIMIT, NOW, OTHER_EPOCH, SharedStorage, Storage, append, frame, head, put, put_nine, read_all,
    session, submit,
};
use crate::{Appended, Change, EventLog, Frame};

/// Conformance case: see the name.
pub fn sessions_are_appended_to_from_many_threads(storage: &impl Storage) {
    let log = storage.open();
    std::thread::scope(|scope| {
        for n in 0..8 {
            let log = &log;
            scope.spawn(move || {
                for first in (1..=600).step_by(3) {
                    let one = append(session(n), EPOCH, frame(first, 3, 50, n as u8));
                    assert_eq!(submit(log, vec![one]), [Appended::Committed(head(first + 2))]);
                }
            });
        }
    });
    for n in 0..8 {
        let expected: Vec<_> = (1..=600).step_by(3).map(|first| frame(first, 3, 50, n as u8)).collect();
        assert_eq!(read_all(&log, session(n)), expected);
    }
}

/// Conformance case: see the name.
pub fn two_writers_of_one_session_cannot_fork_it(storage: &impl Storage) {
    let log = storage.open();
    std::thread::scope(|scope| {
        for mark in 1..=4 {
            let log = &log;
            scope.spawn(move || {
                let mut committed = 0;
                while committed < 50 {
                    let first = log.head(session(1)).map_or(1, |head| head.seq + 1);
                    let one = append(session(1), EPOCH, frame(first, 1, 20, mark));
                    match submit(log, vec![one]).remove(0) {
                        Appended::Committed(at) => {
                            assert_eq!(at, head(first));
                            committed += 1;
                        }
                        Appended::Conflict(Some(at)) => assert!(at.seq >= first),
                        // Lost the race for the first frame.
                        other => panic!("{other:?}"),
                    }
                }
            });
        }
    });
    let mut of = HashMap::new();
    let frames = read_all(&log, session(1));
    for (n, stored) in frames.iter().enumerate() {
        assert_eq!(stored.first_seq(), n as u64 + 1);
        let mark = stored.records().next().expect("one record").1.body[19];
        *of.entry(mark).or_insert(0) += 1;
    }
    assert_eq!(frames.len(), 200);
    assert!(of.values().all(|count| *count == 50), "{of:?}");
}

/// Conformance case: see the name.
pub fn a_writer_that_was_second_reads_and_goes_on(storage: &impl Storage) {
    let log = storage.open();
    put_nine(&log);
    let theirs = frame(10, 2, 20, 1);
    let ours = frame(10, 3, 20, 2);
    assert_eq!(put(&log, theirs.clone()), Appended::Committed(head(11)));
    assert_eq!(put(&log, ours.clone()), Appended::Conflict(Some(head(11))));
    assert_eq!(log.read(session(1), 10, NO_LIMIT).expect("readable").frames, std::slice::from_ref(&theirs));
    let again = frame(12, 3, 20, 2);
    assert_eq!(put(&log, again.clone()), Appended::Committed(head(14)));
    assert_eq!(put(&log, ours), Appended::Conflict(Some(head(14))), "it stays refused");
    assert_eq!(read_all(&log, session(1))[3..], [theirs, again]);
}

/// Conformance case: see the name.
pub fn a_frame_whose_outcome_was_lost_is_there_once_when_sent_again(storage: &impl Storage) {
    for (n, is_stored) in [(1, true), (2, false)] {
        let mut log = storage.open();
        let put =
            |log: &_, frame: &Frame| submit(log, vec![append(session(n), EPOCH, frame.clone())]).remove(0);
        let (first, lost, next) = (frame(1, 9, 40, 1), frame(10, 2, 20, 1), frame(12, 1, 20, 2));
        assert_eq!(put(&log, &first), Appended::Committed(head(9)));
        storage.lose_outcome(&log, is_stored);
        assert!(matches!(put(&log, &lost), Appended::Unknown(_)));
        log = storage.recover(log);
        assert_eq!(put(&log, &lost), Appended::Committed(head(11)));
        assert_eq!(put(&log, &next), Appended::Committed(head(12)));
        assert_eq!(put(&log, &lost), Appended::Committed(head(12)), "with the head of now");
        assert_eq!(read_all(&log, session(n)), [first, lost, next]);
    }
}

type Changes = Arc<Mutex<Vec<Change>>>;

fn observe(log: &impl EventLog) -> Changes {
    let seen = Changes::default();
    let sink = Arc::clone(&seen);
    log.observe(Box::new(move |change| {
        sink.lock().unwrap_or_else(PoisonError::into_inner).push(change.clone());
    }));
    seen
}

fn take(changes: &Changes) -> Vec<Change> {
    std::mem::take(&mut changes.lock().unwrap_or_else(PoisonError::into_inner))
}

fn frames_of(changes: &[Change]) -> Vec<Frame> {
    let frame = |change: &Change| match change {
        Change::Committed { head: at, frame, .. } => {
            assert_eq!(*at, head(frame.last_seq()));
            Some(frame.clone())
        }
        Change::Archived(_) | Change::Removed(..) => None,
    };
    changes.iter().filter_map(frame).collect()
}

/// Conformance case: see the name.
pub fn writers_observe_the_commits_of_others_in_order(storage: &impl SharedStorage) {
    let ours = storage.open();
    let theirs = storage.another_writer(&ours);
    assert!(ours.is_shared() && theirs.is_shared());
    let (seen_by_us, seen_by_them) = (observe(&ours), observe(&theirs));
    let frames = put_nine(&theirs);
    let mut first = append(session(2), EPOCH, frame(1, 1, 10, 0));
    first.summary = Some(Bytes::from_static(b"two"));
    submit(&ours, vec![first]);
    storage.settle(&ours);
    assert_eq!(frames_of(&take(&seen_by_us)), frames, "what others have done, and nothing of its own");
    let changes = take(&seen_by_them);
    let [Change::Committed { summary: Some(summary), .. }] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!(&summary[..], b"two");
    assert_eq!(put(&ours, frame(10, 1, 10, 7)), Appended::Committed(head(10)), "either may go on");
    assert_eq!(put(&theirs, frame(10, 1, 10, 8)), Appended::Conflict(Some(head(10))));
    storage.settle(&ours);
    assert_eq!(frames_of(&take(&seen_by_them)), [frame(10, 1, 10, 7)]);
    assert!(take(&seen_by_us).is_empty(), "what was refused is no change");
}

/// Conformance case: see the name.
pub fn a_writer_observes_its_own_frame_if_the_outcome_was_lost(storage: &impl SharedStorage) {
    let ours = storage.open();
    let seen = observe(&ours);
    put_nine(&ours);
    storage.lose_outcome(&ours, true);
    let lost = frame(10, 1, 10, 0);
    assert!(matches!(put(&ours, lost.clone()), Appended::Unknown(_)));
    storage.settle(&ours);
    assert_eq!(frames_of(&take(&seen)), [lost]);
}

/// Conformance case: see the name.
pub fn writers_observe_what_others_archive_and_remove(storage: &impl SharedStorage) {
    let ours = storage.open();
    let theirs = storage.another_writer(&ours);
    put_nine(&ours);
    let seen = observe(&ours);
    theirs.archive(session(1), NOW).expect("archivable");
    theirs.archive(session(1), NOW).expect("harmless");
    theirs.delete(session(1)).expect("deletable");
    ours.delete(session(1)).expect_err("gone");
    submit(&theirs, vec![append(session(1), OTHER_EPOCH, frame(1, 1, 10, 0))]);
    storage.settle(&ours);
    let changes = take(&seen);
    let [Change::Archived(archived), Change::Removed(removed, EPOCH), Change::Committed { head, .. }] =
        &changes[..]
    else {
        panic!("{changes:?}")
    };
    assert_eq!([archived, removed], [&session(1); 2]);
    assert_eq!(head.epoch, OTHER_EPOCH, "a new life begins");
}
