//! From a decoded message to what it asks for: limits, permissions, and the way to the session's owner.

use std::rc::Rc;
use std::sync::Arc;

use agentbench_audit::Record;
use agentbench_auth::Grant;
use agentbench_event_log::{Frame, LogError, ReadLimit};
use agentbench_protocol::command::GetSessionList;
use agentbench_protocol::envelope::{MessageType, read_frame};
use agentbench_protocol::event::{EventBody, write_heartbeat};
use agentbench_protocol::message::Ack;
use agentbench_protocol::msgpack::Flaw;
use agentbench_protocol::{
    CloseCode, Command, Envelope, ErrorCode, Position, Refusal, Seq, SessionId, StartAt, SystemMessage,
    msgpack, outline,
};
use agentbench_session::{Publish, Step};
use bytes::BytesMut;
use serde_json::value::RawValue;

use crate::letters::{OwnedEvent, Request};
use crate::overview;
use crate::rules::cost_of;
use crate::rules::derive_session_id;
use crate::rules::is_written_down;
use crate::rules::may_not_publish;
use crate::rules::no_such_session;
use crate::rules::parse_session_id;
use crate::rules::permission_for;
use crate::rules::publishing_needs;
use crate::session::reading::Held;
use crate::shared::Shared;
use crate::worker::Worker;
use crate::worker::connection::{Connection, Held as HeldEvent};

/// Messages refused by rate in a row that end a connection.
const RATE_PATIENCE: u32 = 1000;
/// Bytes of answers that are written before more of the same input is looked at.
const FLUSH_AT_BYTES: usize = 256 * 1024;
/// Sessions of one connection in which later events wait for one that was refused.
const MAX_HELD: usize = 64;
/// Bytes of one page of `get_history`.
const HISTORY_BYTES: usize = 1024 * 1024;

impl Worker {
    /// A text message arrived.
    pub(crate) fn take_text(self: &Rc<Self>, connection: &Rc<Connection>, text: &str, now: u64) {
        self.take_frame(connection, text, &[], now);
    }

    /// Takes the messages of one frame. `flaws` are places of the text that could not be translated.
    fn take_frame(self: &Rc<Self>, connection: &Rc<Connection>, text: &str, flaws: &[Flaw], now: u64) {
        let read = read_frame(text, |envelope| match envelope {
            Ok(envelope) => match flaw_of(&envelope, text, flaws) {
                None => self.take_envelope(connection, &envelope, now),
                Some(flaw) => self.refuse(connection, flaw.refusal.clone().of(&*envelope.id), now),
            },
            Err(refusal) => self.refuse(connection, refusal, now),
        });
        if let Err(refusal) = read {
            self.refuse(connection, refusal, now);
        }
    }

    /// A binary message arrived: MessagePack, or JSON from clients that send text as bytes.
    pub(crate) fn take_binary(self: &Rc<Self>, connection: &Rc<Connection>, bytes: &[u8], now: u64) {
        if connection.wire.form.msgpack {
            let mut json = BytesMut::with_capacity(bytes.len() * 2);
            match msgpack::intake(bytes, &mut json, self.shared.config.max_payload) {
                Ok(flaws) => {
                    // The translation writes JSON only.
                    let text = std::str::from_utf8(&json).expect("JSON text is UTF-8");
                    self.take_frame(connection, text, &flaws, now);
                }
                Err(refusal) => self.refuse(connection, refusal, now),
            }
            return;
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => self.take_text(connection, text, now),
            Err(_) => {
                let detail = "a binary message on a JSON connection must hold UTF-8 text";
                self.refuse(connection, Refusal::new(ErrorCode::MalformedJson, detail), now);
            }
        }
    }

