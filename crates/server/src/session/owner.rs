//! The owner of a session: the one place where its state changes.
//!
//! Requests come from connections of any worker, and are carried out in order. What has to wait for the log is answered when
//! the log has spoken ([`Worker::settled`]). A session that is not in memory is read from its log first; requests wait for it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use agentbench_audit::Record;
use agentbench_auth::Permission;
use agentbench_event_log::{Appended, Frame, Kind, LogError, ReadLimit};
use agentbench_protocol::command::CreateSession;
use agentbench_protocol::event::{EventBody, write_error, write_system};
use agentbench_protocol::message::{ErrorData, Joined, Presence, Transition};
use agentbench_protocol::{
    Epoch, ErrorCode, Head, Outline, Position, Priority, Refusal, Seq, SessionId, SessionInfo, StartAt,
    Status, SystemMessage,
};
use agentbench_session::{
    Answer, Batch, ConnectionKey, Member, Publish, Published, Session, Settled, Step, Summary, Waiter,
    resolve,
};
use bytes::{Bytes, BytesMut};

use super::catalog::Entry;
use super::progress::newest_progress;
use crate::dispatch::publishing_needs;
use crate::http::exchange::Answered;
use crate::ops::meters::Moment;
use crate::shared::Shared;
use crate::trace::now_ns;
use crate::worker::Worker;
use crate::worker::mailbox::{Asker, Letter, OwnedEvent, Request};

/// Participants up to which everybody is told at once who came or went; beyond that, once a tick.
const PRESENCE_AT_ONCE: usize = 20;
/// Frames are read in steps of this many bytes when a session is loaded.
const LOAD_STEP: usize = 1024 * 1024;

/// A session in memory.
pub(crate) struct Owned {
    pub(crate) session: Session,
    pub(crate) entry: Arc<Entry>,
    /// Workers that have a feed of it, one bit each.
    mirrors: u64,
    /// The highest priority of what waits for the log.
    priority: Priority,
    /// A change of participants that was not told yet.
    untold: Option<SystemMessage>,
    /// Bytes of the commit backlog that it holds.
    reserved: usize,
    /// When the oldest event was taken of what waits for the log, and of what the log was given.
    opened: Option<Moment>,
    flying: Option<Moment>,
}

impl Owned {
    fn take_back_progress(&mut self) {
        let known = self.entry.progress();
        self.session.set_progress(known);
    }
}

/// A session that is being read from its log, and the requests that wait for it.
pub(crate) struct Loading {
    waiting: Vec<(Asker, Request)>,
    expire: bool,
}

impl Owned {
    /// The next frame for the log.
    pub(crate) fn take_batch(&mut self, now: u64) -> Option<Batch> {
        let batch = self.session.take_batch()?;
        // Of what waited behind another frame it is only known to have been taken before.
        self.flying = Some(self.opened.take().unwrap_or_else(|| Moment::at(now)));
        Some(batch)
    }
}

impl Worker {
    /// The session as clients are told of it.
    fn describe(&self, owned: &Owned) -> SessionInfo {
        self.shared.catalog.with_pace(&owned.entry, owned.session.describe())
    }

    /// Carries out a request, or lets it wait until the session is in memory.
    pub(crate) fn handle(self: &Rc<Self>, id: SessionId, asker: Asker, request: Request) {
        if let Some(owned) = self.sessions.borrow().get(&id).cloned() {
            return self.carry_out(&owned, &asker, request);
        }
        if matches!(request, Request::Gone | Request::Acknowledge { .. }) {
            return;
        }
        if let Some(loading) = self.loading.borrow_mut().get_mut(&id) {
            return loading.waiting.push((asker, request));
        }
        if self.shared.catalog.get(id).is_some() {
            return self.load(id, Loading { waiting: vec![(asker, request)], expire: false });
        }
        match request {
            Request::Create { command, fields } => self.create(id, &asker, command, fields),
            other => {
                let refusal = Refusal::new(ErrorCode::SessionNotFound, "there is no such session");
                self.refuse_request(id, &asker, &other, refusal);
            }
        }
    }

