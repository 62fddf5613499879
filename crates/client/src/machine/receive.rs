//! From the bytes of the socket to their effects: outcomes, replies, items.

use std::time::Duration;

use agentbench_protocol::message::{ErrorData, Joined};
use agentbench_protocol::{ErrorCode, MessageType, SessionId, SystemMessage, msgpack};
use agentbench_websocket::{Decoder, Input, Message};
use bytes::Bytes;
use rand::Rng;

use super::commands::{Pending, Purpose};
use super::follow::Arrival;
use super::inbound::{Incoming, IncomingAck, read_frame};
use super::link::{CloseNotice, Link, Phase, close_frame};
use super::outbox::{RefusalEffect, RemovedEvent, is_final};
use super::participation::{Join, Participation};
use super::verdict::ConnectionLoss;
use super::{Codec, ConnectionEvent, Machine, Now, Output};
use crate::item::{Delivered, Gap, Item, Lifecycle};
use crate::outcome::{Error, Outcome};

/// Close code of a normal end, without a fault of the server (RFC 6455 §7.4.1).
const NORMAL: u16 = 1000;
/// Close code for a valid frame with invalid content (RFC 6455 §7.4.1).
const INVALID_DATA: u16 = 1007;

/// A frame's text, and a copy for its items, made for the first of them.
struct Frame<'a> {
    text: &'a str,
    shared: Option<Bytes>,
}

impl Frame<'_> {
    fn delivered(&mut self, session_id: SessionId, seq: u64, message: &Incoming<'_>) -> Delivered {
        let frame = self.shared.get_or_insert_with(|| Bytes::copy_from_slice(self.text.as_bytes())).clone();
        let parts = message.parts(self.text);
        Delivered { frame, parts, session_id, seq, received_at: message.received_at }
    }
}

impl<T> Machine<T> {
    /// Handles received bytes. They are used as working memory.
    pub fn received(&mut self, now: Now, bytes: &mut [u8], codec: &mut Codec) {
        let Link::Open(connection) = &mut self.link else { return };
        connection.last_received = now.since_start;
        self.stats.bytes_in += bytes.len() as u64;
        if !matches!(connection.phase, Phase::Opening(_)) {
            return self.decode(now, bytes, codec);
        }
        match connection.answer(bytes, &self.settings) {
            Ok(None) => {}
            Ok(Some(mut rest)) => self.decode(now, &mut rest, codec),
            Err(lost) => self.lost(now, &lost),
        }
    }

    fn decode(&mut self, now: Now, bytes: &mut [u8], codec: &mut Codec) {
        let Some(mut decoder) = self.connection().and_then(|connection| connection.decoder.take()) else {
            return;
        };
        let end = self.read_messages(now, &mut decoder, &mut Input::new(bytes), codec);
        match (end, self.connection()) {
            (Some(lost), Some(_)) => self.lost(now, &lost),
            (None, Some(connection)) => connection.decoder = Some(decoder),
            (_, None) => {}
        }
    }

    /// Reads until the input is consumed. Returns how the connection has ended, if it has.
    fn read_messages(
        &mut self,
        now: Now,
        decoder: &mut Decoder,
        input: &mut Input<'_>,
        codec: &mut Codec,
    ) -> Option<ConnectionLoss> {
        let Codec { inflater, packed, .. } = codec;
        loop {
            let understood = match decoder.next(input, inflater) {
                Ok(None) => return None,
                Ok(Some(Message::Text(text))) => self.read(now, text),
                Ok(Some(Message::Binary(bytes))) => {
                    packed.clear();
                    match msgpack::to_json(bytes, packed).map(|()| std::str::from_utf8(packed)) {
                        Ok(Ok(text)) => self.read(now, text),
                        _ => Err("the server's message is not MessagePack".into()),
                    }
                }
                Ok(Some(Message::Ping(payload))) => {
                    self.connection()?.on_ping(payload);
                    Ok(())
                }
                Ok(Some(Message::Pong(_))) => Ok(()),
                Ok(Some(Message::Close(close))) => {
                    let code = close.map(|close| close.code);
                    let reason = close.map(|close| close.reason.to_owned()).unwrap_or_default();
                    self.close_with(code.unwrap_or(1000), "");
                    return Some(self.connection()?.closed(code, reason));
                }
                Err(error) => {
                    self.close_with(error.close_code(), "");
                    return Some(ConnectionLoss::Violation(error.to_string()));
                }
            };
            if let Err(detail) = understood {
                self.close_with(INVALID_DATA, "not a message");
                return Some(ConnectionLoss::Violation(detail));
            }
            // A message has ended the connection.
            self.connection()?;
        }
    }

