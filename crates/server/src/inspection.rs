//! Live inspection of connections' frames: the report of a frame, its filters, and the bounds of its queue.
//!
//! A [`Tap`] is one administrator's inspection. Workers offer it every frame of the inspected connections; frames that find
//! its queue full are dropped and counted, so that no inspected connection is slowed down.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use agentbench_protocol::SessionId;
use agentbench_session::ConnectionKey;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::mpsc;

/// Maximum number of queued frames of one inspection.
const MAX_FRAMES: usize = 2_048;
/// Maximum number of queued bytes of one inspection.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of a payload that are shown.
const MAX_PAYLOAD: usize = 64 * 1024;
/// Characters of a name that are shown.
const MAX_NAME: usize = 128;
/// Concurrent inspections.
const MAX_TAPS: usize = 16;

/// The inspected connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Connection(ConnectionKey),
    /// All connections that participate in it.
    Session(SessionId),
}

/// The direction of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Direction {
    /// From the client.
    In,
    /// To the client: it was written to the socket.
    Out,
}

/// An inspected frame.
pub(crate) struct InspectedFrame<'a> {
    pub(crate) at: u64,
    pub(crate) client: &'a str,
    pub(crate) direction: Direction,
    pub(crate) opcode: &'static str,
    pub(crate) bytes: usize,
    /// The message as JSON, if it is one.
    pub(crate) json: Option<&'a str>,
    /// The code of a close.
    pub(crate) code: Option<u16>,
}

/// The fields of an envelope that a line reports.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct EnvelopeFields<'a> {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    session_id: Option<String>,
    #[serde(default)]
    seq: Option<u64>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

/// The fields of a message's data from which its name is taken.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DataFields {
    command: Option<String>,
    event_type: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    session_id: Option<String>,
    code: Option<serde_json::Value>,
}

/// The report of a frame: one line.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    at: u64,
    client_id: &'a str,
    direction: Direction,
    opcode: &'static str,
    bytes: usize,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    /// The command, the type of the event or of the system message, or the error's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    /// Number of frames dropped before this one.
    #[serde(skip_serializing_if = "is_zero")]
    left_out: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Words that a frame must have, or with `!` must not have: its direction, opcode, type or name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    wanted: Vec<String>,
    unwanted: Vec<String>,
}

impl Filter {
    /// Parses comma-separated words.
    pub(crate) fn parse(text: &str) -> Self {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        let (unwanted, wanted): (Vec<&str>, Vec<&str>) = words.partition(|word| word.starts_with('!'));
        Self {
            wanted: wanted.into_iter().map(str::to_owned).collect(),
            unwanted: unwanted.into_iter().map(|word| word[1..].to_owned()).collect(),
        }
    }

    fn passes(&self, has: impl Fn(&str) -> bool) -> bool {
        self.wanted.iter().all(|word| has(word)) && !self.unwanted.iter().any(|word| has(word))
    }
}

/// One inspection.
pub(crate) struct Tap {
    pub(crate) number: u64,
    pub(crate) target: Target,
    filter: Filter,
    payloads: bool,
    lines: mpsc::Sender<Bytes>,
    waiting: Arc<AtomicUsize>,
    left_out: AtomicU64,
}

/// The lines of one inspection.
pub(crate) struct Lines {
    lines: mpsc::Receiver<Bytes>,
    waiting: Arc<AtomicUsize>,
}

impl Lines {
    /// The next line, without its end; `None` when no inspected connection is left.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        let line = self.lines.recv().await?;
        self.waiting.fetch_sub(line.len(), Ordering::Relaxed);
        Some(line)
    }
}

impl Tap {
    pub(crate) fn new(number: u64, target: Target, filter: Filter, payloads: bool) -> (Self, Lines) {
        let (sender, lines) = mpsc::channel(MAX_FRAMES);
        let waiting = Arc::new(AtomicUsize::new(0));
        let left_out = AtomicU64::new(0);
        let tap =
            Self { number, target, filter, payloads, lines: sender, waiting: Arc::clone(&waiting), left_out };
        (tap, Lines { lines, waiting })
    }