    fn refuse_request(
        self: &Rc<Self>,
        session: SessionId,
        asker: &Asker,
        request: &Request,
        refusal: Refusal,
    ) {
        if let Request::PublishAll(events) = request {
            for event in events {
                self.shared.give_back_backlog(event_size(event));
                self.answer_refusal(asker.connection, refusal.clone().of(&*event.id), false);
            }
            return;
        }
        if let Request::Publish(event) = request {
            self.shared.give_back_backlog(event_size(event));
        }
        let refusal = match request_id(request) {
            Some(id) => refusal.of(id),
            None => return,
        };
        if let Some(action) = action_of(request) {
            self.audit_refusal(asker, session, action, &refusal);
        }
        self.answer_refusal(asker.connection, refusal, !matches!(request, Request::Publish(_)));
    }

    /// Writes down what was not let be done to a session.
    fn audit_refusal(&self, asker: &Asker, session: SessionId, action: &'static str, refusal: &Refusal) {
        let record = || asker.record(session, Record::refused(self.now(), action, refusal.code.as_str()));
        self.shared.audit(record);
    }

    fn answer_refusal(self: &Rc<Self>, connection: ConnectionKey, refusal: Refusal, settles: bool) {
        self.shared.metrics.error(refusal.code);
        if Shared::is_exchange(connection) {
            self.shared.exchanges.answer(connection, Answered::Refused(refusal));
            return;
        }
        let mut json = BytesMut::new();
        write_error(&mut json, self.next_number(), self.now(), None, &ErrorData::from(refusal));
        self.reply(connection, json.freeze(), settles);
    }

    fn answer(self: &Rc<Self>, connection: ConnectionKey, message: &SystemMessage) {
        let json = self.system_json(None, message);
        self.reply(connection, json, true);
    }

    fn system_json(&self, session: Option<SessionId>, message: &SystemMessage) -> Bytes {
        let mut json = BytesMut::new();
        write_system(&mut json, self.next_number(), self.now(), session, message);
        json.freeze()
    }

    fn carry_out(self: &Rc<Self>, owned: &Rc<RefCell<Owned>>, asker: &Asker, request: Request) {
        if let Err(refusal) = may_use(&owned.borrow(), asker, &request) {
            let id = owned.borrow().session.id();
            return self.refuse_request(id, asker, &request, refusal);
        }
        let now = self.now();
        match request {
            Request::Create { command, fields } => self.create_again(owned, asker, command, &fields),
            Request::Join { command, follow, from, id_at_position, subscribe } => {
                self.join(owned, asker, command, follow, &from, id_at_position.as_deref(), subscribe);
            }
            Request::Leave { command, unsubscribe } => {
                let session_id = owned.borrow().session.id();
                self.part(owned, asker.connection);
                let message = if unsubscribe {
                    SystemMessage::SessionUnsubscribed { original_message_id: command, session_id }
                } else {
                    SystemMessage::SessionLeft { original_message_id: command, session_id }
                };
                let json = self.system_json(None, &message);
                self.post_to(
                    asker.connection,
                    Letter::Left { connection: asker.connection, session: session_id, json },
                );
            }
            Request::Control { command, step } => self.control(owned, asker, command, &step, now),
            Request::Info { command } => {
                let session = self.describe(&owned.borrow());
                self.answer(
                    asker.connection,
                    &SystemMessage::SessionInfo { original_message_id: command, session },
                );
            }
            Request::Publish(event) => self.publish_owned(owned, asker, &event, now),
            Request::PublishAll(events) => {
                for event in &events {
                    self.publish_owned(owned, asker, event, now);
                }
            }
            Request::Acknowledge { seq } => {
                let mut owned = owned.borrow_mut();
                let seq = seq.min(owned.session.head().seq);
                owned.session.participants.acknowledge(asker.connection, seq);
            }
            Request::Gone => self.part(owned, asker.connection),
        }
    }

