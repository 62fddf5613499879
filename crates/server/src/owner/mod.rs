//! The owners of sessions: the only place where a session's state changes.
//!
//! [`Owners`] is a state machine for all sessions of one worker, without sockets, threads or clock. Requests, outcomes of
//! the log and the time are its inputs; its outputs are [`Effect`]s, which the worker carries out. Requests of a session
//! are handled in order. Requests that wait for the log are answered by [`Owners::apply_outcomes`]. A session that is not in
//! memory is loaded from its log first, and its requests wait.
//!
//! - `creating`, `joining`, `presence`: sessions and their participants.
//! - `publishing`, `lifecycle`: the entries of their logs.
//! - `settling`: outcomes of the log. `writers`: other writers of it. `answering`: refusals, which do not wait for it.
//! - `loading`: loading and unloading.
//! - `context`, `effect`, `loaded`: shared state, effects, and the state of one session.

mod answering;
mod context;
mod creating;
mod effect;
mod joining;
mod lifecycle;
mod loaded;
pub(crate) mod loading;
mod presence;
mod publishing;
mod settling;
mod writers;

use agentbench_auth::Permission;
use agentbench_event_log::Append;
use agentbench_protocol::{ErrorCode, Refusal, SessionId, SystemMessage};
use agentbench_session::ConnectionKey;
use foldhash::{HashMap, HashMapExt};

use crate::clock::Moment;
use crate::letters::{Join, Letter, OwnerLetter, Request, Requester};
use crate::rules::publish_permission;
use crate::sabotage::Defect;
use context::OwnerContext;
use loaded::{LoadedSession, PendingLoad};

pub(crate) use context::{OwnerParts, Reporting, SessionLimits};
pub(crate) use effect::Effect;

/// See the module.
pub(crate) struct Owners {
    sessions: HashMap<SessionId, Box<LoadedSession>>,
    loading: HashMap<SessionId, PendingLoad>,
    context: OwnerContext,
    /// Batches whose outcome is pending.
    in_flight: usize,
    /// Sessions with something that is tried again with the next tick.
    unsettled: Vec<SessionId>,
}

impl Owners {
    /// Owners without sessions.
    pub(crate) fn new(parts: OwnerParts) -> Self {
        let (sessions, loading, unsettled) = (HashMap::new(), HashMap::new(), Vec::new());
        Self { sessions, loading, context: OwnerContext::new(parts), in_flight: 0, unsettled }
    }

