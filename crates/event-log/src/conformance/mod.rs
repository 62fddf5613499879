//! The cases that every engine passes: one per guarantee of [`EventLog`], under its own name.
//!
//! An engine's tests implement [`Storage`] and call [`conformance_tests!`](crate::conformance_tests) (and
//! [`durable_conformance_tests!`](crate::durable_conformance_tests) if logs outlive the engine,
//! [`shared_conformance_tests!`](crate::shared_conformance_tests) if it has several writers): each case becomes a test. The cases use only the contract, so they hold for any engine.
//!
//! - `appending`, `reading`, `listing`, `removing`: the guarantees of each operation. `sharing`: several writers, and lost
//!   outcomes.
//! - `reopening`: closing an engine and opening it again.

mod appending;
mod listing;
mod reading;
mod removing;
mod reopening;
mod sharing;

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use agentbench_protocol::{Epoch, Head, Seq, SessionId};
use bytes::Bytes;

use crate::{Append, Appended, EventLog, Frame, FrameBuilder, Kind, LogError, ReadLimit, Reading, Record};

pub use appending::*;
pub use listing::*;
pub use reading::*;
pub use removing::*;
pub use reopening::*;
pub use sharing::*;

/// Provides a case with its engine.
pub trait Storage {
    /// The engine under test.
    type Log: EventLog;

    /// Opens the engine. A durable engine, opened again after the first one was dropped, finds its logs.
    fn open(&self) -> Self::Log;

    /// Makes the outcome of the next append unknown; whether its frame `is_stored` is the engine's affair if it cannot be
    /// chosen.
    fn lose_outcome(&self, log: &Self::Log, is_stored: bool);

    /// Makes an engine take appends again after a lost outcome, by opening it anew if necessary.
    fn recover(&self, log: Self::Log) -> Self::Log {
        log
    }
}

/// Provides a case with several writers of the same logs.
pub trait SharedStorage: Storage {
    /// A further writer.
    fn another_writer(&self, log: &Self::Log) -> Self::Log;

    /// Waits until all writers have observed what was done so far.
    fn settle(&self, log: &Self::Log);
}

/// Creates one test for each case. `$storage` is an expression for a fresh, empty [`Storage`].
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
            one_log_is_found_as_it_is_listed,
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
            a_deleted_log_does_not_come_back_by_an_append_of_before,
            retention_removes_the_oldest_archived_logs,
            delete_of_a_log_that_is_not_there_is_not_found,
            close_ends_appends_and_not_reads,
            close_commits_what_is_in_flight,
            sessions_are_appended_to_from_many_threads,
            two_writers_of_one_session_cannot_fork_it,
            a_writer_that_was_second_reads_and_goes_on,
            a_frame_whose_outcome_was_lost_is_there_once_when_sent_again,
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

/// Further cases, for engines that several writers share.
#[macro_export]
macro_rules! shared_conformance_tests {
    ($storage:expr) => {
        $crate::conformance_tests!($storage;
            writers_observe_the_commits_of_others_in_order,
            a_writer_observes_its_own_frame_if_the_outcome_was_lost,
            writers_observe_what_others_archive_and_remove
        );
    };
}

/// Further cases, for engines whose logs outlive them.
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
/// When a log is archived, ms since 1970.
const NOW: u64 = 1_700_000_000_000;
const EPOCH: Epoch = Epoch::from_u64(0xe0);
const OTHER_EPOCH: Epoch = Epoch::from_u64(0xe1);

/// A session id for tests.
pub fn session(number: u64) -> SessionId {
    SessionId::from_u128(0x5e55_1011_0000_7000_8000_0000_0000_0000 + u128::from(number))
}

/// A frame of `count` events from `first_seq` on, each with a body of `body` bytes that contains its seq and `mark`.
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

/// Submits; the outcomes arrive through the channel.
pub fn submit_later(log: &impl EventLog, appends: Vec<Append>) -> Receiver<Vec<Appended>> {
    let (done, told) = channel();
    log.submit(appends, Box::new(move |outcomes| drop(done.send(outcomes))));
    told
}

/// Waits for outcomes.
///
/// # Panics
/// If none arrive within a minute.
pub fn outcomes(told: &Receiver<Vec<Appended>>) -> Vec<Appended> {
    told.recv_timeout(Duration::from_secs(60)).expect("the engine reports the outcomes")
}

fn head(seq: Seq) -> Head {
    Head { epoch: EPOCH, seq }
}

/// Appends one frame to session 1 and returns its outcome.
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

fn own((number, seq, summary): (u64, Seq, &str)) -> (SessionId, Head, Bytes) {
    (session(number), head(seq), Bytes::copy_from_slice(summary.as_bytes()))
}

fn listed(log: &impl EventLog) -> Vec<(SessionId, Head, Bytes)> {
    let list = log.list().expect("listable");
    let mut list: Vec<_> = list.into_iter().map(|log| (log.session, log.head, log.summary)).collect();
    list.sort_by_key(|(session, ..)| *session);
    list
}