    fn create(self: &Rc<Self>, id: SessionId, asker: &Asker, command: String, fields: CreateSession) {
        let shared = &self.shared;
        let user_limit = shared.config.security.user_sessions;
        if !shared.catalog.reserve_for(&asker.who.user_id, user_limit) {
            let limit = format!("the user has {user_limit} live sessions, as many as one may have");
            let refusal = Refusal::new(ErrorCode::SessionLimit, limit).retry_after(10_000).of(command);
            self.audit_refusal(asker, id, "create_session", &refusal);
            return self.answer_refusal(asker.connection, refusal, true);
        }
        if !shared.catalog.reserve(shared.config.max_sessions) {
            shared.catalog.give_back_for(&asker.who.user_id);
            let limit =
                format!("the server has {} sessions, as many as it may have", shared.config.max_sessions);
            let refusal = Refusal::new(ErrorCode::SessionLimit, limit).retry_after(10_000).of(command);
            self.audit_refusal(asker, id, "create_session", &refusal);
            return self.answer_refusal(asker.connection, refusal, true);
        }
        let now = self.now();
        shared.audit(|| {
            asker.record(id, Record::allowed(now, "create_session").detail(fields.project_id.clone()))
        });
        let summary = summary_of(fields, asker, now);
        let head = Head { epoch: Epoch::from_u64(self.random()), seq: 0 };
        let waiter = Waiter::Command(asker.connection);
        let mut session =
            Session::create(id, head, shared.context(), summary.0.clone(), (&command, waiter), &asker.who);
        if !Shared::is_exchange(asker.connection) {
            session.join(asker.connection, Arc::clone(&asker.who), summary.1, now);
        }
        let entry = Entry::new(id, head, summary.0, now);
        let owned = Owned {
            session,
            entry,
            mirrors: 0,
            priority: Priority::Normal,
            untold: None,
            reserved: 0,
            opened: None,
            flying: None,
        };
        self.sessions.borrow_mut().insert(id, Rc::new(RefCell::new(owned)));
        self.mark_dirty(id);
    }

    /// The same command once more, perhaps from a newer connection: the same answer, and participation.
    fn create_again(
        self: &Rc<Self>,
        owned: &Rc<RefCell<Owned>>,
        asker: &Asker,
        command: String,
        fields: &CreateSession,
    ) {
        let (now, follow) = (self.now(), fields.follow);
        let (summary, _) = summary_of(fields.clone(), asker, now);
        let mut guard = owned.borrow_mut();
        if !guard.session.was_created_as(&summary) {
            drop(guard);
            let detail = "this user used the id for another create_session before";
            let refusal = Refusal::new(ErrorCode::IdConflict, detail).of(command);
            return self.answer_refusal(asker.connection, refusal, true);
        }
        if guard.session.head().seq == 0 {
            guard.session.repeat_create(Waiter::Command(asker.connection), &command);
            if !Shared::is_exchange(asker.connection) {
                guard.session.join(asker.connection, Arc::clone(&asker.who), follow, now);
            }
            return;
        }
        drop(guard);
        if !Shared::is_exchange(asker.connection) {
            self.add_participant(owned, asker, follow);
        }
        self.answer_created(owned, asker.connection, &command, follow.then_some(0), true);
    }

