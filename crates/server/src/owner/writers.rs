//! Other writers of a session's log: outcomes that are in doubt, frames that others have committed, and logs that are gone.
//!
//! A frame in doubt is given to the log once more, at once and then with each tick. A session that is behind reads the log from
//! its head on ([`Effect::CatchUp`]) unless the frames come by themselves; what waits meanwhile is sequenced anew. Participants
//! and feeds stay through all of this. Only a session whose log is gone ends, and its followers' connections with it: they
//! come back with their positions and are told what became of the session.

use std::time::Duration;

use agentbench_event_log::{Change, Frame, Kind, LogError, Reading};
use agentbench_protocol::{CloseCode, Doubts, ErrorCode, Head, Refusal, Seq, SessionId, Status};
use agentbench_session::{Advanced, Answer, Observed, Settled, Waiter};

use super::Owners;
use super::context::OwnerContext;
use super::effect::Effect;
use super::loaded::{Creation, LoadedSession, LogRead, PendingLoad};
use crate::clock::Moment;
use crate::letters::{Letter, Request, Requester};
use crate::names;
use crate::sabotage::Defect;
use crate::session::cursor::{ReadOutcome, interpret};
use crate::session::progress::newest_progress;

/// How long an outcome may be in doubt before whoever waits is told so.
const DOUBT_LIMIT: Duration = Duration::from_secs(15);

impl Owners {
    /// The log could not tell the outcome of a frame: it is given to the log again, the first time at once.
    pub(super) fn doubt(&mut self, now: Moment, id: SessionId) {
        let Some(loaded) = self.sessions.get_mut(&id) else { return };
        self.context.parts.metrics.log_in_doubt.inc();
        if loaded.doubt_since.replace(loaded.doubt_since.unwrap_or(now)).is_none() {
            self.context.dirty.mark(id);
        } else {
            self.unsettled.push(id);
        }
    }

    /// Another process changed the log of a session that is in memory here.
    pub(super) fn observe(&mut self, now: Moment, id: SessionId, change: &Change) {
        let Some(loaded) = self.sessions.get_mut(&id) else { return };
        let epoch = loaded.session.head().epoch;
        match change {
            Change::Committed { head, frame, .. } if head.epoch == epoch => {
                if loaded.session.observe(frame) == Observed::Next {
                    self.context.advance(now, loaded, std::slice::from_ref(frame));
                }
            }
            // The log's word on a creation, or on any frame in flight, says the same and comes next.
            _ if loaded.creation.is_some() || loaded.session.is_submitted() => {}
            Change::Archived(_) => {}
            Change::Committed { head, .. } => self.end(now, id, Some(*head)),
            Change::Removed(_, removed) if *removed == epoch => self.end(now, id, None),
            Change::Removed(..) => {}
        }
        self.go_on(now, id);
    }

    /// Called with what follows the head of a session that is behind.
    pub(super) fn catch_up(&mut self, now: Moment, id: SessionId, read: Result<Reading, LogError>) {
        let Some(loaded) = self.sessions.get_mut(&id) else { return };
        let is_outdated = std::mem::take(&mut loaded.reading) == LogRead::Outdated;
        // What has to be known may be newer than the read; the frames may have come by themselves meanwhile, and others may
        // be in flight.
        if !is_outdated && loaded.session.is_behind() && !loaded.session.is_in_flight() {
            self.take_missing(now, id, read);
        }
        self.go_on(now, id);
    }

    fn take_missing(&mut self, now: Moment, id: SessionId, read: Result<Reading, LogError>) {
        let Some(loaded) = self.sessions.get_mut(&id) else { return };
        let (context, head) = (&mut self.context, loaded.session.head());
        match read {
            Ok(reading) if reading.head.epoch != head.epoch => self.end(now, id, Some(reading.head)),
            Ok(reading) if reading.frames.is_empty() && reading.head.seq == head.seq => {
                loaded.session.finish_reading();
                if loaded.session.is_behind() {
                    // This read lags behind what the log has said before.
                    self.unsettled.push(id);
                }
            }
            read => match interpret(id, head.seq + 1, read) {
                ReadOutcome::Frames(reading) => {
                    let frames = after(head.seq, reading.frames);
                    if frames.first().is_some_and(|frame| frame.first_seq() != head.seq + 1) {
                        // It has other frames than this session has seen.
                        self.end(now, id, Some(reading.head));
                    } else {
                        // All of them may have been observed since the read.
                        context.advance(now, loaded, &frames);
                        if loaded.session.head().seq >= reading.head.seq {
                            loaded.session.finish_reading();
                        }
                    }
                }
                ReadOutcome::Gap { to, .. } => context.skip(now, loaded, to),
                ReadOutcome::Removed => self.end(now, id, None),
                ReadOutcome::NotYet(error) => {
                    tracing::warn!(session = %id, error, "the log of a session that is behind cannot be read; retrying");
                    context.refuse_waiting(now.millis, loaded);
                    self.unsettled.push(id);
                }
            },
        }
    }