    fn close_with(&mut self, code: u16, reason: &str) {
        let mask = self.rng.next_u32().to_ne_bytes();
        self.close_frame = close_frame(code, reason, mask);
    }

    fn read(&mut self, now: Now, text: &str) -> Result<(), String> {
        let mut frame = Frame { text, shared: None };
        read_frame(text, |message| self.take(now, &message, &mut frame))
            .map_err(|error| format!("the server's message is not JSON: {error}"))
    }

    fn take(&mut self, now: Now, message: &Incoming<'_>, frame: &mut Frame<'_>) {
        match message.kind {
            Some(MessageType::TestEvent) => self.take_event(message, frame),
            Some(MessageType::SystemMessage) => match message.ack() {
                Some(ack) => self.take_acks(&ack),
                None => self.take_system_message(now, message, frame),
            },
            Some(MessageType::Heartbeat) => self.take_heartbeat(now, message.data),
            Some(MessageType::Error) => self.take_error(now, message),
            // From a later version.
            Some(MessageType::ControlCommand) | None => {}
        }
    }

    fn take_acks(&mut self, ack: &IncomingAck<'_>) {
        // Only a server that acks several sessions at once omits the session; then it must be searched for.
        let sessions: Vec<SessionId> = match ack.session_id {
            Some(session) => return self.take_acks_of(session, ack),
            None => self.sessions.keys().copied().collect(),
        };
        for session in sessions {
            self.take_acks_of(session, ack);
        }
    }

    fn take_acks_of(&mut self, session: SessionId, ack: &IncomingAck<'_>) {
        let Self { sessions, holdings, stats, told, attempt, .. } = self;
        let Some(participation) = sessions.get_mut(&session) else { return };
        let (epoch, level, duplicate) = (ack.epoch, ack.level, ack.duplicate);
        let warnings = ack.warnings();
        ack.each(|id, seq| {
            let Some((ticket, share)) = participation.outbox.acked(id) else { return };
            holdings.release(share);
            *attempt = 0;
            stats.acked += 1;
            stats.duplicates += u64::from(duplicate);
            if let Some(ticket) = ticket {
                told.push_back(Output::Published {
                    ticket,
                    outcome: Outcome::Stored { seq, epoch, level, duplicate, warnings: warnings.clone() },
                });
            }
        });
        self.release_unacked(session);
        self.update_session(session);
    }

    /// The follow that a message of a session's log is for.
    fn follow_of(
        &mut self,
        session: Option<SessionId>,
    ) -> Option<(SessionId, &mut super::follow::ActiveFollow)> {
        let session = session?;
        let follow = self.sessions.get_mut(&session)?.follow.as_mut()?;
        follow.is_live.then_some((session, follow))
    }

    fn take_event(&mut self, message: &Incoming<'_>, frame: &mut Frame<'_>) {
        self.take_entry(message, frame, Item::Event);
    }

