//! Commands by POST: a session is made, and led through its lifecycle, with the ids, effects and replies of the socket.
//!
//! The id is the command's, as on the socket, so one (user, id) has its effect once, whichever way it comes, and a repeat gets
//! the same answer. Who asks here does not become a participant. Fields of a command are the body's own: where the socket
//! names `data.projectId`, a refusal here names `projectId`.

use agentbench_audit::Record;
use agentbench_auth::Permission;
use agentbench_protocol::command::CreateSession;
use agentbench_protocol::envelope::is_visible;
use agentbench_protocol::limits::MAX_ID_CHARS;
use agentbench_protocol::{Command, ErrorCode, Refusal, SessionId};
use agentbench_session::Step;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::access::Caller;
use super::answer::{Answer, Refused, json};
use super::api::{Api, segment};
use super::asking::{ask, one_answer};
use super::pipe;
use crate::letters::Request;
use crate::letters::exchange::{Exchange, ExchangeReply};
use crate::rules::parse_session_id;

/// The commands that `…/commands` takes.
pub(crate) const STEPS: [&str; 4] = ["start_test", "pause_test", "resume_test", "stop_test"];

/// `POST /api/v1/sessions`
pub(crate) async fn create(State(api): State<Api>, parts: Parts, body: Body) -> Answer<Response> {
    let caller = Caller::of(&api, &parts)?;
    let asked = take_create(&api, &caller, body).await.map_err(|refused| counted(&api, refused))?;
    let (command, fields) = asked;
    let session = crate::rules::derive_session_id(&caller.grant.user_id, &command);
    carry_out(&api, &caller, session, Request::Create { command, fields }).await
}

/// `POST /api/v1/sessions/{sessionId}/commands`
pub(crate) async fn step(State(api): State<Api>, parts: Parts, body: Body) -> Answer<Response> {
    let caller = Caller::of(&api, &parts)?;
    let name = segment(&parts, 3);
    let asked = take_step(&api, &caller, name, body).await.map_err(|refused| counted(&api, refused))?;
    let (session, command, step) = asked;
    carry_out(&api, &caller, session, Request::Control { command, step }).await
}

async fn take_create(api: &Api, caller: &Caller, body: Body) -> Answer<(String, CreateSession)> {
    api.shared.audit_room().await?;
    permits(api, caller, Permission::SessionCreate)?;
    let taken = take_body(api, caller, body).await?;
    let text = taken.text()?;
    let id = Outside::read(text)?.id()?;
    let fields = CreateSession::parse(text).map_err(|refusal| in_body(refusal).of(&*id))?;
    if !caller.grant.may_access(&fields.project_id) {
        let detail = "the token does not permit sessions in this project";
        return Err(forbidden(api, caller, detail).of(id).into());
    }
    Ok((id, fields))
}

async fn take_step(api: &Api, caller: &Caller, name: &str, body: Body) -> Answer<(SessionId, String, Step)> {
    api.shared.audit_room().await?;
    permits(api, caller, Permission::SessionControl)?;
    let session = parse_session_id(name)?;
    let taken = take_body(api, caller, body).await?;
    let text = taken.text()?;
    let outside = Outside::read(text)?;
    let id = outside.id()?;
    let step = outside.step(text, session).map_err(|refusal| in_body(refusal).of(&*id))?;
    Ok((session, id, step))
}

/// Refusals of commands are counted, here as on the socket; those of an owner are counted there.
fn counted(api: &Api, refused: Refused) -> Refused {
    api.shared.metrics.error(refused.refusal.code);
    refused
}

/// The refusal of what the token does not permit, written down as for a command on the socket.
fn forbidden(api: &Api, caller: &Caller, detail: &str) -> Refusal {
    let refusal = Refusal::new(ErrorCode::Forbidden, detail);
    let record = Record::refused(api.now(), "command", refusal.code.as_str());
    api.shared.audit(|| caller.record(record.detail(detail)));
    refusal
}

fn permits(api: &Api, caller: &Caller, needed: Permission) -> Answer<()> {
    if caller.grant.allows(needed) {
        return Ok(());
    }
    Err(forbidden(api, caller, &format!("the token does not permit this: it needs {needed}")).into())
}