    /// Tries again what could not be settled. Called once a tick.
    pub(crate) fn retry_unsettled(&mut self, now: Moment) {
        for id in std::mem::take(&mut self.unsettled) {
            let Some(loaded) = self.sessions.get_mut(&id) else { continue };
            let since = loaded.doubt_since.filter(|_| loaded.session.is_in_doubt());
            match since {
                None => self.context.read_on(loaded),
                Some(since) if now.instant.saturating_duration_since(since.instant) < DOUBT_LIMIT => {
                    self.context.dirty.mark(id);
                }
                Some(_) => {
                    loaded.doubt_since = None;
                    if let Settled::Refused { answers, refusal } = loaded.session.give_up(now.millis) {
                        self.context.parts.metrics.log_refused.inc();
                        self.context.roll_back(now.millis, loaded, &answers, &refusal);
                    }
                    loaded.outdate_read();
                    if loaded.session.head().seq == 0 {
                        self.give_creation_up(now, id);
                    }
                }
            }
            self.go_on(now, id);
        }
    }

    /// After a change of a session: what waits goes to the log, or the log is read; freed space in the backlog is released.
    pub(super) fn go_on(&mut self, now: Moment, id: SessionId) {
        let Some(loaded) = self.sessions.get_mut(&id) else { return };
        self.context.advance_by_held(now, loaded);
        self.context.release_freed(loaded);
        if loaded.session.has_batch() {
            self.context.dirty.mark(id);
        }
        if !self.unsettled.contains(&id) {
            self.context.read_on(loaded);
        }
        if !loaded.session.is_behind() && loaded.session.head().seq > 0 && !loaded.waiting.is_empty() {
            let waiting = std::mem::take(&mut loaded.waiting);
            self.handle_all(now, id, waiting);
        }
    }

    fn handle_all(&mut self, now: Moment, id: SessionId, requests: Vec<(Requester, Request)>) {
        for (requester, request) in requests {
            self.handle(now, id, requester, request);
        }
    }

    /// The creation of a session was refused. Whoever wanted to join it is answered by what the log has.
    pub(super) fn give_creation_up(&mut self, now: Moment, id: SessionId) {
        if let Some(mut loaded) = self.forget(id) {
            self.context.release_freed(&mut loaded);
            let waiting = std::mem::take(&mut loaded.waiting);
            drop(loaded);
            self.handle_all(now, id, waiting);
        }
    }

    /// Ends a session whose log is gone, or whose log is another one now (`head`).
    fn end(&mut self, now: Moment, id: SessionId, head: Option<Head>) {
        let Some(loaded) = self.sessions.get_mut(&id) else { return };
        let (answers, refusal) = loaded.session.end(now.millis);
        self.lose(now, id, answers, &refusal, head);
    }

    /// As [`Owners::end`], with the answers that are due.
    pub(super) fn lose(
        &mut self,
        now: Moment,
        id: SessionId,
        answers: Vec<Answer>,
        refusal: &Refusal,
        head: Option<Head>,
    ) {
        let Some(mut loaded) = self.forget(id) else { return };
        let creation = loaded.creation.take().filter(|_| head.is_some());
        let context = &mut self.context;
        let is_created_again = |answer: &Answer| {
            creation.as_ref().is_some_and(|creation| {
                answer.waiter == Waiter::Command(creation.requester.connection)
                    && answer.id == creation.command
            })
        };
        let answers: Vec<_> = answers.into_iter().filter(|answer| !is_created_again(answer)).collect();
        context.roll_back(now.millis, &mut loaded, &answers, refusal);
        context.release_freed(&mut loaded);
        if let Some(creation) = creation {
            // Another process has created it, perhaps by the same command: the log says so.
            let Creation { requester, command, fields } = *creation;
            let mut waiting = vec![(requester, Request::Create { command, fields })];
            waiting.append(&mut loaded.waiting);
            drop(loaded);
            return self.load(id, PendingLoad { waiting, expire: false });
        }
        context.refuse_waiting(now.millis, &mut loaded);
        tracing::warn!(session = %id, ?head, "the log of a session was removed or replaced");
        context.close_participants(&loaded);
        let catalog = &context.parts.catalog;
        match head {
            // The same log, with another history than this process has seen: it is listed anew when it is asked for.
            Some(head) if head.epoch == loaded.entry.epoch => catalog.remove(id),
            _ => catalog.remove_life(id, loaded.entry.epoch),
        }
        loaded.entry.moved.notify_waiters();
    }

    /// Takes a session out of memory.
    pub(super) fn forget(&mut self, id: SessionId) -> Option<Box<LoadedSession>> {
        let loaded = self.sessions.remove(&id)?;
        loaded.entry.set_loaded(false);
        Some(loaded)
    }
}

/// The frames that end after `seq`.
fn after(seq: Seq, frames: Vec<Frame>) -> Vec<Frame> {
    frames.into_iter().filter(|frame| frame.last_seq() > seq).collect()
}

impl OwnerContext {
    /// Requests what follows the head of a session that is behind.
    pub(super) fn read_on(&mut self, loaded: &mut LoadedSession) {
        let session = &loaded.session;
        if session.is_behind() && !session.is_in_flight() && loaded.reading == LogRead::No {
            loaded.reading = LogRead::Running;
            self.effects.push(Effect::CatchUp { session: session.id(), from: session.head().seq + 1 });
        }
    }

