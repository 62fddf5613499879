//! The commands that a client may send in a `control_command`.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue as RawJson;

use crate::envelope::check_depth;
use crate::error::{ErrorCode, Refusal};
use crate::ids::{Position, Seq};
use crate::json::{JsonKind, Scanner};
use crate::limits::{
    DEFAULT_LIST_PAGE, MAX_HISTORY_PAGE, MAX_LIST_PAGE, MAX_METADATA_BYTES, MAX_TEXT_CHARS, REPLAY_SPEED,
};
use crate::session::{Outcome, Status};

/// Where a follower starts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum StartAt {
    /// With the events after the join.
    #[default]
    Live,
    /// With the first event still in the log.
    Start,
    /// After the position: the reader has everything up to it.
    After(Position),
}

impl Serialize for StartAt {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Live => serializer.serialize_str("live"),
            Self::Start => serializer.serialize_str("start"),
            Self::After(position) => position.serialize(serializer),
        }
    }
}

/// A command with validated fields. Session ids are still text: only the server knows which sessions exist.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Opens a session; the sender becomes a participant.
    CreateSession(CreateSession),
    /// Joins, from a position; `follow: false` joins as a publisher only.
    JoinSession {
        /// The session.
        session_id: String,
        /// Whether events are requested.
        follow: bool,
        /// Where to start.
        from: StartAt,
        /// Whether the old command name was used: the reply is then `session_subscribed`.
        subscribe: bool,
    },
    /// Leaves; `unsubscribe` is the old name, and determines the name of the reply.
    LeaveSession {
        /// The session.
        session_id: String,
        /// Whether the old command name was used.
        unsubscribe: bool,
    },
    /// idle → running.
    StartTest {
        /// The session.
        session_id: String,
    },
    /// running → paused.
    PauseTest {
        /// The session.
        session_id: String,
    },
    /// paused → running.
    ResumeTest {
        /// The session.
        session_id: String,
    },
    /// Ends the session.
    StopTest {
        /// The session.
        session_id: String,
        /// How it ended.
        outcome: Outcome,
        /// The reason, for people.
        reason: Option<String>,
    },
    /// The state of one session.
    GetSessionInfo {
        /// The session.
        session_id: String,
    },
    /// The sessions that the user may see, newest first.
    GetSessionList(GetSessionList),
    /// A page of a session's log.
    GetHistory {
        /// The session.
        session_id: String,
        /// First seq of the page.
        from_seq: Seq,
        /// Maximum number of events in the page.
        limit: u32,
    },
    /// The log again at its own pace, times `speed`.
    ReplaySession {
        /// The session.
        session_id: String,
        /// Factor of the log's own pace.
        speed: f64,
        /// First seq.
        from_seq: Seq,
    },
    /// Stops a replay of this connection.
    StopReplay {
        /// The session.
        session_id: String,
        /// The id of the `replay_session` that started it.
        original_message_id: String,
    },
    /// The server's statistics; for administrators.
    GetStats,
    /// A newer token for the same user.
    RefreshToken {
        /// The token.
        token: String,
    },
}

/// Fields of `create_session`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CreateSession {
    /// The session's project.
    pub project_id: String,
    /// The test case to run.
    pub test_id: String,
    /// The agent under test.
    pub agent_name: String,
    /// Further data, an object; shown in listings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<serde_json::Map<String, serde_json::Value>>"))]
    pub metadata: Option<Box<RawJson>>,
    /// Whether the creator also receives the session's events.
    #[serde(default)]
    pub follow: bool,
}

impl PartialEq for CreateSession {
    fn eq(&self, other: &Self) -> bool {
        let raw = |it: &Self| it.metadata.as_ref().map(|json| json.get().to_owned());
        (&self.project_id, &self.test_id, &self.agent_name, self.follow, raw(self))
            == (&other.project_id, &other.test_id, &other.agent_name, other.follow, raw(other))
    }
}

/// Fields of `get_session_list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct GetSessionList {
    /// Only sessions in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// Only sessions of this project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// Only sessions whose agent, test, project or id contains this text, ignoring case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
    /// Maximum number of sessions in the page.
    #[serde(default = "default_list_page")]
    pub limit: u32,
    /// Where the last page ended (`nextCursor`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