/// The body, if the server takes work and the user may send so much.
async fn take_body(api: &Api, caller: &Caller, body: Body) -> Answer<pipe::Taken> {
    api.shared.gate.accepts_work()?;
    let taken = pipe::read(&api.shared, body, api.shared.config.max_payload).await?;
    api.shared.gate.charge_message(&caller.grant.user_id, api.now())?;
    Ok(taken)
}

/// What every command has, not checked yet.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outside {
    id: Option<Value>,
    command: Option<Value>,
    session_id: Option<Value>,
}

impl Outside {
    fn read(text: &str) -> Result<Self, Refusal> {
        let not_an_object =
            || Refusal::invalid("", "the body must be an object in which no field comes twice");
        let read = serde_json::from_str(text).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => not_an_object(),
            _ => Refusal::new(ErrorCode::MalformedJson, format!("the body is not valid JSON: {error}")),
        })?;
        // A list of values would be read as fields in their order.
        if text.trim_start().starts_with('{') { Ok(read) } else { Err(not_an_object()) }
    }

    fn id(&self) -> Result<String, Refusal> {
        let id = text_of(self.id.as_ref(), "id")?;
        if !is_visible(id, MAX_ID_CHARS) {
            let detail = format!("id must have 1 to {MAX_ID_CHARS} visible characters");
            return Err(Refusal::invalid("id", detail));
        }
        Ok(id.to_owned())
    }

    fn step(&self, text: &str, session: SessionId) -> Result<Step, Refusal> {
        let named = text_of(self.command.as_ref(), "command")?;
        let unknown = || {
            let detail = format!("command must be one of {}; others are for the socket", STEPS.join(", "));
            Refusal::new(ErrorCode::UnknownCommand, detail)
        };
        if !STEPS.contains(&named) {
            return Err(unknown());
        }
        if self.session_id.is_some() {
            let other = text_of(self.session_id.as_ref(), "sessionId")?;
            if other.parse::<SessionId>().ok() != Some(session) {
                let detail = "sessionId must be absent or the one of the address";
                return Err(Refusal::invalid("sessionId", detail));
            }
        }
        match Command::parse(text, Some(&session.to_string()))? {
            Command::StartTest { .. } => Ok(Step::Start),
            Command::PauseTest { .. } => Ok(Step::Pause),
            Command::ResumeTest { .. } => Ok(Step::Resume),
            Command::StopTest { outcome, reason, .. } => Ok(Step::Stop { outcome, reason }),
            _ => Err(unknown()),
        }
    }
}

fn text_of<'a>(value: Option<&'a Value>, field: &'static str) -> Result<&'a str, Refusal> {
    let value = value.ok_or_else(|| Refusal::invalid(field, format!("{field} is missing")))?;
    value.as_str().ok_or_else(|| Refusal::invalid(field, format!("{field} must be a string")))
}

/// A refusal of a command's data, said of the body.
fn in_body(refusal: Refusal) -> Refusal {
    let Some(field) = refusal.field.as_deref().and_then(|field| field.strip_prefix("data.")) else {
        return refusal;
    };
    let detail = refusal.detail.replace(&format!("data.{field}"), field);
    Refusal { detail, field: Some(field.to_owned()), ..refusal }
}

/// Asks the session's owner, and gives its reply.
async fn carry_out(api: &Api, caller: &Caller, session: SessionId, request: Request) -> Answer<Response> {
    let mut exchange = Exchange::open(&api.shared.post.exchanges, api.worker, 1);
    ask(api, caller, &exchange, session, request);
    match one_answer(&mut exchange).await? {
        ExchangeReply::Created { json, again } => {
            reply(if again { StatusCode::OK } else { StatusCode::CREATED }, &json)
        }
        ExchangeReply::Message(message) => reply(StatusCode::OK, &message),
        ExchangeReply::Refused(refusal) => Err(refusal.into()),
        other => Err(Refusal::new(ErrorCode::Internal, format!("an owner answered {other:?}")).into()),
    }
}

/// The part of an owner's message that is the answer here.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
}

fn reply(status: StatusCode, message: &Bytes) -> Answer<Response> {
    let message: Message<'_> = serde_json::from_slice(message)
        .map_err(|error| Refusal::new(ErrorCode::Internal, error.to_string()))?;
    Ok(json(status, &message.data))
}