    /// Takes the effects queued since the last call, in order.
    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.context.effects)
    }

    /// Reuses the memory of a list of effects that was carried out.
    pub(crate) fn reuse(&mut self, spare: Vec<Effect>) {
        if self.context.effects.capacity() == 0 {
            self.context.effects = spare;
        }
    }

    /// Whether [`Owners::take_batches`] became due since the last call.
    pub(crate) fn take_due(&mut self) -> bool {
        self.context.dirty.take_due()
    }

    /// The participants of all sessions in memory, in the order of their sessions.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn participants(&self) -> Vec<(SessionId, ConnectionKey)> {
        let mut all = Vec::new();
        for (id, loaded) in &self.sessions {
            all.extend(loaded.session.participants.iter().map(|(key, _)| (*id, key)));
        }
        all.sort_unstable();
        all
    }

    /// Whether [`Owners::take_batches`] may have something to take.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn has_dirty(&self) -> bool {
        !self.context.dirty.is_empty()
    }

    /// Whether entries wait for the log or for its outcome.
    pub(crate) fn has_uncommitted(&self) -> bool {
        self.in_flight > 0 || !self.context.dirty.is_empty() || !self.unsettled.is_empty()
    }

    /// Whether the session is in memory.
    pub(crate) fn has(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    /// Sessions in memory.
    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Takes the next frame of every session that has one, for the log; the outcomes go to [`Owners::apply_outcomes`] with
    /// the ids of the sessions.
    pub(crate) fn take_batches(&mut self, now: Moment) -> Vec<Append> {
        let dirty = self.context.dirty.take();
        let mut appends = Vec::with_capacity(dirty.len());
        for session in dirty {
            let Some(loaded) = self.sessions.get_mut(&session) else { continue };
            let Some(batch) = loaded.take_batch(now) else { continue };
            let (expected, frame, summary) = (batch.expected, batch.frame, batch.summary);
            appends.push(Append { session, expected, frame, summary });
        }
        self.in_flight += usize::from(!appends.is_empty());
        appends
    }

    /// Processes a letter.
    pub(crate) fn read_letter(&mut self, now: Moment, letter: OwnerLetter) {
        match letter {
            OwnerLetter::Request { session, requester, request } => {
                self.handle(now, session, requester, request);
            }
            OwnerLetter::Disconnect { session, connection } => {
                self.on_disconnect(now.millis, session, connection);
            }
            OwnerLetter::Outcomes { outcomes, submitted } => {
                let took = now.instant.saturating_duration_since(submitted);
                self.apply_outcomes(now, outcomes, took);
            }
            OwnerLetter::Loaded { session, tail } => self.finish_load(now, session, tail),
            OwnerLetter::CaughtUp { session, read } => self.catch_up(now, session, read),
            OwnerLetter::Observed { session, change } => self.observe(now, session, &change),
            OwnerLetter::FeedEnded { session, worker } => self.on_feed_end(session, worker),
        }
    }

    /// Carries out a request, or queues it until the session is in memory.
    fn handle(&mut self, now: Moment, id: SessionId, requester: Requester, request: Request) {
        let context = &mut self.context;
        if let Some(loaded) = self.sessions.get_mut(&id) {
            return context.carry_out(now, loaded, &requester, request);
        }
        if matches!(request, Request::Disconnect | Request::Acknowledge { .. }) {
            return;
        }
        if let Some(pending) = self.loading.get_mut(&id) {
            return pending.waiting.push((requester, request));
        }
        // Another process may have created it; a creation finds that out by itself.
        let is_creation = matches!(request, Request::Create { .. });
        let may_exist = !context.parts.catalog.is_complete() && !is_creation;
        if may_exist || context.parts.catalog.get(id).is_some() {
            return self.load(id, PendingLoad { waiting: vec![(requester, request)], expire: false });
        }
        match request {
            Request::Create { command, fields } => {
                if let Some(loaded) = context.create(now.millis, id, &requester, command, fields) {
                    self.sessions.insert(id, Box::new(loaded));
                    context.dirty.mark(id);
                }
            }
            other => {
                let refusal = context.parts.no_such_session.clone();
                context.refuse_request(now.millis, id, &requester, &other, refusal);
            }
        }
    }

    /// Called when a connection or exchange that may be a participant has ended.
    fn on_disconnect(&mut self, now: u64, session: SessionId, connection: ConnectionKey) {
        if let Some(loaded) = self.sessions.get_mut(&session) {
            self.context.leave(now, loaded, connection);
        }
    }

    /// Called when a worker has no feed of the session any more.
    fn on_feed_end(&mut self, session: SessionId, worker: usize) {
        match self.sessions.get(&session) {
            Some(loaded) => OwnerContext::end_feed(loaded, worker),
            None => {
                if let Some(entry) = self.context.parts.catalog.get(session) {
                    entry.set_feed(worker, false);
                }
            }
        }
    }

    /// Called when the wall clock was set by `by_ms` to `now`: shifts sessions' deadlines, so that they expire when due.
    pub(crate) fn clock_was_set(&mut self, by_ms: i64, now: u64) {
        for loaded in self.sessions.values_mut() {
            loaded.session.clock_was_set(by_ms, now);
        }
    }
}

