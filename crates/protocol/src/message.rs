//! The server's messages: typed content of `system_message`, `heartbeat` and `error`, and the envelope of a delivery.
//!
//! The same types are written by the server and read by clients. Events of a log are not here: their `data` belongs to
//! the sender and is carried as bytes (see [`crate::event`]).

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue as RawJson;

use crate::close::Reconnect;
use crate::envelope::MessageType;
use crate::error::{ErrorCode, Refusal};
use crate::ids::{Epoch, Position, Seq, SessionId};
use crate::session::{Participant, SessionInfo, Status};
use crate::warning::Warning;

/// What an ack guarantees. Ordered: a later level includes the earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AckLevel {
    /// The server has it in memory.
    Received,
    /// Written by the log: survives a crash of the process.
    Logged,
    /// Fsynced: survives power loss.
    Synced,
    /// A quorum of the cluster has it.
    Replicated,
}

impl AckLevel {
    /// The level as it is written on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Logged => "logged",
            Self::Synced => "synced",
            Self::Replicated => "replicated",
        }
    }
}

/// Why a reader will not receive a range of seqs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum GapCause {
    /// Their time to live expired before delivery to this reader.
    Expired,
    /// The reader was too far behind.
    Overflow,
    /// Removed by retention.
    Retention,
    /// They belong to another epoch of the log.
    Epoch,
    /// The reader's history differs from this log's.
    Diverged,
    /// The stored bytes fail their checksum and are never delivered.
    Damaged,
}

impl GapCause {
    /// Every cause.
    pub const ALL: [Self; 6] =
        [Self::Expired, Self::Overflow, Self::Retention, Self::Epoch, Self::Diverged, Self::Damaged];

    /// The cause as used on the wire and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Overflow => "overflow",
            Self::Retention => "retention",
            Self::Epoch => "epoch",
            Self::Diverged => "diverged",
            Self::Damaged => "damaged",
        }
    }
}

/// Why a position could not be resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum NotRecovered {
    /// The log has another epoch.
    UnknownEpoch,
    /// The log does not reach that far.
    AheadOfLog,
    /// The log has another event at that seq.
    Diverged,
    /// The events after it were removed by retention.
    Trimmed,
}

impl NotRecovered {
    /// The reason as used on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownEpoch => "unknown_epoch",
            Self::AheadOfLog => "ahead_of_log",
            Self::Diverged => "diverged",
            Self::Trimmed => "trimmed",
        }
    }
}

