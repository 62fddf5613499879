//! What clients receive about a session: its status, its participants, its lifecycle.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue as RawJson;

use crate::ids::{Epoch, Seq, SessionId};

/// State in the lifecycle `idle → running ⇄ paused → completed | error`. A session that is not used expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Created, not started.
    Idle,
    /// The test is running.
    Running,
    /// The test is paused.
    Paused,
    /// Ended normally.
    Completed,
    /// Ended with an error.
    Error,
    /// Ended by the server, since it was not used for `SESSION_TIMEOUT`.
    Expired,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 6] =
        [Self::Idle, Self::Running, Self::Paused, Self::Completed, Self::Error, Self::Expired];

    /// The status as used on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Error => "error",
            Self::Expired => "expired",
        }
    }

    /// Whether the session accepts no more events.
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Error | Self::Expired)
    }
}

/// How `stop_test` ends a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Normally.
    Completed,
    /// With an error.
    Error,
}

/// A connection that has joined a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Participant {
    /// The connection.
    pub client_id: String,
    /// The user id.
    pub user_id: String,
    /// The user's name.
    pub username: String,
    /// The user's role.
    pub role: String,
    /// Whether it receives the session's events.
    pub following: bool,
    /// The highest seq that it acknowledged, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acked_seq: Option<Seq>,
}

/// One session as clients see it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SessionInfo {
    /// Its id.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub session_id: SessionId,
    /// Its project.
    pub project_id: String,
    /// The test case.
    pub test_id: String,
    /// The agent under test.
    pub agent_name: String,
    /// Its state.
    pub status: Status,
    /// The epoch of its log.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub epoch: Epoch,
    /// The last seq in its log.
    pub head_seq: Seq,
    /// User who created it.
    pub created_by: String,
    /// When it was created, ms since 1970.
    pub created_at: u64,
    /// When the test was first started, ms since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<u64>,
    /// When the session ended, ms since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<u64>,
    /// Why it ended, if a reason was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Percent of its newest `progress` event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
    /// The creator's metadata.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "read_metadata")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<serde_json::Map<String, serde_json::Value>>"))]
    pub metadata: Option<Box<RawJson>>,
    /// When the newest event was accepted, ms since 1970; absent if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_event_at: Option<u64>,
    /// The session's own usual time between events, ms: an exponentially weighted mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pace_ms: Option<u64>,
    /// For a running session: whether it has had no events for much longer than usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stalled: Option<bool>,
    /// The current participants. Empty in listings.
    #[serde(default)]
    pub participants: Vec<Participant>,
}

/// Raw JSON cannot be read from within a tagged enum, which buffers its input; a value can, and is equivalent.
fn read_metadata<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Box<RawJson>>, D::Error> {
    let value = Option::<serde_json::Map<String, serde_json::Value>>::deserialize(from)?;
    value.map(|value| serde_json::value::to_raw_value(&value)).transpose().map_err(serde::de::Error::custom)
}
