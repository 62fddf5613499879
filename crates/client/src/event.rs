//! Events to publish, and their content.

use std::time::Duration;

use agentbench_protocol::Priority;
use agentbench_protocol::envelope::is_visible;
use agentbench_protocol::json::{JsonKind, Scanner};
use agentbench_protocol::limits::{MAX_DATA_DEPTH, MAX_ID_CHARS, MAX_TTL_MS};
use bytes::Bytes;
use serde::Serialize;

use crate::Error;

/// Content of an event: the text of one JSON object. Validated when it is created; cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data(Bytes);

impl Data {
    /// From JSON text, which is sent unchanged.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is not one JSON object in UTF-8, or if readers could not parse it: objects and lists nested deeper
    /// than 120 levels, or an escape such as `\ud83d` that is half of a surrogate pair.
    pub fn raw(json: impl Into<Bytes>) -> Result<Self, Error> {
        let json = json.into();
        let text =
            simdutf8::basic::from_utf8(&json).map_err(|_| Error::Invalid("data is not UTF-8".into()))?;
        let mut scanner = Scanner::new(text);
        let invalid = |problem: String| Err(Error::Invalid(format!("data {problem}")));
        match scanner.value().and_then(|value| scanner.end().map(|()| value)) {
            Err(error) => invalid(format!("is not valid JSON: {error}")),
            Ok(value) if value.kind != JsonKind::Object => invalid("must be a JSON object".into()),
            Ok(value) if value.depth > MAX_DATA_DEPTH => {
                invalid(format!("is nested {} levels deep; the maximum is {MAX_DATA_DEPTH}", value.depth))
            }
            Ok(value) if has_lone_surrogate(value.text) => {
                invalid("contains half of a surrogate pair".into())
            }
            Ok(_) => Ok(Self(json)),
        }
    }

    /// From any value that serde serializes as a JSON object.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it cannot be serialized, is not an object, or is nested deeper than 120 levels.
    pub fn json(value: &impl Serialize) -> Result<Self, Error> {
        let json = serde_json::to_vec(value).map_err(|error| Error::Invalid(format!("data: {error}")))?;
        Self::raw(json)
    }

    /// The JSON text.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
}

/// Whether an escape in valid JSON text is one half of a surrogate pair without the other. JSON's grammar allows it, but
/// it is not a character, and most parsers refuse the whole text.
fn has_lone_surrogate(json: &str) -> bool {
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        rest = &rest[at..];
        let size = match code_unit(rest) {
            // Any other escape; none of them has a second byte beyond ASCII.
            None => 2,
            Some(0xd800..0xdc00) => {
                if !matches!(code_unit(&rest[6..]), Some(0xdc00..0xe000)) {
                    return true;
                }
                12
            }
            Some(0xdc00..0xe000) => return true,
            Some(_) => 6,
        };
        rest = &rest[size..];
    }
    false
}

/// The UTF-16 code unit of the escape at the start of `text`, if there is one.
fn code_unit(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    u32::from_str_radix(digits, 16).ok()
}

/// An event to publish.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its id; `None` to generate one. If the same producer publishes an id again, it is stored once.
    pub id: Option<String>,
    /// Its content.
    pub data: Data,
    /// Determines what is refused first under overload; never changes the order in a session.
    pub priority: Priority,
    /// Readers that have not received it this long after the server accepted it do not receive it any more.
    pub ttl: Option<Duration>,
    /// Sends a checksum of `data`, which the server verifies, stores and passes on.
    pub checksum: bool,
    /// W3C trace context, passed on to readers.
    pub traceparent: Option<String>,
}

impl Event {
    /// An event with this content and defaults.
    pub fn new(data: Data) -> Self {
        Self { id: None, data, priority: Priority::Normal, ttl: None, checksum: false, traceparent: None }
    }

    /// Sets an id.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets the priority.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Sets a time to live.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Adds a checksum.
    #[must_use]
    pub fn checksum(mut self) -> Self {
        self.checksum = true;
        self
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if let Some(id) = &self.id
            && !is_visible(id, MAX_ID_CHARS)
        {
            return Err(Error::Invalid(format!(
                "an event's id must have 1 to {MAX_ID_CHARS} visible characters"
            )));
        }
        if self.ttl.is_some_and(|ttl| ttl.as_millis() > u128::from(MAX_TTL_MS)) {
            return Err(Error::Invalid(format!("an event's ttl must be at most {MAX_TTL_MS} ms")));
        }
        Ok(())
    }
}

impl From<Data> for Event {
    fn from(data: Data) -> Self {
        Self::new(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_objects_are_data() {
        assert_eq!(&Data::raw("{ \"a\" : 1 }").unwrap().bytes()[..], b"{ \"a\" : 1 }");
        assert_eq!(&Data::json(&serde_json::json!({"a": 1})).unwrap().bytes()[..], br#"{"a":1}"#);
        for bad in ["", "1", "[]", "{", "{} {}", "{a:1}"] {
            assert!(Data::raw(bad).is_err(), "{bad}");
        }
        assert!(Data::raw(&b"{\"\xff\":1}"[..]).is_err());
    }

    #[test]
    fn data_is_nested_120_levels_at_most() {
        let nested =
            |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
        assert!(Data::raw(nested(120)).is_ok());
        let Err(Error::Invalid(problem)) = Data::raw(nested(121)) else { panic!("too deep") };
        assert_eq!(problem, "data is nested 121 levels deep; the maximum is 120");
        assert!(Data::raw(nested(100_000)).is_err());
        assert!(
            Data::raw(r#"{"a":"[[[[["}"#.replace("[[[[[", &"[".repeat(200))).is_ok(),
            "brackets in a text"
        );
    }

    #[test]
    fn halves_of_surrogate_pairs_are_refused() {
        for (text, is_good) in [
            (r"\ud83d\ude00", true),
            (r"\uD83D\uDE00\u00e9", true),
            (r"\\ud83d", true),
            (r"\ud7ff\ue000", true),
            ("😀", true),
            (r"\ud83d", false),
            (r"\ude00", false),
            (r"\ude00\ud83d", false),
            (r"\ud83dx", false),
            (r"\ud83d\n", false),
            (r"\ud83d\ud83d\ude00", false),
            (r"\ud83d\\ude00", false),
            (r"\\\ud83d", false),
            (r"\ud83d😀", false),
        ] {
            for json in [format!(r#"{{"a":"{text}"}}"#), format!(r#"{{"{text}":1}}"#)] {
                assert_eq!(Data::raw(json.clone()).is_ok(), is_good, "{json}");
                // The judge: what Rust's own strings can hold.
                assert_eq!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), is_good, "{json}");
            }
        }
    }

    #[test]
    fn ids_and_lifetimes_are_checked() {
        let event = || Event::new(Data::raw("{}").unwrap());
        assert!(event().id("a-1").ttl(Duration::from_secs(1)).check().is_ok());
        assert!(event().id("").check().is_err());
        assert!(event().id("a b").check().is_err());
        assert!(event().ttl(Duration::from_secs(100_000)).check().is_err());
    }
}
