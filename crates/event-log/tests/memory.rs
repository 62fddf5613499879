//! The memory engine: the conformance suite and the faults that can be put in.

use agentbench_event_log::conformance::{
    SharedStorage, Storage, append, frame, outcomes, session, submit, submit_later,
};
use agentbench_event_log::memory::MemoryLog;
use agentbench_event_log::{Append, Appended, EventLog, Health, LogError, ReadLimit};
use agentbench_protocol::{Epoch, Head};

const EPOCH: Epoch = Epoch::from_u64(7);
const NO_LIMIT: ReadLimit = ReadLimit { bytes: usize::MAX, events: usize::MAX };

struct InMemory;

impl Storage for InMemory {
    type Log = MemoryLog;

    fn open(&self) -> MemoryLog {
        MemoryLog::new()
    }

    fn lose_outcome(&self, log: &MemoryLog, is_stored: bool) {
        let lost = Appended::Unknown("no answer".into());
        if is_stored { log.write_but_answer(lost) } else { log.fail_next(lost) }
    }
}

impl SharedStorage for InMemory {
    fn another_writer(&self, log: &MemoryLog) -> MemoryLog {
        log.another_writer()
    }

    fn settle(&self, _: &MemoryLog) {}
}

mod contract {
    use super::InMemory;

    agentbench_event_log::conformance_tests!(InMemory);
    agentbench_event_log::shared_conformance_tests!(InMemory);
}

fn next(seq: u64) -> Vec<Append> {
    vec![append(session(1), EPOCH, frame(seq, 1, 10, 0))]
}

fn committed(seq: u64) -> [Appended; 1] {
    [Appended::Committed(Head { epoch: EPOCH, seq })]
}

#[test]
fn a_failed_append_writes_nothing() {
    let log = MemoryLog::new();
    log.fail_next(Appended::Full);
    log.fail_next(Appended::Unknown("no answer".into()));
    assert_eq!(submit(&log, next(1)), [Appended::Full]);
    assert_eq!(submit(&log, next(1)), [Appended::Unknown("no answer".into())]);
    assert_eq!(log.head(session(1)), None);
    assert_eq!(submit(&log, next(1)), committed(1));
}

#[test]
fn a_lost_answer_is_found_by_sending_again() {
    let log = MemoryLog::new();
    log.write_but_answer(Appended::Unknown("no answer".into()));
    assert_eq!(submit(&log, next(1)), [Appended::Unknown("no answer".into())]);
    assert_eq!(submit(&log, next(1)), committed(1));
    assert_eq!(log.read(session(1), 1, NO_LIMIT).unwrap().frames.len(), 1);
}

#[test]
fn held_appends_are_committed_in_order_on_release() {
    let log = MemoryLog::new();
    log.hold();
    let told = [submit_later(&log, next(1)), submit_later(&log, next(2))];
    assert_eq!((log.held(), log.head(session(1))), (2, None));
    log.release();
    assert_eq!(outcomes(&told[0]), committed(1));
    assert_eq!(outcomes(&told[1]), committed(2));
    assert_eq!(submit(&log, next(3)), committed(3));
}

#[test]
fn health_decides_about_appends() {
    let log = MemoryLog::new();
    log.set_health(Health::Full);
    assert_eq!((submit(&log, next(1)), log.health()), (vec![Appended::Full], Health::Full));
    log.set_health(Health::Failed("broken".into()));
    assert_eq!(submit(&log, next(1)), [Appended::Unavailable("broken".into())]);
    log.set_health(Health::Writable);
    assert_eq!(submit(&log, next(1)), committed(1));
}

#[test]
fn damaged_events_are_not_served_and_the_others_are() {
    let log = MemoryLog::new();
    for seq in 1..=5 {
        submit(&log, next(seq));
    }
    log.damage(session(1), 3, 3);
    assert_eq!(log.read(session(1), 1, NO_LIMIT).unwrap().frames.len(), 2);
    let damaged = log.read(session(1), 3, NO_LIMIT);
    assert!(matches!(damaged, Err(LogError::Damaged { from: 3, to: 3, .. })), "{damaged:?}");
    assert_eq!(log.read(session(1), 4, NO_LIMIT).unwrap().frames.len(), 2);
    assert!(matches!(log.archive(session(1), 0), Err(LogError::Damaged { .. })));
}

#[test]
fn a_done_may_submit_again() {
    let log = std::sync::Arc::new(MemoryLog::new());
    let (told, answers) = std::sync::mpsc::channel();
    let again = log.clone();
    log.submit(
        next(1),
        Box::new(move |first| {
            told.send(first).unwrap();
            again.submit(next(2), Box::new(move |second| told.send(second).unwrap()));
        }),
    );
    assert_eq!(answers.recv().unwrap(), committed(1));
    assert_eq!(answers.recv().unwrap(), committed(2));
}
