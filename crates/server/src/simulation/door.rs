//! Messages of clients to a process without a runtime, as `dispatch` reads them: without rates and revocations.

use agentbench_event_log::{EventLog, Frame, ReadLimit};
use agentbench_protocol::envelope::read_frame;
use agentbench_protocol::event::{EventBody, write_error, write_heartbeat};
use agentbench_protocol::message::ErrorData;
use agentbench_protocol::{Command, Envelope, MessageType, Refusal, SessionId, StartAt};
use agentbench_session::{ConnectionKey, Publish, Step};
use bytes::BytesMut;

use super::node::Node;
use crate::letters::{Join, Origin, OwnedEvent, OwnerLetter, Request, Requester};
use crate::names;
use crate::rules::{derive_session_id, parse_session_id};

impl Node {
    /// Sends a request to the session's owner.
    pub(crate) fn ask(&mut self, requester: &Requester, session: SessionId, request: Request) {
        let (from, owner) = (names::worker_of(requester.connection), self.owner_of(session));
        let requester = requester.clone();
        self.post(from, owner, OwnerLetter::Request { session, requester, request }.into());
    }

    /// Handles one message of a client, as text.
    pub fn take_message(&mut self, connection: ConnectionKey, text: &str) {
        let mut refused = Vec::new();
        let read = read_frame(text, |envelope| match envelope {
            Ok(envelope) => {
                if let Err(refusal) = self.take_envelope(connection, &envelope) {
                    refused.push(refusal.of(&*envelope.id));
                }
            }
            Err(refusal) => refused.push(refusal),
        });
        refused.extend(read.err());
        for refusal in refused {
            self.refuse(connection, refusal);
        }
    }

    fn refuse(&mut self, connection: ConnectionKey, refusal: Refusal) {
        let worker = names::worker_of(connection);
        let Some(reader) = self.peers.readers.get(&connection) else { return };
        let delivery = &self.workers[worker].delivery;
        let mut json = BytesMut::new();
        write_error(&mut json, delivery.numbers.next(), self.now(), None, &ErrorData::from(refusal));
        delivery.send_json(reader, &json);
        self.flush(worker, reader);
    }

    fn take_envelope(&mut self, connection: ConnectionKey, envelope: &Envelope<'_>) -> Result<(), Refusal> {
        let Some(requester) = self.requester(connection) else { return Ok(()) };
        match envelope.kind {
            MessageType::TestEvent => self.take_event(&requester, envelope),
            MessageType::ControlCommand => self.take_command(&requester, envelope),
            MessageType::Heartbeat => {
                let worker = names::worker_of(connection);
                let (reader, delivery) = (&self.peers.readers[&connection], &self.workers[worker].delivery);
                let mut json = BytesMut::new();
                let number = delivery.numbers.next();
                write_heartbeat(&mut json, number, self.now(), &envelope.id, envelope.data);
                delivery.send_json(reader, &json);
                self.flush(worker, reader);
                Ok(())
            }
            MessageType::SystemMessage | MessageType::Error => Ok(()),
        }
    }

    /// An event goes straight to an owner on the same worker, by letter to another.
    fn take_event(&mut self, requester: &Requester, envelope: &Envelope<'_>) -> Result<(), Refusal> {
        let name = envelope.session_id.as_deref().unwrap_or_default();
        let session = parse_session_id(name)?;
        let mut admitted = self.intake.admit(&requester.grant, envelope, false, || Ok(()))?;
        let Some(wire) = self.peers.wires.get(&requester.connection) else { return Ok(()) };
        let (from, owner) = (names::worker_of(requester.connection), self.owner_of(session));
        let metadata = &envelope.metadata;
        if owner == from {
            let publish = Publish {
                connection: Some(requester.connection),
                user: &requester.who.user_id,
                producer: &wire.producer,
                body: EventBody {
                    id: &envelope.id,
                    timestamp: envelope.timestamp,
                    data: envelope.data,
                    metadata: metadata.raw,
                    sender: &wire.sender,
                },
                ttl_ms: metadata.ttl_ms,
                requires_ack: metadata.requires_ack,
                in_order: wire.versioned,
            };
            let now = self.moment();
            let mut owners = self.workers[owner].owners.borrow_mut();
            match owners.publish(now, session, &publish, metadata.priority, admitted) {
                Ok(()) => {
                    drop(owners);
                    self.carry_out(owner);
                    return Ok(());
                }
                Err(back) => admitted = back,
            }
        }
        let origin = Origin {
            producer: &wire.producer,
            sender: &wire.sender,
            requires_ack: metadata.requires_ack,
            in_order: wire.versioned,
        };
        let event = OwnedEvent::new(envelope, origin, admitted);
        self.ask(requester, session, Request::Publish(event));
        Ok(())
    }

    fn take_command(&mut self, requester: &Requester, envelope: &Envelope<'_>) -> Result<(), Refusal> {
        let command = envelope.id.clone().into_owned();
        let (session, request) = match Command::parse(envelope.data, envelope.session_id.as_deref())? {
            Command::CreateSession(fields) => {
                (derive_session_id(&requester.who.user_id, &command), Request::Create { command, fields })
            }
            Command::JoinSession { session_id, follow, from, subscribe } => {
                let session = parse_session_id(&session_id)?;
                let id_at_position = self.id_at(session, &from);
                let log_was_read = false;
                let join = Join { command, follow, from, id_at_position, subscribe, log_was_read };
                (session, Request::Join(join))
            }
            Command::LeaveSession { session_id, unsubscribe } => {
                (parse_session_id(&session_id)?, Request::Leave { command, unsubscribe })
            }
            Command::StartTest { session_id } => control(&session_id, command, Step::Start)?,
            Command::PauseTest { session_id } => control(&session_id, command, Step::Pause)?,
            Command::ResumeTest { session_id } => control(&session_id, command, Step::Resume)?,
            Command::StopTest { session_id, outcome, reason } => {
                control(&session_id, command, Step::Stop { outcome, reason })?
            }
            Command::GetSessionInfo { session_id } => {
                (parse_session_id(&session_id)?, Request::Info { command })
            }
            other => return Err(Refusal::invalid("data.command", format!("no simulation has {other:?}"))),
        };
        self.ask(requester, session, request);
        Ok(())
    }

    /// The id of the event at a reader's position.
    fn id_at(&self, session: SessionId, from: &StartAt) -> Option<String> {
        let StartAt::After(position) = from else { return None };
        position.last_id.as_ref()?;
        let entry = self.catalog.get(session).filter(|entry| entry.epoch == position.epoch)?;
        let reading = self.log.read(entry.id, position.seq.max(1), ReadLimit { bytes: 1, events: 1 }).ok()?;
        let mut records = reading.frames.iter().flat_map(Frame::records);
        let found = records.find(|(seq, _)| *seq == position.seq);
        found.map(|(_, record)| record.id.to_owned())
    }
}

fn control(name: &str, command: String, step: Step) -> Result<(SessionId, Request), Refusal> {
    Ok((parse_session_id(name)?, Request::Control { command, step }))
}
