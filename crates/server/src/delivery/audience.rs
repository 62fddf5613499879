//! The readers that follow a session on one worker, and the log reads that they share.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use agentbench_protocol::Seq;

use super::feed::Feed;
use super::reader::Reader;
use super::render::Form;
use crate::session::entry::Entry;

/// A reader, and the index of its [`Follow`](super::outbox::Follow).
pub(crate) type Following = (Rc<Reader>, usize);

/// A session's feed and its followers.
pub(crate) struct Audience {
    pub(crate) feed: Rc<RefCell<Feed>>,
    /// Log reads in progress: position, form, and the readers that wait.
    reads: Vec<(Seq, Form, Vec<Following>)>,
    pub(crate) readers: Vec<Following>,
}

impl Audience {
    pub(crate) fn new(feed: Feed) -> Self {
        Self { feed: Rc::new(RefCell::new(feed)), reads: Vec::new(), readers: Vec::new() }
    }

    /// Whether it follows this very log, not an earlier one of the same session.
    pub(crate) fn is_of(&self, entry: &Arc<Entry>) -> bool {
        Arc::ptr_eq(&self.feed.borrow().entry, entry)
    }

    /// Starts delivery to a reader at `since`, from `next` on.
    pub(crate) fn add(&mut self, reader: &Rc<Reader>, next: Seq, since: Instant) {
        let index = reader.outbox.borrow_mut().add_follow(Rc::clone(&self.feed), next, since);
        self.readers.push((Rc::clone(reader), index));
        reader.outbox.borrow_mut().mark_ready(index);
    }

    /// Ends delivery to a reader.
    pub(crate) fn remove(&mut self, reader: &Rc<Reader>) {
        self.readers.retain(|(other, _)| !Rc::ptr_eq(other, reader));
    }

    /// Registers a reader for a read at `from`. Returns whether the read has to be started.
    pub(crate) fn await_read(&mut self, from: Seq, form: Form, reader: Following) -> bool {
        let running = self.reads.iter_mut().find(|(at, known, _)| (*at, *known) == (from, form));
        if let Some((_, _, waiting)) = running {
            waiting.push(reader);
            return false;
        }
        self.reads.push((from, form, vec![reader]));
        true
    }

    /// Completes a read: returns the readers that wait for it.
    pub(crate) fn end_read(&mut self, from: Seq, form: Form) -> Vec<Following> {
        let place = self.reads.iter().position(|(at, known, _)| (*at, *known) == (from, form));
        place.map(|place| self.reads.swap_remove(place).2).unwrap_or_default()
    }
}
