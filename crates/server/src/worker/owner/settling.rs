//! The log's word on a frame: heads move, whoever waits is answered, feeds get the frame; or all of it is taken back.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use agentbench_event_log::{Appended, Frame};
use agentbench_protocol::message::Transition;
use agentbench_protocol::{Priority, Refusal, Seq, SessionId, Status};
use agentbench_session::{Answer, ConnectionKey, Settled, Waiter};

use crate::clock;
use crate::figures::meters::Moment;
use crate::letters::Letter;
use crate::session::catalog::Entry;
use crate::session::owned::Owned;
use crate::worker::Worker;

impl Worker {
    /// Takes the log's word on a batch.
    pub(crate) fn settled(self: &Rc<Self>, outcomes: Vec<(SessionId, Appended)>, submitted: Instant) {
        self.commits_in_flight.set(self.commits_in_flight.get() - 1);
        let took = clock::since(submitted);
        self.meters().commit_time.add(took.as_secs_f64(), 1);
        let settled_at = self.shared.tracer.as_ref().map(|tracer| (tracer, clock::now_ns()));
        let mut logged = 0;
        for (id, appended) in outcomes {
            let Some(owned) = self.sessions.borrow().get(&id).cloned() else { continue };
            let (settled, priority, freed, more) = {
                let mut guard = owned.borrow_mut();
                let priority = std::mem::take(&mut guard.priority);
                let settled = guard.session.settle(&appended);
                let left = guard.session.queued_bytes();
                let freed = guard.permit.shrink_to(left);
                (settled, priority, freed, guard.session.has_batch())
            };
            if more {
                self.mark_dirty(id);
            }
            match settled {
                Settled::Committed { frame, waiters, repeats, transitions } => {
                    logged += frame.count() as u64;
                    self.committed(&owned, &frame, &waiters, &repeats, &transitions, priority);
                    if let Some((tracer, at)) = settled_at {
                        tracer.logged(id, &frame, took, at);
                    }
                }
                Settled::Refused { answers, refusal } => {
                    self.taken_back(&owned, &answers, &refusal, &appended);
                }
            }
            // After the answers: a server that stops waits for the backlog before it sends clients away.
            drop(freed);
        }
        self.shared.metrics.events_logged.inc_by(logged);
    }

    fn committed(
        self: &Rc<Self>,
        owned: &Rc<RefCell<Owned>>,
        frame: &Frame,
        waiters: &[Waiter],
        repeats: &[Answer],
        transitions: &[Transition],
        priority: Priority,
    ) {
        let now = self.now();
        let (entry, mirrors, name, opened) = {
            let mut guard = owned.borrow_mut();
            let opened = guard.flying.take().unwrap_or_else(|| Moment::at(now));
            guard.entry.set_head(frame.last_seq());
            let bytes = guard.entry.add_bytes(frame.bytes().len());
            guard.session.set_full(self.shared.is_full(bytes));
            guard.entry.set_progress(guard.session.progress());
            let (events, newest) = self.meters().frame_logged(frame, opened);
            guard.entry.pace.events(events, newest);
            if transitions.iter().any(|transition| transition.status == Status::Running) {
                guard.entry.pace.resumed(now);
            }
            if frame.first_seq() == 1 {
                self.shared.catalog.insert_reserved(&guard.entry);
            }
            if !transitions.is_empty() {
                self.shared.catalog.update(&guard.entry, guard.session.summary());
            }
            (Arc::clone(&guard.entry), guard.mirrors, guard.session.id(), opened)
        };
        if self.shared.config.watch.exemplars {
            self.shared.meters.exemplars.take(frame, opened, now);
        }
        self.answer_committed(owned, &entry, frame, waiters, transitions);
        for answer in repeats {
            self.answer_repeat(owned, &entry, answer);
        }
        if !transitions.is_empty() {
            self.broadcast_lifecycle(&owned.borrow().session, frame, waiters);
        }
        for worker in (0..self.shared.config.workers).filter(|worker| mirrors & (1 << worker) != 0) {
            let opened = opened.instant;
            self.post(worker, Letter::Commit { session: name, frame: frame.clone(), priority, opened });
        }
        if transitions.iter().any(|transition| transition.status.has_ended()) {
            self.archive(name);
        }
    }