impl OwnerContext {
    fn carry_out(
        &mut self,
        now: Moment,
        loaded: &mut LoadedSession,
        requester: &Requester,
        request: Request,
    ) {
        let session_id = loaded.session.id();
        if let Err(refusal) = may_use(loaded, requester, &request) {
            return self.refuse_request(now.millis, session_id, requester, &request, refusal);
        }
        let connection = requester.connection;
        match request {
            Request::Create { command, fields } => {
                self.create_again(now.millis, loaded, requester, command, &fields);
            }
            // There is nothing to join before the log has the session.
            Request::Join(join) if loaded.session.head().seq == 0 => {
                loaded.waiting.push((requester.clone(), Request::Join(join)));
            }
            Request::Join(join)
                if !self.parts.catalog.is_complete()
                    && !self.parts.sabotage.is(Defect::StaleHead)
                    && !join.log_was_read
                    && loaded.session.is_beyond(&join.from) =>
            {
                loaded.session.suspect();
                loaded.outdate_read();
                let request = Request::Join(Join { log_was_read: true, ..join });
                loaded.waiting.push((requester.clone(), request));
                self.read_on(loaded);
            }
            Request::Join(join) => self.join(now.millis, loaded, requester, join),
            Request::Leave { command, unsubscribe } => {
                self.leave(now.millis, loaded, connection);
                let message = if unsubscribe {
                    SystemMessage::SessionUnsubscribed { original_message_id: command, session_id }
                } else {
                    SystemMessage::SessionLeft { original_message_id: command, session_id }
                };
                let json = self.system_json(None, &message, now.millis);
                self.post_to(connection, Letter::Left { connection, session: session_id, json });
            }
            Request::Control { command, step } => {
                self.control(now.millis, loaded, requester, command, &step);
            }
            Request::Info { command } => {
                let session = self.describe(loaded, now.millis);
                let info = SystemMessage::SessionInfo { original_message_id: command, session };
                self.answer(connection, &info, now.millis);
            }
            Request::Publish(event) => self.publish_for(now, loaded, requester, event),
            Request::PublishAll(events) => {
                for event in events {
                    self.publish_for(now, loaded, requester, event);
                }
            }
            Request::Acknowledge { seq } => {
                let seq = seq.min(loaded.session.head().seq);
                loaded.session.participants.acknowledge(connection, seq);
            }
            Request::Disconnect if self.parts.sabotage.is(Defect::Ghosts) => {}
            Request::Disconnect => self.leave(now.millis, loaded, connection),
        }
    }
}

fn may_use(loaded: &LoadedSession, requester: &Requester, request: &Request) -> Result<(), Refusal> {
    let summary = loaded.entry.summary();
    let permission = match request {
        Request::Create { .. } => Permission::SessionCreate,
        Request::Join(_) | Request::Info { .. } => Permission::SessionRead,
        Request::Control { .. } => Permission::SessionControl,
        Request::Publish(event) => publish_permission(event.outline),
        // Each event's own permission was checked when the request arrived.
        Request::PublishAll(events) => {
            events.first().map_or(Permission::SessionPublish, |event| publish_permission(event.outline))
        }
        // Participants may always acknowledge and leave.
        Request::Acknowledge { .. } | Request::Disconnect => return Ok(()),
        Request::Leave { .. } if loaded.session.participants.get(requester.connection).is_some() => {
            return Ok(());
        }
        Request::Leave { .. } => Permission::Connect,
    };
    if !requester.grant.may_access(&summary.project_id) && !matches!(request, Request::Create { .. }) {
        // Reported as not found, so that a guessed or leaked id reveals nothing about another project.
        return Err(Refusal::new(ErrorCode::SessionNotFound, "there is no such session"));
    }
    if !requester.grant.allows(permission) || !requester.grant.may_access(&summary.project_id) {
        return Err(Refusal::new(
            ErrorCode::Forbidden,
            "the token does not permit this in the session's project",
        ));
    }
    Ok(())
}
