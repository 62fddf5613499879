//! The pending output of one reader.
//!
//! Replies, acks and other small messages have a buffer of their own and go first. Events are not queued: a [`Follow`] is a
//! cursor in a session's log, and a flush writes the events after the cursors from shared bytes, in one vectored call. A
//! full socket ends the flush; what remains in memory is the rest of one event and the cursors.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use agentbench_protocol::event::write_system;
use agentbench_protocol::{GapCause, Priority, Seq, SystemMessage};
use agentbench_session::{Owed, owed};
use bytes::{Buf, Bytes, BytesMut};
use slab::Slab;

use super::Delivery;
use super::feed::{Feed, FeedItem, History};
use super::render::{Form, Rendered};

/// Slices of one vectored write.
pub(super) const MAX_SLICES: usize = 16;
/// Bytes written to one connection before other connections get a turn.
pub(super) const BYTES_PER_PASS: usize = 256 * 1024;
/// The rest of a half-written event up to this size is copied, so that it does not hold a large chunk in memory.
const COPY_REST: usize = 64 * 1024;
/// A control buffer that grew beyond this capacity is freed when it is empty.
const KEEP_CONTROL: usize = 256;

/// A connection's place in one session's log.
pub(crate) struct Follow {
    pub(crate) feed: Rc<RefCell<Feed>>,
    /// The seq that comes next.
    pub(crate) next: Seq,
    /// When it started to follow: events accepted earlier count as catch-up, not as delivery.
    since: Instant,
    source: Source,
    /// It is in the ready list.
    ready: bool,
}

/// Where a follow gets its next events.
enum Source {
    /// The feed: the follow is at the tail, or not yet known to be behind it.
    Feed,
    /// A log read in progress: the follow is behind the tail and waits.
    Read,
    /// A chunk that was read: the follow is behind the tail.
    History(History),
    /// A gap: events up to this seq are unavailable, and a gap message is sent before the next event.
    Gap(Seq, GapCause),
}

impl Follow {
    /// Whether it waits for a log read.
    pub(super) fn is_reading(&self) -> bool {
        matches!(self.source, Source::Read)
    }

    /// Continues with a chunk that was read.
    pub(super) fn enter_history(&mut self, history: History) {
        self.source = Source::History(history);
    }

    /// Continues with a gap up to `to`.
    pub(super) fn enter_gap(&mut self, to: Seq, cause: GapCause) {
        self.source = Source::Gap(to, cause);
    }

    /// Continues at the feed.
    pub(super) fn return_to_feed(&mut self) {
        self.source = Source::Feed;
    }

    /// Leaves a chunk that ends at or before `last`.
    fn leave_history(&mut self, last: Seq) {
        if matches!(&self.source, Source::History(history) if history.rendered.last_seq() <= last) {
            self.source = Source::Feed;
        }
    }
}

/// See the module.
#[derive(Default)]
pub(crate) struct Outbox {
    pub(super) control: BytesMut,
    /// The rest of a partially written event. Sent before everything else.
    partial: Bytes,
    follows: Slab<Follow>,
    ready: VecDeque<usize>,
    pub(super) blocked: bool,
    /// Since when the socket is blocked, ms by the steady clock.
    pub(crate) blocked_since: Option<u64>,
    /// Closing: only control bytes are still sent.
    pub(super) closing: bool,
    /// Control bytes begin inside a frame.
    torn: bool,
}

/// The kind of a slice, for accounting after it is written.
pub(super) enum Part {
    Partial,
    Control,
    Events { follow: usize, rendered: Rendered, start: usize },
    Gap { follow: usize, to: Seq, from: Seq, cause: GapCause },
}

pub(super) struct Piece {
    pub(super) bytes: Bytes,
    part: Part,
}

impl Outbox {
    /// Where replies, acks and other messages outside any log are appended, as whole frames.
    pub(crate) fn control(&mut self) -> &mut BytesMut {
        &mut self.control
    }

