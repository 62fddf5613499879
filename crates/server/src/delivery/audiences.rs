//! The audiences of one worker: sessions that are followed or owned here, fan-out of commits, recovery from missed ones, and
//! log reads for readers that are behind.
//!
//! The caller writes to readers: functions that advance readers take `flush`, which writes one reader's pending output.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use agentbench_event_log::Frame;
use agentbench_protocol::{GapCause, Priority, Seq, SessionId};
use foldhash::HashMap;

use super::Delivery;
use super::audience::Audience;
use super::feed::{Feed, History};
use super::outbox::{Follow, LogRead};
use super::reader::Reader;
use super::render::Form;
use crate::session::cursor::ReadOutcome;
use crate::session::entry::Entry;
use crate::session::reading::Step;

/// Bytes of newest events kept for a session when the total exceeds the budget.
const TAIL_OVER_BUDGET: usize = 64 * 1024;

/// Limits on the bytes of newest events kept for followers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TailLimits {
    pub(crate) session: usize,
    /// Of all sessions on this worker.
    pub(crate) all: usize,
}

/// See the module.
pub(crate) struct Audiences {
    of: RefCell<HashMap<SessionId, Rc<RefCell<Audience>>>>,
    /// Bytes in the tails of all feeds; recounted by each [`Audiences::retain`].
    tail_bytes: Cell<usize>,
    limits: TailLimits,
}

impl Audiences {
    pub(crate) fn new(limits: TailLimits) -> Self {
        Self { of: RefCell::default(), tail_bytes: Cell::new(0), limits }
    }

    fn get(&self, session: SessionId) -> Option<Rc<RefCell<Audience>>> {
        self.of.borrow().get(&session).cloned()
    }

    /// Starts delivery to a reader at `since`, from `next` on. `head` is the end of the session's log as its owner reported
    /// it.
    pub(crate) fn add(&self, entry: &Arc<Entry>, head: Seq, reader: &Rc<Reader>, next: Seq, since: Instant) {
        let mut of = self.of.borrow_mut();
        // An earlier life of the session has a feed of its own, and followers that are being closed.
        if of.get(&entry.id).is_some_and(|audience| !audience.borrow().is_of(entry)) {
            of.remove(&entry.id);
        }
        let new = || Rc::new(RefCell::new(Audience::new(Feed::new(Arc::clone(entry), head))));
        of.entry(entry.id).or_insert_with(new).borrow_mut().add(reader, next, since);
    }

    /// Ends participation of a reader in a session, and delivery if it follows.
    pub(crate) fn remove(&self, reader: &Rc<Reader>, session: SessionId) {
        reader.sessions.borrow_mut().retain(|joined| *joined != session);
        let mut outbox = reader.outbox.borrow_mut();
        let is_it = |follow: &Follow| follow.feed.borrow().entry.id == session;
        let index = outbox.follows().find(|(_, follow)| is_it(follow)).map(|(at, _)| at);
        let was_following = index.and_then(|index| outbox.remove_follow(index)).is_some();
        if was_following && let Some(audience) = self.of.borrow().get(&session) {
            audience.borrow_mut().remove(reader);
        }
    }

    /// The id of the event at `seq`, if it is in the session's tail here.
    pub(crate) fn id_at(&self, session: SessionId, seq: Seq) -> Option<String> {
        let audience = self.get(session)?;
        let feed = Rc::clone(&audience.borrow().feed);
        feed.borrow().id_at(seq)
    }

    /// Delivers a committed frame to every follower on this worker whose socket is not blocked. Returns the number of
    /// followers; `None` if there are none, or earlier commits were missed.
    pub(crate) fn commit(
        &self,
        session: SessionId,
        frame: Frame,
        priority: Priority,
        opened: Instant,
        flush: impl FnMut(&Rc<Reader>),
    ) -> Option<usize> {
        let audience = self.get(session)?;
        let feed = Rc::clone(&audience.borrow().feed);
        let head = feed.borrow().head;
        if frame.first_seq() != head + 1 {
            // The feed was created after this commit was sent, or commits were missed.
            if frame.first_seq() > head {
                self.resync(session, flush);
            }
            return None;
        }
        let over = self.tail_bytes.get() > self.limits.all;
        let limit = if over { self.limits.session.min(TAIL_OVER_BUDGET) } else { self.limits.session };
        let before = feed.borrow().tail_bytes();
        feed.borrow_mut().push(frame, priority, opened, limit);
        let readers = audience.borrow().readers.len();
        self.tail_bytes.set((self.tail_bytes.get() + feed.borrow().tail_bytes()).saturating_sub(before));
        flush_readers(&audience, flush);
        Some(readers)
    }

    /// Recovers from commits that did not reach this worker: its followers read them from the log.
    pub(crate) fn resync(&self, session: SessionId, flush: impl FnMut(&Rc<Reader>)) {
        let Some(audience) = self.get(session) else { return };
        let feed = Rc::clone(&audience.borrow().feed);
        let head = feed.borrow().entry.head().seq;
        feed.borrow_mut().resync(head);
        flush_readers(&audience, flush);
    }