/// Content of a `system_message`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum SystemMessage {
    /// The first message on every connection.
    ConnectionEstablished {
        /// Id of this connection.
        client_id: String,
        /// Name and version of the software.
        server: String,
        /// Name of the node.
        node: String,
        /// Version of this protocol.
        protocol_version: u32,
        /// Time between pings, ms.
        heartbeat_interval: u64,
        /// Largest message, bytes.
        max_payload: u64,
        /// When the token expires, ms since 1970.
        token_expires_at: Option<u64>,
        /// What acks of this server guarantee.
        ack_level: AckLevel,
    },
    /// Reply to `create_session`; in a log, its first entry.
    SessionCreated {
        /// The command.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        original_message_id: Option<String>,
        /// The new session.
        #[cfg_attr(feature = "schema", schemars(with = "String"))]
        session_id: SessionId,
        /// The epoch of its log.
        #[cfg_attr(feature = "schema", schemars(with = "String"))]
        epoch: Epoch,
        /// The session.
        session: SessionInfo,
    },
    /// Reply to `join_session`.
    SessionJoined(Joined),
    /// Reply to `subscribe_session`.
    SessionSubscribed(Joined),
    /// Reply to `leave_session`.
    SessionLeft {
        /// The command.
        original_message_id: String,
        /// The session.
        #[cfg_attr(feature = "schema", schemars(with = "String"))]
        session_id: SessionId,
    },
    /// Reply to `unsubscribe_session`.
    SessionUnsubscribed {
        /// The command.
        original_message_id: String,
        /// The session.
        #[cfg_attr(feature = "schema", schemars(with = "String"))]
        session_id: SessionId,
    },
    /// idle → running; an entry of the log, and the reply to `start_test`.
    SessionStarted(Transition),
    /// running → paused; an entry of the log, and the reply to `pause_test`.
    SessionPaused(Transition),
    /// paused → running; an entry of the log, and the reply to `resume_test`.
    SessionResumed(Transition),
    /// The end; an entry of the log, and the reply to `stop_test`.
    SessionStopped(Transition),
    /// The end by timeout; an entry of the log.
    SessionExpired(Transition),
    /// Reply to `get_session_info`.
    SessionInfo {
        /// The command.
        original_message_id: String,
        /// The session.
        session: SessionInfo,
    },
    /// Reply to `get_session_list`.
    SessionList {
        /// The command.
        original_message_id: String,
        /// A page of sessions.
        sessions: Vec<SessionInfo>,
        /// Where the next page begins; absent on the last one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next_cursor: Option<String>,
    },
    /// Reply to `get_history`.
    SessionHistory {
        /// The command.
        original_message_id: String,
        /// The session.
        #[cfg_attr(feature = "schema", schemars(with = "String"))]
        session_id: SessionId,
        /// Whole messages as they were delivered.
        #[cfg_attr(feature = "schema", schemars(with = "Vec<serde_json::Value>"))]
        events: Vec<Box<RawJson>>,
        /// Where the next page begins; absent at the end of the log.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next_seq: Option<Seq>,
    },
    /// Reply to `replay_session`.
    ReplayStarted {
        /// The command.
        original_message_id: String,
        /// The session.
        #[cfg_attr(feature = "schema", schemars(with = "String"))]
        session_id: SessionId,
        /// First seq of the replay.
        from_seq: Seq,
        /// Last seq of the replay.
        to_seq: Seq,
        /// Factor of the log's own pace.
        speed: f64,
        /// Longest pause between two events, ms: longer pauses of the log are cut to it. 0 from servers that do not cut pauses.
        #[serde(default)]
        longest_pause_ms: u64,
    },
    /// The end of a replay.
    ReplayFinished {
        /// The command that started it.
        original_message_id: String,
        /// The session.
        #[cfg_attr(feature = "schema", schemars(with = "String"))]
        session_id: SessionId,
        /// Last seq that was sent.
        to_seq: Seq,
    },
    /// Reply to `stop_replay`: nothing of that replay follows it.
    ReplayStopped {
        /// The command.
        original_message_id: String,
        /// The session.
        #[cfg_attr(feature = "schema", schemars(with = "String"))]
        session_id: SessionId,
        /// Last seq that was sent; one before the first if none was.
        seq: Seq,
    },
    /// Reply to `refresh_token`.
    TokenRefreshed {
        /// The command.
        original_message_id: String,
        /// When the new token expires, ms since 1970.
        token_expires_at: Option<u64>,
    },
    /// Reply to `get_stats`.
    Stats {
        /// The command.
        original_message_id: String,
        /// The object of `GET /api/v1/stats`.
        stats: serde_json::Map<String, serde_json::Value>,
    },
    /// From the server: the outcome of published events. From a client: how far it has read.
    Ack(Ack),
    /// A range of seqs that this reader will not receive.
    Gap {
        /// The session.
        #[cfg_attr(feature = "schema", schemars(with = "String"))]
        session_id: SessionId,
        /// First seq.
        from_seq: Seq,
        /// Last seq.
        to_seq: Seq,
        /// The cause.
        cause: GapCause,
        /// Whether `get_history` still has them.
        history: bool,
    },
    /// A participant joined; sent to participants, not logged.
    UserJoined(Presence),
    /// A participant left; sent to participants, not logged.
    UserLeft(Presence),
    /// The last message before the server closes the connection.
    Disconnecting {
        /// The close code that follows.
        code: u16,
        /// A short name of the reason.
        cause: String,
        /// An explanation for people.
        detail: String,
        /// What to do.
        reconnect: Reconnect,
        /// When, for `after`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after_ms: Option<u64>,
    },
    /// A message of a later version.
    #[serde(other)]
    #[cfg_attr(feature = "schema", schemars(skip))]
    Unknown,
}

/// A page of a log, deserialized separately from the other messages, so that its events remain raw text.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HistoryPage {
    #[serde(rename = "type")]
    kind: HistoryType,
    original_message_id: String,
    session_id: SessionId,
    events: Vec<Box<RawJson>>,
    next_seq: Option<Seq>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum HistoryType {
    SessionHistory,
}

impl SystemMessage {
    /// Parses the content of a `system_message`. Use this and not `Deserialize` itself: a tagged enum buffers its
    /// input, and raw JSON, such as the events of a page, cannot be read from such a buffer.
    ///
    /// # Errors
    /// The text is not a valid system message.
    pub fn read(data: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(data).or_else(|error| {
            let Ok(page) = serde_json::from_str::<HistoryPage>(data) else { return Err(error) };
            let HistoryPage {
                kind: HistoryType::SessionHistory,
                original_message_id,
                session_id,
                events,
                next_seq,
            } = page;
            Ok(Self::SessionHistory { original_message_id, session_id, events, next_seq })
        })
    }
}

/// The answer to a join: the state of the log, and where delivery starts.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Joined {
    /// The command.
    pub original_message_id: String,
    /// The session.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub session_id: SessionId,
    /// The epoch of its log.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub epoch: Epoch,
    /// The last seq in the log now.
    pub head_seq: Seq,
    /// The position after which delivery begins.
    #[cfg_attr(feature = "schema", schemars(with = "serde_json::Value"))]
    pub from: Position,
    /// Whether the requested position could be resumed.
    pub recovered: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<NotRecovered>,
    /// The session.
    pub session: SessionInfo,
}