    /// Bytes that wait to be sent, without events.
    pub(crate) fn waiting(&self) -> usize {
        self.control.len()
    }

    /// Whether the next write begins inside a frame.
    pub(super) fn is_inside(&self) -> bool {
        self.torn || !self.partial.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.control.is_empty() && self.partial.is_empty()
    }

    /// Whether it holds memory of the read budget.
    pub(crate) fn holds_history(&self) -> bool {
        self.follows.iter().any(|(_, follow)| matches!(follow.source, Source::History(_)))
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked
    }

    pub(crate) fn unblock(&mut self) {
        self.blocked = false;
    }

    /// Stops sending events.
    pub(crate) fn close_after(&mut self) {
        self.closing = true;
        self.ready.clear();
    }

    pub(crate) fn follows(&self) -> impl Iterator<Item = (usize, &Follow)> {
        self.follows.iter()
    }

    pub(crate) fn add_follow(&mut self, feed: Rc<RefCell<Feed>>, next: Seq, since: Instant) -> usize {
        if self.follows.capacity() == 0 {
            // Nearly every connection follows one session.
            self.follows = Slab::with_capacity(1);
        }
        self.follows.insert(Follow { feed, next, since, source: Source::Feed, ready: false })
    }

    pub(crate) fn follow(&self, index: usize) -> Option<&Follow> {
        self.follows.get(index)
    }

    pub(crate) fn follow_mut(&mut self, index: usize) -> Option<&mut Follow> {
        self.follows.get_mut(index)
    }

    pub(crate) fn remove_follow(&mut self, index: usize) -> Option<Follow> {
        let follow = self.follows.try_remove(index)?;
        self.ready.retain(|ready| *ready != index);
        if self.follows.is_empty() {
            self.follows.shrink_to_fit();
        }
        Some(follow)
    }

    /// Marks a follow as possibly having events to send.
    pub(crate) fn mark_ready(&mut self, index: usize) {
        if let Some(follow) = self.follows.get_mut(index)
            && !follow.ready
            && !self.closing
        {
            follow.ready = true;
            self.ready.push_back(index);
        }
    }

    /// Whether only control bytes wait: the common case of a publisher, which receives acks only.
    pub(super) fn has_only_control(&self) -> bool {
        self.partial.is_empty() && self.ready.is_empty() && !self.control.is_empty()
    }

    /// Marks `count` control bytes as written. After a partial write the buffer's capacity no longer shows how much memory
    /// it holds, so a small rest is copied to a new buffer.
    pub(super) fn control_written(&mut self, count: usize) {
        let rest = self.control.len() - count;
        self.torn = rest > 0;
        if rest > COPY_REST {
            self.control.advance(count);
        } else if rest > 0 {
            self.control = BytesMut::from(&self.control[count..]);
        } else if self.control.capacity() > KEEP_CONTROL {
            self.control = BytesMut::new();
        } else {
            self.control.clear();
        }
    }

    pub(super) fn has_something(&self) -> bool {
        !self.partial.is_empty() || !self.control.is_empty() || !self.ready.is_empty()
    }
}

/// A request for a log read on behalf of a follower.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogRead {
    pub(crate) follow: usize,
    pub(crate) from: Seq,
}

fn measure(delivery: &Delivery, lag: Option<Duration>, events: u64) {
    if let (Some(lag), true) = (lag, events > 0) {
        delivery.meters().delivered.add(lag.as_secs_f64(), events);
    }
}