    fn take_envelope(self: &Rc<Self>, connection: &Rc<Connection>, envelope: &Envelope<'_>, now: u64) {
        if connection.reader.outbox.borrow().waiting() > FLUSH_AT_BYTES {
            // Small questions can have large answers: those that came together go out before the next one is made.
            self.flush(&connection.reader);
        }
        if !connection.is_open() {
            return;
        }
        let in_turn = check_turn(connection, envelope, || self.steady())
            .and_then(|()| self.check_rates(connection, now));
        if let Err(refusal) = in_turn {
            hold_turn(connection, envelope, &refusal, self.steady());
            return self.refuse(connection, refusal.of(&*envelope.id), now);
        }
        let taken = match envelope.kind {
            MessageType::TestEvent => self.take_event(connection, envelope, now),
            MessageType::ControlCommand => self.take_command(connection, envelope, now),
            MessageType::SystemMessage => self.take_reader_ack(connection, envelope),
            MessageType::Heartbeat | MessageType::Error => {
                self.answer_heartbeat(connection, envelope, now);
                Ok(())
            }
        };
        match taken {
            Ok(()) => {
                connection.count_malformed(false);
            }
            Err(refusal) => {
                if !refusal.code.is_malformed_input() {
                    connection.count_malformed(false);
                }
                if envelope.kind == MessageType::ControlCommand && refusal.code == ErrorCode::Forbidden {
                    let detail = refusal.detail.clone();
                    let refused = || Record::refused(now, "command", refusal.code.as_str()).detail(detail);
                    self.shared.audit(|| connection.record(refused()));
                }
                hold_turn(connection, envelope, &refusal, self.steady());
                self.refuse(connection, refusal.of(&*envelope.id), now);
            }
        }
    }

    fn check_rates(self: &Rc<Self>, connection: &Rc<Connection>, now: u64) -> Result<(), Refusal> {
        let config = &self.shared.config;
        let taken = connection
            .take_rate(config.connection_rate, 1, now)
            .and_then(|()| self.shared.gate.users.take_rate(&connection.user, 1, now))
            .and_then(|()| self.shared.gate.addresses.take_message(connection.address, now));
        let Err(retry_after) = taken else { return Ok(()) };
        if connection.refused_by_rate() > RATE_PATIENCE {
            self.shared.audit(|| connection.record(Record::refused(now, "send", "rate_limited")));
            self.close(
                connection,
                CloseCode::RateLimited,
                "sent far beyond the rate limit",
                Some(retry_after.max(1_000)),
            );
        }
        let detail = "sent faster than the limit allows";
        Err(Refusal::new(ErrorCode::RateLimited, detail).retry_after(retry_after))
    }

    fn answer_heartbeat(&self, connection: &Connection, envelope: &Envelope<'_>, now: u64) {
        let mut json = BytesMut::new();
        write_heartbeat(&mut json, self.next_number(), now, &envelope.id, envelope.data);
        self.put(connection, &json);
    }

