//! Ids of sessions, epochs of logs, and positions in them.
//!
//! Values of these types are always valid: text from a peer is validated once, when it is parsed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Number of an event in its session: 1, 2, 3 … without holes. 0 stands for "before the first event".
pub type Seq = u64;

/// Text that is not a valid id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {form}")]
pub struct InvalidId {
    /// What was parsed.
    pub what: &'static str,
    /// The required form.
    pub form: &'static str,
}

/// Id of one session, a UUID (RFC 9562). The server assigns it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(u128);

impl SessionId {
    /// A session id from its 128 bits.
    pub const fn from_u128(bits: u128) -> Self {
        Self(bits)
    }

    /// The 128 bits of the id.
    pub const fn as_u128(self) -> u128 {
        self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0_u8; uuid::fmt::Hyphenated::LENGTH];
        f.write_str(Uuid::from_u128(self.0).hyphenated().encode_lower(&mut text))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SessionId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId { what: "sessionId", form: "a UUID in its hyphenated form" };
        if text.len() != uuid::fmt::Hyphenated::LENGTH {
            return Err(invalid);
        }
        Uuid::try_parse(text).map(|id| Self(id.as_u128())).map_err(|_| invalid)
    }
}

impl Serialize for SessionId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One incarnation of a session's log, chosen at random when the log is created; written as 16 hexadecimal digits.
///
/// A [`Seq`] is meaningful only together with its epoch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(u64);

impl Epoch {
    /// An epoch from its 64 bits.
    pub const fn from_u64(bits: u64) -> Self {
        Self(bits)
    }

    /// The 64 bits of the epoch.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Epoch {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId { what: "epoch", form: "16 hexadecimal digits" };
        if text.len() != 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(invalid);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| invalid)
    }
}

impl Serialize for Epoch {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Epoch {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The end of a log: its epoch and its last seq. `seq` 0 is an empty log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Head {
    /// The log's epoch.
    pub epoch: Epoch,
    /// The last seq, 0 if there is none.
    pub seq: Seq,
}

/// How far a reader has read, and in which history: the reader has everything up to and including `seq`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Position {
    /// The epoch that `seq` belongs to.
    pub epoch: Epoch,
    /// The last seq that the reader has; 0 for none.
    pub seq: Seq,
    /// The id of the event at `seq`. It reveals a log with another event there (a restored backup, a lost tail).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_id: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_ids_print_and_parse() {
        let id = SessionId::from_u128(0x0123_4567_89ab_7def_8123_4567_89ab_cdef);
        assert_eq!(id.to_string(), "01234567-89ab-7def-8123-456789abcdef");
        assert_eq!(id.to_string().parse::<SessionId>(), Ok(id));
        for bad in ["", "x", "0123456789ab7def8123456789abcdef", "01234567-89ab-7def-8123-456789abcdeg"] {
            assert!(bad.parse::<SessionId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn epochs_print_and_parse() {
        let epoch = Epoch::from_u64(0xabc);
        assert_eq!(epoch.to_string(), "0000000000000abc");
        assert_eq!("0000000000000abc".parse(), Ok(epoch));
        for bad in ["", "abc", "+000000000000abc", "000000000000000000abc"] {
            assert!(bad.parse::<Epoch>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_position_keeps_the_field_names_of_the_wire() {
        let position: Position =
            serde_json::from_str(r#"{"epoch":"0000000000000001","seq":7,"lastId":"e7"}"#).unwrap();
        assert_eq!(position, Position { epoch: Epoch::from_u64(1), seq: 7, last_id: Some("e7".into()) });
    }
}