fn default_list_page() -> u32 {
    DEFAULT_LIST_PAGE
}

/// All other fields of commands; optional here and required by their commands.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Fields {
    session_id: Option<String>,
    follow: Option<bool>,
    from: Option<serde_json::Value>,
    outcome: Option<Outcome>,
    reason: Option<String>,
    from_seq: Option<Seq>,
    limit: Option<u32>,
    speed: Option<f64>,
    original_message_id: Option<String>,
    token: Option<String>,
}

impl Command {
    /// Parses a command from the `data` of an envelope. `session_id` is the envelope's own, used if `data` has none.
    ///
    /// # Errors
    /// `unknown_command`, `invalid_message` with the field, `invalid_position`.
    pub fn parse(data: &str, session_id: Option<&str>) -> Result<Self, Refusal> {
        let name = command_name(data)?;
        match &*name {
            "create_session" => return CreateSession::parse(data).map(Self::CreateSession),
            "get_session_list" => return parse_list(data).map(Self::GetSessionList),
            _ => {}
        }
        if !KNOWN.contains(&&*name) {
            return Err(Refusal::new(
                ErrorCode::UnknownCommand,
                format!("data.command must be one of create_session, get_session_list, {}", KNOWN.join(", ")),
            ));
        }
        let fields: Fields = fields_of(data)?;
        parse_with_fields(&name, fields, session_id)
    }

    /// The command's name on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CreateSession(_) => "create_session",
            Self::JoinSession { subscribe: false, .. } => "join_session",
            Self::JoinSession { .. } => "subscribe_session",
            Self::LeaveSession { unsubscribe: false, .. } => "leave_session",
            Self::LeaveSession { .. } => "unsubscribe_session",
            Self::StartTest { .. } => "start_test",
            Self::PauseTest { .. } => "pause_test",
            Self::ResumeTest { .. } => "resume_test",
            Self::StopTest { .. } => "stop_test",
            Self::GetSessionInfo { .. } => "get_session_info",
            Self::GetSessionList(_) => "get_session_list",
            Self::GetHistory { .. } => "get_history",
            Self::ReplaySession { .. } => "replay_session",
            Self::StopReplay { .. } => "stop_replay",
            Self::GetStats => "get_stats",
            Self::RefreshToken { .. } => "refresh_token",
        }
    }

    /// The `data` object of this command, as a client sends it.
    pub fn to_data(&self) -> serde_json::Value {
        use serde_json::json;
        let mut data = match self {
            Self::CreateSession(fields) => serde_json::to_value(fields).unwrap_or_default(),
            Self::GetSessionList(fields) => serde_json::to_value(fields).unwrap_or_default(),
            Self::JoinSession { session_id, follow, from, .. } => {
                json!({"sessionId": session_id, "follow": follow, "from": from})
            }
            Self::LeaveSession { session_id, .. }
            | Self::StartTest { session_id }
            | Self::PauseTest { session_id }
            | Self::ResumeTest { session_id }
            | Self::GetSessionInfo { session_id } => json!({"sessionId": session_id}),
            Self::StopTest { session_id, outcome, reason: None } => {
                json!({"sessionId": session_id, "outcome": outcome})
            }
            Self::StopTest { session_id, outcome, reason } => {
                json!({"sessionId": session_id, "outcome": outcome, "reason": reason})
            }
            Self::GetHistory { session_id, from_seq, limit } => {
                json!({"sessionId": session_id, "fromSeq": from_seq, "limit": limit})
            }
            Self::ReplaySession { session_id, speed, from_seq } => {
                json!({"sessionId": session_id, "speed": speed, "fromSeq": from_seq})
            }
            Self::StopReplay { session_id, original_message_id } => {
                json!({"sessionId": session_id, "originalMessageId": original_message_id})
            }
            Self::GetStats => json!({}),
            Self::RefreshToken { token } => json!({"token": token}),
        };
        data["command"] = self.name().into();
        data
    }
}

