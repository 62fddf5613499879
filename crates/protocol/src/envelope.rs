//! The envelope of every message, parsed without interpreting `data`.
//!
//! Parsing takes two steps, so that a refusal can always name the message that it refuses: first the members of the
//! object are located (anything that is not JSON ends here), then each is validated, `id` first.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::error::{ErrorCode, Refusal};
use crate::json::{JsonKind, RawValue, Scanner};
use crate::limits::{MAX_BATCH, MAX_DATA_DEPTH, MAX_ID_CHARS, MAX_METADATA_BYTES, MAX_TTL_MS};

/// `type` of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum MessageType {
    /// An event for a session's log.
    TestEvent,
    /// A command to the server.
    ControlCommand,
    /// Replies, acks, lifecycle, presence and gaps; from a client: reader acks.
    SystemMessage,
    /// Answered with the same.
    Heartbeat,
    /// A refusal; only the server sends it.
    Error,
}

/// Determines what is refused first under overload, and which session goes first on a shared connection. Never changes a session's
/// order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Refused first.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Refused after `normal`.
    High,
    /// Refused last.
    Critical,
}

impl Priority {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "low" => Self::Low,
            "normal" => Self::Normal,
            "high" => Self::High,
            "critical" => Self::Critical,
            _ => return None,
        })
    }
}

/// The validated `metadata` of a client's message.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata<'a> {
    /// The whole object as sent, passed on to readers; `None` if absent.
    pub raw: Option<&'a str>,
    /// Priority, `normal` if not given.
    pub priority: Priority,
    /// Whether the sender requests an ack.
    pub requires_ack: bool,
    /// Time to live in ms, from when the server accepts the event; 0 for no limit.
    pub ttl_ms: u32,
    /// The expected CRC-32C of `data`'s bytes.
    pub checksum: Option<u32>,
}

/// The validated envelope of one client message; `data` is its text.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope<'a> {
    /// The sender's id of the message.
    pub id: Cow<'a, str>,
    /// The type of the message.
    pub kind: MessageType,
    /// The sender's clock, ms since 1970, as it was written.
    pub timestamp: &'a str,
    /// The text of `sessionId`, if the envelope has one. Not validated yet.
    pub session_id: Option<Cow<'a, str>>,
    /// The JSON object with the message's content, unchanged.
    pub data: &'a str,
    /// Handling instructions.
    pub metadata: Metadata<'a>,
}

/// The members of an envelope, located but not yet validated.
#[derive(Debug, Clone, Copy, Default)]
struct Members<'a> {
    id: Option<RawValue<'a>>,
    kind: Option<RawValue<'a>>,
    timestamp: Option<RawValue<'a>>,
    session_id: Option<RawValue<'a>>,
    data: Option<RawValue<'a>>,
    metadata: Option<RawValue<'a>>,
    repeated: Option<&'static str>,
}

/// Parses one frame: an envelope, or an array of at most [`MAX_BATCH`] envelopes. Each is passed to `each` in order, or the
/// refusal if it alone is invalid.
///
/// # Errors
/// The refusal of the whole frame: it is not JSON (then nothing of it was passed on), or neither object nor array.
pub fn read_frame<'a>(
    text: &'a str,
    mut each: impl FnMut(Result<Envelope<'a>, Refusal>),
) -> Result<(), Refusal> {
    let mut scanner = Scanner::new(text);
    match scanner.peek() {
        Some(b'[') => {
            for members in find_batch(&mut scanner)? {
                each(members.and_then(|members| check(&members)));
            }
        }
        Some(b'{') => {
            let mut members = Members::default();
            find_members(&mut scanner, &mut members)?;
            scanner.end()?;
            each(check(&members));
        }
        _ => {
            scanner.value()?;
            scanner.end()?;
            return Err(Refusal::invalid("", "a message is a JSON object or an array of them"));
        }
    }
    Ok(())
}