    fn take_event(
        self: &Rc<Self>,
        connection: &Rc<Connection>,
        envelope: &Envelope<'_>,
        now: u64,
    ) -> Result<(), Refusal> {
        let name = envelope.session_id.as_deref();
        let name = name.ok_or_else(|| Refusal::invalid("sessionId", "sessionId is missing"))?;
        let session = parse_session_id(name)?;
        let outline = outline(envelope.data)?;
        if !connection.grant.borrow().allows(publishing_needs(outline)) {
            return Err(may_not_publish(outline));
        }
        let metadata = &envelope.metadata;
        if metadata.checksum.is_some_and(|checksum| checksum != crc32c::crc32c(envelope.data.as_bytes())) {
            let detail = "data does not have the checksum that metadata.checksum names";
            return Err(Refusal::new(ErrorCode::ChecksumMismatch, detail));
        }
        self.shared.gate.users.take_bytes(&connection.user, envelope.data.len(), now)?;
        let size = envelope.data.len() + 256;
        self.shared.intake.reserve_backlog(size, metadata.priority)?;
        self.shared.metrics.events_received.inc();
        if self.shared.names.owner_of(session) == self.index
            && let Some(owned) = self.sessions.borrow().get(&session).cloned()
        {
            let publish = Publish {
                connection: Some(connection.reader.key),
                user: &connection.reader.who.user_id,
                producer: &connection.producer,
                body: EventBody {
                    id: &envelope.id,
                    timestamp: envelope.timestamp,
                    data: envelope.data,
                    metadata: metadata.raw,
                    sender: connection.sender_json(),
                },
                ttl_ms: metadata.ttl_ms,
                requires_ack: metadata.requires_ack,
                in_order: connection.wire.versioned,
            };
            self.publish(&owned, &publish, metadata.priority, outline, size, now);
            return Ok(());
        }
        let event = OwnedEvent {
            id: (*envelope.id).into(),
            timestamp: envelope.timestamp.into(),
            data: envelope.data.into(),
            metadata: metadata.raw.map(Into::into),
            producer: connection.producer.clone(),
            sender: Arc::clone(connection.sender_json()),
            ttl_ms: metadata.ttl_ms,
            requires_ack: metadata.requires_ack,
            in_order: connection.wire.versioned,
            priority: metadata.priority,
            outline,
        };
        self.ask(connection, session, Request::Publish(event));
        Ok(())
    }

    fn take_reader_ack(
        self: &Rc<Self>,
        connection: &Rc<Connection>,
        envelope: &Envelope<'_>,
    ) -> Result<(), Refusal> {
        let detail = "a client's system_message is an ack: {type: \"ack\", sessionId, seq}";
        let invalid = |field: &str| Refusal::invalid(field, detail);
        let message: SystemMessage = serde_json::from_str(envelope.data).map_err(|_| invalid("data"))?;
        let SystemMessage::Ack(Ack { session_id, seq: Some(seq), .. }) = message else {
            return Err(invalid("data.type"));
        };
        let session =
            session_id.or_else(|| envelope.session_id.as_deref().and_then(|name| name.parse().ok()));
        let session = session.ok_or_else(|| invalid("data.sessionId"))?;
        if !connection.reader.sessions.borrow().contains(&session) {
            return Err(Refusal::new(
                ErrorCode::NotAParticipant,
                "only participants say how far they have read",
            ));
        }
        self.ask(connection, session, Request::Acknowledge { seq });
        Ok(())
    }

    fn take_command(
        self: &Rc<Self>,
        connection: &Rc<Connection>,
        envelope: &Envelope<'_>,
        now: u64,
    ) -> Result<(), Refusal> {
        let id = envelope.id.clone().into_owned();
        let command = Command::parse(envelope.data, envelope.session_id.as_deref())?;
        let needed = permission_for(&command);
        if needed.is_some_and(|permission| !connection.grant.borrow().allows(permission)) {
            let detail = format!("the token does not permit {}", command.name());
            return Err(Refusal::new(ErrorCode::Forbidden, detail));
        }
        self.take_cost(connection, cost_of(&command) - 1, now)?;
        if is_written_down(&command) {
            self.shared.auditor.needs_room()?;
        }
        match command {
            Command::CreateSession(fields) => {
                if !connection.grant.borrow().may_access(&fields.project_id) {
                    let detail = "the token does not permit sessions in this project";
                    return Err(Refusal::new(ErrorCode::Forbidden, detail));
                }
                let session = derive_session_id(&connection.reader.who.user_id, &id);
                self.request(connection, session, Request::Create { command: id, fields });
            }
            Command::JoinSession { session_id, follow, from, subscribe } => {
                self.ask_join(connection, parse_session_id(&session_id)?, id, follow, from, subscribe);
            }
            Command::LeaveSession { session_id, unsubscribe } => {
                self.request(
                    connection,
                    parse_session_id(&session_id)?,
                    Request::Leave { command: id, unsubscribe },
                );
            }
            Command::StartTest { session_id } => self.step(connection, &session_id, id, Step::Start)?,
            Command::PauseTest { session_id } => self.step(connection, &session_id, id, Step::Pause)?,
            Command::ResumeTest { session_id } => self.step(connection, &session_id, id, Step::Resume)?,
            Command::StopTest { session_id, outcome, reason } => {
                self.step(connection, &session_id, id, Step::Stop { outcome, reason })?;
            }
            Command::GetSessionInfo { session_id } => {
                self.request(connection, parse_session_id(&session_id)?, Request::Info { command: id });
            }
            Command::GetSessionList(query) => self.list_sessions(connection, id, query),
            Command::GetHistory { session_id, from_seq, limit } => {
                let session = self.readable(connection, &session_id)?;
                self.audit_export(connection, session, "get_history", from_seq, now);
                self.history(connection, session, id, from_seq, limit);
            }
            Command::ReplaySession { session_id, speed, from_seq } => {
                let session = self.readable(connection, &session_id)?;
                self.audit_export(connection, session, "replay_session", from_seq, now);
                self.replay(connection, session, id, speed, from_seq);
            }
            Command::StopReplay { session_id, original_message_id } => {
                self.stop_replay(connection, id, &session_id, &original_message_id)?;
            }
            Command::GetStats => self.costly(connection, id, |worker, connection, id| {
                worker.say_stats(connection, id);
                Ok(())
            }),
            Command::RefreshToken { token } => self.refresh_perhaps_later(connection, id, token, now)?,
        }
        Ok(())
    }