impl Outbox {
    /// Collects slices for one write: the partially written event, control bytes, then events.
    pub(super) fn gather(&mut self, delivery: &Delivery, form: Form, reads: &mut Vec<LogRead>) -> Vec<Piece> {
        let mut pieces = Vec::new();
        if !self.partial.is_empty() {
            pieces.push(Piece { bytes: self.partial.clone(), part: Part::Partial });
        }
        if !self.control.is_empty() {
            // Taken as a whole: the rest after `split` would keep the entire buffer alive.
            let control = std::mem::take(&mut self.control);
            pieces.push(Piece { bytes: control.freeze(), part: Part::Control });
        }
        let mut bytes = 0;
        // The follow's position after the pieces collected so far.
        let mut ahead: Option<(usize, Seq)> = None;
        while pieces.len() < MAX_SLICES - 1 && bytes < BYTES_PER_PASS {
            let Some(index) = ahead.map(|(index, _)| index).or_else(|| self.choose(delivery, form)) else {
                break;
            };
            let next = ahead.map_or_else(|| self.follows[index].next, |(_, next)| next);
            if ahead.is_none()
                && let Source::Gap(to, cause) = self.follows[index].source
            {
                pieces.push(self.gap_piece(delivery, form, index, next, to, cause));
                ahead = Some((index, to + 1));
                continue;
            }
            match self.find(delivery, form, index, next) {
                FeedItem::UpToDate => {
                    if ahead.is_none() {
                        self.clear_ready(index);
                        continue;
                    }
                    break;
                }
                FeedItem::Behind => {
                    if ahead.is_none() {
                        self.clear_ready(index);
                        self.follows[index].source = Source::Read;
                        reads.push(LogRead { follow: index, from: next });
                        continue;
                    }
                    break;
                }
                FeedItem::Chunk(rendered, mortal, _) => {
                    let before = pieces.len();
                    let reached = self.add_chunk(
                        delivery,
                        form,
                        index,
                        next,
                        &rendered,
                        mortal.as_deref(),
                        &mut pieces,
                    );
                    bytes += pieces[before..].iter().map(|piece| piece.bytes.len()).sum::<usize>();
                    ahead = Some((index, reached));
                }
            }
        }
        pieces
    }

    /// The ready follow whose next events have the highest priority; of several, the one that has waited longest.
    fn choose(&mut self, delivery: &Delivery, form: Form) -> Option<usize> {
        if self.ready.len() < 2 {
            return self.ready.front().copied();
        }
        // With more ready sessions than this on one connection, the rest wait in order.
        const CONSIDERED: usize = 16;
        let considered: Vec<usize> = self.ready.iter().take(CONSIDERED).copied().collect();
        let priority = |index: &usize| {
            let next = self.follows[*index].next;
            match self.find(delivery, form, *index, next) {
                FeedItem::Chunk(_, _, priority) => priority,
                FeedItem::UpToDate | FeedItem::Behind => Priority::Normal,
            }
        };
        let mut best = considered[0];
        let mut highest = priority(&best);
        for index in &considered[1..] {
            let candidate = priority(index);
            if candidate > highest {
                (best, highest) = (*index, candidate);
            }
        }
        Some(best)
    }

    fn clear_ready(&mut self, index: usize) {
        self.ready.retain(|ready| *ready != index);
        self.follows[index].ready = false;
    }

    fn find(&self, delivery: &Delivery, form: Form, index: usize, next: Seq) -> FeedItem {
        let follow = &self.follows[index];
        match &follow.source {
            Source::Read => return FeedItem::UpToDate,
            Source::History(history)
                if (history.rendered.first_seq()..=history.rendered.last_seq()).contains(&next) =>
            {
                return FeedItem::Chunk(history.rendered.clone(), history.mortal.clone(), Priority::Normal);
            }
            Source::Feed | Source::History(_) | Source::Gap(..) => {}
        }
        follow.feed.borrow_mut().find(next, form, &mut delivery.renderer.borrow_mut())
    }

