//! The cases that every engine passes: each promise of [`EventLog`]'s text has one, under its own name.
//!
//! An engine's tests implement [`Storage`] and call [`conformance_tests!`](crate::conformance_tests) (and
//! [`durable_conformance_tests!`](crate::durable_conformance_tests) if logs outlive the engine): each case becomes a
//! test. The cases use the contract only, so what they say holds for whoever writes.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentbench_protocol::{Epoch, Head, Seq, SessionId};
use bytes::Bytes;

use crate::{
    Append, Appended, EventLog, Frame, FrameBuilder, Health, Kind, LogError, ReadLimit, Reading, Record,
};

/// Where a case gets its engine from.
pub trait Storage {
    /// The engine under test.
    type Log: EventLog;

    /// Opens the engine. Called again after the first one is dropped, a durable engine finds its logs again.
    fn open(&self) -> Self::Log;
}

/// Makes one test of each case. `$storage` is an expression that gives a fresh, empty [`Storage`].
#[macro_export]
macro_rules! conformance_tests {
    ($storage:expr) => {
        $crate::conformance_tests!($storage;
            first_append_creates_the_log,
            appends_follow_one_another_without_a_hole,
            append_to_a_log_that_is_not_there_conflicts,
            append_behind_the_head_conflicts,
            append_past_the_head_conflicts,
            append_in_another_epoch_conflicts,
            creating_a_log_that_exists_conflicts,
            the_identical_frame_sent_again_is_committed_once,
            an_older_frame_sent_again_is_committed_once,
            the_identical_frame_twice_in_one_submit_is_committed_once,
            another_frame_at_the_same_head_conflicts,
            one_submit_holds_many_sessions,
            outcomes_come_in_the_order_of_the_appends,
            an_empty_submit_is_answered,
            a_frame_is_read_as_it_was_appended,
            read_stops_at_the_limit_of_events,
            read_stops_before_the_limit_of_bytes,
            read_returns_a_first_frame_over_the_limit,
            read_from_inside_a_frame_returns_the_whole_frame,
            read_from_every_seq_finds_its_frame,
            read_past_the_head_gives_no_frames,
            read_of_a_log_that_is_not_there_is_not_found,
            list_gives_every_log_with_its_last_summary,
            observers_see_commits_in_order_and_before_the_outcome,
            observers_do_not_see_what_was_not_committed,
            trim_removes_whole_frames,
            trim_of_everything_leaves_the_head,
            trim_is_refused_for_archived_and_missing_logs,
            an_archived_log_can_be_read_and_not_appended_to,
            archiving_twice_is_harmless,
            a_trimmed_log_is_archived_as_it_is,
            archive_of_a_log_that_is_not_there_is_not_found,
            a_deleted_log_is_gone,
            an_archived_log_can_be_deleted,
            a_deleted_log_can_be_created_again_in_another_epoch,
            delete_of_a_log_that_is_not_there_is_not_found,
            close_ends_appends_and_not_reads,
            close_commits_what_is_in_flight,
            sessions_are_appended_to_from_many_threads,
            two_writers_of_one_session_cannot_fork_it,
            a_hundred_thousand_sessions_are_listed
        );
    };
    ($storage:expr; $($case:ident),+) => {
        $(
            #[test]
            fn $case() {
                $crate::conformance::$case(&$storage);
            }
        )+
    };
}

/// The further cases of an engine whose logs outlive it.
#[macro_export]
macro_rules! durable_conformance_tests {
    ($storage:expr) => {
        $crate::conformance_tests!($storage;
            logs_are_there_after_reopening,
            appends_go_on_after_reopening,
            the_identical_frame_is_known_after_reopening,
            trims_are_kept_over_reopening,
            archived_logs_are_there_after_reopening,
            deleted_logs_stay_deleted_after_reopening,
            what_close_answered_is_there_after_reopening
        );
    };
}

const NO_LIMIT: ReadLimit = ReadLimit { bytes: usize::MAX, events: usize::MAX };
const EPOCH: Epoch = Epoch::from_u64(0xe0);
const OTHER_EPOCH: Epoch = Epoch::from_u64(0xe1);