    /// A request that will be answered once: the connection is not read further if too many are under way.
    fn request(self: &Rc<Self>, connection: &Rc<Connection>, session: SessionId, request: Request) {
        connection.pending.set(connection.pending.get() + 1);
        self.ask(connection, session, request);
    }

    fn step(
        self: &Rc<Self>,
        connection: &Rc<Connection>,
        name: &str,
        command: String,
        step: Step,
    ) -> Result<(), Refusal> {
        self.request(connection, parse_session_id(name)?, Request::Control { command, step });
        Ok(())
    }

    /// Takes what a command costs beyond one message from the connection's and the user's rates.
    fn take_cost(&self, connection: &Connection, count: u64, now: u64) -> Result<(), Refusal> {
        if count == 0 {
            return Ok(());
        }
        let taken = connection
            .take_rate(self.shared.config.connection_rate, count, now)
            .and_then(|()| self.shared.gate.users.take_rate(&connection.user, count, now));
        taken.map_err(|wait| {
            let detail = "asked for more than the limit allows: such a command counts as many messages";
            Refusal::new(ErrorCode::RateLimited, detail).retry_after(wait)
        })
    }

    fn list_sessions(self: &Rc<Self>, connection: &Rc<Connection>, command: String, query: GetSessionList) {
        self.costly(connection, command, move |worker, connection, original_message_id| {
            let page = worker.shared.catalog.page(&query, connection.grant().scope());
            let page = page.ok_or_else(|| {
                Refusal::invalid("data.cursor", "data.cursor must be the nextCursor of an earlier page")
            })?;
            let (sessions, next_cursor) = (page.sessions, page.next_cursor);
            let list = SystemMessage::SessionList { original_message_id, sessions, next_cursor };
            worker.say(connection, &list);
            Ok(())
        });
    }

    /// Answers a command that costs far more than a message: one after the other on this worker, and everybody else gets a
    /// turn between two of them.
    fn costly(
        self: &Rc<Self>,
        connection: &Rc<Connection>,
        command: String,
        answer: impl FnOnce(&Rc<Self>, &Rc<Connection>, String) -> Result<(), Refusal> + 'static,
    ) {
        connection.pending.set(connection.pending.get() + 1);
        let (worker, connection) = (Rc::clone(self), Rc::clone(connection));
        tokio::task::spawn_local(async move {
            // Few of a connection's commands at a time look whether it takes its answers; those that nobody takes are not made.
            let place = connection.costly_commands.acquire().await;
            if place.is_err() {
                return;
            }
            worker.drain(&connection, || connection.is_open()).await;
            let turn = worker.costly_turns.acquire().await;
            if turn.is_ok() && connection.is_open() {
                if let Err(refusal) = answer(&worker, &connection, command.clone()) {
                    worker.refuse(&connection, refusal.of(command), worker.now());
                }
                connection.pending.set(connection.pending.get().saturating_sub(1));
                worker.flush(&connection.reader);
                connection.reader.wake_if_paused();
                tokio::task::yield_now().await;
            }
        });
    }

