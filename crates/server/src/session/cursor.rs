//! A place in a session's log, and what a read there means. All readers use this table: followers, streams,
//! ranges, exports, replays, pages of history, and owners that load a session.
//!
//! | the log says | it means |
//! |---|---|
//! | frames | events |
//! | no frame, or it cannot be read now | nothing yet: the same read again, [`RETRY`] later |
//! | trimmed, damaged | a gap, and events after it |
//! | no such session | it was removed meanwhile: a gap up to where the reader wanted to go |

use std::time::Duration;

use agentbench_event_log::{Frame, LogError, ReadLimit, Reading};
use agentbench_protocol::{GapCause, Seq, SessionId};

use super::reading::{LogReader, STEP_BYTES, Step};

/// What one step reads.
pub(crate) const STEP: ReadLimit = ReadLimit { bytes: STEP_BYTES, events: usize::MAX };
/// Time before a read that has found nothing yet is repeated.
pub(crate) const RETRY: Duration = Duration::from_millis(500);
/// Reads that find nothing before a reader with an end gives up: five seconds.
const PATIENCE: u32 = 10;

/// What a read has found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<T> {
    /// Frames; the first one may begin before the place.
    Frames(T),
    /// Nothing can be had up to this seq.
    Gap { to: Seq, cause: GapCause },
    /// Nothing yet, and why.
    NotYet(String),
    /// There is no such log any more.
    Gone,
}

/// What was read of a log.
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

/// What the answer to a read at `next` means; see the module.
pub(crate) fn interpret<T: Frames>(session: SessionId, next: Seq, read: Result<T, LogError>) -> Found<T> {
    match read {
        Ok(read) if !read.frames().is_empty() => Found::Frames(read),
        // The log's head may be behind what it said a moment ago, never for long.
        Ok(_) => Found::NotYet("the log is behind its own head".to_owned()),
        Err(LogError::Trimmed { first_seq }) => {
            Found::Gap { to: (first_seq.saturating_sub(1)).max(next), cause: GapCause::Retention }
        }
        Err(LogError::Damaged { from, to, detail }) => {
            tracing::error!(%session, from, to, detail, "damaged events are left out");
            Found::Gap { to: to.max(next), cause: GapCause::Damaged }
        }
        Err(LogError::NotFound(_)) => Found::Gone,
        Err(LogError::Unavailable(why) | LogError::Refused(why)) => Found::NotYet(why),
    }
}

/// A reader's place in a log that it reads up to some seq.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor {
    pub(crate) session: SessionId,
    /// The seq that comes next, and the last one that is wanted.
    pub(crate) next: Seq,
    pub(crate) last: Seq,
}

impl Cursor {
    /// Whether everything that is wanted was read.
    pub(crate) fn is_over(&self) -> bool {
        self.next > self.last
    }

    /// Reads on. What was removed meanwhile is a gap to the end; a read that finds nothing is repeated for a while.
    ///
    /// # Errors
    /// Why nothing can be read.
    pub(crate) async fn step(&self, reader: &LogReader) -> Result<Found<Step>, String> {
        let mut reads = 0;
        loop {
            match interpret(self.session, self.next, reader.step(self.session, self.next, STEP).await) {
                Found::Gone => return Ok(Found::Gap { to: self.last, cause: GapCause::Retention }),
                Found::Gap { to, cause } => return Ok(Found::Gap { to: to.min(self.last), cause }),
                Found::NotYet(why) if reads >= PATIENCE => return Err(why),
                Found::NotYet(_) => {
                    reads += 1;
                    tokio::time::sleep(RETRY).await;
                }
                found @ Found::Frames(_) => return Ok(found),
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
        let gap = |to, cause| Found::<Read>::Gap { to, cause };
        let damaged = |from, to| LogError::Damaged { from, to, detail: "a checksum".to_owned() };
        let cases = [
            ("behind", Ok(Read(Vec::new())), Found::NotYet("the log is behind its own head".to_owned())),
            ("trimmed", Err(LogError::Trimmed { first_seq: 9 }), gap(8, GapCause::Retention)),
            ("trimmed before", Err(LogError::Trimmed { first_seq: 2 }), gap(5, GapCause::Retention)),
            ("damaged", Err(damaged(5, 7)), gap(7, GapCause::Damaged)),
            ("damaged before", Err(damaged(1, 2)), gap(5, GapCause::Damaged)),
            ("removed", Err(LogError::NotFound(session)), Found::Gone),
            ("down", Err(LogError::Unavailable("disk".to_owned())), Found::NotYet("disk".to_owned())),
            ("refused", Err(LogError::Refused("no".to_owned())), Found::NotYet("no".to_owned())),
        ];
        for (name, read, expected) in cases {
            assert_eq!(interpret(session, 5, read), expected, "{name}");
        }
    }
}