fn find_batch<'a>(scanner: &mut Scanner<'a>) -> Result<Vec<Result<Members<'a>, Refusal>>, Refusal> {
    let mut batch = Vec::new();
    scanner.eat(b'[');
    if scanner.eat(b']') {
        scanner.end()?;
        return Err(Refusal::invalid("", "the array of messages is empty"));
    }
    loop {
        if batch.len() == MAX_BATCH {
            return Err(Refusal::invalid("", format!("more than {MAX_BATCH} messages in one array")));
        }
        if scanner.peek() == Some(b'{') {
            let mut members = Members::default();
            find_members(scanner, &mut members)?;
            batch.push(Ok(members));
        } else {
            scanner.value()?;
            batch.push(Err(Refusal::invalid("", "a message is a JSON object")));
        }
        if scanner.eat(b']') {
            scanner.end()?;
            return Ok(batch);
        }
        if !scanner.eat(b',') {
            // Reports what is missing, and where.
            scanner.end()?;
            return Err(Refusal::new(ErrorCode::MalformedJson, "the array of messages has no end"));
        }
    }
}

/// The caller's `found` is filled in place: an envelope's values are some hundred bytes, and each copy counts.
fn find_members<'a>(scanner: &mut Scanner<'a>, found: &mut Members<'a>) -> Result<(), Refusal> {
    scanner.object::<Refusal>(|key, value| {
        let (slot, name) = match key.text {
            "\"id\"" => (&mut found.id, "id"),
            "\"type\"" => (&mut found.kind, "type"),
            "\"timestamp\"" => (&mut found.timestamp, "timestamp"),
            "\"sessionId\"" => (&mut found.session_id, "sessionId"),
            "\"data\"" => (&mut found.data, "data"),
            "\"metadata\"" => (&mut found.metadata, "metadata"),
            // Unknown members are ignored: later clients may send more.
            _ => return Ok(()),
        };
        if slot.replace(value).is_some() {
            found.repeated = Some(name);
        }
        Ok(())
    })
}

fn check<'a>(found: &Members<'a>) -> Result<Envelope<'a>, Refusal> {
    let id = found.id.ok_or_else(|| Refusal::invalid("id", "id is missing"))?;
    let mut checked = check_rest(found, check_id(id)?);
    if let Err(refusal) = &mut checked
        && let Ok(id) = check_id(id)
    {
        refusal.original_message_id = Some(id.into_owned());
    }
    checked
}