    fn say_stats(&self, connection: &Connection, command: String) {
        let stats = serde_json::to_value(overview::stats::describe(&self.shared));
        // An own type with texts for keys is always an object.
        let stats = stats.ok().and_then(|value| value.as_object().cloned()).unwrap_or_default();
        self.say(connection, &SystemMessage::Stats { original_message_id: command, stats });
    }

    /// A session whose log this connection may read.
    fn readable(&self, connection: &Connection, name: &str) -> Result<SessionId, Refusal> {
        let id = parse_session_id(name)?;
        let entry = self.shared.catalog.get(id).ok_or_else(|| self.shared.no_such_session())?;
        if !connection.grant.borrow().may_access(&entry.summary().project_id) {
            return Err(self.shared.no_such_session());
        }
        Ok(id)
    }

    /// Whether the connection's token reaches a session that it has begun to read.
    fn readable_still(&self, connection: &Connection, session: SessionId) -> Result<(), Refusal> {
        let entry = self.shared.catalog.get(session);
        let is_readable =
            entry.is_none_or(|entry| connection.grant.borrow().may_access(&entry.summary().project_id));
        if is_readable { Ok(()) } else { Err(self.shared.no_such_session()) }
    }

    /// Finds the id at the reader's position first, if it names one: the owner does not wait for the disk.
    fn ask_join(
        self: &Rc<Self>,
        connection: &Rc<Connection>,
        session: SessionId,
        command: String,
        follow: bool,
        from: StartAt,
        subscribe: bool,
    ) {
        connection.pending.set(connection.pending.get() + 1);
        let named = match &from {
            StartAt::After(Position { seq, last_id: Some(_), .. }) if *seq > 0 => Some(*seq),
            _ => None,
        };
        let known =
            named.and_then(|seq| self.audiences.borrow().get(&session)?.borrow().feed.borrow().id_at(seq));
        let Some(seq) = named.filter(|_| known.is_none()) else {
            let request = Request::Join { command, follow, from, id_at_position: known, subscribe };
            return self.ask(connection, session, request);
        };
        let (worker, connection, shared) = (Rc::clone(self), Rc::clone(connection), Arc::clone(&self.shared));
        tokio::task::spawn_local(async move {
            let id_at_position = shared.reader.id_at(session, seq).await;
            if connection.is_open() {
                let request = Request::Join { command, follow, from, id_at_position, subscribe };
                worker.ask(&connection, session, request);
            }
        });
    }

    fn history(
        self: &Rc<Self>,
        connection: &Rc<Connection>,
        session: SessionId,
        command: String,
        from: Seq,
        limit: u32,
    ) {
        connection.pending.set(connection.pending.get() + 1);
        let (worker, connection, shared) = (Rc::clone(self), Rc::clone(connection), Arc::clone(&self.shared));
        tokio::task::spawn_local(async move {
            let turn = connection.costly_commands.acquire().await;
            if turn.is_err() || !connection.is_open() {
                return;
            }
            // In the account of what readers hold until the socket has taken it.
            let mut held = None;
            let page = match shared.intake.may_read_more() {
                Ok(()) => read_page(&shared, session, from, limit as usize).await,
                Err(refusal) => Err(refusal),
            };
            // The token may be another one by now, and not reach this session any more.
            let page = page.and_then(|page| worker.readable_still(&connection, session).map(|()| page));
            match page {
                Ok((events, next_seq, memory)) => {
                    held = Some(memory);
                    let original_message_id = command;
                    let message = SystemMessage::SessionHistory {
                        original_message_id,
                        session_id: session,
                        events,
                        next_seq,
                    };
                    worker.say(&connection, &message);
                }
                Err(refusal) => worker.refuse(&connection, refusal.of(command), worker.now()),
            }
            connection.pending.set(connection.pending.get().saturating_sub(1));
            worker.flush(&connection.reader);
            connection.reader.wake_if_paused();
            worker.drain(&connection, || held.is_some() && connection.is_open()).await;
            drop(held);
        });
    }

