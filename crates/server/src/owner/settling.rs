//! Outcomes of the log. After a commit heads move, requests are answered and feeds get the frame; a refused batch is rolled
//! back.

use std::time::{Duration, Instant};

use agentbench_event_log::{Appended, Frame, Run};
use agentbench_protocol::message::Transition;
use agentbench_protocol::{Doubts, Priority, Refusal, Seq, SessionId, Status};
use agentbench_session::{Answer, ConnectionKey, Settled, Waiter};

use super::Owners;
use super::context::OwnerContext;
use super::effect::Effect;
use super::loaded::LoadedSession;
use crate::clock::Moment;
use crate::letters::{Acks, Letter, SingleAck};

impl Owners {
    /// Processes the log's outcomes of a batch; `took` is the time of the commit.
    pub(super) fn apply_outcomes(
        &mut self,
        now: Moment,
        outcomes: Vec<(SessionId, Appended)>,
        took: Duration,
    ) {
        self.in_flight -= 1;
        self.context.meters().commit_time.add(took.as_secs_f64(), 1);
        let mut logged = 0;
        for (id, appended) in outcomes {
            logged += self.settle(now, id, &appended, took);
        }
        self.context.parts.metrics.events_logged.inc_by(logged);
    }

    /// Returns how many entries were logged.
    fn settle(&mut self, now: Moment, id: SessionId, appended: &Appended, took: Duration) -> u64 {
        let Some(loaded) = self.sessions.get_mut(&id) else { return 0 };
        let context = &mut self.context;
        let mut logged = 0;
        let appended = &*context.parts.sabotage.outcome(appended, &loaded.session);
        match loaded.session.settle(appended, now.millis) {
            Settled::Committed { frame, waiters, repeats, transitions } => {
                logged = frame.count() as u64;
                let last = frame.last_seq();
                let priority = std::mem::take(&mut loaded.priority);
                let doubtful = loaded.doubtful.extract_if(.., |(seq, _)| *seq <= last).collect();
                let committed = CommittedFrame { frame, waiters, repeats, transitions, doubtful, priority };
                context.apply_commit(now, loaded, &committed);
                if context.parts.reporting.traces {
                    let (session, frame) = (id, committed.frame);
                    context.effects.push(Effect::Trace { session, frame, took });
                }
                loaded.doubt_since = None;
            }
            Settled::InDoubt => self.doubt(now, id),
            Settled::Behind => {
                context.parts.metrics.log_behind.inc();
                loaded.return_flight();
            }
            Settled::Refused { answers, refusal } => {
                context.parts.metrics.log_refused.inc();
                tracing::warn!(session = %id, outcome = ?appended, "the log refused a frame");
                context.roll_back(now.millis, loaded, &answers, &refusal);
                loaded.outdate_read();
                if loaded.session.head().seq == 0 {
                    self.give_creation_up(now, id);
                }
            }
            Settled::Lost { answers, refusal, head } => self.lose(now, id, answers, &refusal, head),
        }
        self.go_on(now, id);
        logged
    }
}

/// A committed frame and its waiters.
struct CommittedFrame {
    frame: Frame,
    waiters: Vec<Waiter>,
    repeats: Vec<Answer>,
    transitions: Vec<Transition>,
    doubtful: Vec<(Seq, Doubts)>,
    priority: Priority,
}

impl OwnerContext {
    fn apply_commit(&mut self, now: Moment, loaded: &mut LoadedSession, committed: &CommittedFrame) {
        let CommittedFrame { frame, waiters, repeats, transitions, priority, .. } = committed;
        let opened = loaded.in_flight_since.take().unwrap_or(now);
        self.account(now, loaded, frame, opened);
        if transitions.iter().any(|transition| transition.status == Status::Running) {
            loaded.entry.pace.record_resume(now.millis);
        }
        if let Some(reservation) = loaded.reservation.take() {
            loaded.creation = None;
            self.parts.catalog.insert_reserved(&loaded.entry, reservation);
        }
        if !transitions.is_empty() {
            self.parts.catalog.update(&loaded.entry, frame.last_seq(), loaded.session.summary());
        }
        self.answer_committed(now.millis, loaded, committed);
        for answer in repeats {
            self.answer_repeat(now.millis, loaded, answer, &committed.doubtful);
        }
        if !transitions.is_empty() {
            self.broadcast_lifecycle(&loaded.session, frame, waiters);
        }
        self.send_to_feeds(loaded, frame, *priority, opened.instant);
        let session = loaded.session.id();
        if transitions.iter().any(|transition| transition.status.has_ended()) {
            self.effects.push(Effect::Archive(session));
        }
    }

    /// Sends a committed frame to every worker with a feed.
    pub(super) fn send_to_feeds(
        &mut self,
        loaded: &LoadedSession,
        frame: &Frame,
        priority: Priority,
        opened: Instant,
    ) {
        let session = loaded.session.id();
        for worker in loaded.entry.feeds() {
            let letter = Letter::Commit { session, frame: frame.clone(), priority, opened };
            self.effects.push(Effect::Post { worker, letter });
        }
    }

