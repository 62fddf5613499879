//! Events of a log as lines (NDJSON), read in steps. What the log cannot serve is a line, too: the `gap` message that a
//! follower would get.

use agentbench_event_log::Frame;
use agentbench_protocol::event::write_system;
use agentbench_protocol::{GapCause, Seq, SessionId, SystemMessage};
use bytes::{Bytes, BytesMut};

use crate::clock;
use crate::session::cursor::{Cursor, ReadOutcome};
use crate::session::reading::Step;
use crate::shared::Shared;

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
    cursor: Cursor,
}

impl Range {
    /// The events from `next` to `last`.
    pub(super) fn new(session: SessionId, next: Seq, last: Seq) -> Self {
        Self { cursor: Cursor { session, next, last } }
    }

    /// The whole log up to this seq.
    pub(super) fn whole(session: SessionId, last: Seq) -> Self {
        Self::new(session, 1, last)
    }

    /// Whose events they are.
    pub(super) fn session(&self) -> SessionId {
        self.cursor.session
    }

    /// The next lines, a message each; `None` at the end.
    ///
    /// # Errors
    /// Why the log cannot be read.
    pub(super) async fn step(&mut self, shared: &Shared) -> Result<Option<Bytes>, String> {
        if self.cursor.is_over() {
            return Ok(None);
        }
        Ok(match self.cursor.step(&shared.storage.reader).await? {
            ReadOutcome::Frames(step) => Some(self.lines(step)),
            ReadOutcome::Gap { to, cause } => Some(self.gap(shared, to, cause)),
            // A cursor with an end tells these as a gap and as an error.
            ReadOutcome::Removed | ReadOutcome::NotYet(_) => None,
        })
    }

    fn lines(&mut self, step: Step) -> Bytes {
        let Step { frames, permit, .. } = step;
        let mut lines = BytesMut::with_capacity(frames.iter().map(|frame| frame.bytes().len()).sum());
        for (seq, record) in frames.iter().flat_map(Frame::records) {
            if (self.cursor.next..=self.cursor.last).contains(&seq) {
                write_line(&mut lines, record.body);
                lines.extend_from_slice(b"\n");
                self.cursor.next = seq + 1;
            }
        }
        permit.with(lines)
    }

    fn gap(&mut self, shared: &Shared, to: Seq, cause: GapCause) -> Bytes {
        let to = to.min(self.cursor.last).max(self.cursor.next);
        shared.metrics.gap(cause.as_str());
        let gap = SystemMessage::Gap {
            session_id: self.cursor.session,
            from_seq: self.cursor.next,
            to_seq: to,
            cause,
            history: false,
        };
        let mut line = BytesMut::new();
        write_system(
            &mut line,
            shared.post.names.next_number(),
            clock::now_ms(),
            Some(self.cursor.session),
            &gap,
        );
        line.extend_from_slice(b"\n");
        self.cursor.next = to + 1;
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