    /// Adds the reader's events of a chunk from `next` on; returns the seq after them.
    #[expect(clippy::too_many_arguments, reason = "one step of gather, apart for its length")]
    fn add_chunk(
        &mut self,
        delivery: &Delivery,
        form: Form,
        index: usize,
        mut next: Seq,
        rendered: &Rendered,
        mortal: Option<&[agentbench_event_log::Frame]>,
        pieces: &mut Vec<Piece>,
    ) -> Seq {
        let Some(frames) = mortal else {
            let start = rendered.start_of(next);
            let bytes = rendered.bytes.slice(start..);
            pieces.push(Piece {
                bytes,
                part: Part::Events { follow: index, rendered: rendered.clone(), start },
            });
            return rendered.last_seq() + 1;
        };
        let (begin, now) = (next, delivery.now());
        for run in frames.iter().flat_map(|frame| owed(frame, begin, now)) {
            if pieces.len() >= MAX_SLICES {
                break;
            }
            match run {
                Owed::Deliver { from, to } => {
                    let start = rendered.start_of(from);
                    let bytes = rendered.bytes.slice(start..rendered.end_of(to));
                    pieces.push(Piece {
                        bytes,
                        part: Part::Events { follow: index, rendered: rendered.clone(), start },
                    });
                    next = to + 1;
                }
                Owed::Expired { from, to } => {
                    pieces.push(self.gap_piece(delivery, form, index, from, to, GapCause::Expired));
                    next = to + 1;
                }
            }
        }
        next
    }

    fn gap_piece(
        &mut self,
        delivery: &Delivery,
        form: Form,
        follow: usize,
        from: Seq,
        to: Seq,
        cause: GapCause,
    ) -> Piece {
        let session_id = self.follows[follow].feed.borrow().entry.id;
        let history = cause == GapCause::Expired;
        let gap = SystemMessage::Gap { session_id, from_seq: from, to_seq: to, cause, history };
        let mut json = BytesMut::new();
        write_system(&mut json, delivery.numbers.next(), delivery.now(), Some(session_id), &gap);
        let mut bytes = BytesMut::new();
        delivery.renderer.borrow_mut().message(&mut bytes, &json, form);
        Piece { bytes: bytes.freeze(), part: Part::Gap { follow, to, from, cause } }
    }

    /// Restores the pieces of a write that wrote nothing.
    pub(super) fn restore(&mut self, pieces: Vec<Piece>) {
        for piece in pieces {
            if matches!(piece.part, Part::Control) {
                self.restore_control(piece.bytes);
            }
        }
    }

    /// Puts unwritten control bytes before any added meanwhile (there are none: all of this runs on one thread).
    fn restore_control(&mut self, bytes: Bytes) {
        let later = std::mem::take(&mut self.control);
        self.control = match bytes.try_into_mut() {
            Ok(own) if own.len() > COPY_REST => own,
            Ok(own) => BytesMut::from(&own[..]),
            Err(shared) => BytesMut::from(&shared[..]),
        };
        self.control.unsplit(later);
    }

    /// Advances the cursors after `count` bytes of the pieces were written.
    pub(super) fn advance(&mut self, delivery: &Delivery, pieces: Vec<Piece>, mut count: usize) {
        let mut delivered = 0;
        let now = delivery.instant();
        let mut pieces = pieces.into_iter();
        for mut piece in pieces.by_ref() {
            let size = piece.bytes.len();
            if count >= size {
                count -= size;
                let lag = self.lag(&piece, now);
                let events = self.written_whole(delivery, piece);
                measure(delivery, lag, events);
                delivered += events;
                continue;
            }
            // The socket is full inside this piece.
            match &piece.part {
                Part::Partial => self.partial.advance(count),
                Part::Control => {
                    self.torn |= count > 0;
                    piece.bytes.advance(count);
                    self.restore_control(piece.bytes);
                }
                Part::Events { follow, rendered, start } => {
                    let lag = self.lag(&piece, now);
                    let events = self.written_partly(*follow, rendered, *start, count);
                    measure(delivery, lag, events);
                    delivered += events;
                }
                Part::Gap { follow, to, cause, .. } => {
                    if count > 0 {
                        self.partial = piece.bytes.slice(count..);
                        self.finish_gap(delivery, *follow, *to, *cause);
                    }
                }
            }
            break;
        }
        self.restore(pieces.collect());
        delivery.metrics.events_delivered.inc_by(delivered);
    }