    /// Writes down who takes a session's log with him.
    fn audit_export(
        &self,
        connection: &Connection,
        session: SessionId,
        action: &'static str,
        from: Seq,
        now: u64,
    ) {
        self.shared.audit(|| Record {
            session: session.to_string(),
            ..connection.record(Record::allowed(now, action).detail(format!("from seq {from}")))
        });
    }

    /// A token whose key is not known waits for the issuer's word.
    fn refresh_perhaps_later(
        self: &Rc<Self>,
        connection: &Rc<Connection>,
        command: String,
        token: String,
        now: u64,
    ) -> Result<(), Refusal> {
        let refused = self.shared.gate.keys().verify(&token, now).err();
        if refused.and_then(|error| self.shared.gate.issuer_may_know(error)).is_none() {
            return self.refresh(connection, command, &token, now);
        }
        connection.pending.set(connection.pending.get() + 1);
        let (worker, connection) = (Rc::clone(self), Rc::clone(connection));
        tokio::task::spawn_local(async move {
            if let Some(issuer) = &worker.shared.gate.issuer {
                issuer.asked_again().await;
            }
            let now = worker.now();
            if connection.is_open()
                && let Err(refusal) = worker.refresh(&connection, command.clone(), &token, now)
            {
                worker.refuse(&connection, refusal.of(command), now);
            }
            connection.pending.set(connection.pending.get().saturating_sub(1));
            worker.flush(&connection.reader);
            connection.reader.wake_if_paused();
        });
        Ok(())
    }

    fn refresh(
        &self,
        connection: &Connection,
        command: String,
        token: &str,
        now: u64,
    ) -> Result<(), Refusal> {
        let refused =
            |code| self.shared.audit(|| connection.record(Record::refused(now, "refresh_token", code)));
        let grant = self.shared.gate.authenticate(token, now).map_err(|error| {
            refused(error.as_str());
            Refusal::new(ErrorCode::NotAuthenticated, format!("the new token is not accepted: {error}"))
        })?;
        if grant.user_id != connection.reader.who.user_id {
            return Err(Refusal::new(ErrorCode::Forbidden, "the new token names another user"));
        }
        if self.takes_part_outside(connection, &grant) {
            let detail = "the connection takes part in a session of a project that the new token does not permit; leave it first";
            return Err(Refusal::new(ErrorCode::Forbidden, detail));
        }
        let token_expires_at = grant.expires_at;
        let token_id = grant.token_id.clone().unwrap_or_default();
        self.shared.audit(|| connection.record(Record::allowed(now, "refresh_token").detail(token_id)));
        *connection.grant.borrow_mut() = Arc::new(grant);
        self.say(
            connection,
            &SystemMessage::TokenRefreshed { original_message_id: command, token_expires_at },
        );
        Ok(())
    }

    /// Whether the connection has joined, or has replayed to it, a session that `grant` would not let it read.
    fn takes_part_outside(&self, connection: &Connection, grant: &Grant) -> bool {
        let outside = |session: &SessionId| {
            let entry = self.shared.catalog.get(*session);
            entry.is_some_and(|entry| !grant.may_access(&entry.summary().project_id))
        };
        let replayed = self.replayed_sessions(connection);
        connection.reader.sessions.borrow().iter().chain(&replayed).any(outside)
    }
}

