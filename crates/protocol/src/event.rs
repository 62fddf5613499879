//! The form in which readers receive an event of a log: the sender's envelope, with the server's additions.
//!
//! Written once, straight into the log's frame; every reader receives these bytes.

use bytes::{BufMut, BytesMut};

use crate::ids::{Seq, SessionId};
use crate::json::{write_str, write_u64, write_value};
use crate::message::{ErrorData, Sender, SystemMessage};
use crate::warning::Warning;

/// A published event to write to the log. Raw texts are JSON already.
#[derive(Debug, Clone, Copy)]
pub struct EventBody<'a> {
    /// The sender's id.
    pub id: &'a str,
    /// The sender's clock, a JSON number.
    pub timestamp: &'a str,
    /// Raw object.
    pub data: &'a str,
    /// Raw object.
    pub metadata: Option<&'a str>,
    /// Raw object: a [`Sender`] written by [`sender_json`].
    pub sender: &'a str,
}

/// Writes a published event with its position in the log.
pub fn write_event(dst: &mut BytesMut, session: &str, seq: Seq, received_at: u64, event: &EventBody<'_>) {
    dst.reserve(event.data.len() + event.sender.len() + event.metadata.map_or(0, str::len) + 256);
    dst.put_slice(b"{\"id\":");
    write_str(dst, event.id);
    dst.put_slice(b",\"type\":\"test_event\",\"timestamp\":");
    dst.put_slice(event.timestamp.as_bytes());
    dst.put_slice(b",\"sessionId\":\"");
    dst.put_slice(session.as_bytes());
    dst.put_slice(b"\",\"data\":");
    dst.put_slice(event.data.as_bytes());
    if let Some(metadata) = event.metadata {
        dst.put_slice(b",\"metadata\":");
        dst.put_slice(metadata.as_bytes());
    }
    dst.put_slice(b",\"seq\":");
    write_u64(dst, seq);
    dst.put_slice(b",\"receivedAt\":");
    write_u64(dst, received_at);
    dst.put_slice(b",\"sender\":");
    dst.put_slice(event.sender.as_bytes());
    dst.put_u8(b'}');
}

/// Writes a lifecycle entry with its position in the log. `id` identifies the entry; a resuming reader sends it as `lastId`.
pub fn write_lifecycle(
    dst: &mut BytesMut,
    session: &str,
    seq: Seq,
    received_at: u64,
    id: &str,
    message: &SystemMessage,
    sender: Option<&str>,
) {
    dst.put_slice(b"{\"id\":");
    write_str(dst, id);
    dst.put_slice(b",\"type\":\"system_message\",\"timestamp\":");
    write_u64(dst, received_at);
    dst.put_slice(b",\"sessionId\":\"");
    dst.put_slice(session.as_bytes());
    dst.put_slice(b"\",\"data\":");
    write_value(dst, message);
    dst.put_slice(b",\"seq\":");
    write_u64(dst, seq);
    dst.put_slice(b",\"receivedAt\":");
    write_u64(dst, received_at);
    if let Some(sender) = sender {
        dst.put_slice(b",\"sender\":");
        dst.put_slice(sender.as_bytes());
    }
    dst.put_u8(b'}');
}

/// Writes a logged body with another position: the same entry after other events.
///
/// Only for bodies that [`write_event`] or [`write_lifecycle`] wrote: what follows their seq has no key of that name, and a
/// quote inside a string is escaped, so the last occurrence is the position.
pub fn write_moved(dst: &mut BytesMut, body: &[u8], seq: Seq) {
    const KEY: &[u8] = b",\"seq\":";
    let Some(at) = memchr::memmem::rfind(body, KEY) else { return dst.put_slice(body) };
    let (before, rest) = body.split_at(at + KEY.len());
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    dst.put_slice(before);
    write_u64(dst, seq);
    dst.put_slice(&rest[digits..]);
}

/// A [`Sender`] as raw JSON.
pub fn sender_json(sender: &Sender) -> String {
    serde_json::to_string(sender).expect("own types serialise")
}

/// Marks a logged body as part of a replay: the same message with `"replay": true`.
pub fn write_replayed(dst: &mut BytesMut, body: &[u8]) {
    dst.put_slice(body.strip_suffix(b"}").unwrap_or(body));
    dst.put_slice(b",\"replay\":true}");
}

/// Writes a message of the server itself, outside any log.
pub fn write_system(
    dst: &mut BytesMut,
    id: u64,
    timestamp: u64,
    session: Option<SessionId>,
    message: &SystemMessage,
) {
    write_outside(dst, id, "system_message", timestamp, session);
    write_value(dst, message);
    dst.put_u8(b'}');
}

