//! Appends: what is committed, what conflicts, and what is recognized as a repeat.

use agentbench_protocol::Head;

use super::{EPOCH, OTHER_EPOCH, Storage, append, frame, head, put, put_nine, read_all, session, submit};
use crate::{Appended, EventLog, Health};

/// Conformance case: see the name.
pub fn first_append_creates_the_log(storage: &impl Storage) {
    let log = storage.open();
    assert_eq!(log.head(session(1)), None);
    assert_eq!(put(&log, frame(1, 2, 10, 0)), Appended::Committed(head(2)));
    assert_eq!(log.head(session(1)), Some(head(2)));
    assert_eq!(log.health(), Health::Writable);
}

/// Conformance case: see the name.
pub fn appends_follow_one_another_without_a_hole(storage: &impl Storage) {
    let log = storage.open();
    let frames = put_nine(&log);
    assert_eq!(log.head(session(1)), Some(head(9)));
    assert_eq!(read_all(&log, session(1)), frames);
    let mut next = 1;
    for frame in read_all(&log, session(1)) {
        for (seq, record) in frame.records() {
            assert_eq!(seq, next);
            assert_eq!(record.digest, seq);
            next += 1;
        }
    }
    assert_eq!(next, 10);
}

/// Conformance case: see the name.
pub fn append_to_a_log_that_is_not_there_conflicts(storage: &impl Storage) {
    let log = storage.open();
    assert_eq!(put(&log, frame(4, 1, 10, 0)), Appended::Conflict(None));
    assert_eq!(log.head(session(1)), None);
}

/// Conformance case: see the name.
pub fn append_behind_the_head_conflicts(storage: &impl Storage) {
    let log = storage.open();
    put_nine(&log);
    assert_eq!(put(&log, frame(7, 3, 10, 7)), Appended::Conflict(Some(head(9))));
    assert_eq!(put(&log, frame(7, 30, 10, 7)), Appended::Conflict(Some(head(9))));
    assert_eq!(log.head(session(1)), Some(head(9)));
}

/// Conformance case: see the name.
pub fn append_past_the_head_conflicts(storage: &impl Storage) {
    let log = storage.open();
    let frames = put_nine(&log);
    assert_eq!(put(&log, frame(11, 1, 10, 0)), Appended::Conflict(Some(head(9))));
    assert_eq!(read_all(&log, session(1)), frames);
}

/// Conformance case: see the name.
pub fn append_in_another_epoch_conflicts(storage: &impl Storage) {
    let log = storage.open();
    put_nine(&log);
    let other = append(session(1), OTHER_EPOCH, frame(10, 1, 10, 0));
    assert_eq!(submit(&log, vec![other]), [Appended::Conflict(Some(head(9)))]);
}

/// Conformance case: see the name.
pub fn creating_a_log_that_exists_conflicts(storage: &impl Storage) {
    let log = storage.open();
    put_nine(&log);
    let other = append(session(1), OTHER_EPOCH, frame(1, 3, 40, 1));
    assert_eq!(submit(&log, vec![other]), [Appended::Conflict(Some(head(9)))]);
    assert_eq!(put(&log, frame(1, 1, 10, 9)), Appended::Conflict(Some(head(9))));
}

/// Conformance case: see the name.
pub fn the_identical_frame_sent_again_is_committed_once(storage: &impl Storage) {
    let log = storage.open();
    let frames = put_nine(&log);
    assert_eq!(put(&log, frames[2].clone()), Appended::Committed(head(9)));
    assert_eq!(read_all(&log, session(1)), frames);
}

/// Conformance case: see the name.
pub fn an_older_frame_sent_again_is_committed_once(storage: &impl Storage) {
    let log = storage.open();
    let frames = put_nine(&log);
    for frame in &frames {
        assert_eq!(put(&log, frame.clone()), Appended::Committed(head(9)), "the log ends where it ends");
    }
    assert_eq!(read_all(&log, session(1)), frames);
}

/// Conformance case: see the name.
pub fn the_identical_frame_twice_in_one_submit_is_committed_once(storage: &impl Storage) {
    let log = storage.open();
    let one = append(session(1), EPOCH, frame(1, 2, 10, 0));
    let other = append(session(1), EPOCH, frame(1, 2, 10, 9));
    let outcomes = submit(&log, vec![one.clone(), one, other]);
    assert_eq!(outcomes[..2], [Appended::Committed(head(2)), Appended::Committed(head(2))]);
    assert_eq!(outcomes[2], Appended::Conflict(Some(head(2))));
    assert_eq!(read_all(&log, session(1)).len(), 1);
}

/// Conformance case: see the name.
pub fn another_frame_at_the_same_head_conflicts(storage: &impl Storage) {
    let log = storage.open();
    let frames = put_nine(&log);
    let mut other = frames[2].clone();
    assert_eq!(other.count(), 5);
    other = frame(other.first_seq(), 5, 40, 99);
    assert_eq!(put(&log, other), Appended::Conflict(Some(head(9))));
    assert_eq!(put(&log, frame(5, 4, 40, 3)), Appended::Conflict(Some(head(9))));
    assert_eq!(read_all(&log, session(1)), frames);
}

/// Conformance case: see the name.
pub fn one_submit_holds_many_sessions(storage: &impl Storage) {
    let log = storage.open();
    let appends = (0..500).map(|n| append(session(n), EPOCH, frame(1, 2, 100, n as u8))).collect();
    let outcomes = submit(&log, appends);
    assert_eq!(outcomes, vec![Appended::Committed(head(2)); 500]);
    for n in 0..500 {
        assert_eq!(read_all(&log, session(n)), [frame(1, 2, 100, n as u8)]);
    }
}

/// Conformance case: see the name.
pub fn outcomes_come_in_the_order_of_the_appends(storage: &impl Storage) {
    let log = storage.open();
    put_nine(&log);
    let appends = vec![
        append(session(2), EPOCH, frame(1, 4, 10, 0)),
        append(session(1), EPOCH, frame(3, 1, 10, 0)),
        append(session(3), EPOCH, frame(5, 1, 10, 0)),
        append(session(1), EPOCH, frame(10, 1, 10, 0)),
        append(session(4), OTHER_EPOCH, frame(1, 1, 10, 0)),
    ];
    let outcomes = submit(&log, appends);
    assert_eq!(outcomes[0], Appended::Committed(head(4)));
    // The head may be reported as before or after the rest of the submit.
    assert!(matches!(outcomes[1], Appended::Conflict(Some(Head { seq: 9 | 10, .. }))), "{outcomes:?}");
    assert_eq!(outcomes[2], Appended::Conflict(None));
    assert_eq!(outcomes[3], Appended::Committed(head(10)));
    assert_eq!(outcomes[4], Appended::Committed(Head { epoch: OTHER_EPOCH, seq: 1 }));
    assert_eq!(outcomes.len(), 5);
}

/// Conformance case: see the name.
pub fn an_empty_submit_is_answered(storage: &impl Storage) {
    assert_eq!(submit(&storage.open(), Vec::new()), []);
}