    /// Handles an entry of a log: passes it on if it is the next one, and reports a hole before it.
    fn take_entry(
        &mut self,
        message: &Incoming<'_>,
        frame: &mut Frame<'_>,
        item: impl FnOnce(Delivered) -> Item,
    ) {
        let Some(seq) = message.seq else { return };
        if message.replay {
            let Some(session) = message.session_id else { return };
            let entry = || item(frame.delivered(session, seq, message));
            return self.replayed(session, seq, entry);
        }
        let Some((session, follow)) = self.follow_of(message.session_id) else {
            self.stats.unexpected += 1;
            return;
        };
        let key = follow.key;
        // Ids of log entries seldom need unescaping; if one does, the item handles it.
        let plain = message.id.get(1..message.id.len().saturating_sub(1)).filter(|id| !id.contains('\\'));
        let arrival = match plain {
            Some(id) => follow.arrived(seq, id),
            None => follow.arrived(seq, &serde_json::from_str::<String>(message.id).unwrap_or_default()),
        };
        match arrival {
            Arrival::Repeat => {
                self.stats.repeats += 1;
                return;
            }
            Arrival::Next => {}
            Arrival::Late => {
                self.stats.late += 1;
                let entry = frame.delivered(session, seq, message);
                self.told.push_back(Output::Item { follow: key, item: Item::Late(entry) });
                return;
            }
            Arrival::Hole(violation) => {
                self.stats.violations += 1;
                self.told.push_back(Output::Item { follow: key, item: Item::Violation(violation) });
            }
        }
        self.progress();
        self.stats.delivered += 1;
        let item = item(frame.delivered(session, seq, message));
        self.told.push_back(Output::Item { follow: key, item });
    }

    fn take_heartbeat(&mut self, now: Now, data: &str) {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Answer {
            original_message_id: Option<String>,
        }
        let answer: Option<Answer> = serde_json::from_str(data).ok();
        let id = answer.and_then(|answer| answer.original_message_id);
        if let Some(number) = id.and_then(|id| self.number_in('h', &id)) {
            self.heartbeat_answered(now, number);
        }
    }

    fn take_system_message(&mut self, now: Now, message: &Incoming<'_>, frame: &mut Frame<'_>) {
        let Ok(content) = SystemMessage::read(message.data) else {
            // A log entry from a later version still has its position.
            return self.take_event(message, frame);
        };
        if let Some(connection) = self.connection() {
            connection.server_time = message.sent_at();
        }
        if message.seq.is_some() {
            if !is_lifecycle(&content) {
                return self.take_event(message, frame);
            }
            let lifecycle = |entry| Item::Lifecycle(Box::new(Lifecycle { entry, message: content }));
            return self.take_entry(message, frame, lifecycle);
        }
        match content {
            SystemMessage::ConnectionEstablished {
                client_id,
                node,
                heartbeat_interval,
                max_payload,
                token_expires_at,
                ..
            } => self.established(now, client_id, node, heartbeat_interval, max_payload, token_expires_at),
            SystemMessage::Gap { session_id, from_seq: from, to_seq: to, cause, history } => {
                self.take_gap(session_id, Gap { from, to, cause, history });
            }
            SystemMessage::UserJoined(presence) => {
                self.pass_on(
                    presence.session_id,
                    Item::Presence { joined: true, presence: Box::new(presence) },
                );
            }
            SystemMessage::UserLeft(presence) => {
                self.pass_on(
                    presence.session_id,
                    Item::Presence { joined: false, presence: Box::new(presence) },
                );
            }
            SystemMessage::Disconnecting { code, detail, reconnect, after_ms, .. } => {
                if let Some(connection) = self.connection() {
                    let after = after_ms.map(Duration::from_millis);
                    connection.close_notice = Some(CloseNotice { code, detail, reconnect, after });
                }
            }
            reply => self.take_reply(now, reply),
        }
    }

    fn pass_on(&mut self, session: SessionId, item: Item) {
        if let Some((_, follow)) = self.follow_of(Some(session)) {
            let follow = follow.key;
            self.told.push_back(Output::Item { follow, item });
        }
    }

