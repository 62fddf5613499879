//! The claims of a token: its payload as written, before any of it is trusted.

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::error::AuthError;
use crate::role::Role;

/// The only accepted issuer (`iss`).
pub const ISSUER: &str = "agentbench";
/// The audience of tokens for this server (`aud`).
pub const AUDIENCE: &str = "agentbench-websocket";
/// The `type` of tokens for this server.
pub const TOKEN_TYPE: &str = "websocket";

/// The payload of a token. Unknown claims are ignored; a known claim that occurs twice makes the token unreadable,
/// since two readers could use different ones.
///
/// All claims are optional here, so that an invalid token can be parsed far enough to report what is wrong.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claims {
    /// The user. `sub` means the same; if a token has both, they must be equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The user, by the standard claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// The display name; the user's id if absent or empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The name of the role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The project that the user is restricted to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// Permissions in addition to those of the role.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permissions: Vec<String>,
    /// The kind of token.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub token_type: Option<String>,
    /// The token's own id, for revoking it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// When it was issued, in seconds since 1970.
    #[serde(default, deserialize_with = "seconds", skip_serializing_if = "Option::is_none")]
    pub iat: Option<u64>,
    /// When it expires, in seconds since 1970.
    #[serde(default, deserialize_with = "seconds", skip_serializing_if = "Option::is_none")]
    pub exp: Option<u64>,
    /// When it becomes valid, in seconds since 1970.
    #[serde(default, deserialize_with = "seconds", skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    /// The issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// The audience.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aud: Option<Audience>,
}

impl Claims {
    /// The claims of a token for this server, valid from `issued_at` to `expires_at`, both in seconds since 1970.
    pub fn new(user_id: impl Into<String>, role: Role, issued_at: u64, expires_at: u64) -> Self {
        Self {
            user_id: Some(user_id.into()),
            role: Some(role.as_str().to_owned()),
            token_type: Some(TOKEN_TYPE.to_owned()),
            iat: Some(issued_at),
            exp: Some(expires_at),
            iss: Some(ISSUER.to_owned()),
            aud: Some(Audience::One(AUDIENCE.to_owned())),
            ..Self::default()
        }
    }
}

/// `aud`: one string or an array of them, as in RFC 7519.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    /// One audience.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Audience {
    /// Whether this audience is included.
    pub fn names(&self, audience: &str) -> bool {
        match self {
            Self::One(name) => name == audience,
            Self::Many(names) => names.iter().any(|name| name == audience),
        }
    }
}

/// The types of claims, to name the claim that made a payload unreadable.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Texts,
    Seconds,
    Audience,
}

const KINDS: [(&str, Kind); 13] = [
    ("userId", Kind::Text),
    ("sub", Kind::Text),
    ("username", Kind::Text),
    ("role", Kind::Text),
    ("projectId", Kind::Text),
    ("permissions", Kind::Texts),
    ("type", Kind::Text),
    ("jti", Kind::Text),
    ("iat", Kind::Seconds),
    ("exp", Kind::Seconds),
    ("nbf", Kind::Seconds),
    ("iss", Kind::Text),
    ("aud", Kind::Audience),
];

impl Kind {
    /// What a claim of this type must be, if it is not.
    fn fault(self, value: &Value) -> Option<&'static str> {
        let is_texts = |value: &Value| value.as_array().is_some_and(|all| all.iter().all(Value::is_string));
        let (fits, must) = match self {
            Self::Text => (value.is_null() || value.is_string(), "must be a string"),
            Self::Texts => (is_texts(value), "must be an array of strings"),
            Self::Seconds => (
                value.is_null() || value.as_f64().is_some_and(|seconds| seconds >= 0.0),
                "must be a number of seconds since 1970",
            ),
            Self::Audience => (
                value.is_null() || value.is_string() || is_texts(value),
                "must be a string or an array of strings",
            ),
        };
        (!fits).then_some(must)
    }
}

/// The names and values of an object in order, including repeats.
struct Fields(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if KINDS.iter().any(|(known, _)| *known == name) {
                        fields.push((name, map.next_value()?));
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// The claim that made a payload unreadable. Called only in that case.
pub(crate) fn fault_in(text: &str) -> AuthError {
    let Ok(Fields(fields)) = serde_json::from_str(text) else { return AuthError::Malformed };
    let faults = KINDS.iter().filter_map(|&(claim, kind)| {
        let mut values = fields.iter().filter(|(name, _)| name == claim).map(|(_, value)| value);
        let first = values.next()?;
        let must = if values.next().is_some() { "must be written once" } else { kind.fault(first)? };
        Some(AuthError::BadClaim { claim, must })
    });
    faults.into_iter().next().unwrap_or(AuthError::Malformed)
}

/// RFC 7519 times may have fractions, which are cut off; a time before 1970 is never valid here.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let fraction = || number.as_f64().filter(|seconds| *seconds >= 0.0).map(|seconds| seconds as u64);
    let whole = number.as_u64().or_else(fraction);
    whole.map(Some).ok_or_else(|| serde::de::Error::custom("a time must be seconds since 1970"))
}