/// A session's name for tests.
pub fn session(number: u64) -> SessionId {
    SessionId::from_u128(0x5e55_1011_0000_7000_8000_0000_0000_0000 + u128::from(number))
}

/// A frame of `count` events from `first_seq` on, each with a body of `body` bytes that tells its seq and `mark`.
pub fn frame(first_seq: Seq, count: usize, body: usize, mark: u8) -> Frame {
    let mut builder = FrameBuilder::new(first_seq, count * (body + 64));
    for seq in first_seq..first_seq + count as u64 {
        let mut content = vec![mark; body.max(8)];
        content[..8].copy_from_slice(&seq.to_le_bytes());
        let id = format!("e{seq}");
        builder.push(&Record {
            kind: Kind::Event,
            received_at: 1_700_000_000_000 + seq,
            ttl_ms: 0,
            digest: seq,
            user: "user",
            producer: "",
            id: &id,
            body: &content,
        });
    }
    builder.finish()
}

/// An append of `frame` after everything before it in `epoch`.
pub fn append(session: SessionId, epoch: Epoch, frame: Frame) -> Append {
    Append { session, expected: Head { epoch, seq: frame.first_seq() - 1 }, frame, summary: None }
}

/// Submits and waits for the outcomes.
pub fn submit(log: &impl EventLog, appends: Vec<Append>) -> Vec<Appended> {
    outcomes(&submit_later(log, appends))
}

/// Submits; the outcomes come through the channel.
pub fn submit_later(log: &impl EventLog, appends: Vec<Append>) -> Receiver<Vec<Appended>> {
    let (done, told) = channel();
    log.submit(appends, Box::new(move |outcomes| drop(done.send(outcomes))));
    told
}

/// Waits for outcomes.
///
/// # Panics
/// If none come within a minute.
pub fn outcomes(told: &Receiver<Vec<Appended>>) -> Vec<Appended> {
    told.recv_timeout(Duration::from_secs(60)).expect("the engine tells the outcomes")
}

fn head(seq: Seq) -> Head {
    Head { epoch: EPOCH, seq }
}

/// Appends one frame to session 1 and gives the one outcome.
fn put(log: &impl EventLog, frame: Frame) -> Appended {
    submit(log, vec![append(session(1), EPOCH, frame)]).remove(0)
}

/// Session 1 with frames of 3, 1 and 5 events: 1..=3, 4, 5..=9.
fn put_nine(log: &impl EventLog) -> Vec<Frame> {
    let frames = vec![frame(1, 3, 40, 1), frame(4, 1, 40, 2), frame(5, 5, 40, 3)];
    for frame in &frames {
        assert_eq!(put(log, frame.clone()), Appended::Committed(head(frame.last_seq())));
    }
    frames
}

fn read_all(log: &impl EventLog, session: SessionId) -> Vec<Frame> {
    let first_seq = match log.read(session, 1, NO_LIMIT) {
        Err(LogError::Trimmed { first_seq }) => first_seq,
        read => read.expect("the log can be read").first_seq,
    };
    let mut frames: Vec<Frame> = Vec::new();
    let mut from = first_seq;
    loop {
        let Reading { frames: more, .. } = log.read(session, from, NO_LIMIT).expect("the log can be read");
        let Some(last) = more.last() else { return frames };
        from = last.last_seq() + 1;
        frames.extend(more);
    }
}

fn not_found<T>(result: &Result<T, LogError>) -> bool {
    matches!(result, Err(LogError::NotFound(_)))
}

/// The case of this name.
pub fn first_append_creates_the_log(storage: &impl Storage) {
    let log = storage.open();
    assert_eq!(log.head(session(1)), None);
    assert_eq!(put(&log, frame(1, 2, 10, 0)), Appended::Committed(head(2)));
    assert_eq!(log.head(session(1)), Some(head(2)));
    assert_eq!(log.health(), Health::Writable);
}

/// The case of this name.
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