    fn take_gap(&mut self, session: SessionId, gap: Gap) {
        // It would move the place to before the hole that it says, and the entries in between would be given twice.
        if gap.from > gap.to {
            return;
        }
        let is_replayed = self.replay_gap(session, &gap);
        let Some((_, follow)) = self.follow_of(Some(session)) else { return };
        if is_replayed && follow.has(gap.to) {
            return;
        }
        let violation = follow.skipped(&gap);
        let follow = follow.key;
        if let Some(violation) = violation {
            self.stats.violations += 1;
            self.told.push_back(Output::Item { follow, item: Item::Violation(violation) });
        }
        self.told.push_back(Output::Item { follow, item: Item::Gap(gap) });
    }

    fn take_reply(&mut self, now: Now, reply: SystemMessage) {
        let number = original_id(&reply).and_then(|id| self.number_in('c', id));
        if let SystemMessage::ReplayFinished { session_id, .. } = reply {
            return number.map_or((), |number| self.replay_finished(session_id, number));
        }
        let Some(pending) = number.and_then(|number| self.commands.take(number)) else { return };
        if !pending.purpose.is_passing() {
            self.progress();
        }
        match (&pending.purpose, reply) {
            (Purpose::Join(session), SystemMessage::SessionJoined(joined)) => {
                self.joined(*session, number.unwrap_or_default(), &joined);
            }
            (Purpose::Join(session), other) => {
                let session = *session;
                self.join_failed(session, &Error::UnexpectedReply(format!("{other:?}")), None);
            }
            (Purpose::Create(_), reply) => {
                if let SystemMessage::SessionCreated { session_id, .. } = &reply {
                    self.created(*session_id, pending.sends);
                }
                self.answer(&pending.purpose, Ok(Box::new(reply)));
            }
            (Purpose::Refresh { token, .. }, reply) => {
                if let SystemMessage::TokenRefreshed { token_expires_at, .. } = &reply {
                    self.token = Some(token.clone());
                    self.expect_expiry(now, *token_expires_at);
                }
                self.answer(&pending.purpose, Ok(Box::new(reply)));
            }
            (_, reply) => self.answer(&pending.purpose, Ok(Box::new(reply))),
        }
    }

    /// The session exists, and its creator is a participant, unless this answers a repeat on a later connection.
    fn created(&mut self, session: SessionId, sends: u32) {
        let participation = self.sessions.entry(session).or_insert_with(|| Participation::new(session));
        participation.publisher = true;
        if sends == 1 && participation.join == Join::No {
            participation.join = Join::Done { follow: None };
        }
        self.update_session(session);
    }

    fn joined(&mut self, session: SessionId, answered: u64, joined: &Joined) {
        let Some(participation) = self.sessions.get_mut(&session) else { return };
        let asked = match participation.join {
            Join::Asked { follow, number } if number == answered => follow,
            // The session was left meanwhile, and joined again.
            _ => return,
        };
        participation.join = Join::Done { follow: asked };
        participation.join_refusals = 0;
        let mut item = None;
        if let Some(follow) = participation.follow.as_mut().filter(|follow| Some(follow.key) == asked) {
            item = follow.joined(joined).map(|item| Output::Item { follow: follow.key, item });
        }
        let is_answered = |waiter: &mut super::Waiter| waiter.follow.is_none() || waiter.follow == asked;
        let waiters: Vec<_> = participation.waiters.extract_if(.., is_answered).collect();
        if !waiters.is_empty() {
            // Only the first answer is progress: each new connection repeats it.
            self.progress();
        }
        for waiter in waiters {
            let reply = Box::new(SystemMessage::SessionJoined(joined.clone()));
            self.told.push_back(Output::Reply { key: waiter.key, reply: Ok(reply) });
        }
        self.told.extend(item);
        self.update_session(session);
    }

    fn take_error(&mut self, now: Now, message: &Incoming<'_>) {
        let Ok(refusal) = serde_json::from_str::<ErrorData>(message.data) else { return };
        let Some(id) = refusal.original_message_id.clone() else {
            self.emit(ConnectionEvent::ServerError(refusal.clone()));
            if refusal.code == ErrorCode::MalformedJson {
                self.frame_refused(now, &refusal);
            }
            return;
        };
        if self.number_in('h', &id).is_some() {
            return;
        }
        match self.number_in('c', &id) {
            Some(number) => self.command_refused(now, number, refusal),
            None => self.event_refused(now, message.session_id, &id, &refusal),
        }
    }

