//! Parses the server's messages without building more than needed: the envelope of a message is scanned, acks are
//! read in place, and only rare messages become typed values.

use agentbench_protocol::json::{JsonError, RawValue, Scanner};
use agentbench_protocol::{AckLevel, Epoch, MessageType, Seq, SessionId, Warning};

use crate::item::{Parts, Span};

/// One message of a frame, with its envelope parsed. All texts are slices of the frame.
#[derive(Debug, Clone, Default)]
pub(super) struct Incoming<'a> {
    pub(super) kind: Option<MessageType>,
    pub(super) session_id: Option<SessionId>,
    pub(super) data: &'a str,
    pub(super) seq: Option<Seq>,
    pub(super) received_at: u64,
    pub(super) id: &'a str,
    timestamp: &'a str,
    metadata: &'a str,
    sender: &'a str,
    pub(super) replay: bool,
    whole: (usize, usize),
}

/// An ack in either form, with texts in the frame.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct IncomingAck<'a> {
    id: Option<RawValue<'a>>,
    acks: Option<&'a str>,
    warnings: Option<&'a str>,
    seq: Option<Seq>,
    pub(super) session_id: Option<SessionId>,
    pub(super) epoch: Option<Epoch>,
    pub(super) level: Option<AckLevel>,
    pub(super) duplicate: bool,
}

/// Calls `each` with every message of a frame, which holds one or an array of them.
///
/// # Errors
/// The frame is not JSON, or not made of objects. Earlier messages have been passed on.
pub(super) fn read_frame<'a>(frame: &'a str, mut each: impl FnMut(Incoming<'a>)) -> Result<(), JsonError> {
    let mut scanner = Scanner::new(frame);
    if !scanner.eat(b'[') {
        each(read_message(frame, &mut scanner)?);
        return scanner.end();
    }
    if scanner.eat(b']') {
        return scanner.end();
    }
    loop {
        each(read_message(frame, &mut scanner)?);
        if scanner.eat(b']') {
            return scanner.end();
        }
        if !scanner.eat(b',') {
            // Fails, with the position.
            scanner.end()?;
            return Err(JsonError { what: "the array of messages has no end", at: frame.len() });
        }
    }
}

fn read_message<'a>(frame: &'a str, scanner: &mut Scanner<'a>) -> Result<Incoming<'a>, JsonError> {
    let mut message = Incoming::default();
    let (mut first, mut last) = (None, 0);
    scanner.object::<JsonError>(|key, value| {
        first.get_or_insert(offset(frame, key.text));
        last = offset(frame, value.text) + value.text.len();
        match key.text {
            "\"id\"" => message.id = value.text,
            "\"type\"" => message.kind = serde_json::from_str(value.text).ok(),
            "\"timestamp\"" => message.timestamp = value.text,
            "\"sessionId\"" => message.session_id = value.plain_str().and_then(|text| text.parse().ok()),
            "\"data\"" => message.data = value.text,
            "\"metadata\"" => message.metadata = value.text,
            "\"seq\"" => message.seq = value.to_u64(),
            "\"receivedAt\"" => message.received_at = value.to_u64().unwrap_or_default(),
            "\"sender\"" => message.sender = value.text,
            "\"replay\"" => message.replay = value.to_bool().unwrap_or_default(),
            _ => {}
        }
        Ok(())
    })?;
    message.whole = bounds(frame, first.unwrap_or_default(), last);
    Ok(message)
}

/// The offset of `part` in `whole`, of which it is a slice.
fn offset(whole: &str, part: &str) -> usize {
    part.as_ptr() as usize - whole.as_ptr() as usize
}

/// From the brace before an object's first key to the brace after its last value: the scanner has verified that only
/// white space lies between.
fn bounds(frame: &str, first_key: usize, last_value_end: usize) -> (usize, usize) {
    let start = frame[..first_key].rfind('{').unwrap_or_default();
    let end = frame[last_value_end..].find('}').map_or(frame.len(), |at| last_value_end + at + 1);
    (start, end)
}