    /// Updates the session's head, size and pace, and the metrics.
    fn account(&self, now: Moment, loaded: &mut LoadedSession, frame: &Frame, opened: Moment) {
        let entry = &loaded.entry;
        entry.move_head(frame.last_seq());
        let bytes = entry.add_bytes(frame.bytes().len());
        loaded.session.set_full(self.parts.limits.is_full(bytes));
        entry.set_progress(loaded.session.progress());
        let (events, newest) = self.meters().frame_logged(frame, opened, now);
        entry.pace.record_events(events, newest);
        if self.parts.reporting.exemplars {
            self.parts.meters.exemplars.take(frame, opened, now);
        }
    }

    /// Answers every request for an entry of the frame. Adjacent acks of one connection are combined.
    fn answer_committed(&mut self, now: u64, loaded: &mut LoadedSession, committed: &CommittedFrame) {
        let mut runs = committed.frame.runs();
        let mut doubtful = committed.doubtful.iter().peekable();
        let mut seq = committed.frame.first_seq();
        for same in committed.waiters.chunk_by(|a, b| a == b && matches!(a, Waiter::Ack(_))) {
            if let Waiter::Ack(connection) = same[0] {
                let mut left = same.len();
                while let Some((at, doubts)) = doubtful.next_if(|(at, _)| *at < seq + left as u64) {
                    let before = (*at - seq) as usize;
                    self.acknowledge_run(connection, loaded, runs.take(before));
                    self.acknowledge_single(connection, loaded, &runs.take(1), *doubts);
                    seq = at + 1;
                    left -= before + 1;
                }
                self.acknowledge_run(connection, loaded, runs.take(left));
                seq += left as u64;
                continue;
            }
            // Without an ack there is no message to carry the warnings.
            while doubtful.next_if(|(at, _)| *at < seq + same.len() as u64).is_some() {}
            let run = runs.take(same.len());
            match same[0] {
                Waiter::Command(connection) => {
                    let id = run.records().next().map(|(_, record)| record.id).unwrap_or_default();
                    let step = committed.transitions.iter().find(|step| step.seq == Some(seq));
                    match step {
                        _ if seq == 1 => self.answer_first(now, loaded, connection, id, false),
                        Some(step) => self.answer_transition(now, connection, id, step, false),
                        None => {}
                    }
                }
                Waiter::Ack(_) | Waiter::Nobody | Waiter::Unacked(_) => {}
            }
            seq += same.len() as u64;
        }
    }

    fn acknowledge_run(&mut self, connection: ConnectionKey, loaded: &LoadedSession, run: Run) {
        if run.count() > 0 {
            self.acknowledge(connection, &loaded.entry, Acks::Run(run));
        }
    }

    /// Acknowledges an event whose ack carries warnings.
    fn acknowledge_single(
        &mut self,
        connection: ConnectionKey,
        loaded: &LoadedSession,
        run: &Run,
        doubts: Doubts,
    ) {
        for (seq, record) in run.records() {
            let ack = SingleAck { id: record.id.to_owned(), seq, duplicate: false, doubts };
            self.acknowledge(connection, &loaded.entry, Acks::Single(ack));
        }
    }

    /// Answers the command that created the session.
    fn answer_first(
        &mut self,
        now: u64,
        loaded: &mut LoadedSession,
        connection: ConnectionKey,
        id: &str,
        again: bool,
    ) {
        let follow = loaded.is_followed_by(connection).then_some(0);
        self.answer_created(now, loaded, connection, id, follow, again);
    }

    pub(super) fn answer_repeat(
        &mut self,
        now: u64,
        loaded: &mut LoadedSession,
        answer: &Answer,
        doubtful: &[(Seq, Doubts)],
    ) {
        match answer.waiter {
            Waiter::Ack(connection) => {
                let (id, seq) = (answer.id.clone(), answer.seq);
                let doubts =
                    doubtful.iter().find(|(at, _)| *at == seq).map_or(Doubts::NONE, |(_, doubts)| *doubts);
                let ack = SingleAck { id, seq, duplicate: true, doubts };
                self.acknowledge(connection, &loaded.entry, Acks::Single(ack));
            }
            Waiter::Command(connection) if answer.seq == 1 => {
                self.answer_first(now, loaded, connection, &answer.id, true);
            }
            Waiter::Command(connection) => {
                if let Some(step) = loaded.session.transition_at(answer.seq) {
                    self.answer_transition(now, connection, &answer.id, step, true);
                }
            }
            Waiter::Nobody | Waiter::Unacked(_) => {}
        }
    }

    pub(super) fn roll_back(
        &mut self,
        now: u64,
        loaded: &mut LoadedSession,
        answers: &[Answer],
        refusal: &Refusal,
    ) {
        loaded.restore_progress();
        loaded.doubtful.clear();
        for answer in answers {
            self.refuse_answer(now, answer, refusal);
        }
    }

    pub(super) fn refuse_answer(&mut self, now: u64, answer: &Answer, refusal: &Refusal) {
        if let Some(connection) = answer.waiter.connection() {
            let settles = matches!(answer.waiter, Waiter::Command(_));
            self.refuse(connection, refusal.clone().of(&answer.id), settles, now);
        }
    }
}
