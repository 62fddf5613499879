//! Followers on one worker: beginning, moving on, catching up from the log, leaving.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use agentbench_event_log::Frame;
use agentbench_protocol::event::{AckHead, write_ack, write_acks};
use agentbench_protocol::{GapCause, Priority, Seq, SessionId};

use crate::clock;
use crate::delivery::audience::Audience;
use crate::delivery::feed::{Feed, History};
use crate::delivery::outbox::Wanted;
use crate::delivery::reader::Reader;
use crate::delivery::render::Form;
use crate::letters::{Asker, Letter, Request};
use crate::session::catalog::Entry;
use crate::session::cursor::{Found, RETRY, STEP, interpret};
use crate::session::reading::Step;
use crate::worker::Worker;
use crate::worker::connection::Connection;

/// Bytes of newest events that a session keeps when all together have too many.
const TAIL_OVER_BUDGET: usize = 64 * 1024;

/// What a catch-up read has found.
enum CaughtUp {
    Events(History),
    /// Nothing can be had up to this seq.
    Gap(Seq, GapCause),
    /// Nothing yet: ask again.
    Again,
}

impl Worker {
    /// A join was answered by the owner: passes the answer on, and begins to deliver after `follow`.
    pub(crate) fn joined(
        self: &Rc<Self>,
        connection: &Rc<Connection>,
        entry: &Arc<Entry>,
        json: &[u8],
        gap: Option<&[u8]>,
        follow: Option<Seq>,
        head: Seq,
    ) {
        self.unfollow(connection, entry.id);
        self.put(connection, json);
        if let Some(gap) = gap {
            self.put(connection, gap);
        }
        connection.reader.sessions.borrow_mut().push(entry.id);
        if let Some(after) = follow {
            let mut audiences = self.audiences.borrow_mut();
            let new = || Rc::new(RefCell::new(Audience::new(Feed::new(Arc::clone(entry), head))));
            audiences.entry(entry.id).or_insert_with(new).borrow_mut().add(&connection.reader, after + 1);
        }
        connection.pending.set(connection.pending.get().saturating_sub(1));
        self.flush_later(&connection.reader);
    }

    /// Ends delivery of a session to a connection.
    pub(crate) fn unfollow(&self, connection: &Rc<Connection>, session: SessionId) {
        connection.reader.sessions.borrow_mut().retain(|joined| *joined != session);
        let mut outbox = connection.reader.outbox.borrow_mut();
        let index =
            outbox.follows().find(|(_, follow)| follow.feed.borrow().entry.id == session).map(|(at, _)| at);
        let was_following = index.and_then(|index| outbox.remove_follow(index)).is_some();
        if was_following && let Some(audience) = self.audiences.borrow().get(&session) {
            audience.borrow_mut().remove(&connection.reader);
        }
    }

    /// The connection has ended: it leaves every session, so that presence never shows a dead one.
    pub(crate) fn leave_all(self: &Rc<Self>, connection: &Rc<Connection>) {
        let sessions = std::mem::take(&mut *connection.reader.sessions.borrow_mut());
        for session in sessions {
            self.unfollow(connection, session);
            self.ask(connection, session, Request::Gone);
        }
    }

    /// Sends a request to the session's owner.
    pub(crate) fn ask(self: &Rc<Self>, connection: &Rc<Connection>, session: SessionId, request: Request) {
        let asker = Asker {
            connection: connection.reader.key,
            who: Arc::clone(&connection.reader.who),
            grant: connection.grant(),
            address: connection.address,
        };
        self.post(self.shared.names.owner_of(session), Letter::Request { session, asker, request });
    }

    /// A frame was committed: every follower here that is not held up gets it now.
    pub(crate) fn take_commit(
        self: &Rc<Self>,
        session: SessionId,
        frame: Frame,
        priority: Priority,
        opened: Instant,
    ) {
        let Some(audience) = self.audiences.borrow().get(&session).cloned() else { return };
        let feed = Rc::clone(&audience.borrow().feed);
        if frame.first_seq() != feed.borrow().head + 1 {
            // The feed was made after this commit was on its way, or commits were missed.
            if frame.first_seq() > feed.borrow().head {
                self.resync(session);
            }
            return;
        }
        let config = &self.shared.config;
        let budget = config.tail_budget / config.workers;
        let over = self.tail_total.get() > budget;
        let limit = if over { config.tail_bytes.min(TAIL_OVER_BUDGET) } else { config.tail_bytes };
        let before = feed.borrow().tail_bytes();
        let traced = self.shared.tracer.as_ref().map(|tracer| (tracer, frame.clone(), clock::now_ns()));
        feed.borrow_mut().push(frame, priority, opened, limit);
        let readers = audience.borrow().readers.len();
        self.meters().fan_out.add(readers as f64, 1);
        self.tail_total.set((self.tail_total.get() + feed.borrow().tail_bytes()).saturating_sub(before));
        self.move_on(&audience);
        if let Some((tracer, frame, began)) = traced {
            tracer.delivered(session, &frame, began, self.index, readers);
        }
    }

    /// Commits of the session did not reach this worker: its followers read them from the log.
    pub(crate) fn resync(self: &Rc<Self>, session: SessionId) {
        let Some(audience) = self.audiences.borrow().get(&session).cloned() else { return };
        let feed = Rc::clone(&audience.borrow().feed);
        let head = feed.borrow().entry.head().seq;
        feed.borrow_mut().resync(head);
        self.move_on(&audience);
    }