/// Writes an `error` message.
pub fn write_error(
    dst: &mut BytesMut,
    id: u64,
    timestamp: u64,
    session: Option<SessionId>,
    error: &ErrorData,
) {
    write_outside(dst, id, "error", timestamp, session);
    write_value(dst, error);
    dst.put_u8(b'}');
}

/// Writes the answer to a heartbeat: an echo of its raw `data` object, and the server's clock.
pub fn write_heartbeat(dst: &mut BytesMut, id: u64, timestamp: u64, original_id: &str, echo: &str) {
    write_outside(dst, id, "heartbeat", timestamp, None);
    dst.put_slice(b"{\"echo\":");
    dst.put_slice(echo.as_bytes());
    dst.put_slice(b",\"originalMessageId\":");
    write_str(dst, original_id);
    dst.put_slice(b",\"serverTime\":");
    write_u64(dst, timestamp);
    dst.put_slice(b"}}");
}

/// Acks of one session for one connection, written by hand, since there is one for every published event.
#[derive(Debug, Clone, Copy)]
pub struct AckHead<'a> {
    /// The session's id as text.
    pub session: &'a str,
    /// The epoch as text.
    pub epoch: &'a str,
    /// The level's name on the wire.
    pub level: &'a str,
}

/// An event that is acked alone.
#[derive(Debug, Clone, Copy)]
pub struct AckedEvent<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its place in the log.
    pub seq: Seq,
    /// The log had it before.
    pub duplicate: bool,
    /// Fields that readers will not understand.
    pub warnings: &'a [Warning],
}

/// Writes one ack in the single form.
pub fn write_ack(dst: &mut BytesMut, id: u64, timestamp: u64, head: &AckHead<'_>, event: &AckedEvent<'_>) {
    let AckedEvent { id: event, seq, duplicate, warnings } = *event;
    write_ack_outside(dst, id, timestamp, head);
    dst.put_slice(b",\"originalMessageId\":");
    write_str(dst, event);
    dst.put_slice(b",\"seq\":");
    write_u64(dst, seq);
    if duplicate {
        dst.put_slice(b",\"duplicate\":true");
    }
    if !warnings.is_empty() {
        dst.put_slice(b",\"warnings\":");
        dst.put_slice(&serde_json::to_vec(warnings).expect("own types serialise"));
    }
    dst.put_slice(b"}}");
}

/// Writes several acks in the coalesced form for clients of version 1.
pub fn write_acks<'a>(
    dst: &mut BytesMut,
    id: u64,
    timestamp: u64,
    head: &AckHead<'_>,
    acks: impl Iterator<Item = (&'a str, Seq)>,
) {
    write_ack_outside(dst, id, timestamp, head);
    dst.put_slice(b",\"acks\":[");
    for (index, (event, seq)) in acks.enumerate() {
        dst.put_slice(if index == 0 { b"[" } else { b",[" });
        write_str(dst, event);
        dst.put_u8(b',');
        write_u64(dst, seq);
        dst.put_u8(b']');
    }
    dst.put_slice(b"]}}");
}

fn write_ack_outside(dst: &mut BytesMut, id: u64, timestamp: u64, head: &AckHead<'_>) {
    write_outside(dst, id, "system_message", timestamp, None);
    dst.put_slice(b"{\"type\":\"ack\",\"sessionId\":\"");
    dst.put_slice(head.session.as_bytes());
    dst.put_slice(b"\",\"epoch\":\"");
    dst.put_slice(head.epoch.as_bytes());
    dst.put_slice(b"\",\"level\":\"");
    dst.put_slice(head.level.as_bytes());
    dst.put_u8(b'"');
}