/// The commands whose fields are all in [`Fields`].
const KNOWN: [&str; 14] = [
    "get_stats",
    "join_session",
    "subscribe_session",
    "unsubscribe_session",
    "leave_session",
    "start_test",
    "pause_test",
    "resume_test",
    "stop_test",
    "get_session_info",
    "get_history",
    "replay_session",
    "stop_replay",
    "refresh_token",
];

fn command_name(data: &str) -> Result<std::borrow::Cow<'_, str>, Refusal> {
    let mut name = None;
    Scanner::new(data).object::<Refusal>(|key, value| {
        if key.text == "\"command\"" {
            name = Some(value);
        }
        Ok(())
    })?;
    let name = name.ok_or_else(|| Refusal::invalid("data.command", "data.command is missing"))?;
    name.to_str().ok_or_else(|| Refusal::invalid("data.command", "data.command must be a string"))
}

fn fields_of<'de, T: Deserialize<'de>>(data: &'de str) -> Result<T, Refusal> {
    let mut deserializer = serde_json::Deserializer::from_str(data);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner().to_string();
        // serde names a missing field only in its text, between backquotes.
        let missing = inner.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
        let field = missing.map_or(path, str::to_owned);
        let what = if missing.is_some() { "is missing" } else { "has the wrong type or value" };
        Refusal::invalid(format!("data.{field}"), format!("data.{field} {what}"))
    })
}

impl CreateSession {
    /// Parses the fields from the `data` of an envelope.
    ///
    /// # Errors
    /// `invalid_message` with the field.
    pub fn parse(data: &str) -> Result<Self, Refusal> {
        let fields: Self = fields_of(data)?;
        short_text("data.projectId", &fields.project_id)?;
        short_text("data.testId", &fields.test_id)?;
        short_text("data.agentName", &fields.agent_name)?;
        if let Some(metadata) = &fields.metadata {
            let read = Scanner::new(metadata.get()).value();
            let object = read.ok().filter(|value| value.kind == JsonKind::Object);
            let object =
                object.ok_or_else(|| Refusal::invalid("data.metadata", "data.metadata must be an object"))?;
            check_depth("data.metadata", object)?;
            if metadata.get().len() > MAX_METADATA_BYTES {
                let limit = format!("data.metadata is larger than {MAX_METADATA_BYTES} bytes");
                return Err(Refusal::invalid("data.metadata", limit));
            }
        }
        Ok(fields)
    }
}

fn parse_list(data: &str) -> Result<GetSessionList, Refusal> {
    let fields: GetSessionList = fields_of(data)?;
    if !(1..=MAX_LIST_PAGE).contains(&fields.limit) {
        return Err(Refusal::invalid("data.limit", format!("data.limit must be 1 to {MAX_LIST_PAGE}")));
    }
    if fields.q.as_ref().is_some_and(|text| text.chars().count() > MAX_TEXT_CHARS) {
        let detail = format!("data.q must have at most {MAX_TEXT_CHARS} characters");
        return Err(Refusal::invalid("data.q", detail));
    }
    Ok(fields)
}

fn short_text(field: &str, text: &str) -> Result<(), Refusal> {
    let chars = text.chars().count();
    if (1..=MAX_TEXT_CHARS).contains(&chars) && !text.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Refusal::invalid(
        field,
        format!("{field} must have 1 to {MAX_TEXT_CHARS} characters, none of them control characters"),
    ))
}