    /// Queues a frame that passes the filter; counts it as dropped if the queue is full.
    pub(crate) fn offer(&self, frame: &InspectedFrame<'_>) {
        let outside: EnvelopeFields<'_> =
            frame.json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
        let data = outside.data.map(RawValue::get);
        let inside: DataFields = data.and_then(|data| serde_json::from_str(data).ok()).unwrap_or_default();
        let about = outside.session_id.as_deref().or(inside.session_id.as_deref());
        if let (Target::Session(session), Some(about)) = (self.target, about)
            && about.parse() != Ok(session)
        {
            return;
        }
        let error = inside.code.as_ref().and_then(|code| code.as_str());
        let name = inside.command.as_deref().or(inside.event_type.as_deref());
        let name = name.or(inside.kind.as_deref()).or(error).map(short);
        let kind = outside.kind.as_deref().map(short);
        let direction = if frame.direction == Direction::In { "in" } else { "out" };
        let has = |word: &str| {
            word == direction || word == frame.opcode || kind == Some(word) || name == Some(word)
        };
        if !self.filter.passes(has) {
            return;
        }
        // Tokens are never shown.
        let secret = inside.command.as_deref() == Some("refresh_token");
        let payload = data.filter(|_| self.payloads).map(|data| if secret { "(a token)" } else { cut(data) });
        let left_out = self.left_out.swap(0, Ordering::Relaxed);
        let line = Line {
            at: frame.at,
            client_id: frame.client,
            direction: frame.direction,
            opcode: frame.opcode,
            bytes: frame.bytes,
            kind,
            name,
            id: outside.id.as_deref().map(short),
            session_id: about.map(short),
            seq: outside.seq,
            code: frame.code,
            payload,
            left_out,
        };
        // The types have string keys and cannot fail to serialize.
        let line = Bytes::from(serde_json::to_vec(&line).expect("own types serialise"));
        let size = line.len();
        let before = self.waiting.fetch_add(size, Ordering::Relaxed);
        if before + size > MAX_BYTES || self.lines.try_send(line).is_err() {
            self.waiting.fetch_sub(size, Ordering::Relaxed);
            self.left_out.fetch_add(left_out + 1, Ordering::Relaxed);
        }
    }
}

fn short(name: &str) -> &str {
    name.char_indices().nth(MAX_NAME).map_or(name, |(end, _)| &name[..end])
}

fn cut(payload: &str) -> &str {
    &payload[..payload.floor_char_boundary(MAX_PAYLOAD)]
}

/// The active inspections.
#[derive(Debug, Default)]
pub(crate) struct Inspections {
    count: AtomicUsize,
    serial: AtomicU64,
}