    /// Requests a log read for a reader that is behind the tail. `None` if it shares the read of another reader at the same
    /// position.
    pub(crate) fn request_read(&self, reader: &Rc<Reader>, read: LogRead) -> Option<CatchUp> {
        let feed = Rc::clone(&reader.outbox.borrow().follow(read.follow)?.feed);
        let session = feed.borrow().entry.id;
        let audience = self.get(session).expect("a session that is followed has an audience");
        let (from, form) = (read.from, reader.wire.form);
        let is_first = audience.borrow_mut().await_read(from, form, (Rc::clone(reader), read.follow));
        is_first.then_some(CatchUp { audience, feed, session, from, form })
    }

    /// Drops the chunks cached for readers that may reach the same position: other readers wait for the memory.
    pub(crate) fn drop_histories(&self) {
        for audience in self.of.borrow().values() {
            if let Ok(audience) = audience.try_borrow()
                && let Ok(mut feed) = audience.feed.try_borrow_mut()
            {
                feed.drop_history();
            }
        }
    }

    /// Removes audiences without readers, unless the session is owned here. Returns the sessions whose commits need not be sent
    /// here any more.
    pub(crate) fn retain(&self, is_owned: impl Fn(SessionId) -> bool) -> Vec<SessionId> {
        let (mut total, mut removed) = (0, Vec::new());
        self.of.borrow_mut().retain(|_, audience| {
            let audience = audience.borrow();
            let mut feed = audience.feed.borrow_mut();
            feed.drop_history();
            let keep = !audience.readers.is_empty() || is_owned(feed.entry.id);
            removed.extend((!keep).then_some(feed.entry.id));
            total += if keep { feed.tail_bytes() } else { 0 };
            keep
        });
        self.tail_bytes.set(total);
        removed.sort_unstable();
        removed
    }
}

fn flush_readers(audience: &RefCell<Audience>, mut flush: impl FnMut(&Rc<Reader>)) {
    // Followers cannot join or leave meanwhile: a flush never closes a connection itself.
    let readers = std::mem::take(&mut audience.borrow_mut().readers);
    for (reader, index) in &readers {
        reader.outbox.borrow_mut().mark_ready(*index);
        flush(reader);
    }
    let mut audience = audience.borrow_mut();
    debug_assert!(audience.readers.is_empty(), "nobody joined during a fan-out");
    audience.readers = readers;
}

/// A log read that readers wait for.
pub(crate) struct CatchUp {
    audience: Rc<RefCell<Audience>>,
    feed: Rc<RefCell<Feed>>,
    pub(crate) session: SessionId,
    pub(crate) from: Seq,
    form: Form,
}

/// The result of a catch-up read for the readers that wait for it.
enum CatchUpResult {
    Events(History),
    /// Events up to this seq are unavailable.
    Gap(Seq, GapCause),
    /// Nothing yet: readers request the read again.
    Retry,
}

impl CatchUp {
    /// Applies the outcome of the read to the readers that wait for it.
    pub(crate) fn finish(
        self,
        delivery: &Delivery,
        found: ReadOutcome<Step>,
        mut flush: impl FnMut(&Rc<Reader>),
    ) {
        let result = self.render(delivery, found);
        let waiting = self.audience.borrow_mut().end_read(self.from, self.form);
        for (reader, index) in waiting {
            if self.apply(&reader, index, &result) {
                flush(&reader);
            }
        }
    }

    fn render(&self, delivery: &Delivery, found: ReadOutcome<Step>) -> CatchUpResult {
        match found {
            ReadOutcome::Frames(Step { frames, permit, .. }) => {
                let rendered = delivery.renderer.borrow_mut().frames(&frames, self.form).with_permit(permit);
                let mortal = frames.iter().flat_map(Frame::records).any(|(_, record)| record.ttl_ms > 0);
                let history = History { rendered, mortal: mortal.then(|| frames.into()) };
                self.feed.borrow_mut().cache_history(self.form, history.clone());
                CatchUpResult::Events(history)
            }
            ReadOutcome::Gap { to, cause } => CatchUpResult::Gap(to, cause),
            ReadOutcome::Removed => {
                CatchUpResult::Gap(self.feed.borrow().head.max(self.from), GapCause::Retention)
            }
            ReadOutcome::NotYet(_) => CatchUpResult::Retry,
        }
    }

    /// Returns whether the reader was still waiting.
    fn apply(&self, reader: &Reader, index: usize, result: &CatchUpResult) -> bool {
        let mut outbox = reader.outbox.borrow_mut();
        let Some(follow) = outbox.follow_mut(index) else { return false };
        // The slot may by now belong to another session, or to a later join of the same one.
        if !Rc::ptr_eq(&follow.feed, &self.feed) || follow.next != self.from || !follow.is_reading() {
            return false;
        }
        match result {
            CatchUpResult::Events(history) => follow.enter_history(history.clone()),
            CatchUpResult::Gap(to, cause) => follow.enter_gap(*to, *cause),
            CatchUpResult::Retry => follow.return_to_feed(),
        }
        outbox.mark_ready(index);
        true
    }
}