    /// Answers everybody who waits for an entry of the frame. Acks of one connection that stand side by side go together.
    fn answer_committed(
        self: &Rc<Self>,
        owned: &Rc<RefCell<Owned>>,
        entry: &Arc<Entry>,
        frame: &Frame,
        waiters: &[Waiter],
        transitions: &[Transition],
    ) {
        let mut acks: Vec<(&str, Seq, bool)> = Vec::new();
        let mut of: Option<ConnectionKey> = None;
        for ((seq, record), waiter) in frame.records().zip(waiters) {
            match *waiter {
                Waiter::Ack(connection) => {
                    if of != Some(connection) {
                        if let Some(of) = of {
                            self.acknowledge(of, entry, &acks);
                        }
                        acks.clear();
                        of = Some(connection);
                    }
                    acks.push((record.id, seq, false));
                }
                Waiter::Command(connection) if seq == 1 => {
                    let follows = owned
                        .borrow()
                        .session
                        .participants
                        .get(connection)
                        .is_some_and(|member| member.following);
                    self.answer_created(owned, connection, record.id, follows.then_some(0), false);
                }
                Waiter::Command(connection) => {
                    if let Some(step) = transitions.iter().find(|step| step.seq == Some(seq)) {
                        self.answer_transition(connection, record.id, step, false);
                    }
                }
                Waiter::Nobody | Waiter::Unacked(_) => {}
            }
        }
        if let Some(of) = of {
            self.acknowledge(of, entry, &acks);
        }
    }

    pub(super) fn answer_repeat(
        self: &Rc<Self>,
        owned: &Rc<RefCell<Owned>>,
        entry: &Arc<Entry>,
        answer: &Answer,
    ) {
        match answer.waiter {
            Waiter::Ack(connection) => self.acknowledge(connection, entry, &[(&answer.id, answer.seq, true)]),
            Waiter::Command(connection) if answer.seq == 1 => {
                let follows = owned
                    .borrow()
                    .session
                    .participants
                    .get(connection)
                    .is_some_and(|member| member.following);
                self.answer_created(owned, connection, &answer.id, follows.then_some(0), true);
            }
            Waiter::Command(connection) => {
                let step = owned.borrow().session.transition_at(answer.seq).cloned();
                if let Some(step) = step {
                    self.answer_transition(connection, &answer.id, &step, true);
                }
            }
            Waiter::Nobody | Waiter::Unacked(_) => {}
        }
    }

    fn taken_back(
        self: &Rc<Self>,
        owned: &Rc<RefCell<Owned>>,
        answers: &[Answer],
        refusal: &Refusal,
        appended: &Appended,
    ) {
        let (id, head) = (owned.borrow().session.id(), owned.borrow().session.head());
        self.shared.metrics.log_refused.inc();
        tracing::warn!(session = %id, outcome = ?appended, "the log did not take a frame");
        if head.seq == 0 || matches!(appended, Appended::Conflict(_)) {
            // Either there is no such session after all, or ours is not the log's: forget it.
            self.sessions.borrow_mut().remove(&id);
            if head.seq == 0 {
                self.shared.catalog.give_back();
                self.shared.catalog.give_back_for(&owned.borrow().entry.summary().created_by);
            }
        }
        // What the log did not take was no progress.
        owned.borrow_mut().take_back_progress();
        for answer in answers {
            if let Some(connection) = answer.waiter.connection() {
                let settles = matches!(answer.waiter, Waiter::Command(_));
                self.answer_refusal(connection, refusal.clone().of(&answer.id), settles);
            }
        }
    }
}