    /// The age of the oldest event of a piece, unless the reader is catching up.
    fn lag(&self, piece: &Piece, now: Instant) -> Option<Duration> {
        let Part::Events { follow, rendered, .. } = &piece.part else { return None };
        let opened = rendered.opened().filter(|opened| *opened >= self.follows[*follow].since)?;
        Some(now.saturating_duration_since(opened))
    }

    fn written_whole(&mut self, delivery: &Delivery, piece: Piece) -> u64 {
        match piece.part {
            Part::Partial => {
                self.partial = Bytes::new();
                0
            }
            Part::Control => {
                self.torn = false;
                // Reuses the buffer for the next replies.
                if let Ok(mut buffer) = piece.bytes.try_into_mut()
                    && self.control.is_empty()
                    && buffer.capacity() <= KEEP_CONTROL
                {
                    buffer.clear();
                    self.control = buffer;
                }
                0
            }
            Part::Events { follow, rendered, start } => {
                let first = rendered.seq_at(start);
                let end = start + piece.bytes.len();
                let last =
                    if end == rendered.bytes.len() { rendered.last_seq() } else { rendered.seq_at(end) - 1 };
                self.follows[follow].next = last + 1;
                self.follows[follow].leave_history(last);
                last - first + 1
            }
            Part::Gap { follow, to, from, cause } => {
                debug_assert!(from <= to, "gaps are not empty");
                self.finish_gap(delivery, follow, to, cause);
                0
            }
        }
    }

    fn finish_gap(&mut self, delivery: &Delivery, follow: usize, to: Seq, cause: GapCause) {
        delivery.metrics.gap(cause.as_str());
        self.follows[follow].next = to + 1;
        if matches!(self.follows[follow].source, Source::Gap(..)) {
            self.follows[follow].return_to_feed();
        }
    }

    /// Advances a follow after `count` bytes of a run of events from `start` were written; keeps the rest of a partially
    /// written event.
    fn written_partly(&mut self, follow: usize, rendered: &Rendered, start: usize, count: usize) -> u64 {
        if count == 0 {
            return 0;
        }
        let offset = start + count;
        let first = rendered.seq_at(start);
        let at = rendered.seq_at(offset);
        let began = rendered.start_of(at) < offset;
        let next = if began { at + 1 } else { at };
        if began {
            let rest = rendered.bytes.slice(offset..rendered.end_of(at));
            self.partial = if rest.len() <= COPY_REST { Bytes::copy_from_slice(&rest) } else { rest };
        }
        self.follows[follow].next = next;
        // A slow reader does not hold a chunk: it reads the log again when its socket drains.
        self.follows[follow].leave_history(Seq::MAX);
        next - first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_leaves_no_memory_behind() {
        let mut outbox = Outbox::default();
        outbox.control().extend_from_slice(&[1; 10_000]);
        outbox.control_written(9_990);
        assert_eq!((outbox.waiting(), outbox.control.capacity() <= KEEP_CONTROL), (10, true));
        outbox.control_written(10);
        assert_eq!((outbox.waiting(), outbox.control.capacity() <= KEEP_CONTROL), (0, true));
        // A small buffer is kept for the next acks.
        outbox.control().extend_from_slice(&[1; 100]);
        let before = outbox.control.capacity();
        outbox.control_written(100);
        assert_eq!((outbox.control.capacity(), outbox.waiting()), (before, 0));
        // A large one goes, when it went out at once and when it did not.
        for first in [0, 1, 500_000, 999_999] {
            outbox.control().extend_from_slice(&[1; 1_000_000]);
            outbox.control_written(first);
            assert_eq!(outbox.waiting(), 1_000_000 - first);
            outbox.control_written(1_000_000 - first);
            assert!(outbox.control.capacity() <= KEEP_CONTROL, "{first}");
        }
    }
}