/// The flaw in what a message says, if there is one: outside of it the fields' own checks decide.
fn flaw_of<'a>(envelope: &Envelope<'_>, text: &str, flaws: &'a [Flaw]) -> Option<&'a Flaw> {
    let holds = |part: &str, at: usize| {
        let start = part.as_ptr() as usize - text.as_ptr() as usize;
        (start..=start + part.len()).contains(&at)
    };
    flaws.iter().find(|flaw| {
        holds(envelope.data, flaw.at) || envelope.metadata.raw.is_some_and(|raw| holds(raw, flaw.at))
    })
}

type Page = (Vec<Box<RawValue>>, Option<Seq>, Held);

/// A page of a log as messages, and where the next one begins.
async fn read_page(
    shared: &Arc<Shared>,
    session: SessionId,
    from: Seq,
    limit: usize,
) -> Result<Page, Refusal> {
    let step = shared.reader.step(session, from, ReadLimit { bytes: HISTORY_BYTES, events: limit }).await;
    let step = step.map_err(|error| match error {
        LogError::NotFound(_) => no_such_session(),
        LogError::Damaged { from, to, .. } => {
            let detail = format!("events {from} to {to} are damaged and never served; ask from {}", to + 1);
            Refusal::new(ErrorCode::LogUnavailable, detail)
        }
        LogError::Trimmed { first_seq } => {
            Refusal::new(ErrorCode::InvalidPosition, format!("the log begins at seq {first_seq}"))
        }
        LogError::Refused(why) | LogError::Unavailable(why) => Refusal::new(ErrorCode::LogUnavailable, why),
    })?;
    let mut events = Vec::new();
    for (seq, record) in step.frames.iter().flat_map(Frame::records) {
        if seq >= from && events.len() < limit {
            let body = String::from_utf8_lossy(record.body).into_owned();
            let raw = RawValue::from_string(body);
            events.push(
                raw.map_err(|_| Refusal::new(ErrorCode::Internal, format!("event {seq} is not JSON")))?,
            );
        }
    }
    let next = from + events.len() as u64;
    Ok((events, (next <= step.head).then_some(next), step.held))
}

/// Clients of version 1 send an event that was refused for now again, before later ones of the session. Those that were on
/// their way already are refused, too, until it comes or the time is over that its sender was told to wait: so a
/// producer's order holds although one of its events was refused.
fn check_turn(
    connection: &Connection,
    envelope: &Envelope<'_>,
    steady: impl FnOnce() -> u64,
) -> Result<(), Refusal> {
    let mut held = connection.held.borrow_mut();
    if held.is_empty() || envelope.kind != MessageType::TestEvent {
        return Ok(());
    }
    let steady = steady();
    held.retain(|held| held.until > steady);
    let session = envelope.session_id.as_deref().unwrap_or("");
    let Some(place) = held.iter().position(|held| *held.session == *session) else { return Ok(()) };
    if *held[place].id == *envelope.id {
        held.swap_remove(place);
        return Ok(());
    }
    if envelope.metadata.priority > held[place].priority { Ok(()) } else { Err(Refusal::out_of_turn()) }
}

fn hold_turn(connection: &Connection, envelope: &Envelope<'_>, refusal: &Refusal, steady: u64) {
    let for_now = matches!(refusal.code, ErrorCode::RateLimited | ErrorCode::Overloaded);
    let (Some(session), Some(wait)) = (envelope.session_id.as_deref(), refusal.retry_after_ms) else {
        return;
    };
    let mut held = connection.held.borrow_mut();
    let new = !held.iter().any(|held| *held.session == *session);
    if for_now
        && new
        && connection.wire.versioned
        && envelope.kind == MessageType::TestEvent
        && held.len() < MAX_HELD
    {
        let (session, id, priority) = (session.into(), (*envelope.id).into(), envelope.metadata.priority);
        held.push(HeldEvent { session, id, priority, until: steady + wait });
    }
}
