//! Every log is listed and found.

use bytes::Bytes;

use super::{
    EPOCH, NOW, Storage, append, frame, head, listed, not_found, own, put, read_all, session, submit,
};
use crate::{Appended, EventLog};

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
    log.archive(session(2), NOW).expect("archivable");
    assert_eq!(listed(&log), [(1, 2, "first 1"), (2, 3, "second"), (3, 4, "first 3")].map(own));
    let archived: Vec<_> = log.list().expect("listable").into_iter().filter(|log| log.archived).collect();
    assert_eq!(archived.len(), 1);
    assert_eq!(archived[0].session, session(2));
}

/// Conformance case: see the name.
pub fn one_log_is_found_as_it_is_listed(storage: &impl Storage) {
    let log = storage.open();
    assert!(not_found(&log.find(session(1))));
    let mut first = append(session(1), EPOCH, frame(1, 3, 10, 0));
    first.summary = Some(Bytes::from_static(b"one"));
    submit(&log, vec![first, append(session(2), EPOCH, frame(1, 1, 10, 0))]);
    for archived in [false, true] {
        let found = log.find(session(1)).expect("it is there");
        assert_eq!((found.session, found.head, &found.summary[..]), (session(1), head(3), &b"one"[..]));
        assert_eq!(found.archived, archived);
        log.archive(session(1), NOW).expect("archivable");
    }
    log.delete(session(1)).expect("deletable");
    assert!(not_found(&log.find(session(1))));
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
