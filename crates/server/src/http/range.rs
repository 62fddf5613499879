//! Events of a log as lines (NDJSON), read in steps. What the log cannot serve is a line, too: the `gap` message that a
//! follower would get.

use std::sync::Arc;

use agentbench_event_log::{Frame, LogError, ReadLimit};
use agentbench_protocol::event::write_system;
use agentbench_protocol::{GapCause, Seq, SessionId, SystemMessage};
use bytes::{Bytes, BytesMut};

use crate::clock;
use crate::session::reading::{STEP_BYTES, Step};
use crate::shared::Shared;

/// What one step reads.
pub(super) const STEP: ReadLimit = ReadLimit { bytes: STEP_BYTES, events: usize::MAX };
/// Appends an event's text without line breaks: in JSON these stand only between tokens.
pub(crate) fn write_line(dst: &mut BytesMut, body: &[u8]) {
    let start = dst.len();
    dst.extend_from_slice(body);
    for byte in &mut dst[start..] {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

/// The events of a range.
#[derive(Clone, Copy)]
pub(super) struct Range {
    pub(super) session: SessionId,
    next: Seq,
    last: Seq,
}

impl Range {
    /// The events from `next` to `last`.
    pub(super) fn new(session: SessionId, next: Seq, last: Seq) -> Self {
        Self { session, next, last }
    }

    /// The whole log up to this seq.
    pub(super) fn whole(session: SessionId, last: Seq) -> Self {
        Self { session, next: 1, last }
    }

    /// The next lines, a message each; `None` at the end.
    pub(super) async fn step(&mut self, shared: &Arc<Shared>) -> Result<Option<Bytes>, LogError> {
        if self.next > self.last {
            return Ok(None);
        }
        match shared.reader.step(self.session, self.next, STEP).await {
            Ok(step) if step.frames.is_empty() => Ok(None),
            Ok(step) => Ok(Some(self.lines(step))),
            Err(LogError::Damaged { to, .. }) => Ok(Some(self.gap(shared, to, GapCause::Damaged))),
            Err(LogError::Trimmed { first_seq }) => {
                Ok(Some(self.gap(shared, first_seq - 1, GapCause::Retention)))
            }
            Err(LogError::NotFound(_)) => Ok(Some(self.gap(shared, self.last, GapCause::Retention))),
            Err(error) => Err(error),
        }
    }

    fn lines(&mut self, step: Step) -> Bytes {
        let Step { frames, held, .. } = step;
        let mut lines = BytesMut::with_capacity(frames.iter().map(|frame| frame.bytes().len()).sum());
        for (seq, record) in frames.iter().flat_map(Frame::records) {
            if (self.next..=self.last).contains(&seq) {
                write_line(&mut lines, record.body);
                lines.extend_from_slice(b"\n");
                self.next = seq + 1;
            }
        }
        held.with(lines)
    }

    fn gap(&mut self, shared: &Shared, to: Seq, cause: GapCause) -> Bytes {
        let to = to.min(self.last).max(self.next);
        shared.metrics.gap(cause.as_str());
        let gap = SystemMessage::Gap {
            session_id: self.session,
            from_seq: self.next,
            to_seq: to,
            cause,
            history: false,
        };
        let mut line = BytesMut::new();
        write_system(&mut line, shared.names.next_number(), clock::now_ms(), Some(self.session), &gap);
        line.extend_from_slice(b"\n");
        self.next = to + 1;
        line.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let mut line = BytesMut::from("before\n");
        write_line(&mut line, b"{\r\n \"a\": \"\\n\"\n}");
        assert_eq!(&line[..], b"before\n{   \"a\": \"\\n\" }");
    }
}