/// The case of this name.
pub fn append_to_a_log_that_is_not_there_conflicts(storage: &impl Storage) {
    let log = storage.open();
    assert_eq!(put(&log, frame(4, 1, 10, 0)), Appended::Conflict(None));
    assert_eq!(log.head(session(1)), None);
}

/// The case of this name.
pub fn append_behind_the_head_conflicts(storage: &impl Storage) {
    let log = storage.open();
    put_nine(&log);
    assert_eq!(put(&log, frame(7, 3, 10, 7)), Appended::Conflict(Some(head(9))));
    assert_eq!(put(&log, frame(7, 30, 10, 7)), Appended::Conflict(Some(head(9))));
    assert_eq!(log.head(session(1)), Some(head(9)));
}

/// The case of this name.
pub fn append_past_the_head_conflicts(storage: &impl Storage) {
    let log = storage.open();
    let frames = put_nine(&log);
    assert_eq!(put(&log, frame(11, 1, 10, 0)), Appended::Conflict(Some(head(9))));
    assert_eq!(read_all(&log, session(1)), frames);
}

/// The case of this name.
pub fn append_in_another_epoch_conflicts(storage: &impl Storage) {
    let log = storage.open();
    put_nine(&log);
    let other = append(session(1), OTHER_EPOCH, frame(10, 1, 10, 0));
    assert_eq!(submit(&log, vec![other]), [Appended::Conflict(Some(head(9)))]);
}

/// The case of this name.
pub fn creating_a_log_that_exists_conflicts(storage: &impl Storage) {
    let log = storage.open();
    put_nine(&log);
    let other = append(session(1), OTHER_EPOCH, frame(1, 3, 40, 1));
    assert_eq!(submit(&log, vec![other]), [Appended::Conflict(Some(head(9)))]);
    assert_eq!(put(&log, frame(1, 1, 10, 9)), Appended::Conflict(Some(head(9))));
}

/// The case of this name.
pub fn the_identical_frame_sent_again_is_committed_once(storage: &impl Storage) {
    let log = storage.open();
    let frames = put_nine(&log);
    assert_eq!(put(&log, frames[2].clone()), Appended::Committed(head(9)));
    assert_eq!(read_all(&log, session(1)), frames);
}

/// The case of this name.
pub fn an_older_frame_sent_again_is_committed_once(storage: &impl Storage) {
    let log = storage.open();
    let frames = put_nine(&log);
    for frame in &frames {
        assert_eq!(put(&log, frame.clone()), Appended::Committed(head(9)), "the log ends where it ends");
    }
    assert_eq!(read_all(&log, session(1)), frames);
}

/// The case of this name.
pub fn the_identical_frame_twice_in_one_submit_is_committed_once(storage: &impl Storage) {
    let log = storage.open();
    let one = append(session(1), EPOCH, frame(1, 2, 10, 0));
    let other = append(session(1), EPOCH, frame(1, 2, 10, 9));
    let outcomes = submit(&log, vec![one.clone(), one, other]);
    assert_eq!(outcomes[..2], [Appended::Committed(head(2)), Appended::Committed(head(2))]);
    assert_eq!(outcomes[2], Appended::Conflict(Some(head(2))));
    assert_eq!(read_all(&log, session(1)).len(), 1);
}

/// The case of this name.
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

/// The case of this name.
pub fn one_submit_holds_many_sessions(storage: &impl Storage) {
    let log = storage.open();
    let appends = (0..500).map(|n| append(session(n), EPOCH, frame(1, 2, 100, n as u8))).collect();
    let outcomes = submit(&log, appends);
    assert_eq!(outcomes, vec![Appended::Committed(head(2)); 500]);
    for n in 0..500 {
        assert_eq!(read_all(&log, session(n)), [frame(1, 2, 100, n as u8)]);
    }
}

