//! A server in memory: the product's own session and codec, one connection, no time of its own.

use std::collections::BTreeMap;

use agentbench_client::{ErrorCode, ErrorData, Position, Sender, Seq, SessionId, StartAt, SystemMessage};
use agentbench_event_log::{Appended, Frame};
use agentbench_protocol::envelope::{Envelope, read_frame};
use agentbench_protocol::event::{
    AckHead, AckedEvent, EventBody, sender_json, write_ack, write_acks, write_error, write_heartbeat,
    write_system,
};
use agentbench_protocol::message::{Joined, Transition};
use agentbench_protocol::{
    AckLevel, Command, Epoch, Head, MessageType, Reconnect, Refusal, SUBPROTOCOL_MSGPACK, Status, Warning,
    msgpack,
};
use agentbench_session::{
    ConnectionKey, Context, Publish, Published, Session, Settled, Step, Summary, Waiter, resolve,
};
use agentbench_websocket::handshake::{Request, write_101, write_response};
use agentbench_websocket::{
    Decoder, DeflatePolicy, Deflater, Inflater, Input, Limits, Message, Negotiated, Opcode, Role,
    encode_close, encode_deflated, encode_frame, encode_message, negotiate,
};
use bytes::BytesMut;

const CONTEXT: Context = Context { seed: 9, window: 65_536 };
pub(crate) const HEARTBEAT_MS: u64 = 30_000;

/// What the server does wrong, or refuses.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    /// Refuses every n-th publish for now.
    pub(crate) refuse_every: Option<u64>,
    /// With this code.
    pub(crate) refuse_with: Option<ErrorCode>,
    /// Delivers everything twice.
    pub(crate) deliver_twice: bool,
    /// Cannot read the event with this id, and so not say whose it is.
    pub(crate) unreadable: Option<&'static str>,
    /// Breaks the connection at the event with this id.
    pub(crate) breaks_at: Option<&'static str>,
    /// Leaves this seq out of the deliveries.
    pub(crate) leave_out: Option<Seq>,
    /// Answers the upgrade like this.
    pub(crate) http: Option<(u16, Option<u64>)>,
    /// Says and does nothing after the upgrade.
    pub(crate) is_silent: bool,
    /// Acks the event with this id with [`warnings`].
    pub(crate) warned: Option<&'static str>,
    /// Takes tokens other than this one for bad.
    pub(crate) token: Option<String>,
}

struct Hosted {
    session: Session,
    frames: Vec<Frame>,
}

/// What the ack of a warned event has.
pub(crate) fn warnings() -> Vec<Warning> {
    vec![Warning { field: "data.score".into(), detail: "data.score must be a number".into() }]
}

#[derive(Default)]
pub(crate) struct Server {
    pub(crate) faults: Faults,
    sessions: BTreeMap<SessionId, Hosted>,
    connection: Option<Connection>,
    connections: u64,
    publishes: u64,
    messages: u64,
    /// Takes no more events, and its connection is to be cut.
    pub(crate) has_broken: bool,
    /// Every envelope that was understood, as `kind id`.
    pub(crate) seen: Vec<String>,
    pub(crate) tokens: Vec<String>,
    /// Path and query of each upgrade.
    pub(crate) targets: Vec<String>,
    inflater: Inflater,
}

struct Connection {
    key: ConnectionKey,
    head: Vec<u8>,
    decoder: Option<Decoder>,
    is_packed: bool,
    deflate: Option<Negotiated>,
    /// Next seq of every follow.
    follows: BTreeMap<SessionId, Seq>,
    out: BytesMut,
}

impl Server {
    pub(crate) fn accept(&mut self) {
        self.cut();
        self.connections += 1;
        self.connection = Some(Connection {
            key: ConnectionKey(self.connections),
            head: Vec::new(),
            decoder: None,
            is_packed: false,
            deflate: None,
            follows: BTreeMap::new(),
            out: BytesMut::new(),
        });
    }