impl Inspections {
    /// The number of a new inspection; `None` if the limit is reached.
    pub(crate) fn begin(&self) -> Option<u64> {
        let take = |count| (count < MAX_TAPS).then_some(count + 1);
        self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        Some(self.serial.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn end(&self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn tap(filter: &str, payloads: bool) -> (Tap, Lines) {
        Tap::new(1, Target::Connection(ConnectionKey(7)), Filter::parse(filter), payloads)
    }

    fn met(json: &str) -> InspectedFrame<'_> {
        let direction = Direction::In;
        InspectedFrame {
            at: 1,
            client: "c1",
            direction,
            opcode: "text",
            bytes: json.len(),
            json: Some(json),
            code: None,
        }
    }

    fn taken(lines: &mut Lines) -> Option<Value> {
        let line = lines.lines.try_recv().ok()?;
        lines.waiting.fetch_sub(line.len(), Ordering::Relaxed);
        Some(serde_json::from_slice(&line).unwrap())
    }

    #[test]
    fn a_frame_is_told_without_its_payload_unless_asked() {
        let event = r#"{"id":"e1","type":"test_event","sessionId":"s","seq":4,"data":{"eventType":"progress","secret":1}}"#;
        let (hidden, mut lines) = tap("", false);
        hidden.offer(&met(event));
        let line = taken(&mut lines).unwrap();
        let expected = json!({"at": 1, "clientId": "c1", "direction": "in", "opcode": "text", "bytes": event.len(),
            "type": "test_event", "name": "progress", "id": "e1", "sessionId": "s", "seq": 4});
        assert_eq!(line, expected);
        let (shown, mut lines) = tap("", true);
        shown.offer(&met(event));
        assert_eq!(taken(&mut lines).unwrap()["payload"], r#"{"eventType":"progress","secret":1}"#);
        shown.offer(&met(
            r#"{"id":"r","type":"control_command","data":{"command":"refresh_token","token":"hush"}}"#,
        ));
        assert!(!taken(&mut lines).unwrap().to_string().contains("hush"));
    }

    #[test]
    fn filters_are_words_that_have_to_be_or_must_not_be_there() {
        let heartbeat = r#"{"id":"h","type":"heartbeat","data":{}}"#;
        for (filter, passes) in [
            ("", true),
            ("in", true),
            ("out", false),
            ("in,heartbeat", true),
            ("heartbeat,!in", false),
            ("!test_event", true),
            ("!heartbeat", false),
        ] {
            let (tap, mut lines) = tap(filter, false);
            tap.offer(&met(heartbeat));
            assert_eq!(taken(&mut lines).is_some(), passes, "{filter}");
        }
    }

    #[test]
    fn who_looks_too_slowly_is_told_how_much_was_left_out() {
        let (tap, mut lines) = tap("", false);
        for _ in 0..MAX_FRAMES + 5 {
            tap.offer(&met("{}"));
        }
        (0..MAX_FRAMES).for_each(|_| assert!(taken(&mut lines).unwrap().get("leftOut").is_none()));
        assert!(taken(&mut lines).is_none());
        tap.offer(&met("{}"));
        assert_eq!(taken(&mut lines).unwrap()["leftOut"], 5);
        assert_eq!(lines.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn bytes_that_wait_are_bounded_and_nonsense_is_a_frame_too() {
        let (tap, mut lines) = tap("", true);
        let large = format!(r#"{{"type":"test_event","data":{{"text":"{}"}}}}"#, "ä".repeat(MAX_PAYLOAD));
        for _ in 0..200 {
            tap.offer(&met(&large));
        }
        assert!(lines.waiting.load(Ordering::Relaxed) <= MAX_BYTES);
        while taken(&mut lines).is_some() {}
        for nonsense in ["", "not json", "[1]", r#"{"type":5}"#, "\u{0}"] {
            tap.offer(&met(nonsense));
            assert_eq!(taken(&mut lines).unwrap()["opcode"], "text");
        }
    }

    #[test]
    fn a_session_s_look_passes_over_other_sessions() {
        let session: SessionId = "18baf1f6-d410-85e7-b379-ee6154c3a471".parse().unwrap();
        let (tap, mut lines) = Tap::new(1, Target::Session(session), Filter::default(), false);
        tap.offer(&met(&format!(r#"{{"type":"test_event","sessionId":"{session}","data":{{}}}}"#)));
        assert!(taken(&mut lines).is_some());
        tap.offer(&met(
            r#"{"type":"test_event","sessionId":"18baf1f6-d410-85e7-b379-ee6154c3a472","data":{}}"#,
        ));
        assert!(taken(&mut lines).is_none());
        tap.offer(&met(r#"{"type":"heartbeat","data":{}}"#));
        assert!(taken(&mut lines).is_some());
    }

    #[test]
    fn there_are_so_many_looks_at_once() {
        let inspections = Inspections::default();
        let numbers: Vec<_> = (0..MAX_TAPS).map(|_| inspections.begin().unwrap()).collect();
        assert!(numbers.is_sorted() && inspections.begin().is_none());
        inspections.end();
        assert!(inspections.begin().is_some());
    }
}
