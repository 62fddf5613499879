//! What is published: an event and its content.

use std::time::Duration;

use agentbench_protocol::Priority;
use agentbench_protocol::envelope::is_visible;
use agentbench_protocol::json::{JsonKind, Scanner};
use agentbench_protocol::limits::{MAX_ID_CHARS, MAX_TTL_MS};
use bytes::Bytes;
use serde::Serialize;

use crate::Error;

/// Content of an event: the text of one JSON object. Checked once, when it is made; cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data(Bytes);

impl Data {
    /// From JSON text, which is sent as it is.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is not one JSON object in UTF-8.
    pub fn raw(json: impl Into<Bytes>) -> Result<Self, Error> {
        let json = json.into();
        let text =
            simdutf8::basic::from_utf8(&json).map_err(|_| Error::Invalid("data is not UTF-8".into()))?;
        let mut scanner = Scanner::new(text);
        let checked = scanner.value().and_then(|value| scanner.end().map(|()| value.kind));
        match checked {
            Ok(JsonKind::Object) => Ok(Self(json)),
            Ok(_) => Err(Error::Invalid("data must be a JSON object".into())),
            Err(error) => Err(Error::Invalid(format!("data is not valid JSON: {error}"))),
        }
    }

    /// From anything that serde writes as a JSON object.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it cannot be written, or is no object.
    pub fn json(value: &impl Serialize) -> Result<Self, Error> {
        let json = serde_json::to_vec(value).map_err(|error| Error::Invalid(format!("data: {error}")))?;
        Self::raw(json)
    }

    /// Its bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
}

/// An event to be published.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its id; `None` to have one made. The same producer publishing the same id again stores it once.
    pub id: Option<String>,
    /// Its content.
    pub data: Data,
    /// What is refused first under overload; never changes the order in a session.
    pub priority: Priority,
    /// Readers who have not got it this long after the server took it do not get it any more.
    pub ttl: Option<Duration>,
    /// Sends a checksum of `data`, which the server checks, stores and passes on.
    pub checksum: bool,
    /// W3C trace context, passed on to readers.
    pub traceparent: Option<String>,
}

impl Event {
    /// With this content and nothing special.
    pub fn new(data: Data) -> Self {
        Self { id: None, data, priority: Priority::Normal, ttl: None, checksum: false, traceparent: None }
    }

    /// The same event with an id of the caller's.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The same event with another priority.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// The same event with a time to live.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// The same event with a checksum.
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
    fn ids_and_lifetimes_are_checked() {
        let event = || Event::new(Data::raw("{}").unwrap());
        assert!(event().id("a-1").ttl(Duration::from_secs(1)).check().is_ok());
        assert!(event().id("").check().is_err());
        assert!(event().id("a b").check().is_err());
        assert!(event().ttl(Duration::from_secs(100_000)).check().is_err());
    }
}