impl<'a> Incoming<'a> {
    /// The positions of its parts in `frame`, which it was parsed from.
    pub(super) fn parts(&self, frame: &str) -> Parts {
        let range = |text: &str| {
            if text.is_empty() {
                return Span::default();
            }
            let start = offset(frame, text);
            Span::new(start, start + text.len())
        };
        Parts {
            whole: Span::new(self.whole.0, self.whole.1),
            id: range(self.id),
            timestamp: range(self.timestamp),
            data: range(self.data),
            metadata: range(self.metadata),
            sender: range(self.sender),
        }
    }

    /// The sender's clock, ms since 1970; 0 if not given.
    pub(super) fn sent_at(&self) -> u64 {
        // Any number is allowed; a cast of one out of range gives the nearest.
        self.timestamp.parse::<f64>().map_or(0, |ms| ms as u64)
    }

    /// Parses `data` as an ack; `None` if it is something else.
    pub(super) fn ack(&self) -> Option<IncomingAck<'a>> {
        // Messages in which another type comes first, as this server writes it, need not be scanned.
        let first = self.data.strip_prefix("{\"type\":\"");
        if first.is_some_and(|rest| !rest.starts_with("ack\"")) || self.seq.is_some() {
            return None;
        }
        let (mut ack, mut is_ack) = (IncomingAck::default(), false);
        let read = Scanner::new(self.data).object::<JsonError>(|key, value| {
            match key.text {
                "\"type\"" => is_ack = value.plain_str() == Some("ack"),
                "\"originalMessageId\"" => ack.id = Some(value),
                "\"acks\"" => ack.acks = Some(value.text),
                "\"warnings\"" => ack.warnings = Some(value.text),
                "\"seq\"" => ack.seq = value.to_u64(),
                "\"sessionId\"" => ack.session_id = value.plain_str().and_then(|text| text.parse().ok()),
                "\"epoch\"" => ack.epoch = value.plain_str().and_then(|text| text.parse().ok()),
                "\"level\"" => ack.level = serde_json::from_str(value.text).ok(),
                "\"duplicate\"" => ack.duplicate = value.to_bool().unwrap_or_default(),
                _ => {}
            }
            Ok(())
        });
        (read.is_ok() && is_ack).then_some(ack)
    }
}