/// One step of a session's lifecycle.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Transition {
    /// The command, in its reply; absent in the log's entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_message_id: Option<String>,
    /// The session.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub session_id: SessionId,
    /// The state before.
    pub from: Status,
    /// The state now.
    pub status: Status,
    /// The seq of the log's entry, in a reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<Seq>,
    /// The reason, if one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the same command was carried out before, and this repeats the answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
}

/// Acknowledgement, in its single and its coalesced form.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Ack {
    /// The event, in the single form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_message_id: Option<String>,
    /// The session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub session_id: Option<SessionId>,
    /// The event's seq; from a client: the highest seq that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<Seq>,
    /// The epoch that the seq belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub epoch: Option<Epoch>,
    /// What the ack guarantees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<AckLevel>,
    /// Whether the event was already in the log; `seq` is that of the first one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
    /// Fields of the event that readers will not understand; it is in the log all the same. Only in the single form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// The coalesced form: event and seq of each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acks: Vec<(String, Seq)>,
}

/// The participants of a session, after one joined or left.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Presence {
    /// The session.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub session_id: SessionId,
    /// The participant that joined or left.
    pub user: Participant,
    /// The participants now: the first [`crate::limits::MAX_PRESENCE_LIST`] of them.
    pub participants: Vec<Participant>,
    /// Number of participants now.
    pub count: usize,
}

/// Content of an `error` message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ErrorData {
    /// An explanation for people.
    pub error: String,
    /// The code.
    pub code: ErrorCode,
    /// The id of the refused message, if it could be parsed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_message_id: Option<String>,
    /// Whether the same message may succeed later.
    pub retryable: bool,
    /// When to try again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// The invalid field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

impl From<Refusal> for ErrorData {
    fn from(refusal: Refusal) -> Self {
        Self {
            retryable: refusal.code.retryable(),
            error: refusal.detail,
            code: refusal.code,
            original_message_id: refusal.original_message_id,
            retry_after_ms: refusal.retry_after_ms,
            field: refusal.field,
        }
    }
}

/// The sender of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Sender {
    /// The connection.
    pub client_id: String,
    /// The user.
    pub user_id: String,
    /// The user's name.
    pub username: String,
    /// The user's role.
    pub role: String,
}

/// The envelope of a message from the server, as parsed by a client; `data` remains text.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery<'a> {
    /// The sender's id of the message.
    pub id: String,
    /// The type of the message.
    #[serde(rename = "type")]
    pub kind: MessageType,
    /// The sender's clock, ms since 1970.
    #[serde(default)]
    pub timestamp: f64,
    /// Its session.
    #[serde(default)]
    pub session_id: Option<SessionId>,
    /// The content.
    #[serde(borrow)]
    pub data: &'a RawJson,
    /// The sender's handling instructions.
    #[serde(borrow, default)]
    pub metadata: Option<&'a RawJson>,
    /// Its position in the session's log; only for entries of a log.
    #[serde(default)]
    pub seq: Option<Seq>,
    /// When the server accepted it, ms since 1970.
    #[serde(default)]
    pub received_at: Option<u64>,
    /// Its sender.
    #[serde(default)]
    pub sender: Option<Sender>,
    /// Whether it is part of a replay, not of the live stream.
    #[serde(default)]
    pub replay: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_history_is_read_with_its_events_as_they_are() {
        let event = r#"{"id":"e","type":"test_event","timestamp":1,"data":{ "b" : 1.0, "a":2}, "seq":1}"#;
        let session_id = SessionId::from_u128(1);
        let events = vec![RawJson::from_string(event.into()).unwrap()];
        let page = SystemMessage::SessionHistory {
            original_message_id: "c".into(),
            session_id,
            events,
            next_seq: Some(2),
        };
        let text = serde_json::to_string(&page).unwrap();
        let SystemMessage::SessionHistory { events, next_seq, .. } = SystemMessage::read(&text).unwrap()
        else {
            panic!("{text}");
        };
        assert_eq!(events[0].get(), event);
        assert_eq!(next_seq, Some(2));
    }

    #[test]
    fn a_session_with_metadata_is_read() {
        let text = r#"{"type":"session_info","originalMessageId":"c","session":{
            "sessionId":"00000000-0000-0000-0000-000000000001","projectId":"p","testId":"t","agentName":"a",
            "status":"idle","epoch":"0000000000000001","headSeq":1,"createdBy":"u","createdAt":1,
            "metadata":{"run":[1,2.5]}}}"#;
        let SystemMessage::SessionInfo { session, .. } = SystemMessage::read(text).unwrap() else {
            panic!("{text}");
        };
        assert_eq!(session.metadata.unwrap().get(), r#"{"run":[1,2.5]}"#);
    }

    #[test]
    fn what_is_no_system_message_is_an_error() {
        assert!(SystemMessage::read("{}").is_err());
        assert!(SystemMessage::read(r#"{"type":"session_left"}"#).is_err());
        assert!(matches!(SystemMessage::read(r#"{"type":"of_tomorrow"}"#), Ok(SystemMessage::Unknown)));
    }
}
