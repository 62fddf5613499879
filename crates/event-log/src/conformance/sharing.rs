//! Concurrent writers.

use std::collections::HashMap;

use super::{EPOCH, Storage, append, frame, head, read_all, session, submit};
use crate::{Appended, EventLog};

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