    fn release_freed(&mut self, loaded: &mut LoadedSession) {
        let permit = loaded.permit.shrink_to(loaded.session.queued_bytes());
        if permit.bytes() > 0 {
            if self.parts.sabotage.is(Defect::PermitTwice) {
                self.effects.push(Effect::Release { _permit: permit.forged() });
            }
            self.effects.push(Effect::Release { _permit: permit });
        }
    }

    fn advance_by_held(&mut self, now: Moment, loaded: &mut LoadedSession) {
        let frames = loaded.session.take_held();
        if !frames.is_empty() {
            self.advance(now, loaded, &frames);
        }
    }

    /// Applies frames of other writers, which follow the session's head, and sends them to the followers.
    fn advance(&mut self, now: Moment, loaded: &mut LoadedSession, frames: &[Frame]) {
        let sabotage = self.parts.sabotage;
        let advanced = loaded.session.advance(&sabotage.observed(frames), now.millis);
        self.account_others(loaded, frames);
        self.follow_lifecycle(now, loaded, &advanced);
        self.answer_advanced(now, loaded, advanced);
        for frame in frames {
            let nobody = vec![Waiter::Nobody; frame.count()];
            self.broadcast_lifecycle(&loaded.session, frame, &nobody);
            if !sabotage.is(Defect::StarveFollower) {
                self.send_to_feeds(loaded, frame, loaded.priority, now.instant);
            }
        }
    }

    /// Goes on after events that the log has lost.
    fn skip(&mut self, now: Moment, loaded: &mut LoadedSession, to: Seq) {
        let advanced = loaded.session.skip(to, now.millis);
        loaded.entry.move_head(to);
        self.answer_advanced(now, loaded, advanced);
        let session = loaded.session.id();
        for worker in loaded.entry.feeds() {
            self.effects.push(Effect::Post { worker, letter: Letter::Resync { session } });
        }
    }

    fn account_others(&self, loaded: &mut LoadedSession, frames: &[Frame]) {
        let entry = &loaded.entry;
        for frame in frames {
            let bytes = entry.add_bytes(frame.bytes().len());
            loaded.session.set_full(self.parts.limits.is_full(bytes));
            let events = || frame.records().filter(|(_, record)| record.kind == Kind::Event);
            let newest = events().last().map_or(0, |(_, record)| record.received_at);
            entry.pace.record_events(events().count() as u64, newest);
            entry.move_head(frame.last_seq());
        }
        if let Some(percent) = newest_progress(frames) {
            entry.set_progress(Some(percent));
            loaded.session.set_progress(Some(percent));
        }
    }

    fn follow_lifecycle(&self, now: Moment, loaded: &LoadedSession, advanced: &Advanced) {
        if advanced.transitions.is_empty() {
            return;
        }
        if advanced.transitions.iter().any(|transition| transition.status == Status::Running) {
            loaded.entry.pace.record_resume(now.millis);
        }
        let (seq, summary) = (loaded.session.head().seq, loaded.session.summary());
        self.parts.catalog.update(&loaded.entry, seq, summary);
    }

    /// Answers entries that other writers have decided about, and follows the others to their new seqs.
    fn answer_advanced(&mut self, now: Moment, loaded: &mut LoadedSession, advanced: Advanced) {
        let Advanced { moved, repeats, refused, .. } = advanced;
        let doubtful = std::mem::take(&mut loaded.doubtful);
        let doubts_at = |old: Seq| {
            let place = doubtful.iter().find(|(seq, _)| *seq == old);
            place.map_or(Doubts::NONE, |(_, doubts)| *doubts)
        };
        let moved = moved.into_iter().map(|(old, new)| (new, doubts_at(old)));
        loaded.doubtful = moved.filter(|(_, doubts)| !doubts.is_none()).collect();
        for (old, answer) in repeats {
            self.parts.metrics.events_duplicate.inc();
            self.answer_repeat(now.millis, loaded, &answer, &[(answer.seq, doubts_at(old))]);
        }
        for (answer, refusal) in refused {
            self.refuse_answer(now.millis, &answer, &refusal);
        }
    }

    fn refuse_waiting(&mut self, now: u64, loaded: &mut LoadedSession) {
        let detail = "the session's log cannot be read now";
        let refusal = Refusal::new(ErrorCode::LogUnavailable, detail).retry_after(1_000);
        for (requester, request) in std::mem::take(&mut loaded.waiting) {
            self.refuse_request(now, loaded.session.id(), &requester, &request, refusal.clone());
        }
    }

    /// Closes the connections of a session's participants: what they know of it does not hold any more.
    fn close_participants(&mut self, loaded: &LoadedSession) {
        for (connection, _) in loaded.session.participants.iter() {
            if !names::is_exchange(connection) {
                let (code, detail) = (CloseCode::Restarting, "a session's log was removed or replaced");
                self.post_to(connection, Letter::Close { connection, code, detail });
            }
        }
    }
}