/// An id of 1 to [`MAX_ID_CHARS`] visible characters.
fn check_id(value: RawValue<'_>) -> Result<Cow<'_, str>, Refusal> {
    let id = value.to_str().ok_or_else(|| Refusal::invalid("id", "id must be a string"))?;
    if is_visible(&id, MAX_ID_CHARS) {
        Ok(id)
    } else {
        Err(Refusal::invalid("id", format!("id must have 1 to {MAX_ID_CHARS} visible characters")))
    }
}

/// Whether `text` has 1 to `max` characters, none of them white space or control characters.
pub fn is_visible(text: &str, max: usize) -> bool {
    let plain = |b: u8| (0x21..0x7f).contains(&b);
    if text.bytes().all(plain) {
        return (1..=max).contains(&text.len());
    }
    let mut count = 0;
    text.chars().all(|c| {
        count += 1;
        count <= max && !c.is_control() && !c.is_whitespace()
    })
}

fn check_rest<'a>(found: &Members<'a>, id: Cow<'a, str>) -> Result<Envelope<'a>, Refusal> {
    if let Some(name) = found.repeated {
        return Err(Refusal::invalid(name, format!("{name} is given twice")));
    }
    let kind = check_type(found.kind)?;
    let timestamp = found.timestamp.ok_or_else(|| Refusal::invalid("timestamp", "timestamp is missing"))?;
    if timestamp.kind != JsonKind::Number || timestamp.text.starts_with('-') {
        return Err(Refusal::invalid("timestamp", "timestamp must be a number of ms since 1970"));
    }
    let session_id = match found.session_id {
        None => None,
        Some(value) if value.kind == JsonKind::Null => None,
        Some(value) => {
            Some(value.to_str().ok_or_else(|| Refusal::invalid("sessionId", "sessionId must be a string"))?)
        }
    };
    let data = found.data.ok_or_else(|| Refusal::invalid("data", "data is missing"))?;
    if data.kind != JsonKind::Object {
        return Err(Refusal::invalid("data", "data must be an object"));
    }
    check_depth("data", data)?;
    let metadata = found.metadata.map_or_else(|| Ok(Metadata::default()), check_metadata)?;
    Ok(Envelope { id, kind, timestamp: timestamp.text, session_id, data: data.text, metadata })
}

/// Deeper nesting could be stored, but not every reader could parse it.
pub(crate) fn check_depth(name: &str, value: RawValue<'_>) -> Result<(), Refusal> {
    if value.depth <= MAX_DATA_DEPTH {
        return Ok(());
    }
    let detail = format!("{name} is nested {} levels deep; {MAX_DATA_DEPTH} are the most", value.depth);
    // Not counted as malformed: it is well-formed, and a series of such events says nothing about the sender.
    Err(Refusal { field: Some(name.to_owned()), ..Refusal::new(ErrorCode::PayloadTooLarge, detail) })
}

fn check_type(value: Option<RawValue<'_>>) -> Result<MessageType, Refusal> {
    let value = value.ok_or_else(|| Refusal::invalid("type", "type is missing"))?;
    let text = value.to_str().ok_or_else(|| Refusal::invalid("type", "type must be a string"))?;
    Ok(match &*text {
        "test_event" => MessageType::TestEvent,
        "control_command" => MessageType::ControlCommand,
        "system_message" => MessageType::SystemMessage,
        "heartbeat" => MessageType::Heartbeat,
        _ => {
            let known = "test_event, control_command, system_message or heartbeat";
            return Err(Refusal::new(ErrorCode::UnknownType, format!("type must be {known}")));
        }
    })
}

fn check_metadata(value: RawValue<'_>) -> Result<Metadata<'_>, Refusal> {
    if value.kind == JsonKind::Null {
        return Ok(Metadata::default());
    }
    if value.kind != JsonKind::Object {
        return Err(Refusal::invalid("metadata", "metadata must be an object"));
    }
    if value.text.len() > MAX_METADATA_BYTES {
        return Err(Refusal::invalid(
            "metadata",
            format!("metadata is larger than {MAX_METADATA_BYTES} bytes"),
        ));
    }
    check_depth("metadata", value)?;
    let mut metadata = Metadata { raw: Some(value.text), ..Metadata::default() };
    Scanner::new(value.text).object::<Refusal>(|key, value| {
        if value.kind == JsonKind::Null {
            return Ok(());
        }
        match key.text {
            "\"priority\"" => metadata.priority = check_priority(value)?,
            "\"requiresAck\"" => {
                metadata.requires_ack = value.to_bool().ok_or_else(|| {
                    Refusal::invalid("metadata.requiresAck", "requiresAck must be true or false")
                })?;
            }
            "\"retryCount\"" => {
                value.to_u64().ok_or_else(|| {
                    Refusal::invalid("metadata.retryCount", "retryCount must be a whole number")
                })?;
            }
            "\"ttl\"" => metadata.ttl_ms = check_ttl(value)?,
            "\"checksum\"" => metadata.checksum = Some(check_checksum(value)?),
            "\"traceparent\"" => check_traceparent(value)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(metadata)
}

fn check_priority(value: RawValue<'_>) -> Result<Priority, Refusal> {
    value.to_str().and_then(|text| Priority::parse(&text)).ok_or_else(|| {
        Refusal::invalid("metadata.priority", "priority must be low, normal, high or critical")
    })
}

fn check_ttl(value: RawValue<'_>) -> Result<u32, Refusal> {
    let ttl = value.to_u64().and_then(|ttl| u32::try_from(ttl).ok()).filter(|ttl| *ttl <= MAX_TTL_MS);
    ttl.ok_or_else(|| Refusal::invalid("metadata.ttl", format!("ttl must be 0 to {MAX_TTL_MS} ms")))
}

fn check_checksum(value: RawValue<'_>) -> Result<u32, Refusal> {
    let digits = value.plain_str().and_then(|text| text.strip_prefix("crc32c:")).filter(|hex| hex.len() == 8);
    digits.and_then(|hex| u32::from_str_radix(hex, 16).ok()).ok_or_else(|| {
        Refusal::invalid("metadata.checksum", "checksum must be \"crc32c:\" and 8 hexadecimal digits")
    })
}

/// W3C Trace Context, version 00: `00-<32 hex>-<16 hex>-<2 hex>`.
fn check_traceparent(value: RawValue<'_>) -> Result<(), Refusal> {
    let well_formed = value.plain_str().is_some_and(|text| {
        let parts: Vec<&str> = text.split('-').collect();
        parts.len() >= 4
            && parts.iter().zip([2, 32, 16, 2]).all(|(part, len)| {
                part.len() == len && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            })
    });
    if well_formed {
        Ok(())
    } else {
        Err(Refusal::invalid("metadata.traceparent", "traceparent must be a W3C trace context of version 00"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Result<Envelope<'_>, Refusal>>, Refusal> {
        let mut found = Vec::new();
        read_frame(text, |envelope| found.push(envelope))?;
        Ok(found)
    }

    const EVENT: &str = r#"{"id":"e1","type":"test_event","timestamp":1760000000000,"sessionId":"s","data":{"a" : [1]},"metadata":{"priority":"high","requiresAck":true,"retryCount":0,"ttl":5000,"checksum":"crc32c:0000abcd"}}"#;

    #[test]
    fn an_envelope_is_read_and_its_data_left_as_it_is() {
        let found = read(EVENT).unwrap();
        let envelope = found[0].as_ref().unwrap();
        assert_eq!(envelope.id, "e1");
        assert_eq!(envelope.kind, MessageType::TestEvent);
        assert_eq!(envelope.session_id.as_deref(), Some("s"));
        assert_eq!(envelope.data, r#"{"a" : [1]}"#);
        let metadata = &envelope.metadata;
        assert_eq!(metadata.priority, Priority::High);
        assert!(metadata.requires_ack);
        assert_eq!((metadata.ttl_ms, metadata.checksum), (5000, Some(0xabcd)));
    }

    #[test]
    fn an_array_holds_good_and_bad_messages() {
        let text = format!(r#"[{EVENT}, 7, {{"id":"x"}}, {EVENT}]"#);
        let found = read(&text).unwrap();
        assert_eq!(found.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, false, true]);
        let refusal = found[2].as_ref().unwrap_err();
        assert_eq!(refusal.original_message_id.as_deref(), Some("x"));
        assert_eq!(refusal.field.as_deref(), Some("type"));
    }

    #[test]
    fn a_frame_that_is_not_json_has_no_effect_at_all() {
        for text in ["", "{", "[", "[{}", "nonsense", "{\"id\":\"a\"} {}", "[{\"id\":1},", "\u{feff}{}"] {
            assert_eq!(read(text).unwrap_err().code, ErrorCode::MalformedJson, "{text}");
        }
        let half = format!("[{EVENT},{{]");
        assert_eq!(read(&half).unwrap_err().code, ErrorCode::MalformedJson);
        for text in ["1", "\"x\"", "null", "[]"] {
            assert_eq!(read(text).unwrap_err().code, ErrorCode::InvalidMessage, "{text}");
        }
    }

    /// Replaces one member of a good envelope and tells which field is named in the refusal.
    fn refused_field(member: &str, value: &str) -> String {
        let members = [
            ("id", "\"e1\""),
            ("type", "\"test_event\""),
            ("timestamp", "1"),
            ("sessionId", "\"s\""),
            ("data", "{}"),
            ("metadata", "{}"),
        ];
        let members: Vec<String> = members
            .iter()
            .map(|(name, good)| if *name == member { (*name, value) } else { (*name, *good) })
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("\"{name}\":{value}"))
            .collect();
        let text = format!("{{{}}}", members.join(","));
        let found = read(&text).unwrap();
        match &found[0] {
            Ok(_) => String::new(),
            Err(refusal) => refusal.field.clone().unwrap_or_else(|| refusal.code.to_string()),
        }
    }

    #[test]
    fn each_wrong_field_is_named() {
        let too_long = format!("\"{}\"", "x".repeat(MAX_ID_CHARS + 1));
        let cases = [
            ("id", "", "id"),
            ("id", "7", "id"),
            ("id", "\"\"", "id"),
            ("id", "\"a b\"", "id"),
            ("id", "\"a\\u0000\"", "id"),
            ("id", "\"\\ud800\"", "id"),
            ("id", too_long.as_str(), "id"),
            ("id", "\"\\u0065\"", ""),
            ("id", "\"é😀\"", ""),
            ("type", "", "type"),
            ("type", "1", "type"),
            ("type", "\"nope\"", "unknown_type"),
            ("type", "\"error\"", "unknown_type"),
            ("timestamp", "", "timestamp"),
            ("timestamp", "\"1\"", "timestamp"),
            ("timestamp", "-1", "timestamp"),
            ("timestamp", "1.5", ""),
            ("timestamp", "1.7e12", ""),
            ("sessionId", "1", "sessionId"),
            ("sessionId", "null", ""),
            ("data", "", "data"),
            ("data", "[]", "data"),
            ("data", "null", "data"),
            ("metadata", "", ""),
            ("metadata", "null", ""),
            ("metadata", "1", "metadata"),
            ("metadata", r#"{"priority":"urgent"}"#, "metadata.priority"),
            ("metadata", r#"{"requiresAck":1}"#, "metadata.requiresAck"),
            ("metadata", r#"{"retryCount":-1}"#, "metadata.retryCount"),
            ("metadata", r#"{"ttl":-5}"#, "metadata.ttl"),
            ("metadata", r#"{"ttl":99999999999}"#, "metadata.ttl"),
            ("metadata", r#"{"checksum":"md5:1"}"#, "metadata.checksum"),
            ("metadata", r#"{"traceparent":"00-1"}"#, "metadata.traceparent"),
            (
                "metadata",
                r#"{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","x":[]}"#,
                "",
            ),
        ];
        for (member, value, field) in cases {
            assert_eq!(refused_field(member, value), field, "{member}: {value}");
        }
    }

    #[test]
    fn one_deep_message_among_others_is_refused_by_its_id() {
        let levels = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
        let event = |id: &str, data: &str, metadata: &str| {
            format!(
                r#"{{"id":"{id}","type":"test_event","timestamp":1,"data":{data},"metadata":{metadata}}}"#
            )
        };
        for depth in [121, 140, 1_000, 100_000] {
            let deep = [event("b", &levels(depth), "{}"), event("c", "{}", &levels(depth.min(2_000)))];
            let text = format!("[{},{},{EVENT}]", event("a", &levels(120), &levels(120)), deep.join(","));
            let found = read(&text).unwrap();
            assert_eq!(found.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, false, true]);
            for (place, id, field) in [(1, "b", "data"), (2, "c", "metadata")] {
                let refusal = found[place].as_ref().unwrap_err();
                assert_eq!(refusal.code, ErrorCode::PayloadTooLarge);
                assert_eq!(refusal.original_message_id.as_deref(), Some(id));
                assert_eq!(refusal.field.as_deref(), Some(field));
            }
        }
    }

    #[test]
    fn a_member_given_twice_is_refused() {
        let text = r#"{"id":"a","type":"heartbeat","timestamp":1,"data":{},"data":{}}"#;
        assert_eq!(read(text).unwrap()[0].as_ref().unwrap_err().field.as_deref(), Some("data"));
    }
}
