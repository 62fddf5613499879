//! Cursors in a session's log, and the interpretation of reads. All readers use this table: followers, streams, ranges,
//! exports, replays, pages of history, and owners that load a session.
//!
//! | result of the read | outcome |
//! |---|---|
//! | frames | events |
//! | no frame, or temporarily unavailable | nothing yet: the read is repeated after [`RETRY`] |
//! | trimmed, damaged | a gap, and events after it |
//! | no such session | the session was removed meanwhile: a gap up to the reader's last seq |

use std::time::Duration;

use agentbench_event_log::{Frame, LogError, ReadLimit, Reading};
use agentbench_protocol::{GapCause, Seq, SessionId};

use super::reading::{LogReader, STEP_BYTES, Step};

/// The limit of one step.
pub(crate) const STEP: ReadLimit = ReadLimit { bytes: STEP_BYTES, events: usize::MAX };
/// Time before a read that returned nothing yet is repeated.
pub(crate) const RETRY: Duration = Duration::from_millis(500);
/// Number of reads without a result after which a cursor with an end gives up: five seconds.
const PATIENCE: u32 = 10;

/// The outcome of a read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReadOutcome<T> {
    /// Frames; the first one may begin before the requested seq.
    Frames(T),
    /// Events up to `to` are unavailable.
    Gap { to: Seq, cause: GapCause },
    /// Nothing yet, and why.
    NotYet(String),
    /// The session was removed.
    Removed,
}

/// The result of a read that has frames.
pub(crate) trait Frames {
    fn frames(&self) -> &[Frame];
}

impl Frames for Step {
    fn frames(&self) -> &[Frame] {
        &self.frames
    }
}

impl Frames for Reading {
    fn frames(&self) -> &[Frame] {
        &self.frames
    }
}

/// Interprets the result of a read at `next`; see the module.
pub(crate) fn interpret<T: Frames>(
    session: SessionId,
    next: Seq,
    read: Result<T, LogError>,
) -> ReadOutcome<T> {
    match read {
        Ok(read) if !read.frames().is_empty() => ReadOutcome::Frames(read),
        // A read may briefly lag behind the head that was reported before.
        Ok(_) => ReadOutcome::NotYet("the log is behind its own head".to_owned()),
        Err(LogError::Trimmed { first_seq }) => {
            ReadOutcome::Gap { to: (first_seq.saturating_sub(1)).max(next), cause: GapCause::Retention }
        }
        Err(LogError::Damaged { from, to, detail }) => {
            tracing::error!(%session, from, to, detail, "skipping damaged events");
            ReadOutcome::Gap { to: to.max(next), cause: GapCause::Damaged }
        }
        Err(LogError::NotFound(_)) => ReadOutcome::Removed,
        Err(LogError::Unavailable(why) | LogError::Refused(why)) => ReadOutcome::NotYet(why),
    }
}

/// A reader's position in a log that it reads up to some seq.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor {
    pub(crate) session: SessionId,
    /// The next seq to read, and the last one.
    pub(crate) next: Seq,
    pub(crate) last: Seq,
}

impl Cursor {
    /// Whether the last seq was read.
    pub(crate) fn is_over(&self) -> bool {
        self.next > self.last
    }

    /// Reads the next step. A session that was removed meanwhile is a gap to the end; a read without a result is repeated for
    /// a while.
    ///
    /// # Errors
    /// Why the log cannot be read.
    pub(crate) async fn step(&self, reader: &LogReader) -> Result<ReadOutcome<Step>, String> {
        let mut reads = 0;
        loop {
            match interpret(self.session, self.next, reader.step(self.session, self.next, STEP).await) {
                ReadOutcome::Removed => {
                    return Ok(ReadOutcome::Gap { to: self.last, cause: GapCause::Retention });
                }
                ReadOutcome::Gap { to, cause } => {
                    return Ok(ReadOutcome::Gap { to: to.min(self.last), cause });
                }
                ReadOutcome::NotYet(why) if reads >= PATIENCE => return Err(why),
                ReadOutcome::NotYet(_) => {
                    reads += 1;
                    tokio::time::sleep(RETRY).await;
                }
                found @ ReadOutcome::Frames(_) => return Ok(found),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some frames, or none.
    #[derive(Debug, PartialEq, Eq)]
    struct Read(Vec<Frame>);

    impl Frames for Read {
        fn frames(&self) -> &[Frame] {
            &self.0
        }
    }

    #[test]
    fn every_answer_of_the_log_means_the_same_to_every_reader() {
        let session = SessionId::from_u128(1);
        let gap = |to, cause| ReadOutcome::<Read>::Gap { to, cause };
        let damaged = |from, to| LogError::Damaged { from, to, detail: "a checksum".to_owned() };
        let cases = [
            (
                "behind",
                Ok(Read(Vec::new())),
                ReadOutcome::NotYet("the log is behind its own head".to_owned()),
            ),
            ("trimmed", Err(LogError::Trimmed { first_seq: 9 }), gap(8, GapCause::Retention)),
            ("trimmed before", Err(LogError::Trimmed { first_seq: 2 }), gap(5, GapCause::Retention)),
            ("damaged", Err(damaged(5, 7)), gap(7, GapCause::Damaged)),
            ("damaged before", Err(damaged(1, 2)), gap(5, GapCause::Damaged)),
            ("removed", Err(LogError::NotFound(session)), ReadOutcome::Removed),
            ("down", Err(LogError::Unavailable("disk".to_owned())), ReadOutcome::NotYet("disk".to_owned())),
            ("refused", Err(LogError::Refused("no".to_owned())), ReadOutcome::NotYet("no".to_owned())),
        ];
        for (name, read, expected) in cases {
            assert_eq!(interpret(session, 5, read), expected, "{name}");
        }
    }
}
