//! The items of one follow or replay that wait for their reader, and how reading ends.
//!
//! A follow is complete once its session has ended and everything up to the last entry was passed on: the last entry is known from
//! the join of an ended session, or is itself the change that ends it.

use std::collections::VecDeque;
use std::task::Waker;

use agentbench_protocol::message::Joined;
use agentbench_protocol::{GapCause, Seq, SessionId, SystemMessage};

use crate::item::{Gap, Item, Lifecycle};
use crate::outcome::Error;

/// How reading ends.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum End {
    /// Everything was passed on.
    Finished,
    /// It ended early.
    Failed(Error),
}

/// Whether a reader continues after its session has ended and all was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtEnd {
    /// The follow ends.
    Finish,
    /// It continues until it is dropped; or another message ends it, as for a replay.
    Stay,
}

/// The queue of one follow or replay.
pub(crate) struct Queue {
    pub(crate) session: SessionId,
    pub(crate) reader: Option<Waker>,
    items: VecDeque<Item>,
    end: Option<End>,
    at_end: AtEnd,
    /// The last seq that was passed on.
    given: Seq,
    /// The log's last entry, once it is known.
    last: Option<Seq>,
}

impl Queue {
    pub(crate) fn new(session: SessionId, at_end: AtEnd) -> Self {
        Self { session, reader: None, items: VecDeque::new(), end: None, at_end, given: 0, last: None }
    }

    /// Queues an item, unless the queue is complete. Returns whether the item completes it.
    pub(crate) fn push(&mut self, item: Item) -> bool {
        if self.end.is_some() {
            return false;
        }
        match &item {
            Item::Event(entry) => self.given = self.given.max(entry.seq),
            Item::Lifecycle(lifecycle) => self.changed(lifecycle),
            // The other causes refer to a history that the log no longer has.
            Item::Gap(Gap { to, cause, .. }) if !matches!(cause, GapCause::Epoch | GapCause::Diverged) => {
                self.given = self.given.max(*to);
            }
            _ => {}
        }
        self.items.push_back(item);
        self.wake();
        self.is_finished()
    }

    fn changed(&mut self, lifecycle: &Lifecycle) {
        let seq = lifecycle.entry.seq;
        self.given = self.given.max(seq);
        if matches!(lifecycle.message, SystemMessage::SessionStopped(_) | SystemMessage::SessionExpired(_)) {
            self.last = Some(seq);
        }
    }

    /// The join was answered. Returns whether nothing more will come.
    pub(crate) fn joined(&mut self, joined: &Joined) -> bool {
        if self.end.is_some() {
            return false;
        }
        self.given = self.given.max(joined.from.seq);
        if joined.session.status.has_ended() {
            self.last = Some(joined.head_seq);
        }
        self.is_finished()
    }

    fn is_finished(&self) -> bool {
        self.at_end == AtEnd::Finish && self.last.is_some_and(|last| self.given >= last)
    }

    /// Nothing more will come. Queued items can still be read.
    pub(crate) fn end(&mut self, end: End) {
        self.end.get_or_insert(end);
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// Swaps the reader's empty buffer for the queued items. `false`: there are none.
    pub(crate) fn swap(&mut self, buffer: &mut VecDeque<Item>) -> bool {
        if !self.items.is_empty() {
            std::mem::swap(&mut self.items, buffer);
        }
        !buffer.is_empty()
    }

    /// How reading ended, if it has.
    pub(crate) fn ended(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Whether it has reached the limit, so that reading must pause; after the end it is never full.
    pub(crate) fn is_full(&self, limit: usize) -> bool {
        self.end.is_none() && self.items.len() >= limit
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The answer to a join behind `from` of a session whose log has 5 entries.
    fn joined(from: Seq, status: &str) -> Joined {
        let (session, epoch) = (SessionId::from_u128(1), agentbench_protocol::Epoch::from_u64(7));
        let info = json!({"sessionId": session, "projectId": "p", "testId": "t", "agentName": "a", "status": status,
            "epoch": epoch, "headSeq": 5, "createdBy": "u", "createdAt": 1});
        let joined = json!({"originalMessageId": "c", "sessionId": session, "epoch": epoch, "headSeq": 5,
            "from": {"epoch": epoch, "seq": from}, "recovered": true, "session": info});
        serde_json::from_value(joined).unwrap()
    }

    fn queue(at_end: AtEnd) -> Queue {
        Queue::new(SessionId::from_u128(1), at_end)
    }

    fn gap(to: Seq, cause: GapCause) -> Item {
        Item::Gap(Gap { from: 1, to, cause, history: true })
    }

    #[test]
    fn a_join_at_the_end_of_an_ended_session_finishes_a_follow() {
        for status in ["completed", "error", "expired"] {
            assert!(queue(AtEnd::Finish).joined(&joined(5, status)), "{status}");
            assert!(!queue(AtEnd::Finish).joined(&joined(4, status)), "{status}: one entry is to come");
            assert!(!queue(AtEnd::Stay).joined(&joined(5, status)), "{status}: it stays");
        }
        for status in ["idle", "running", "paused"] {
            assert!(!queue(AtEnd::Finish).joined(&joined(5, status)), "{status}");
        }
    }

    #[test]
    fn gaps_count_as_given_unless_they_are_about_another_history() {
        let mut queue = queue(AtEnd::Finish);
        assert!(!queue.joined(&joined(0, "completed")));
        assert!(!queue.push(gap(4, GapCause::Expired)));
        assert!(!queue.push(gap(9, GapCause::Epoch)));
        assert!(!queue.push(gap(9, GapCause::Diverged)));
        assert!(queue.push(gap(5, GapCause::Retention)));
    }

    #[test]
    fn after_the_end_nothing_is_taken_and_what_is_there_can_be_read() {
        let mut queue = queue(AtEnd::Finish);
        queue.push(gap(4, GapCause::Expired));
        assert!(queue.is_full(1));
        queue.end(End::Finished);
        assert!(!queue.is_full(1));
        assert!(!queue.push(gap(5, GapCause::Expired)));
        queue.end(End::Failed(Error::OutboxFull));
        let mut items = VecDeque::new();
        assert!(queue.swap(&mut items) && items.len() == 1);
        items.clear();
        assert!(!queue.swap(&mut items));
        assert_eq!(queue.ended(), Some(&End::Finished), "the first end counts");
    }
}