impl IncomingAck<'_> {
    /// The warnings about its event; empty if they cannot be read.
    pub(super) fn warnings(&self) -> Vec<Warning> {
        self.warnings.and_then(|list| serde_json::from_str(list).ok()).unwrap_or_default()
    }

    /// Calls `acked` with the id and seq of every acked event.
    pub(super) fn each(&self, mut acked: impl FnMut(&str, Seq)) {
        if let (Some(id), Some(seq)) = (self.id.and_then(|id| id.to_str()), self.seq) {
            acked(&id, seq);
        }
        let Some(list) = self.acks else { return };
        let mut scanner = Scanner::new(list);
        scanner.eat(b'[');
        while scanner.eat(b'[') {
            let (Ok(id), true) = (scanner.value(), scanner.eat(b',')) else { return };
            let Ok(seq) = scanner.value() else { return };
            if let (Some(id), Some(seq)) = (id.to_str(), seq.to_u64()) {
                acked(&id, seq);
            }
            // Elements after the pair belong to a later version.
            while scanner.eat(b',') {
                if scanner.value().is_err() {
                    return;
                }
            }
            scanner.eat(b']');
            scanner.eat(b',');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(frame: &str) -> Result<Vec<Incoming<'_>>, JsonError> {
        let mut found = Vec::new();
        read_frame(frame, |message| found.push(message)).map(|()| found)
    }

    #[test]
    fn parts_of_one_message_and_of_several() {
        let one = r#" { "id":"e1","type":"test_event","data": {"a":"}"} ,"seq":3,"receivedAt":9, "x":{} } "#;
        let many = format!("[{one},{one}]");
        for (frame, count) in [(one, 1), (&many, 2)] {
            let found = messages(frame).unwrap();
            assert_eq!(found.len(), count);
            for message in found {
                let parts = message.parts(frame);
                assert_eq!(&frame[parts.whole.range()], one.trim());
                assert_eq!(&frame[parts.data.range()], r#"{"a":"}"}"#);
                assert_eq!(&frame[parts.id.range()], "\"e1\"");
                assert_eq!((message.seq, message.received_at), (Some(3), 9));
                assert_eq!(message.kind, Some(MessageType::TestEvent));
                assert!(parts.sender.range().is_empty());
            }
        }
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        for bad in ["", "1", "{", "[{}", "[{},]", "[1]", "{} x", "[{}] x", "[{} {}]"] {
            assert!(messages(bad).is_err(), "{bad}");
        }
        assert_eq!(messages("[]").unwrap().len(), 0);
        assert_eq!(messages("{}").unwrap().len(), 1);
    }

    #[test]
    fn warnings_are_read_and_unreadable_ones_leave_the_ack() {
        let read = |warnings: &str| {
            let frame = format!(
                r#"{{"type":"system_message","data":{{"type":"ack","originalMessageId":"a","seq":7{warnings}}}}}"#
            );
            let ack = messages(&frame).unwrap()[0].ack().unwrap();
            let mut acked = Vec::new();
            ack.each(|id, seq| acked.push((id.to_owned(), seq)));
            assert_eq!(acked, [("a".to_owned(), 7)], "{warnings}");
            ack.warnings()
        };
        let expected = Warning { field: "data.\"x\"".into(), detail: "no".into() };
        assert_eq!(read(r#","warnings":[{"field":"data.\"x\"","detail":"no","later":1}]"#), [expected]);
        for none in
            ["", r#","warnings":[]"#, r#","warnings":null"#, r#","warnings":[1]"#, r#","warnings":"x""#]
        {
            assert_eq!(read(none), [], "{none}");
        }
    }

    #[test]
    fn acks_in_both_forms() {
        let read = |data: &str| {
            let frame = format!(r#"{{"id":"m1","type":"system_message","data":{data}}}"#);
            let found = messages(&frame).unwrap();
            let ack = found[0].ack()?;
            let mut pairs = Vec::new();
            ack.each(|id, seq| pairs.push((id.to_owned(), seq)));
            Some((pairs, ack.duplicate))
        };
        let single = r#"{"type":"ack","originalMessageId":"a\"1","seq":7,"duplicate":true}"#;
        assert_eq!(read(single), Some((vec![("a\"1".to_owned(), 7)], true)));
        let several = r#"{"type":"ack","level":"logged","acks":[["a",1],["b",2,"later"],["c",3]]}"#;
        let pairs = [("a", 1), ("b", 2), ("c", 3)].map(|(id, seq)| (id.to_owned(), seq)).to_vec();
        assert_eq!(read(several), Some((pairs.clone(), false)));
        let in_disorder = r#"{ "acks":[["a",1],["b",2],["c",3]], "level":"logged", "type": "ack" }"#;
        assert_eq!(read(in_disorder), Some((pairs, false)));
        for other in [r#"{"type":"gap"}"#, r#"{"seq":1,"type":"gap"}"#, r#"{"seq":1}"#, r#"{"type":"acks"}"#]
        {
            assert_eq!(read(other), None, "{other}");
        }
        for odd in [r#"[[]]"#, r#"[["a"]]"#, r#"[[1,2]]"#, r#"[["a","b"]]"#, r#"{}"#, r#"[1]"#] {
            let data = format!(r#"{{"type":"ack","acks":{odd}}}"#);
            assert_eq!(read(&data), Some((vec![], false)), "{odd}");
        }
    }
}