fn parse_with_fields(name: &str, fields: Fields, envelope: Option<&str>) -> Result<Command, Refusal> {
    if name == "get_stats" {
        return Ok(Command::GetStats);
    }
    if name == "refresh_token" {
        let token = fields.token.ok_or_else(|| Refusal::invalid("data.token", "data.token is missing"))?;
        return Ok(Command::RefreshToken { token });
    }
    let session_id = fields.session_id.or_else(|| envelope.map(str::to_owned));
    let session_id =
        session_id.ok_or_else(|| Refusal::invalid("data.sessionId", "data.sessionId is missing"))?;
    Ok(match name {
        "join_session" => Command::JoinSession {
            session_id,
            follow: fields.follow.unwrap_or(true),
            from: start_at(fields.from)?,
            subscribe: false,
        },
        "subscribe_session" => {
            Command::JoinSession { session_id, follow: true, from: start_at(fields.from)?, subscribe: true }
        }
        "leave_session" => Command::LeaveSession { session_id, unsubscribe: false },
        "unsubscribe_session" => Command::LeaveSession { session_id, unsubscribe: true },
        "start_test" => Command::StartTest { session_id },
        "pause_test" => Command::PauseTest { session_id },
        "resume_test" => Command::ResumeTest { session_id },
        "stop_test" => {
            let reason = fields.reason;
            if let Some(reason) = &reason {
                short_text("data.reason", reason)?;
            }
            Command::StopTest { session_id, outcome: fields.outcome.unwrap_or(Outcome::Completed), reason }
        }
        "get_session_info" => Command::GetSessionInfo { session_id },
        "get_history" => {
            let from_seq = fields.from_seq.unwrap_or(1);
            let limit = fields.limit.unwrap_or(MAX_HISTORY_PAGE);
            seq_from("data.fromSeq", from_seq)?;
            if !(1..=MAX_HISTORY_PAGE).contains(&limit) {
                let range = format!("data.limit must be 1 to {MAX_HISTORY_PAGE}");
                return Err(Refusal::invalid("data.limit", range));
            }
            Command::GetHistory { session_id, from_seq, limit }
        }
        "stop_replay" => {
            let missing = || Refusal::invalid("data.originalMessageId", "data.originalMessageId is missing");
            let original_message_id = fields.original_message_id.ok_or_else(missing)?;
            Command::StopReplay { session_id, original_message_id }
        }
        _ => {
            let speed = fields.speed.unwrap_or(1.0);
            if !REPLAY_SPEED.contains(&speed) {
                return Err(Refusal::invalid("data.speed", "data.speed must be 0.25 to 64"));
            }
            let from_seq = fields.from_seq.unwrap_or(1);
            seq_from("data.fromSeq", from_seq)?;
            Command::ReplaySession { session_id, speed, from_seq }
        }
    })
}

fn seq_from(field: &str, seq: Seq) -> Result<(), Refusal> {
    if seq >= 1 { Ok(()) } else { Err(Refusal::invalid(field, format!("{field} must be 1 or more"))) }
}

