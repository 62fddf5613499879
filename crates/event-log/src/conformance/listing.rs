//! Every log is listed, and observers are called for every commit.

use std::sync::{Arc, Mutex};

use agentbench_protocol::{Head, SessionId};
use bytes::Bytes;

use super::{EPOCH, Storage, append, frame, head, listed, own, put, put_nine, read_all, session, submit};
use crate::{Appended, EventLog, Frame};

/// Conformance case: see the name.
pub fn list_gives_every_log_with_its_last_summary(storage: &impl Storage) {
    let log = storage.open();
    assert!(log.list().expect("listable").is_empty());
    for n in 1..=3 {
        let mut first = append(session(n), EPOCH, frame(1, 1, 10, 0));
        first.summary = Some(Bytes::from(format!("first {n}")));
        let mut second = append(session(n), EPOCH, frame(2, n as usize, 10, 0));
        second.summary = (n == 2).then(|| Bytes::from_static(b"second"));
        for append in [first, second] {
            assert!(matches!(submit(&log, vec![append])[..], [Appended::Committed(_)]));
        }
    }
    put(&log, frame(7, 1, 10, 0));
    assert_eq!(listed(&log), [(1, 2, "first 1"), (2, 3, "second"), (3, 4, "first 3")].map(own));
    log.archive(session(2)).expect("archivable");
    assert_eq!(listed(&log), [(1, 2, "first 1"), (2, 3, "second"), (3, 4, "first 3")].map(own));
    let archived: Vec<_> = log.list().expect("listable").into_iter().filter(|log| log.archived).collect();
    assert_eq!(archived.len(), 1);
    assert_eq!(archived[0].session, session(2));
}

/// Conformance case: see the name.
pub fn observers_see_commits_in_order_and_before_the_outcome(storage: &impl Storage) {
    let log = storage.open();
    put_nine(&log);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = seen.clone();
    log.observe(Box::new(move |session, head, frame| {
        sink.lock().expect("not poisoned").push((session, head, frame.clone()));
    }));
    let mut expected = Vec::new();
    for first in (10..100).step_by(2) {
        let appends = vec![append(session(1), EPOCH, frame(first, 2, 10, 0)), {
            let first = first - 9;
            append(session(2), EPOCH, frame(first, 2, 10, 0))
        }];
        for append in &appends {
            expected.push((append.session, head(append.frame.last_seq()), append.frame.clone()));
        }
        submit(&log, appends);
        assert_eq!(seen.lock().expect("not poisoned").len(), expected.len());
    }
    let of = |list: &[(SessionId, Head, Frame)], whose| -> Vec<_> {
        list.iter().filter(|(session, ..)| *session == whose).cloned().collect()
    };
    let seen = seen.lock().expect("not poisoned");
    for whose in [session(1), session(2)] {
        assert_eq!(of(&seen, whose), of(&expected, whose));
    }
}

/// Conformance case: see the name.
pub fn observers_do_not_see_what_was_not_committed(storage: &impl Storage) {
    let log = storage.open();
    let frames = put_nine(&log);
    let seen = Arc::new(Mutex::new(0));
    let sink = seen.clone();
    log.observe(Box::new(move |_, _, _| *sink.lock().expect("not poisoned") += 1));
    put(&log, frame(20, 1, 10, 0));
    put(&log, frame(9, 1, 10, 0));
    put(&log, frames[2].clone());
    assert_eq!(*seen.lock().expect("not poisoned"), 0);
    put(&log, frame(10, 1, 10, 0));
    assert_eq!(*seen.lock().expect("not poisoned"), 1);
}

/// Conformance case: see the name.
pub fn a_hundred_thousand_sessions_are_listed(storage: &impl Storage) {
    const SESSIONS: u64 = 100_000;
    let log = storage.open();
    for first in (0..SESSIONS).step_by(1000) {
        let appends = (first..first + 1000).map(|n| append(session(n), EPOCH, frame(1, 1, 20, 0))).collect();
        assert!(submit(&log, appends).iter().all(|outcome| *outcome == Appended::Committed(head(1))));
    }
    let mut list = listed(&log);
    assert_eq!(list.len() as u64, SESSIONS);
    list.dedup();
    assert_eq!(list.len() as u64, SESSIONS);
    assert_eq!(list[777].0, session(777));
    let last = session(SESSIONS - 1);
    assert_eq!(read_all(&log, last), [frame(1, 1, 20, 0)]);
}