    pub(crate) fn cut(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        for hosted in self.sessions.values_mut() {
            hosted.session.leave(connection.key, 0);
        }
    }

    /// Comes back with nothing but its log.
    pub(crate) fn restart(&mut self) {
        self.cut();
        for (id, hosted) in &mut self.sessions {
            let (head, summary) = (hosted.session.head(), hosted.session.summary());
            hosted.session = Session::recover(*id, head, CONTEXT, summary, &hosted.frames, 0);
        }
    }

    /// Comes back with the log of an earlier life: the last `lost` events are gone, and the epoch is another if asked for.
    pub(crate) fn lose_tail(&mut self, session: SessionId, keep: usize, epoch: u64) {
        self.cut();
        let hosted = self.sessions.get_mut(&session).unwrap();
        hosted.frames.truncate(keep);
        let seq = hosted.frames.last().map_or(0, Frame::last_seq);
        let head = Head { epoch: Epoch::from_u64(epoch), seq };
        hosted.session =
            Session::recover(session, head, CONTEXT, hosted.session.summary(), &hosted.frames, 0);
    }

    /// Bytes for the client.
    pub(crate) fn take_output(&mut self) -> BytesMut {
        self.connection.as_mut().map(|connection| connection.out.split()).unwrap_or_default()
    }

    pub(crate) fn sessions(&self) -> Vec<SessionId> {
        self.sessions.keys().copied().collect()
    }

    /// Ids and data of a session's events, in the log's order.
    pub(crate) fn log(&self, session: SessionId) -> Vec<String> {
        let Some(hosted) = self.sessions.get(&session) else { return Vec::new() };
        let records = hosted.frames.iter().flat_map(Frame::records);
        records.map(|(_, record)| String::from_utf8(record.body.to_vec()).unwrap()).collect()
    }

    pub(crate) fn head(&self, session: SessionId) -> Head {
        self.sessions[&session].session.head()
    }