fn write_outside(dst: &mut BytesMut, id: u64, kind: &str, timestamp: u64, session: Option<SessionId>) {
    dst.put_slice(b"{\"id\":\"m");
    write_u64(dst, id);
    dst.put_slice(b"\",\"type\":\"");
    dst.put_slice(kind.as_bytes());
    dst.put_slice(b"\",\"timestamp\":");
    write_u64(dst, timestamp);
    if let Some(session) = session {
        dst.put_slice(b",\"sessionId\":");
        write_value(dst, &session);
    }
    dst.put_slice(b",\"data\":");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Epoch;
    use crate::message::{Ack, AckLevel, Delivery, GapCause};

    fn text(write: impl FnOnce(&mut BytesMut)) -> String {
        let mut dst = BytesMut::new();
        write(&mut dst);
        String::from_utf8(dst.to_vec()).unwrap()
    }

    fn sender() -> Sender {
        Sender {
            client_id: "c1".into(),
            user_id: "u\"1".into(),
            username: "Ann".into(),
            role: "evaluator".into(),
        }
    }

    #[test]
    fn an_event_keeps_its_data_to_the_byte() {
        let sender_text = sender_json(&sender());
        let event = EventBody {
            id: "e\"1",
            timestamp: "1.5e3",
            data: "{ \"b\":1,  \"a\":[ ] }",
            metadata: Some("{\"ttl\" :5}"),
            sender: &sender_text,
        };
        let session = SessionId::from_u128(7);
        let body = text(|dst| write_event(dst, &session.to_string(), 42, 99, &event));
        let read: Delivery<'_> = serde_json::from_str(&body).unwrap();
        assert_eq!((read.id.as_str(), read.timestamp), ("e\"1", 1500.0));
        assert_eq!(read.data.get(), event.data);
        assert_eq!(read.metadata.unwrap().get(), "{\"ttl\" :5}");
        assert_eq!((read.session_id, read.seq, read.received_at), (Some(session), Some(42), Some(99)));
        assert_eq!(read.sender, Some(sender()));
        let mut replayed = BytesMut::new();
        write_replayed(&mut replayed, body.as_bytes());
        assert!(serde_json::from_slice::<Delivery<'_>>(&replayed).unwrap().replay);
    }

    /// Whatever in the entry looks like a position stays as it is.
    #[test]
    fn a_moved_entry_is_the_same_at_another_position() {
        let name = "x\",\"seq\":7,".to_owned();
        let sender = sender_json(&Sender { username: name.clone(), client_id: name, ..sender() });
        let session = SessionId::from_u128(7).to_string();
        for data in ["{}", "{\"a\":1,\"seq\":5}", "{\"a\":\",\\\"seq\\\":5\"}"] {
            let event = EventBody {
                id: ",\"seq\":3",
                timestamp: "1",
                data,
                metadata: Some("{\"b\":1,\"seq\":9}"),
                sender: &sender,
            };
            let at = |seq| text(|dst| write_event(dst, &session, seq, 99, &event));
            for (from, to) in [(1, 2), (9, 10_000), (u64::MAX, 1)] {
                assert_eq!(text(|dst| write_moved(dst, at(from).as_bytes(), to)), at(to));
            }
        }
        let step = SystemMessage::SessionLeft {
            original_message_id: ",\"seq\":8".into(),
            session_id: SessionId::from_u128(7),
        };
        for sender in [None, Some(&*sender)] {
            let at = |seq| text(|dst| write_lifecycle(dst, &session, seq, 99, "s", &step, sender));
            assert_eq!(text(|dst| write_moved(dst, at(12).as_bytes(), 13)), at(13));
        }
    }

    #[test]
    fn acks_written_by_hand_are_read_by_serde() {
        let session = SessionId::from_u128(7);
        let (name, epoch) = (session.to_string(), Epoch::from_u64(5));
        let epoch_text = epoch.to_string();
        let head = AckHead { session: &name, epoch: &epoch_text, level: AckLevel::Logged.as_str() };
        let single = text(|dst| {
            write_ack(dst, 1, 2, &head, &AckedEvent { id: "e1", seq: 3, duplicate: true, warnings: &[] });
        });
        let many = text(|dst| write_acks(dst, 1, 2, &head, [("e1", 3), ("e2", 4)].into_iter()));
        let read = |body: &str| {
            let delivery: Delivery<'_> = serde_json::from_str(body).unwrap();
            match serde_json::from_str(delivery.data.get()).unwrap() {
                SystemMessage::Ack(ack) => ack,
                other => panic!("{other:?}"),
            }
        };
        let common = Ack {
            session_id: Some(session),
            epoch: Some(epoch),
            level: Some(AckLevel::Logged),
            ..Ack::default()
        };
        assert_eq!(
            read(&single),
            Ack { original_message_id: Some("e1".into()), seq: Some(3), duplicate: true, ..common.clone() }
        );
        assert_eq!(read(&many), Ack { acks: vec![("e1".into(), 3), ("e2".into(), 4)], ..common });
    }

    #[test]
    fn system_messages_have_the_names_of_the_wire() {
        let session = SessionId::from_u128(1);
        let gap = SystemMessage::Gap {
            session_id: session,
            from_seq: 2,
            to_seq: 3,
            cause: GapCause::Expired,
            history: true,
        };
        let body = text(|dst| write_system(dst, 9, 10, Some(session), &gap));
        let value: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(value["type"], "system_message");
        assert_eq!(value["data"]["type"], "gap");
        assert_eq!(value["data"]["fromSeq"], 2);
        assert_eq!(value["data"]["cause"], "expired");
        let later: SystemMessage = serde_json::from_str(r#"{"type":"from_tomorrow","x":1}"#).unwrap();
        assert!(matches!(later, SystemMessage::Unknown));
    }
}