    /// Answers `create_session` once the log has the session, and begins to deliver if that is wanted. `again` if this
    /// command is not the one that made it.
    fn answer_created(
        self: &Rc<Self>,
        owned: &Rc<RefCell<Owned>>,
        connection: ConnectionKey,
        command: &str,
        follow: Option<Seq>,
        again: bool,
    ) {
        let (json, entry, head) = {
            let owned = owned.borrow();
            let session = self.describe(&owned);
            let message = SystemMessage::SessionCreated {
                original_message_id: Some(command.to_owned()),
                session_id: session.session_id,
                epoch: session.epoch,
                session,
            };
            (self.system_json(None, &message), Arc::clone(&owned.entry), owned.session.head().seq)
        };
        if Shared::is_exchange(connection) {
            // A request is over with its answer: it takes no part.
            self.shared.exchanges.answer(connection, Answered::Created { json, again });
            return;
        }
        self.begin_following(owned, connection, entry, json, None, follow, head);
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of a letter")]
    fn begin_following(
        self: &Rc<Self>,
        owned: &Rc<RefCell<Owned>>,
        connection: ConnectionKey,
        entry: Arc<Entry>,
        json: Bytes,
        gap: Option<Bytes>,
        follow: Option<Seq>,
        head: Seq,
    ) {
        if Shared::is_exchange(connection) {
            // A stream reads the log by itself: no feed has to be kept for it.
            let joined = Answered::Joined { json, gap, after: follow.unwrap_or(head) };
            if !self.shared.exchanges.answer(connection, joined) {
                self.part(owned, connection);
            }
            return;
        }
        if follow.is_some() {
            owned.borrow_mut().mirrors |= 1 << Shared::worker_of(connection);
        }
        self.post_to(connection, Letter::Joined { connection, entry, json, gap, follow, head });
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of a command")]
    fn join(
        self: &Rc<Self>,
        owned: &Rc<RefCell<Owned>>,
        asker: &Asker,
        command: String,
        follow: bool,
        from: &StartAt,
        id_at_position: Option<&str>,
        subscribe: bool,
    ) {
        let id = owned.borrow().session.id();
        self.shared.audit(|| asker.record(id, Record::allowed(self.now(), "join_session")));
        self.add_participant(owned, asker, follow);
        let (head, session, entry) = {
            let owned = owned.borrow();
            (owned.session.head(), self.describe(&owned), Arc::clone(&owned.entry))
        };
        // Retention removes whole sessions only, so a log that is there begins with its first event.
        let resolution = resolve(from, head, 1, id_at_position);
        let session_id = session.session_id;
        let joined = Joined {
            original_message_id: command,
            session_id,
            epoch: head.epoch,
            head_seq: head.seq,
            from: Position { epoch: head.epoch, seq: resolution.after, last_id: None },
            recovered: resolution.reason.is_none(),
            reason: resolution.reason,
            session,
        };
        let message = if subscribe {
            SystemMessage::SessionSubscribed(joined)
        } else {
            SystemMessage::SessionJoined(joined)
        };
        let json = self.system_json(None, &message);
        let gap = resolution.gap.filter(|_| follow).map(|(from_seq, to_seq, cause)| {
            self.shared.metrics.gap(cause.as_str());
            self.system_json(
                Some(session_id),
                &SystemMessage::Gap { session_id, from_seq, to_seq, cause, history: false },
            )
        });
        let after = self.shared.sabotage.resume_after(from, resolution.after, head.seq);
        let after = follow.then_some(after);
        self.begin_following(owned, asker.connection, entry, json, gap, after, head.seq);
    }

    fn add_participant(self: &Rc<Self>, owned: &Rc<RefCell<Owned>>, asker: &Asker, follow: bool) {
        let now = self.now();
        let mut guard = owned.borrow_mut();
        if guard.session.join(asker.connection, Arc::clone(&asker.who), follow, now)
            && let Some(member) = guard.session.participants.get(asker.connection).cloned()
        {
            self.presence(&mut guard, asker.connection, &member, true);
        }
    }

    /// A connection has ended that may be a participant.
    pub(crate) fn gone(self: &Rc<Self>, session: SessionId, connection: ConnectionKey) {
        let owned = self.sessions.borrow().get(&session).cloned();
        if let Some(owned) = owned {
            self.part(&owned, connection);
        }
    }

    fn part(self: &Rc<Self>, owned: &Rc<RefCell<Owned>>, connection: ConnectionKey) {
        let now = self.now();
        let mut guard = owned.borrow_mut();
        if let Some(member) = guard.session.leave(connection, now) {
            guard.entry.last_used.store(now, Ordering::Relaxed);
            self.presence(&mut guard, connection, &member, false);
        }
    }

    fn presence(self: &Rc<Self>, owned: &mut Owned, about: ConnectionKey, member: &Member, joined: bool) {
        let session = &owned.session;
        let presence = Presence {
            session_id: session.id(),
            user: member.describe(),
            participants: Vec::new(),
            count: session.participants.len(),
        };
        let message =
            if joined { SystemMessage::UserJoined(presence) } else { SystemMessage::UserLeft(presence) };
        if session.participants.len() > PRESENCE_AT_ONCE {
            if owned.untold.replace(message).is_none() {
                self.untold.borrow_mut().push(owned.session.id());
            }
        } else {
            owned.untold = None;
            self.tell_participants(session, message, Some(about));
        }
    }

    /// Tells participants of large sessions the last change since the last time.
    pub(crate) fn tell_presence(self: &Rc<Self>) {
        let changed = std::mem::take(&mut *self.untold.borrow_mut());
        for id in changed {
            let Some(owned) = self.sessions.borrow().get(&id).cloned() else { continue };
            let mut guard = owned.borrow_mut();
            if let Some(message) = guard.untold.take() {
                self.tell_participants(&guard.session, message, None);
            }
        }
    }

    fn tell_participants(
        self: &Rc<Self>,
        session: &Session,
        mut message: SystemMessage,
        but: Option<ConnectionKey>,
    ) {
        if session.participants.is_empty() {
            return;
        }
        if let SystemMessage::UserJoined(presence) | SystemMessage::UserLeft(presence) = &mut message {
            presence.participants = session.participants.list();
            presence.count = session.participants.len();
        }
        let json = self.system_json(Some(session.id()), &message);
        for (key, _) in session.participants.iter().filter(|(key, _)| Some(*key) != but) {
            self.reply(key, json.clone(), false);
        }
    }

    fn control(
        self: &Rc<Self>,
        owned: &Rc<RefCell<Owned>>,
        asker: &Asker,
        command: String,
        step: &Step,
        now: u64,
    ) {
        let mut guard = owned.borrow_mut();
        let taken = guard.session.control(step, &command, &asker.who, Some(asker.connection), now);
        match taken {
            Ok(Published::Queued(_)) => {
                let id = guard.session.id();
                drop(guard);
                self.shared.audit(|| asker.record(id, Record::allowed(now, step_name(step))));
                self.mark_dirty(id);
            }
            Ok(Published::RepeatQueued(_)) => {}
            Ok(Published::Repeat(seq)) => {
                let again = guard.session.transition_at(seq).cloned();
                drop(guard);
                match again {
                    Some(transition) => self.answer_transition(asker.connection, &command, &transition, true),
                    None => {
                        let detail = "the id belongs to another command";
                        self.answer_refusal(
                            asker.connection,
                            Refusal::new(ErrorCode::IdConflict, detail).of(command),
                            true,
                        );
                    }
                }
            }
            Err(refusal) => {
                let id = guard.session.id();
                drop(guard);
                self.audit_refusal(asker, id, step_name(step), &refusal);
                self.answer_refusal(asker.connection, refusal.of(command), true);
            }
        }
    }

    fn answer_transition(
        self: &Rc<Self>,
        connection: ConnectionKey,
        command: &str,
        transition: &Transition,
        duplicate: bool,
    ) {
        let transition =
            Transition { original_message_id: Some(command.to_owned()), duplicate, ..transition.clone() };
        self.answer(connection, &lifecycle_message(transition));
    }

    fn publish_owned(
        self: &Rc<Self>,
        owned: &Rc<RefCell<Owned>>,
        asker: &Asker,
        event: &OwnedEvent,
        now: u64,
    ) {
        let publish = Publish {
            connection: Some(asker.connection),
            user: &asker.who.user_id,
            producer: &event.producer,
            body: EventBody {
                id: &event.id,
                timestamp: &event.timestamp,
                data: &event.data,
                metadata: event.metadata.as_deref(),
                sender: &event.sender,
            },
            ttl_ms: event.ttl_ms,
            requires_ack: event.requires_ack,
            in_order: event.in_order,
        };
        self.publish(owned, &publish, event.priority, event.outline, event_size(event), now);
    }

    /// Takes an event whose `size` is reserved in the backlog.
    pub(crate) fn publish(
        self: &Rc<Self>,
        owned: &Rc<RefCell<Owned>>,
        event: &Publish<'_>,
        priority: Priority,
        outline: Outline,
        size: usize,
        now: u64,
    ) {
        let mut guard = owned.borrow_mut();
        let taken = if event.connection.is_some_and(Shared::is_exchange) {
            guard.session.publish_from_outside(event, now)
        } else {
            guard.session.publish(event, now)
        };
        match taken {
            Ok(Published::Queued(_)) => {
                guard.priority = guard.priority.max(priority);
                guard.reserved += size;
                if outline.progress.is_some() {
                    guard.session.set_progress(outline.progress);
                }
                guard.opened.get_or_insert_with(|| Moment::at(now));
                let id = guard.session.id();
                drop(guard);
                self.mark_dirty(id);
            }
            Ok(Published::Repeat(seq)) => {
                self.shared.give_back_backlog(size);
                self.shared.metrics.events_duplicate.inc();
                let entry = Arc::clone(&guard.entry);
                drop(guard);
                if let (true, Some(connection)) = (event.requires_ack, event.connection) {
                    self.acknowledge(connection, &entry, &[(event.body.id, seq, true)]);
                }
            }
            Ok(Published::RepeatQueued(_)) => {
                self.shared.give_back_backlog(size);
                self.shared.metrics.events_duplicate.inc();
            }
            Err(refusal) => {
                drop(guard);
                self.shared.give_back_backlog(size);
                if let Some(connection) = event.connection {
                    self.answer_refusal(connection, refusal.of(event.body.id), false);
                }
            }
        }
    }

    fn acknowledge(
        self: &Rc<Self>,
        connection: ConnectionKey,
        entry: &Arc<Entry>,
        acks: &[(&str, Seq, bool)],
    ) {
        if Shared::is_exchange(connection) {
            return self.acknowledge_exchange(connection, entry, acks);
        }
        let worker = Shared::worker_of(connection);
        if worker != self.index {
            let acks = acks.iter().map(|(id, seq, again)| ((*id).to_owned(), *seq, *again)).collect();
            return self.shared.send(worker, Letter::Acks { connection, entry: Arc::clone(entry), acks });
        }
        if let Some(connection) = self.connection(connection) {
            self.write_acks(&connection, entry, acks.iter().copied());
            self.flush_later(&connection);
        }
    }

    fn acknowledge_exchange(&self, key: ConnectionKey, entry: &Entry, acks: &[(&str, Seq, bool)]) {
        self.shared.metrics.acks.inc_by(acks.len() as u64);
        for (id, seq, duplicate) in acks {
            let (id, epoch) = ((*id).to_owned(), entry.epoch);
            self.shared.exchanges.answer(key, Answered::Ack { id, seq: *seq, epoch, duplicate: *duplicate });
        }
    }

    /// Takes the log's word on a batch.
    pub(crate) fn settled(self: &Rc<Self>, outcomes: Vec<(SessionId, Appended)>, submitted: Instant) {
        self.commits_in_flight.set(self.commits_in_flight.get() - 1);
        let took = submitted.elapsed();
        self.meters().commit_time.add(took.as_secs_f64(), 1);
        let settled_at = self.shared.tracer.as_ref().map(|tracer| (tracer, now_ns()));
        let mut logged = 0;
        for (id, appended) in outcomes {
            let Some(owned) = self.sessions.borrow().get(&id).cloned() else { continue };
            let (settled, priority, freed, more) = {
                let mut guard = owned.borrow_mut();
                let priority = std::mem::take(&mut guard.priority);
                let settled = guard.session.settle(&appended);
                let left = guard.session.queued_bytes();
                let freed = if left == 0 { guard.reserved } else { guard.reserved.saturating_sub(left) };
                guard.reserved -= freed;
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
            self.shared.give_back_backlog(freed);
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
            guard.entry.set_progress(guard.session.progress());
            let (events, newest) = self.meters().frame_logged(frame, opened);
            guard.entry.pace.events(events, newest);
            if transitions.iter().any(|transition| transition.status == Status::Running) {
                guard.entry.pace.resumed(now);
            }
            if frame.first_seq() == 1 {
                self.shared.catalog.insert_reserved(Arc::clone(&guard.entry));
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

    fn answer_repeat(self: &Rc<Self>, owned: &Rc<RefCell<Owned>>, entry: &Arc<Entry>, answer: &Answer) {
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

    /// Participants that do not follow hear of lifecycle entries all the same; whoever asked for it has the reply.
    fn broadcast_lifecycle(self: &Rc<Self>, session: &Session, frame: &Frame, waiters: &[Waiter]) {
        for ((seq, record), waiter) in frame.records().zip(waiters) {
            if record.kind != Kind::Lifecycle || seq == 1 {
                continue;
            }
            let json = Bytes::copy_from_slice(record.body);
            for (key, member) in session.participants.iter() {
                if !member.following && waiter.connection() != Some(key) {
                    self.reply(key, json.clone(), false);
                }
            }
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

    /// Reads the part of a session's log that its owner has to know.
    fn load(self: &Rc<Self>, id: SessionId, loading: Loading) {
        self.loading.borrow_mut().insert(id, loading);
        let (shared, worker) = (Arc::clone(&self.shared), self.index);
        tokio::task::spawn_blocking(move || {
            let tail = read_tail(&shared, id);
            shared.send(worker, Letter::Loaded { session: id, tail });
        });
    }

    /// A session's log was read.
    pub(crate) fn loaded(self: &Rc<Self>, id: SessionId, tail: Result<Vec<Frame>, LogError>) {
        let Some(loading) = self.loading.borrow_mut().remove(&id) else { return };
        let entry = self.shared.catalog.get(id);
        let refusal = match (&tail, &entry) {
            (Ok(_), Some(_)) => None,
            (Ok(_), None) | (Err(LogError::NotFound(_)), _) => {
                Some(Refusal::new(ErrorCode::SessionNotFound, "there is no such session"))
            }
            (Err(error), _) => {
                tracing::error!(session = %id, %error, "cannot read a session's log");
                Some(
                    Refusal::new(ErrorCode::LogUnavailable, "the session's log cannot be read now")
                        .retry_after(1_000),
                )
            }
        };
        if let Some(refusal) = refusal {
            for (asker, request) in loading.waiting {
                self.refuse_request(id, &asker, &request, refusal.clone());
            }
            return;
        }
        if let (Ok(tail), Some(entry)) = (tail, entry) {
            let now = self.now();
            let summary = Summary::clone(&entry.summary());
            remember_pace(&entry, &tail);
            let last_used = entry.last_used.load(Ordering::Relaxed);
            let tail = self.shared.sabotage.dedupe_tail(&tail);
            let mut session =
                Session::recover(id, entry.head(), self.shared.context(), summary, tail, last_used);
            if let Some(percent) = newest_progress(tail) {
                session.set_progress(Some(percent));
                entry.set_progress(Some(percent));
            }
            let owned = Owned {
                session,
                entry,
                mirrors: 0,
                priority: Priority::Normal,
                untold: None,
                reserved: 0,
                opened: None,
                flying: None,
            };
            self.sessions.borrow_mut().insert(id, Rc::new(RefCell::new(owned)));
            for (asker, request) in loading.waiting {
                self.handle(id, asker, request);
            }
            if loading.expire {
                self.expire(id, now);
            }
        }
    }

    /// Ends a session that nobody has used for too long.
    pub(crate) fn expire(self: &Rc<Self>, id: SessionId, now: u64) {
        let owned = self.sessions.borrow().get(&id).cloned();
        let Some(owned) = owned else {
            if let Some(loading) = self.loading.borrow_mut().get_mut(&id) {
                loading.expire = true;
                return;
            }
            return self.load(id, Loading { waiting: Vec::new(), expire: true });
        };
        let timeout = self.shared.config.session_timeout.as_millis() as u64;
        let mut guard = owned.borrow_mut();
        if guard.session.is_unused(now, timeout) && guard.session.expire(now).is_ok() {
            drop(guard);
            self.mark_dirty(id);
        }
    }

    /// Lets a quiet session leave memory.
    pub(crate) fn unload(self: &Rc<Self>, id: SessionId) {
        let owned = self.sessions.borrow().get(&id).cloned();
        if let Some(owned) = owned.filter(|owned| owned.borrow().session.is_quiet()) {
            debug_assert_eq!(owned.borrow().reserved, 0, "a quiet session holds no backlog");
            let guard = owned.borrow();
            // Requests use a session without taking part in it.
            guard.entry.last_used.fetch_max(guard.session.last_used(), Ordering::Relaxed);
            drop(guard);
            self.sessions.borrow_mut().remove(&id);
        }
    }

    fn archive(self: &Rc<Self>, id: SessionId) {
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || archive_now(&shared, id));
    }

    fn random(&self) -> u64 {
        // Without randomness there are no epochs, and without epochs no honest positions: the process cannot go on.
        getrandom::u64().expect("the system gives random numbers")
    }
}

/// Moves an ended session to the archive.
pub(crate) fn archive_now(shared: &Shared, id: SessionId) {
    match shared.log.archive(id) {
        Ok(()) => {
            if let Some(entry) = shared.catalog.get(id) {
                entry.archived.store(true, Ordering::Relaxed);
            }
        }
        Err(error) => {
            tracing::warn!(session = %id, %error, "cannot archive an ended session; it is tried again at the next start");
        }
    }
}

/// What a session's log tells of its pace, if this process has not seen any event of it.
fn remember_pace(entry: &Entry, tail: &[Frame]) {
    let events = tail.iter().flat_map(Frame::records).filter(|(_, record)| record.kind == Kind::Event);
    if !entry.pace.is_known() {
        events.for_each(|(_, record)| entry.pace.remember(record.received_at));
    }
}

fn read_tail(shared: &Shared, id: SessionId) -> Result<Vec<Frame>, LogError> {
    let head = shared.log.head(id).ok_or(LogError::NotFound(id))?;
    let window = shared.config.dedupe_window as u64;
    let mut from = head.seq.saturating_sub(window - 1).max(1);
    let mut frames: Vec<Frame> = Vec::new();
    while from <= head.seq {
        match shared.log.read(id, from, ReadLimit { bytes: LOAD_STEP, events: usize::MAX }) {
            Ok(reading) if reading.frames.is_empty() => break,
            Ok(reading) => {
                from = reading.frames.last().map_or(from, Frame::last_seq) + 1;
                frames.extend(reading.frames);
            }
            Err(LogError::Trimmed { first_seq }) => from = first_seq,
            // What is damaged is not served and not remembered: the rest of the window still is.
            Err(LogError::Damaged { to, .. }) => from = to + 1,
            Err(error) => return Err(error),
        }
    }
    Ok(frames)
}

fn summary_of(fields: CreateSession, asker: &Asker, now: u64) -> (Summary, bool) {
    let summary = Summary {
        project_id: fields.project_id,
        test_id: fields.test_id,
        agent_name: fields.agent_name,
        created_by: asker.who.user_id.clone(),
        created_at: now,
        metadata: fields.metadata,
        status: Status::Idle,
        started_at: None,
        ended_at: None,
        reason: None,
        progress: None,
    };
    (summary, fields.follow)
}

fn may_use(owned: &Owned, asker: &Asker, request: &Request) -> Result<(), Refusal> {
    let summary = owned.entry.summary();
    let permission = match request {
        Request::Create { .. } => Permission::SessionCreate,
        Request::Join { .. } | Request::Info { .. } => Permission::SessionRead,
        Request::Control { .. } => Permission::SessionControl,
        Request::Publish(event) => publishing_needs(event.outline),
        // Each event's own permission was looked at when the request came in.
        Request::PublishAll(events) => {
            events.first().map_or(Permission::SessionPublish, |event| publishing_needs(event.outline))
        }
        // Whoever is in may say how far it has read, and go.
        Request::Leave { .. } | Request::Acknowledge { .. } | Request::Gone => return Ok(()),
    };
    if !asker.grant.allows(permission) || !asker.grant.may_access(&summary.project_id) {
        return Err(Refusal::new(
            ErrorCode::Forbidden,
            "the token does not permit this in the session's project",
        ));
    }
    Ok(())
}

fn request_id(request: &Request) -> Option<&str> {
    match request {
        Request::Create { command, .. }
        | Request::Join { command, .. }
        | Request::Leave { command, .. }
        | Request::Control { command, .. }
        | Request::Info { command } => Some(command),
        Request::Publish(event) => Some(&event.id),
        Request::PublishAll(_) | Request::Acknowledge { .. } | Request::Gone => None,
    }
}

/// What the audit log calls a request; `None` for what it is not told of.
fn action_of(request: &Request) -> Option<&'static str> {
    match request {
        Request::Create { .. } => Some("create_session"),
        Request::Join { .. } => Some("join_session"),
        Request::Control { step, .. } => Some(step_name(step)),
        Request::Info { .. } => Some("get_session_info"),
        Request::Leave { .. }
        | Request::Publish(_)
        | Request::PublishAll(_)
        | Request::Acknowledge { .. }
        | Request::Gone => None,
    }
}

fn step_name(step: &Step) -> &'static str {
    match step {
        Step::Start => "start_test",
        Step::Pause => "pause_test",
        Step::Resume => "resume_test",
        Step::Stop { .. } => "stop_test",
        Step::Expire => "expire_session",
    }
}

/// What an event takes of the commit backlog.
pub(crate) fn event_size(event: &OwnedEvent) -> usize {
    event.data.len() + 256
}

fn lifecycle_message(transition: Transition) -> SystemMessage {
    match (transition.from, transition.status) {
        (Status::Idle, Status::Running) => SystemMessage::SessionStarted(transition),
        (_, Status::Running) => SystemMessage::SessionResumed(transition),
        (_, Status::Paused) => SystemMessage::SessionPaused(transition),
        (_, Status::Expired) => SystemMessage::SessionExpired(transition),
        _ => SystemMessage::SessionStopped(transition),
    }
}
