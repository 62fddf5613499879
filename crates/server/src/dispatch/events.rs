//! Events: checks them and forwards them to the session's owner.

use std::rc::Rc;

use agentbench_protocol::event::EventBody;
use agentbench_protocol::message::Ack;
use agentbench_protocol::{Envelope, ErrorCode, Refusal, SessionId, SystemMessage};
use agentbench_session::Publish;

use crate::clock::Moment;
use crate::intake::AdmittedEvent;
use crate::letters::{Origin, OwnedEvent, Request};
use crate::rules::parse_session_id;
use crate::worker::Worker;
use crate::worker::connection::Connection;

pub(super) fn take_event(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    envelope: &Envelope<'_>,
    now: Moment,
) -> Result<(), Refusal> {
    let name = envelope.session_id.as_deref();
    let name = name.ok_or_else(|| Refusal::invalid("sessionId", "sessionId is missing"))?;
    let session = parse_session_id(name)?;
    let user = &connection.reader.who.user_id;
    worker.with_owners(|owners| owners.prefetch(session, user, &connection.producer, &envelope.id));
    let charge = || worker.shared.gate.users.take_bytes(&connection.user, envelope.data.len(), now.millis);
    let admitted =
        worker.shared.intake.admit(&connection.grant.borrow(), envelope, connection.strict, charge)?;
    let metadata = &envelope.metadata;
    if worker.shared.post.names.owner_of(session) != worker.index {
        forward(worker, connection, envelope, session, admitted);
        return Ok(());
    }
    let publish = Publish {
        connection: Some(connection.reader.key),
        user,
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
        in_order: connection.reader.wire.versioned,
    };
    let priority = metadata.priority;
    let taken = worker.with_owners(|owners| owners.publish(now, session, &publish, priority, admitted));
    if let Err(admitted) = taken {
        // The session has to be loaded first, or does not exist.
        forward(worker, connection, envelope, session, admitted);
    }
    Ok(())
}

/// Sends the event to its session's owner.
fn forward(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    envelope: &Envelope<'_>,
    session: SessionId,
    admitted: AdmittedEvent,
) {
    let origin = Origin {
        producer: &connection.producer,
        sender: connection.sender_json(),
        requires_ack: envelope.metadata.requires_ack,
        in_order: connection.reader.wire.versioned,
    };
    let event = OwnedEvent::new(envelope, origin, admitted);
    worker.send(connection, session, Request::Publish(event));
}

pub(super) fn take_reader_ack(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    envelope: &Envelope<'_>,
) -> Result<(), Refusal> {
    let detail = "a client's system_message is an ack: {type: \"ack\", sessionId, seq}";
    let invalid = |field: &str| Refusal::invalid(field, detail);
    let message: SystemMessage = serde_json::from_str(envelope.data).map_err(|_| invalid("data"))?;
    let SystemMessage::Ack(Ack { session_id, seq: Some(seq), .. }) = message else {
        return Err(invalid("data.type"));
    };
    let session = session_id.or_else(|| envelope.session_id.as_deref().and_then(|name| name.parse().ok()));
    let session = session.ok_or_else(|| invalid("data.sessionId"))?;
    if !connection.reader.sessions.borrow().contains(&session) {
        return Err(Refusal::new(ErrorCode::NotAParticipant, "only participants say how far they have read"));
    }
    worker.send(connection, session, Request::Acknowledge { seq });
    Ok(())
}