    /// Makes a session without a client, with `events` in it.
    pub(crate) fn prepare(&mut self, events: u64) -> SessionId {
        let id = SessionId::from_u128(u128::from(u64::MAX) + self.sessions.len() as u128);
        self.create(id, "prepared", Waiter::Nobody);
        self.commit();
        for number in 0..events {
            self.publish(id, &format!("p{number}"), r#"{"prepared":true}"#, None);
            self.commit();
        }
        id
    }

    pub(crate) fn publish(
        &mut self,
        id: SessionId,
        event: &str,
        data: &str,
        connection: Option<ConnectionKey>,
    ) {
        let sender = sender_json(&sender());
        let body = EventBody { id: event, timestamp: "1", data, metadata: None, sender: &sender };
        let event = Publish {
            connection,
            user: "u",
            producer: "p",
            body,
            ttl_ms: 0,
            requires_ack: true,
            in_order: false,
        };
        let Some(hosted) = self.sessions.get_mut(&id) else {
            return self.refuse(Refusal::new(ErrorCode::SessionNotFound, "none").of(body.id));
        };
        let published = hosted.session.publish(&event, 7);
        let head = hosted.session.head();
        match published {
            Ok(Published::Repeat(seq)) => self.ack(id, head.epoch, &[(body.id.to_owned(), seq)], true),
            Ok(_) => {}
            Err(refusal) => self.refuse(refusal.of(body.id)),
        }
    }

    pub(crate) fn disconnecting(&mut self, code: u16, reconnect: Reconnect, after_ms: Option<u64>) {
        let (cause, detail) = ("cause".into(), "as the test wants it".into());
        self.say(None, &SystemMessage::Disconnecting { code, cause, detail, reconnect, after_ms });
        self.close(code);
    }

    pub(crate) fn close(&mut self, code: u16) {
        let Some(connection) = &mut self.connection else { return };
        encode_close(&mut connection.out, Some((code, "closed")), None);
    }

    pub(crate) fn ping(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        encode_message(&mut connection.out, &Message::Ping(b"are you there"), None);
    }

    /// Bytes from the client.
    pub(crate) fn received(&mut self, bytes: &[u8]) {
        let Some(connection) = &mut self.connection else { return };
        let mut bytes = bytes.to_vec();
        if connection.decoder.is_none() {
            connection.head.extend_from_slice(&bytes);
            let Some(rest) = self.open() else { return };
            bytes = rest;
        }
        if self.faults.is_silent {
            return;
        }
        for message in self.decode(&mut bytes) {
            self.take(&message);
        }
        self.commit();
    }

    /// Answers the upgrade, once it is whole.
    fn open(&mut self) -> Option<Vec<u8>> {
        let connection = self.connection.as_mut()?;
        let head = std::mem::take(&mut connection.head);
        let Some(request) = Request::parse(&head).unwrap() else {
            connection.head = head;
            return None;
        };
        if let Some((status, retry_after)) = self.faults.http {
            let seconds = retry_after.map(|seconds| seconds.to_string());
            let headers: Vec<_> = seconds.iter().map(|seconds| ("Retry-After", &**seconds)).collect();
            write_response(&mut connection.out, status, "No", &headers, "not now");
            return None;
        }
        let token =
            request.header("authorization").unwrap_or_default().trim_start_matches("Bearer ").to_owned();
        self.targets.push(request.target.to_owned());
        let upgrade = request.upgrade().unwrap();
        let protocol = upgrade.protocols().next().unwrap().to_owned();
        connection.is_packed = protocol == SUBPROTOCOL_MSGPACK;
        connection.deflate = negotiate(&upgrade.extensions, &DeflatePolicy::default());
        let extensions = connection.deflate.map(|agreed| agreed.response_value());
        write_101(&mut connection.out, &upgrade.accept, Some(&protocol), extensions.as_deref(), &[]);
        let deflate = connection.deflate.as_ref();
        connection.decoder = Some(Decoder::new(Role::Server, Limits::default(), deflate));
        let rest = head[request.size..].to_vec();
        self.tokens.push(token.clone());
        if self.faults.is_silent {
            return Some(rest);
        }
        if self.faults.token.as_ref().is_some_and(|good| *good != token) {
            self.close(1008);
            return Some(rest);
        }
        let client_id = format!("c{}", self.connections);
        self.say(
            None,
            &SystemMessage::ConnectionEstablished {
                client_id,
                server: "model".into(),
                node: "n".into(),
                protocol_version: 1,
                heartbeat_interval: HEARTBEAT_MS,
                max_payload: 1_000_000,
                token_expires_at: Some(1_000_000),
                ack_level: AckLevel::Logged,
            },
        );
        Some(rest)
    }

    fn decode(&mut self, bytes: &mut [u8]) -> Vec<String> {
        let mut messages = Vec::new();
        let Some(connection) = &mut self.connection else { return messages };
        let Some(decoder) = &mut connection.decoder else { return messages };
        let mut input = Input::new(bytes);
        while let Some(message) =
            decoder.next(&mut input, &mut self.inflater).expect("the client keeps to the RFC")
        {
            match message {
                Message::Text(text) => messages.push(text.to_owned()),
                Message::Binary(bytes) => {
                    let mut json = BytesMut::new();
                    msgpack::to_json(bytes, &mut json).unwrap();
                    messages.push(String::from_utf8(json.to_vec()).unwrap());
                }
                Message::Ping(_) => {}
                Message::Pong(payload) => {
                    self.seen.push(format!("pong {}", String::from_utf8_lossy(payload)));
                }
                Message::Close(close) => {
                    self.seen.push(format!("close {}", close.map_or(0, |close| close.code)));
                }
            }
        }
        messages
    }

    fn take(&mut self, text: &str) {
        let mut envelopes = Vec::new();
        read_frame(text, |envelope| envelopes.push(envelope.expect("the client writes envelopes"))).unwrap();
        for envelope in envelopes {
            self.seen.push(format!("{:?} {}", envelope.kind, envelope.id));
            match envelope.kind {
                MessageType::TestEvent => self.take_event(&envelope),
                MessageType::ControlCommand => self.take_command(&envelope),
                MessageType::Heartbeat => {
                    self.messages += 1;
                    let number = self.messages;
                    self.send(|dst| write_heartbeat(dst, number, 5, &envelope.id, envelope.data));
                }
                _ => {}
            }
        }
    }

    fn take_event(&mut self, envelope: &Envelope<'_>) {
        if self.faults.breaks_at.is_some_and(|id| id == envelope.id) {
            self.has_broken = true;
        }
        if self.has_broken {
            return;
        }
        if self.faults.unreadable.is_some_and(|id| id == envelope.id) {
            return self.refuse(Refusal::new(ErrorCode::MalformedJson, "it is not JSON"));
        }
        self.publishes += 1;
        if self.faults.refuse_every.is_some_and(|every| self.publishes.is_multiple_of(every)) {
            let code = self.faults.refuse_with.unwrap_or(ErrorCode::Overloaded);
            return self.refuse(Refusal::new(code, "too much").of(&*envelope.id));
        }
        let session = envelope.session_id.as_deref().unwrap().parse().unwrap();
        let key = self.connection.as_ref().map(|connection| connection.key);
        self.publish(session, &envelope.id, envelope.data, key);
    }

    fn take_command(&mut self, envelope: &Envelope<'_>) {
        let command = Command::parse(envelope.data, None).unwrap();
        let id = envelope.id.to_string();
        let key = self.connection.as_ref().unwrap().key;
        match command {
            Command::CreateSession(_) => self.create(name_of(&id), &id, Waiter::Command(key)),
            Command::JoinSession { session_id, follow, from, .. } => {
                self.join(session_id.parse().unwrap(), id, follow, &from);
            }
            Command::LeaveSession { session_id, .. } => {
                let session_id = session_id.parse().unwrap();
                if let Some(hosted) = self.sessions.get_mut(&session_id) {
                    hosted.session.leave(key, 0);
                }
                self.connection.as_mut().unwrap().follows.remove(&session_id);
                self.say(None, &SystemMessage::SessionLeft { original_message_id: id, session_id });
            }
            Command::StartTest { session_id } => {
                self.step(session_id.parse().unwrap(), &Step::Start, id, key);
            }
            Command::StopTest { session_id, outcome, reason } => {
                self.step(session_id.parse().unwrap(), &Step::Stop { outcome, reason }, id, key);
            }
            Command::RefreshToken { token } => {
                self.tokens.push(format!("refreshed {token}"));
                let token_expires_at = Some(2_000_000);
                self.say(None, &SystemMessage::TokenRefreshed { original_message_id: id, token_expires_at });
            }
            other => panic!("the tests do not send {other:?}"),
        }
    }

    fn step(&mut self, session: SessionId, step: &Step, command: String, key: ConnectionKey) {
        let Some(hosted) = self.sessions.get_mut(&session) else {
            return self.refuse(Refusal::new(ErrorCode::SessionNotFound, "none").of(command));
        };
        match hosted.session.control(step, &command, &sender(), Some(key), 7) {
            Ok(Published::Repeat(seq)) => {
                let step = hosted.session.transition_at(seq).unwrap().clone();
                self.say_stepped(step, command);
            }
            Ok(_) => {}
            Err(refusal) => self.refuse(refusal.of(command)),
        }
    }

    fn say_stepped(&mut self, mut step: Transition, command: String) {
        step.original_message_id = Some(command);
        let message = if step.status.has_ended() {
            SystemMessage::SessionStopped(step)
        } else {
            SystemMessage::SessionStarted(step)
        };
        self.say(None, &message);
    }

    fn create(&mut self, id: SessionId, command: &str, waiter: Waiter) {
        if let Some(hosted) = self.sessions.get(&id) {
            return self.say_created(command, &hosted.session.describe());
        }
        let summary = Summary {
            project_id: "p".into(),
            test_id: "t".into(),
            agent_name: "a".into(),
            created_by: "u".into(),
            created_at: 7,
            metadata: None,
            status: Status::Idle,
            started_at: None,
            ended_at: None,
            reason: None,
            progress: None,
        };
        let head = Head { epoch: Epoch::from_u64(7), seq: 0 };
        let mut session = Session::create(id, head, CONTEXT, summary, (command, waiter), &sender());
        if let Some(key) = waiter.connection() {
            session.join(key, sender().into(), false, 0);
        }
        self.sessions.insert(id, Hosted { session, frames: Vec::new() });
    }

    fn say_created(&mut self, command: &str, session: &agentbench_client::SessionInfo) {
        let original_message_id = Some(command.to_owned());
        let (session_id, epoch, session) = (session.session_id, session.epoch, session.clone());
        self.say(None, &SystemMessage::SessionCreated { original_message_id, session_id, epoch, session });
    }

    fn join(&mut self, session_id: SessionId, command: String, follow: bool, from: &StartAt) {
        let connection = self.connection.as_mut().unwrap();
        let Some(hosted) = self.sessions.get_mut(&session_id) else {
            return self.refuse(Refusal::new(ErrorCode::SessionNotFound, "none").of(command));
        };
        hosted.session.join(connection.key, sender().into(), follow, 0);
        let head = hosted.session.head();
        let at = match from {
            StartAt::After(Position { seq, .. }) => *seq,
            _ => 0,
        };
        let records = hosted.frames.iter().flat_map(Frame::records);
        let id = records.filter(|(seq, _)| *seq == at).map(|(_, record)| record.id.to_owned()).next();
        let resolution = resolve(from, head, 1, id.as_deref());
        let joined = Joined {
            original_message_id: command,
            session_id,
            epoch: head.epoch,
            head_seq: head.seq,
            from: Position { epoch: head.epoch, seq: resolution.after, last_id: None },
            recovered: resolution.reason.is_none(),
            reason: resolution.reason,
            session: hosted.session.describe(),
        };
        connection.follows.remove(&session_id);
        if follow {
            connection.follows.insert(session_id, resolution.after + 1);
        }
        self.say(None, &SystemMessage::SessionJoined(joined));
        if let Some((from_seq, to_seq, cause)) = resolution.gap.filter(|_| follow) {
            self.say(None, &SystemMessage::Gap { session_id, from_seq, to_seq, cause, history: false });
        }
    }

    /// Commits what waits, answers it, and delivers.
    pub(crate) fn commit(&mut self) {
        for id in self.sessions() {
            while let Some(batch) = self.sessions.get_mut(&id).and_then(|hosted| hosted.session.take_batch())
            {
                self.commit_batch(id, batch.expected.epoch, &batch.frame);
            }
            self.deliver(id);
        }
    }

    fn commit_batch(&mut self, id: SessionId, epoch: Epoch, frame: &Frame) {
        let hosted = self.sessions.get_mut(&id).unwrap();
        let head = Head { epoch, seq: frame.last_seq() };
        let Settled::Committed { frame, waiters, repeats, transitions } =
            hosted.session.settle(&Appended::Committed(head), 7)
        else {
            panic!("committed");
        };
        hosted.frames.push(frame.clone());
        let info = hosted.session.describe();
        let mut acks = Vec::new();
        for ((seq, record), waiter) in frame.records().zip(waiters) {
            match waiter {
                Waiter::Ack(_) => acks.push((record.id.to_owned(), seq)),
                Waiter::Command(_) => match transitions.iter().find(|step| step.seq == Some(seq)) {
                    None => self.say_created(record.id, &info),
                    Some(step) => self.say_stepped(step.clone(), record.id.to_owned()),
                },
                _ => {}
            }
        }
        self.ack(id, epoch, &acks, false);
        for answer in repeats {
            self.ack(id, epoch, &[(answer.id, answer.seq)], true);
        }
    }

    fn deliver(&mut self, id: SessionId) {
        let (Some(hosted), Some(connection)) = (self.sessions.get(&id), &mut self.connection) else { return };
        let Some(next) = connection.follows.get_mut(&id) else { return };
        let mut bodies = Vec::new();
        for (seq, record) in hosted.frames.iter().flat_map(Frame::records) {
            if seq >= *next && self.faults.leave_out != Some(seq) {
                let body = String::from_utf8(record.body.to_vec()).unwrap();
                bodies.push(body.clone());
                if self.faults.deliver_twice {
                    bodies.push(body);
                }
            }
        }
        *next = hosted.session.head().seq + 1;
        match &*bodies {
            [] => {}
            [one] => self.send(|dst| dst.extend_from_slice(one.as_bytes())),
            many => self.send(|dst| dst.extend_from_slice(format!("[{}]", many.join(",")).as_bytes())),
        }
    }

    fn ack(&mut self, id: SessionId, epoch: Epoch, acks: &[(String, Seq)], duplicate: bool) {
        let (session, epoch_text) = (id.to_string(), epoch.to_string());
        let head = AckHead { session: &session, epoch: &epoch_text, level: "logged" };
        let warned = self.faults.warned;
        let is_warned = |event: &str| warned == Some(event);
        match acks {
            [] => {}
            [(event, seq)] => self.send(|dst| {
                let warnings = if is_warned(event) { warnings() } else { Vec::new() };
                let acked = AckedEvent { id: event, seq: *seq, duplicate, warnings: &warnings };
                write_ack(dst, 1, 2, &head, &acked);
            }),
            many if many.iter().any(|(event, _)| is_warned(event)) => {
                many.iter().for_each(|one| self.ack(id, epoch, std::slice::from_ref(one), duplicate));
            }
            many => {
                let pairs = many.iter().map(|(event, seq)| (&**event, *seq));
                self.send(|dst| write_acks(dst, 1, 2, &head, pairs));
            }
        }
    }

    fn refuse(&mut self, refusal: Refusal) {
        let error: ErrorData = refusal.into();
        self.send(|dst| write_error(dst, 1, 2, None, &error));
    }

    pub(crate) fn say(&mut self, session: Option<SessionId>, message: &SystemMessage) {
        self.send(|dst| write_system(dst, 1, 2, session, message));
    }

    pub(crate) fn send(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let Some(connection) = &mut self.connection else { return };
        let mut text = BytesMut::new();
        write(&mut text);
        let (opcode, payload) = if connection.is_packed {
            let mut packed = BytesMut::new();
            msgpack::from_json(&text, &mut packed).unwrap();
            (Opcode::Binary, packed)
        } else {
            (Opcode::Text, text)
        };
        match &connection.deflate {
            Some(agreed) if payload.len() > 200 => {
                let bits = agreed.send_window_bits(Role::Server);
                encode_deflated(&mut connection.out, opcode, &payload, &mut Deflater::new(3), bits, None);
            }
            _ => encode_frame(&mut connection.out, opcode, false, &payload, None),
        }
    }
}

/// The same command creates the same session.
fn name_of(command: &str) -> SessionId {
    let bits =
        command.bytes().fold(1_u128, |bits, byte| bits.wrapping_mul(257).wrapping_add(u128::from(byte)));
    SessionId::from_u128(bits)
}

fn sender() -> Sender {
    Sender { client_id: "c".into(), user_id: "u".into(), username: "Ann".into(), role: "evaluator".into() }
}