fn start_at(value: Option<serde_json::Value>) -> Result<StartAt, Refusal> {
    let invalid = || Refusal {
        field: Some("data.from".into()),
        ..Refusal::new(
            ErrorCode::InvalidPosition,
            "from must be \"live\", \"start\" or {epoch: 16 hexadecimal digits, seq: whole number, lastId?: string}",
        )
    };
    match value {
        None => Ok(StartAt::Live),
        Some(serde_json::Value::String(word)) if word == "live" => Ok(StartAt::Live),
        Some(serde_json::Value::String(word)) if word == "start" => Ok(StartAt::Start),
        Some(position @ serde_json::Value::Object(_)) => {
            serde_json::from_value(position).map(StartAt::After).map_err(|_| invalid())
        }
        Some(_) => Err(invalid()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Epoch;

    #[test]
    fn every_command_survives_its_own_data() {
        let session_id = "s".to_owned();
        let position = Position { epoch: Epoch::from_u64(9), seq: 3, last_id: Some("e3".into()) };
        let commands = [
            Command::CreateSession(CreateSession {
                project_id: "p".into(),
                test_id: "t".into(),
                agent_name: "MGX".into(),
                metadata: Some(RawJson::from_string(r#"{"a" : 1}"#.into()).unwrap()),
                follow: true,
            }),
            Command::JoinSession {
                session_id: session_id.clone(),
                follow: true,
                from: StartAt::After(position),
                subscribe: false,
            },
            Command::JoinSession {
                session_id: session_id.clone(),
                follow: true,
                from: StartAt::Start,
                subscribe: true,
            },
            Command::LeaveSession { session_id: session_id.clone(), unsubscribe: false },
            Command::LeaveSession { session_id: session_id.clone(), unsubscribe: true },
            Command::StartTest { session_id: session_id.clone() },
            Command::PauseTest { session_id: session_id.clone() },
            Command::ResumeTest { session_id: session_id.clone() },
            Command::StopTest {
                session_id: session_id.clone(),
                outcome: Outcome::Error,
                reason: Some("why".into()),
            },
            Command::GetSessionInfo { session_id: session_id.clone() },
            Command::GetSessionList(GetSessionList {
                status: Some(Status::Running),
                project_id: None,
                q: Some("shop".into()),
                limit: 5,
                cursor: Some("c".into()),
            }),
            Command::GetHistory { session_id: session_id.clone(), from_seq: 4, limit: 10 },
            Command::ReplaySession { session_id: session_id.clone(), speed: 2.0, from_seq: 1 },
            Command::StopReplay { session_id, original_message_id: "r".into() },
            Command::GetStats,
            Command::RefreshToken { token: "x".into() },
        ];
        for command in commands {
            let data = serde_json::to_string(&command.to_data()).unwrap();
            // Values are built by serde_json, which drops the white space of raw metadata.
            let read = Command::parse(&data, None).unwrap();
            assert_eq!(read.to_data(), command.to_data());
        }
    }

    #[test]
    fn the_envelope_may_name_the_session() {
        let command = Command::parse(r#"{"command":"start_test"}"#, Some("abc")).unwrap();
        assert_eq!(command, Command::StartTest { session_id: "abc".into() });
    }

    #[test]
    fn refusals_name_code_and_field() {
        let cases = [
            (r#"{}"#, "invalid_message", "data.command"),
            (r#"{"command":7}"#, "invalid_message", "data.command"),
            (r#"{"command":"fly"}"#, "unknown_command", ""),
            (r#"{"command":"start_test"}"#, "invalid_message", "data.sessionId"),
            (r#"{"command":"start_test","sessionId":1}"#, "invalid_message", "data.sessionId"),
            (
                r#"{"command":"create_session","testId":"t","agentName":"a"}"#,
                "invalid_message",
                "data.projectId",
            ),
            (
                r#"{"command":"create_session","projectId":"","testId":"t","agentName":"a"}"#,
                "invalid_message",
                "data.projectId",
            ),
            (
                r#"{"command":"create_session","projectId":"p","testId":"t","agentName":"a\u0000"}"#,
                "invalid_message",
                "data.agentName",
            ),
            (
                r#"{"command":"create_session","projectId":"p","testId":"t","agentName":"a","metadata":[]}"#,
                "invalid_message",
                "data.metadata",
            ),
            (r#"{"command":"join_session","sessionId":"s","from":"now"}"#, "invalid_position", "data.from"),
            (
                r#"{"command":"join_session","sessionId":"s","from":{"epoch":"zz","seq":1}}"#,
                "invalid_position",
                "data.from",
            ),
            (
                r#"{"command":"join_session","sessionId":"s","from":{"epoch":"0000000000000001","seq":-1}}"#,
                "invalid_position",
                "data.from",
            ),
            (
                r#"{"command":"join_session","sessionId":"s","follow":"yes"}"#,
                "invalid_message",
                "data.follow",
            ),
            (r#"{"command":"stop_test","sessionId":"s","outcome":"won"}"#, "invalid_message", "data.outcome"),
            (r#"{"command":"get_session_list","limit":0}"#, "invalid_message", "data.limit"),
            (r#"{"command":"get_session_list","status":"odd"}"#, "invalid_message", "data.status"),
            (r#"{"command":"get_history","sessionId":"s","limit":100000}"#, "invalid_message", "data.limit"),
            (r#"{"command":"get_history","sessionId":"s","fromSeq":0}"#, "invalid_message", "data.fromSeq"),
            (r#"{"command":"replay_session","sessionId":"s","speed":1000}"#, "invalid_message", "data.speed"),
            (r#"{"command":"stop_replay","sessionId":"s"}"#, "invalid_message", "data.originalMessageId"),
            (r#"{"command":"refresh_token"}"#, "invalid_message", "data.token"),
        ];
        for (data, code, field) in cases {
            let refusal = Command::parse(data, None).unwrap_err();
            assert_eq!(refusal.code.as_str(), code, "{data}");
            assert_eq!(refusal.field.unwrap_or_default(), field, "{data}");
        }
    }
}