/// The case of this name.
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
    // The head may be told as it is before or after the rest of the submit.
    assert!(matches!(outcomes[1], Appended::Conflict(Some(Head { seq: 9 | 10, .. }))), "{outcomes:?}");
    assert_eq!(outcomes[2], Appended::Conflict(None));
    assert_eq!(outcomes[3], Appended::Committed(head(10)));
    assert_eq!(outcomes[4], Appended::Committed(Head { epoch: OTHER_EPOCH, seq: 1 }));
    assert_eq!(outcomes.len(), 5);
}

/// The case of this name.
pub fn an_empty_submit_is_answered(storage: &impl Storage) {
    assert_eq!(submit(&storage.open(), Vec::new()), []);
}

/// The case of this name.
pub fn a_frame_is_read_as_it_was_appended(storage: &impl Storage) {
    let log = storage.open();
    let mut builder = FrameBuilder::new(1, 4096);
    builder.push(&Record {
        kind: Kind::Lifecycle,
        received_at: u64::MAX,
        ttl_ms: u32::MAX,
        digest: 7,
        user: "Ünï",
        producer: "p",
        id: "",
        body: b"",
    });
    let big = vec![0xa5; 1 << 20];
    builder.push(&Record {
        kind: Kind::Event,
        received_at: 0,
        ttl_ms: 0,
        digest: 0,
        user: "",
        producer: "",
        id: "x",
        body: &big,
    });
    let frame = builder.finish();
    assert_eq!(put(&log, frame.clone()), Appended::Committed(head(2)));
    assert_eq!(read_all(&log, session(1)), [frame]);
}

/// The case of this name.
pub fn read_stops_at_the_limit_of_events(storage: &impl Storage) {
    let log = storage.open();
    let frames = put_nine(&log);
    let read = |from, events| {
        log.read(session(1), from, ReadLimit { bytes: usize::MAX, events }).expect("readable").frames
    };
    assert_eq!(read(1, 1), frames[..1]);
    assert_eq!(read(1, 3), frames[..1]);
    assert_eq!(read(1, 4), frames[..2]);
    assert_eq!(read(1, 5), frames[..3]);
    assert_eq!(read(4, 1), frames[1..2]);
}

/// The case of this name.
pub fn read_stops_before_the_limit_of_bytes(storage: &impl Storage) {
    let log = storage.open();
    let frames = put_nine(&log);
    let size = |n: usize| frames[..n].iter().map(|frame| frame.bytes().len()).sum::<usize>();
    let read =
        |bytes| log.read(session(1), 1, ReadLimit { bytes, events: usize::MAX }).expect("readable").frames;
    assert_eq!(read(size(2)), frames[..2]);
    assert_eq!(read(size(3) - 1), frames[..2]);
    assert_eq!(read(size(3)), frames);
}

/// The case of this name.
pub fn read_returns_a_first_frame_over_the_limit(storage: &impl Storage) {
    let log = storage.open();
    let frames = put_nine(&log);
    let reading = log.read(session(1), 5, ReadLimit { bytes: 0, events: 0 }).expect("readable");
    assert_eq!(reading.frames, frames[2..]);
}

/// The case of this name.
pub fn read_from_inside_a_frame_returns_the_whole_frame(storage: &impl Storage) {
    let log = storage.open();
    let frames = put_nine(&log);
    for from in 5..=9 {
        let reading = log.read(session(1), from, NO_LIMIT).expect("readable");
        assert_eq!(reading.frames, frames[2..]);
        assert_eq!((reading.head, reading.first_seq), (head(9), 1));
    }
}

/// The case of this name.
pub fn read_from_every_seq_finds_its_frame(storage: &impl Storage) {
    let log = storage.open();
    let mut frames = Vec::new();
    let mut next = 1;
    for n in 0..200 {
        // Runs of short and long frames, so that a search cannot rely on an even spread.
        let count = if n % 50 < 40 { 1 } else { 37 };
        frames.push(frame(next, count, 30, n as u8));
        next += count as u64;
        assert_eq!(put(&log, frames[n].clone()), Appended::Committed(head(next - 1)));
    }
    for from in (1..next).rev() {
        let at = frames.partition_point(|frame| frame.last_seq() < from);
        let limit = ReadLimit { bytes: usize::MAX, events: frames[at].count() };
        assert_eq!(log.read(session(1), from, limit).expect("readable").frames, frames[at..=at], "{from}");
    }
}