    fn move_on(self: &Rc<Self>, audience: &RefCell<Audience>) {
        // Followers cannot come or go meanwhile: a flush ends no connection by itself.
        let readers = std::mem::take(&mut audience.borrow_mut().readers);
        for (reader, index) in &readers {
            reader.outbox.borrow_mut().mark_ready(*index);
            self.flush(reader);
        }
        let mut audience = audience.borrow_mut();
        debug_assert!(audience.readers.is_empty(), "nobody joined during a fan-out");
        audience.readers = readers;
    }

    /// Reads the log for a follower that is behind the tail. Followers that want the same place share one read.
    pub(crate) fn read_for(self: &Rc<Self>, reader: &Rc<Reader>, wanted: Wanted) {
        let feed = match reader.outbox.borrow().follow(wanted.follow) {
            Some(follow) => Rc::clone(&follow.feed),
            None => return,
        };
        let (from, form) = (wanted.from, reader.form);
        let audience = self.audiences.borrow().get(&feed.borrow().entry.id).cloned();
        let audience = audience.expect("a session that is followed has an audience");
        if !audience.borrow_mut().await_read(from, form, (Rc::clone(reader), wanted.follow)) {
            return;
        }
        self.shared.metrics.catch_up_reads.inc();
        let (worker, shared, id) = (Rc::clone(self), Arc::clone(&self.shared), feed.borrow().entry.id);
        let began = clock::instant();
        tokio::task::spawn_local(async move {
            if shared.reader.budget.is_short() {
                worker.forget_histories();
            }
            let read = shared.reader.step(id, from, STEP).await;
            worker.meters().catch_up.add(clock::since(began).as_secs_f64(), 1);
            let found = interpret(id, from, read);
            if let Found::NotYet(error) = &found {
                tracing::warn!(session = %id, from, error, "a catch-up read failed; it is tried again");
                tokio::time::sleep(RETRY).await;
            }
            let found = worker.render_history(&feed, from, form, found);
            let waiting = audience.borrow_mut().end_read(from, form);
            for (reader, follow) in waiting {
                worker.caught_up(&reader, follow, &feed, from, &found);
            }
        });
    }

    /// Gives up what is kept for readers that might come to the same place: others wait for the memory.
    fn forget_histories(&self) {
        for audience in self.audiences.borrow().values() {
            if let Ok(audience) = audience.try_borrow()
                && let Ok(mut feed) = audience.feed.try_borrow_mut()
            {
                feed.forget_history();
            }
        }
    }

    /// What a read has found, for the followers that wait for it.
    fn render_history(
        &self,
        feed: &Rc<RefCell<Feed>>,
        from: Seq,
        form: Form,
        found: Found<Step>,
    ) -> CaughtUp {
        match found {
            Found::Frames(Step { frames, held, .. }) => {
                let rendered = self.delivery.renderer.borrow_mut().frames(&frames, form).held_by(held);
                let mortal = frames.iter().flat_map(Frame::records).any(|(_, record)| record.ttl_ms > 0);
                let history = History { rendered, mortal: mortal.then(|| frames.into()) };
                feed.borrow_mut().remember(form, history.clone());
                CaughtUp::Events(history)
            }
            Found::Gap { to, cause } => CaughtUp::Gap(to, cause),
            Found::Gone => CaughtUp::Gap(feed.borrow().head.max(from), GapCause::Retention),
            Found::NotYet(_) => CaughtUp::Again,
        }
    }

    fn caught_up(
        self: &Rc<Self>,
        reader: &Rc<Reader>,
        index: usize,
        feed: &Rc<RefCell<Feed>>,
        from: Seq,
        found: &CaughtUp,
    ) {
        {
            let mut outbox = reader.outbox.borrow_mut();
            let Some(follow) = outbox.follow_mut(index) else { return };
            // The place may be another session's by now, or another stay in the same one.
            if !Rc::ptr_eq(&follow.feed, feed) || follow.next != from || !follow.reading {
                return;
            }
            follow.reading = false;
            match found {
                CaughtUp::Events(history) => follow.history = Some(history.clone()),
                CaughtUp::Gap(to, cause) => follow.gap = Some((*to, *cause)),
                CaughtUp::Again => {}
            }
            outbox.mark_ready(index);
        }
        self.flush(reader);
    }

    /// Writes acks of one session into a connection's outbox: together for clients of version 1, one by one for others.
    pub(crate) fn write_acks<'a>(
        &self,
        connection: &Connection,
        entry: &Entry,
        acks: impl Iterator<Item = (&'a str, Seq, bool)> + Clone,
    ) {
        if !connection.is_open() {
            return;
        }
        let now = self.now();
        let level = self.shared.config.ack_level.as_str();
        let head = AckHead { session: &entry.name, epoch: &entry.epoch_text, level };
        let mut outbox = connection.reader.outbox.borrow_mut();
        let mut renderer = self.delivery.renderer.borrow_mut();
        let mut json = self.scribble.borrow_mut();
        json.clear();
        let fresh = acks.clone().filter(|(_, _, again)| !again).count();
        let together = connection.wire.versioned && fresh > 1;
        if together {
            let number = self.next_number();
            let list = acks.clone().filter(|(_, _, again)| !again).map(|(id, seq, _)| (id, seq));
            write_acks(&mut json, number, now, &head, list);
            renderer.message(outbox.control(), &json, connection.wire.form);
        }
        let mut count = 0;
        for (id, seq, again) in acks {
            count += 1;
            if together && !again {
                continue;
            }
            json.clear();
            write_ack(&mut json, self.next_number(), now, &head, id, seq, again);
            renderer.message(outbox.control(), &json, connection.wire.form);
        }
        self.shared.metrics.acks.inc_by(count);
    }
}