    fn command_refused(&mut self, now: Now, number: u64, refusal: ErrorData) {
        let wait = |refusals| (refusals, refusal.retry_after_ms.unwrap_or_default());
        let Some(pending) = self.commands.get_mut(number) else {
            // A replay in progress.
            if let Some(session) = self.replay_of(number) {
                self.replay_failed(session, Some(number), Error::Refused(refusal));
            }
            return;
        };
        let refusals = pending.refusals;
        if refusal.retryable && !pending.purpose.is_passing() {
            pending.refusals += 1;
            let until = self.retry_at(now, wait(refusals));
            if let Some(pending) = self.commands.get_mut(number) {
                pending.last_refusal = Some(refusal);
                pending.hold_until = Some(until);
            }
            return;
        }
        let Some(Pending { purpose, .. }) = self.commands.take(number) else { return };
        if !purpose.is_passing() {
            self.progress();
        }
        match purpose {
            Purpose::Join(session) => {
                let refusals = self.sessions.get(&session).map_or(0, |found| found.join_refusals);
                let until = refusal.retryable.then(|| self.retry_at(now, wait(refusals)));
                self.join_failed(session, &Error::Refused(refusal), until);
            }
            Purpose::Refresh { key: None, .. } => self.renew_at(now.since_start + Duration::from_secs(10)),
            purpose => self.answer(&purpose, Err(Error::Refused(refusal))),
        }
    }

    /// When to try again after this number of earlier refusals, given the server's `retry_after_ms`.
    fn retry_at(&mut self, now: Now, (refusals, retry_after_ms): (u32, u64)) -> Duration {
        let jitter = self.settings.backoff.delay(refusals, self.rng.next_u32());
        let asked = now.since_start.saturating_add(Duration::from_millis(retry_after_ms));
        let at = asked.saturating_add(jitter);
        self.wake_by(Some(at));
        at
    }

    /// A join was refused: requested again at `retry`, or refused for good.
    fn join_failed(&mut self, session: SessionId, error: &Error, retry: Option<Duration>) {
        let Some(participation) = self.sessions.get_mut(&session) else { return };
        if let Some(until) = retry {
            participation.join = Join::Held(until);
            participation.join_refusals += 1;
            return;
        }
        let Some(mut participation) = self.sessions.remove(&session) else { return };
        let left = match error {
            Error::Refused(refusal) => participation.outbox.refuse_all(refusal),
            _ => participation.outbox.give_up_all(&crate::outcome::GaveUp::Left),
        };
        for left in left {
            self.settle(left);
        }
        self.dissolve(participation, error);
    }

    fn event_refused(&mut self, now: Now, session: Option<SessionId>, id: &str, refusal: &ErrorData) {
        let sessions: Vec<SessionId> = match session.filter(|session| self.sessions.contains_key(session)) {
            Some(session) => vec![session],
            None => self.sessions.keys().copied().collect(),
        };
        for session in sessions {
            let Some(participation) = self.sessions.get_mut(&session) else { continue };
            match participation.outbox.refused(id, refusal.clone(), self.settings.publish_retries) {
                RefusalEffect::NotFound => continue,
                RefusalEffect::Settled(left) => {
                    if is_final(refusal) {
                        self.progress();
                    }
                    self.event_settled(session, left);
                }
                RefusalEffect::Waiting => {}
                RefusalEffect::Retry(refusals) => self.hold_back(now, session, refusals, refusal),
            }
            return;
        }
        // No ack was requested, or it was given up.
        self.stats.refused += 1;
    }