/// The case of this name.
pub fn read_past_the_head_gives_no_frames(storage: &impl Storage) {
    let log = storage.open();
    put_nine(&log);
    for from in [10, 11, u64::MAX] {
        let reading = log.read(session(1), from, NO_LIMIT).expect("readable");
        assert_eq!((reading.frames.len(), reading.head, reading.first_seq), (0, head(9), 1));
    }
}

/// The case of this name.
pub fn read_of_a_log_that_is_not_there_is_not_found(storage: &impl Storage) {
    let log = storage.open();
    assert!(not_found(&log.read(session(1), 1, NO_LIMIT)));
}

/// The case of this name.
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

fn own((number, seq, summary): (u64, Seq, &str)) -> (SessionId, Head, Bytes) {
    (session(number), head(seq), Bytes::copy_from_slice(summary.as_bytes()))
}

fn listed(log: &impl EventLog) -> Vec<(SessionId, Head, Bytes)> {
    let list = log.list().expect("listable");
    let mut list: Vec<_> = list.into_iter().map(|log| (log.session, log.head, log.summary)).collect();
    list.sort_by_key(|(session, ..)| *session);
    list
}

/// The case of this name.
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

/// The case of this name.
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

/// The case of this name.
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

/// The case of this name.
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

/// The case of this name.
pub fn trim_is_refused_for_archived_and_missing_logs(storage: &impl Storage) {
    let log = storage.open();
    assert!(not_found(&log.trim(session(1), 1)));
    put_nine(&log);
    log.archive(session(1)).expect("archivable");
    assert!(matches!(log.trim(session(1), 4), Err(LogError::Refused(_))));
}

