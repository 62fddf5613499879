//! Descriptions of connections and streams, and the reason for closing a stream.

use agentbench_protocol::{CloseCode, SessionId};
use serde::Serialize;

/// How a client is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(crate) enum Transport {
    /// A WebSocket.
    Websocket,
    /// A stream of Server-Sent Events.
    Sse,
}

/// One open connection.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConnectionInfo {
    /// Its name.
    pub(crate) client_id: String,
    /// Whose it is.
    pub(crate) user_id: String,
    /// The user's name.
    pub(crate) username: String,
    /// The user's role.
    pub(crate) role: String,
    /// The project that the token holds the user to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) project_id: Option<String>,
    /// Which of the user's producers it is, if it said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) producer_id: Option<String>,
    /// How it is connected.
    pub(crate) transport: Transport,
    /// The other end of its socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<String>,
    /// The worker that serves it.
    pub(crate) worker: usize,
    /// When it came, ms since 1970.
    pub(crate) connected_at: u64,
    /// When something last came from it, ms since 1970; of a stream: when its socket last took something.
    pub(crate) last_heard_at: u64,
    /// When its token ends, ms since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_expires_at: Option<u64>,
    /// Bytes of replies that wait for its socket.
    pub(crate) waiting_bytes: u64,
    /// Since when its socket takes nothing, ms since 1970; absent if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) blocked_since: Option<u64>,
    /// Pings that it has not answered.
    pub(crate) unanswered_pings: u8,
    /// Commands that have not been answered.
    pub(crate) pending_commands: u32,
    /// Events between the head and its place in the session where it is furthest behind.
    pub(crate) lag: u64,
    /// Sessions that it takes part in.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub(crate) sessions: Vec<SessionId>,
}

/// Why a stream is closed.
#[derive(Debug, Clone)]
pub(crate) struct StreamClose {
    pub(crate) code: CloseCode,
    pub(crate) detail: &'static str,
    pub(crate) after_ms: Option<u64>,
}