    /// The server could not read a frame, and so cannot tell whose message was in it. The events in flight are sent one by one on a
    /// new connection; one that was alone already is the culprit.
    fn frame_refused(&mut self, now: Now, refusal: &ErrorData) {
        let is_sending = |(_, found): &(&SessionId, &Participation<T>)| found.outbox.in_flight() > 0;
        let sending: Vec<_> = self.sessions.iter().filter(is_sending).map(|(session, _)| *session).collect();
        if self.holdings.suspects == 0 || self.unanswered() > 1 {
            if !sending.is_empty() {
                self.suspect(now, &sending, refusal);
            }
            return;
        }
        for session in sending {
            let Some(participation) = self.sessions.get_mut(&session) else { continue };
            let Some(left) = participation.outbox.refuse_in_flight(refusal.clone()) else { continue };
            self.progress();
            self.event_settled(session, left);
            // A valid message in between: servers close a connection after too many consecutive malformed ones.
            if let Some(connection) = self.connection() {
                connection.heartbeat_due = true;
            }
        }
    }

    /// One of the events in flight cannot be read; a new connection shows which.
    fn suspect(&mut self, now: Now, sending: &[SessionId], refusal: &ErrorData) {
        let Self { sessions, holdings, .. } = self;
        for session in sending {
            holdings.suspects += sessions.get_mut(session).map_or(0, |found| found.outbox.suspect());
        }
        self.close_with(NORMAL, "");
        self.lost(
            now,
            &ConnectionLoss::Unreadable(format!("the server cannot read a message: {}", refusal.error)),
        );
    }

    fn event_settled(&mut self, session: SessionId, left: RemovedEvent<T>) {
        self.settle(left);
        self.release_unacked(session);
        self.update_session(session);
    }

    fn hold_back(&mut self, now: Now, session: SessionId, refusals: u32, refusal: &ErrorData) {
        self.stats.held_back += 1;
        let until = self.retry_at(now, (refusals, refusal.retry_after_ms.unwrap_or_default()));
        let Some(participation) = self.sessions.get_mut(&session) else { return };
        participation.outbox.hold_until = Some(until);
        // The server no longer has us as a participant: joining again allows us to continue.
        if refusal.code == ErrorCode::NotAParticipant && matches!(participation.join, Join::Done { .. }) {
            participation.join = Join::No;
            self.update_session(session);
        }
    }
}

/// Whether it is a change of the session itself. Entries of other types, including a later version's, count as events.
fn is_lifecycle(content: &SystemMessage) -> bool {
    matches!(
        content,
        SystemMessage::SessionCreated { .. }
            | SystemMessage::SessionStarted(_)
            | SystemMessage::SessionPaused(_)
            | SystemMessage::SessionResumed(_)
            | SystemMessage::SessionStopped(_)
            | SystemMessage::SessionExpired(_)
    )
}

/// The command that a reply answers.
fn original_id(reply: &SystemMessage) -> Option<&str> {
    match reply {
        SystemMessage::SessionCreated { original_message_id, .. } => original_message_id.as_deref(),
        SystemMessage::SessionJoined(joined) | SystemMessage::SessionSubscribed(joined) => {
            Some(&joined.original_message_id)
        }
        SystemMessage::SessionStarted(step)
        | SystemMessage::SessionPaused(step)
        | SystemMessage::SessionResumed(step)
        | SystemMessage::SessionStopped(step)
        | SystemMessage::SessionExpired(step) => step.original_message_id.as_deref(),
        SystemMessage::SessionLeft { original_message_id, .. }
        | SystemMessage::SessionUnsubscribed { original_message_id, .. }
        | SystemMessage::SessionInfo { original_message_id, .. }
        | SystemMessage::SessionList { original_message_id, .. }
        | SystemMessage::SessionHistory { original_message_id, .. }
        | SystemMessage::ReplayStarted { original_message_id, .. }
        | SystemMessage::ReplayFinished { original_message_id, .. }
        | SystemMessage::ReplayStopped { original_message_id, .. }
        | SystemMessage::TokenRefreshed { original_message_id, .. } => Some(original_message_id),
        _ => None,
    }
}