/// The case of this name.
pub fn an_archived_log_can_be_read_and_not_appended_to(storage: &impl Storage) {
    let log = storage.open();
    let frames = put_nine(&log);
    log.archive(session(1)).expect("archivable");
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

/// The case of this name.
pub fn archiving_twice_is_harmless(storage: &impl Storage) {
    let log = storage.open();
    let frames = put_nine(&log);
    assert_eq!(log.archive(session(1)), Ok(()));
    assert_eq!(log.archive(session(1)), Ok(()));
    assert_eq!(read_all(&log, session(1)), frames);
    assert_eq!(log.list().expect("listable").len(), 1);
}

/// The case of this name.
pub fn a_trimmed_log_is_archived_as_it_is(storage: &impl Storage) {
    let log = storage.open();
    let frames = put_nine(&log);
    log.trim(session(1), 4).expect("trimmable");
    log.archive(session(1)).expect("archivable");
    assert_eq!(read_all(&log, session(1)), frames[1..]);
    assert_eq!(log.read(session(1), 3, NO_LIMIT).err(), Some(LogError::Trimmed { first_seq: 4 }));

    let whole = append(session(2), EPOCH, frame(1, 4, 10, 0));
    submit(&log, vec![whole]);
    assert_eq!(log.trim(session(2), u64::MAX), Ok(5));
    log.archive(session(2)).expect("archivable");
    let reading = log.read(session(2), 5, NO_LIMIT).expect("readable");
    assert_eq!((reading.head, reading.first_seq, reading.frames.len()), (head(4), 5, 0));
}

/// The case of this name.
pub fn archive_of_a_log_that_is_not_there_is_not_found(storage: &impl Storage) {
    assert!(not_found(&storage.open().archive(session(1))));
}

/// The case of this name.
pub fn a_deleted_log_is_gone(storage: &impl Storage) {
    let log = storage.open();
    put_nine(&log);
    log.delete(session(1)).expect("deletable");
    assert_eq!(log.head(session(1)), None);
    assert!(not_found(&log.read(session(1), 1, NO_LIMIT)));
    assert!(log.list().expect("listable").is_empty());
    assert_eq!(put(&log, frame(10, 1, 10, 0)), Appended::Conflict(None));
}

/// The case of this name.
pub fn an_archived_log_can_be_deleted(storage: &impl Storage) {
    let log = storage.open();
    put_nine(&log);
    log.archive(session(1)).expect("archivable");
    log.delete(session(1)).expect("deletable");
    assert_eq!(log.head(session(1)), None);
    assert!(not_found(&log.read(session(1), 1, NO_LIMIT)));
    assert!(log.list().expect("listable").is_empty());
}

/// The case of this name.
pub fn a_deleted_log_can_be_created_again_in_another_epoch(storage: &impl Storage) {
    let log = storage.open();
    for archived in [false, true] {
        put_nine(&log);
        if archived {
            log.archive(session(1)).expect("archivable");
        }
        log.delete(session(1)).expect("deletable");
        let new = frame(1, 2, 10, 77);
        let again = append(session(1), OTHER_EPOCH, new.clone());
        assert_eq!(submit(&log, vec![again]), [Appended::Committed(Head { epoch: OTHER_EPOCH, seq: 2 })]);
        assert_eq!(read_all(&log, session(1)), [new]);
        log.delete(session(1)).expect("deletable");
    }
}

/// The case of this name.
pub fn delete_of_a_log_that_is_not_there_is_not_found(storage: &impl Storage) {
    let log = storage.open();
    assert!(not_found(&log.delete(session(1))));
    put_nine(&log);
    log.delete(session(1)).expect("deletable");
    assert!(not_found(&log.delete(session(1))));
}

/// The case of this name.
pub fn close_ends_appends_and_not_reads(storage: &impl Storage) {
    let log = storage.open();
    let frames = put_nine(&log);
    assert_eq!(log.close(), Ok(()));
    assert_eq!(log.close(), Ok(()));
    assert!(matches!(put(&log, frame(10, 1, 10, 0)), Appended::Unavailable(_)));
    assert_eq!(read_all(&log, session(1)), frames);
    assert_eq!(log.head(session(1)), Some(head(9)));
}

/// The case of this name.
pub fn close_commits_what_is_in_flight(storage: &impl Storage) {
    let log = storage.open();
    let told: Vec<_> =
        (0..100).map(|n| submit_later(&log, vec![append(session(n), EPOCH, frame(1, 1, 1000, 0))])).collect();
    assert_eq!(log.close(), Ok(()));
    for told in told {
        assert_eq!(outcomes(&told), [Appended::Committed(head(1))]);
    }
}

/// The case of this name.
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

/// The case of this name.
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

/// The case of this name.
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

/// The case of this name.
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

/// The case of this name.
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

/// The case of this name.
pub fn the_identical_frame_is_known_after_reopening(storage: &impl Storage) {
    let frames = put_nine(&storage.open());
    let log = storage.open();
    assert_eq!(put(&log, frames[2].clone()), Appended::Committed(head(9)));
    assert_eq!(put(&log, frame(5, 5, 40, 99)), Appended::Conflict(Some(head(9))));
    assert_eq!(read_all(&log, session(1)), frames);
}

/// The case of this name.
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

/// The case of this name.
pub fn archived_logs_are_there_after_reopening(storage: &impl Storage) {
    let (frames, before) = {
        let log = storage.open();
        let mut other = append(session(2), OTHER_EPOCH, frame(1, 7, 2000, 4));
        other.summary = Some(Bytes::from_static(b"two"));
        submit(&log, vec![other]);
        let frames = put_nine(&log);
        log.archive(session(1)).expect("archivable");
        log.archive(session(2)).expect("archivable");
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

/// The case of this name.
pub fn deleted_logs_stay_deleted_after_reopening(storage: &impl Storage) {
    {
        let log = storage.open();
        for n in 1..=4 {
            submit(&log, vec![append(session(n), EPOCH, frame(1, 1, 10, n as u8))]);
        }
        log.archive(session(2)).expect("archivable");
        log.archive(session(3)).expect("archivable");
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

/// The case of this name.
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
