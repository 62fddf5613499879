//! Encodes what the client sends: envelopes, and their frames.

use agentbench_protocol::json::{write_str, write_u64};
use agentbench_protocol::{Priority, msgpack};
use agentbench_websocket::{Deflater, Negotiated, Opcode, Role, encode_deflated, encode_frame};
use bytes::{BufMut, BytesMut};

use super::Codec;
use super::outbox::Entry;
use crate::config::Format;

/// Minimum size of compressed messages in bytes; the server's own threshold.
const COMPRESS_FROM: usize = 1024;

/// Writes a published event's envelope. An ack is requested if the event wants one, or if `is_alone`, since the next event then
/// waits for it.
pub(super) fn write_event<T>(dst: &mut BytesMut, session: &str, entry: &Entry<T>, is_alone: bool) {
    let event = &entry.event;
    dst.reserve(event.data.bytes().len() + 320);
    dst.put_slice(b"{\"id\":");
    write_str(dst, &entry.id);
    dst.put_slice(b",\"type\":\"test_event\",\"timestamp\":");
    write_u64(dst, entry.timestamp);
    dst.put_slice(b",\"sessionId\":\"");
    dst.put_slice(session.as_bytes());
    dst.put_slice(b"\",\"data\":");
    dst.put_slice(event.data.bytes());
    dst.put_slice(b",\"metadata\":{\"requiresAck\":");
    dst.put_slice(if entry.wants_ack() || is_alone { b"true" } else { b"false" });
    let priority = match event.priority {
        Priority::Low => ",\"priority\":\"low\"",
        Priority::Normal => "",
        Priority::High => ",\"priority\":\"high\"",
        Priority::Critical => ",\"priority\":\"critical\"",
    };
    dst.put_slice(priority.as_bytes());
    if entry.sends > 0 {
        dst.put_slice(b",\"retryCount\":");
        write_u64(dst, u64::from(entry.sends));
    }
    if let Some(ttl) = event.ttl {
        dst.put_slice(b",\"ttl\":");
        write_u64(dst, u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
    }
    if event.checksum {
        let checksum = format!(",\"checksum\":\"crc32c:{:08x}\"", crc32c::crc32c(event.data.bytes()));
        dst.put_slice(checksum.as_bytes());
    }
    if let Some(traceparent) = &event.traceparent {
        dst.put_slice(b",\"traceparent\":");
        write_str(dst, traceparent);
    }
    dst.put_slice(b"}}");
}

/// Writes the envelope of any other message: `data` is JSON already.
pub(super) fn write_envelope(dst: &mut BytesMut, id: &str, kind: &str, timestamp: u64, data: &str) {
    dst.put_slice(b"{\"id\":");
    write_str(dst, id);
    dst.put_slice(b",\"type\":\"");
    dst.put_slice(kind.as_bytes());
    dst.put_slice(b"\",\"timestamp\":");
    write_u64(dst, timestamp);
    dst.put_slice(b",\"data\":");
    dst.put_slice(data.as_bytes());
    dst.put_u8(b'}');
}

/// The framing of one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Framing {
    pub(super) format: Format,
    pub(super) deflate: Option<Negotiated>,
}

impl Framing {
    /// Appends the envelope in `codec.envelope` as one frame, and returns the message's size on the wire before
    /// compression. Appends nothing if it exceeds `most`.
    pub(super) fn write(
        &self,
        dst: &mut BytesMut,
        codec: &mut Codec,
        mask: [u8; 4],
        most: u64,
    ) -> Result<(), u64> {
        let Codec { envelope, packed, deflater, .. } = codec;
        let (opcode, payload) = match self.format {
            Format::Json => (Opcode::Text, &*envelope),
            Format::Msgpack => {
                packed.clear();
                // The envelope was validated on publish, or written by this module.
                let translated = msgpack::from_json(envelope, packed);
                debug_assert!(translated.is_ok(), "envelopes are JSON");
                (Opcode::Binary, &*packed)
            }
        };
        let size = payload.len() as u64;
        if size > most {
            return Err(size);
        }
        match &self.deflate {
            Some(agreed) if payload.len() >= COMPRESS_FROM => {
                let deflater = deflater.get_or_insert_with(|| Deflater::new(3));
                let bits = agreed.send_window_bits(Role::Client);
                encode_deflated(dst, opcode, payload, deflater, bits, Some(mask));
            }
            _ => encode_frame(dst, opcode, false, payload, Some(mask)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use agentbench_protocol::envelope::read_frame;

    use super::*;
    use crate::event::{Data, Event};

    #[test]
    fn the_server_reads_what_is_written() {
        let data = Data::raw(r#"{ "a" :1}"#).unwrap();
        let mut event = Event::new(data).id("e\"1").priority(Priority::High).checksum();
        event.ttl = Some(Duration::from_secs(2));
        event.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
        let mut entry = Entry::new("e\"1".into(), event, 77, None, Some(()));
        entry.sends = 2;
        let mut dst = BytesMut::new();
        write_event(&mut dst, "s-1", &entry, false);
        let text = std::str::from_utf8(&dst).unwrap();
        let mut read = Vec::new();
        read_frame(text, |envelope| read.push(envelope.unwrap())).unwrap();
        let envelope = &read[0];
        assert_eq!((&*envelope.id, envelope.timestamp, envelope.data), ("e\"1", "77", r#"{ "a" :1}"#));
        assert_eq!(envelope.session_id.as_deref(), Some("s-1"));
        let metadata = &envelope.metadata;
        assert_eq!((metadata.priority, metadata.requires_ack, metadata.ttl_ms), (Priority::High, true, 2000));
        assert_eq!(metadata.checksum, Some(crc32c::crc32c(br#"{ "a" :1}"#)));
        assert!(metadata.raw.unwrap().contains("\"retryCount\":2"));
    }
}
