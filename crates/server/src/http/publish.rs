//! Publishing by POST: the envelopes of the socket, one or an array of them, with the same acks and the same dedupe.
//!
//! All events of a request go to the session's owner in one letter, so their order holds also when the log refuses some:
//! what is behind a refused one in the same session is taken back with it.

use std::sync::Arc;

use agentbench_auth::Permission;
use agentbench_protocol::envelope::{MessageType, is_visible, read_frame};
use agentbench_protocol::event::sender_json;
use agentbench_protocol::limits::MAX_PRODUCER_CHARS;
use agentbench_protocol::message::{AckLevel, ErrorData};
use agentbench_protocol::{Envelope, Epoch, ErrorCode, Refusal, Seq, SessionId, Warning};
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use serde::Serialize;

use super::access::Caller;
use super::answer::{Answer, json};
use super::api::{Api, segment};
use super::asking::{ask, one_answer};
use super::head;
use super::pipe;
use crate::intake::AdmittedEvent;
use crate::letters::exchange::{Exchange, ExchangeReply};
use crate::letters::{Origin, OwnedEvent, Request, SingleAck};
use crate::query::Query;
use crate::rules::parse_session_id;
use crate::uploads;

/// What became of a request's events.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Published {
    /// Which session.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    session_id: SessionId,
    /// The life of its log, in which the seqs count.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    epoch: Option<Epoch>,
    /// What the acks vouch for.
    level: AckLevel,
    /// Events that the log has.
    acks: Vec<EventAck>,
    /// Events that are refused, each with its `originalMessageId`.
    errors: Vec<ErrorData>,
}

/// One event that the log has.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventAck {
    /// The event's id.
    original_message_id: String,
    /// Its place in the log.
    seq: Seq,
    /// The log had it already; `seq` is its first one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
    /// Fields of the event that readers will not understand; it is in the log all the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Warning>,
}

/// What a body holds, each event judged by itself.
#[derive(Default)]
struct Batch {
    events: Vec<OwnedEvent>,
    errors: Vec<Refusal>,
    /// An event was refused for now: later ones wait for it.
    held: bool,
    /// Events with fields that readers will not understand are refused.
    strict: bool,
}

/// `POST /api/v1/sessions/{sessionId}/events`
pub(crate) async fn publish(State(api): State<Api>, parts: Parts, body: Body) -> Answer<Response> {
    let caller = Caller::of(&api, &parts)?;
    caller
        .needs(Permission::SessionPublish)
        .or_else(|refused| caller.needs(Permission::SessionReview).map_err(|_| refused))?;
    let session = parse_session_id(segment(&parts, 3))?;
    api.shared.gate.accepts_work()?;
    let producer = producer(&parts)?;
    let taken = pipe::read(&api.shared, body, api.shared.config.max_payload).await?;
    let mut exchange =
        Exchange::open(&api.shared.post.exchanges, api.worker, agentbench_protocol::limits::MAX_BATCH);
    let requester = caller.requester(&api, exchange.key);
    let sender: Arc<str> = sender_json(&requester.who).into();
    let mut batch = Batch { strict: Query::parse(parts.uri.query())?.switch("strict")?, ..Batch::default() };
    let mut alone = true;
    let text = taken.text()?;
    read_frame(text, |envelope| match envelope {
        Ok(envelope) => batch.take(&api, &caller, session, &envelope, &producer, &sender),
        Err(refusal) => batch.errors.push(refusal),
    })?;
    if text.trim_start().starts_with('[') {
        alone = false;
    }
    drop(taken);
    let mut published = Published {
        session_id: session,
        epoch: None,
        level: api.shared.config.ack_level,
        acks: Vec::new(),
        errors: Vec::new(),
    };
    let count = batch.events.len();
    if count > 0 {
        ask(&api, &caller, &exchange, session, Request::PublishAll(batch.events));
    }
    for _ in 0..count {
        match one_answer(&mut exchange).await? {
            ExchangeReply::Ack { ack, epoch } => {
                published.epoch = Some(epoch);
                let doubts = uploads::check(&api.shared.storage.evidence, session, ack.doubts).await;
                let SingleAck { id: original_message_id, seq, duplicate, .. } = ack;
                let warnings = doubts.warnings();
                published.acks.push(EventAck { original_message_id, seq, duplicate, warnings });
            }
            ExchangeReply::Refused(refusal) => batch.errors.push(refusal),
            other => {
                return Err(Refusal::new(ErrorCode::Internal, format!("an owner answered {other:?}")).into());
            }
        }
    }
    answer(published, batch.errors, alone)
}

/// A refused event that came alone is the request's own refusal; in an array each is told apart.
fn answer(mut published: Published, mut errors: Vec<Refusal>, alone: bool) -> Answer<Response> {
    if alone && let Some(refusal) = errors.pop() {
        return Err(refusal.into());
    }
    published.acks.sort_by_key(|ack| ack.seq);
    let status = if errors.is_empty() { StatusCode::OK } else { StatusCode::MULTI_STATUS };
    published.errors = errors.into_iter().map(ErrorData::from).collect();
    Ok(json(status, &published))
}

/// The producer, named as on the socket.
fn producer(parts: &Parts) -> Answer<Box<str>> {
    let query = Query::parse(parts.uri.query())?;
    let name = head::text(&parts.headers, "agentbench-producer").or_else(|| query.get("producerId"));
    match name {
        None | Some("") => Ok("".into()),
        Some(name) if is_visible(name, MAX_PRODUCER_CHARS) => Ok(name.into()),
        Some(_) => {
            let detail = format!("producerId must have at most {MAX_PRODUCER_CHARS} visible characters");
            Err(Refusal::invalid("producerId", detail).into())
        }
    }
}

impl Batch {
    fn take(
        &mut self,
        api: &Api,
        caller: &Caller,
        session: SessionId,
        envelope: &Envelope<'_>,
        producer: &str,
        sender: &Arc<str>,
    ) {
        match self.check(api, caller, session, envelope) {
            Ok(admitted) => {
                let origin = Origin { producer, sender, requires_ack: true, in_order: false };
                self.events.push(OwnedEvent::new(envelope, origin, admitted));
            }
            Err(refusal) => {
                self.held |= matches!(refusal.code, ErrorCode::Overloaded | ErrorCode::RateLimited);
                api.shared.metrics.error(refusal.code);
                self.errors.push(refusal.of(&*envelope.id));
            }
        }
    }

    fn check(
        &self,
        api: &Api,
        caller: &Caller,
        session: SessionId,
        envelope: &Envelope<'_>,
    ) -> Result<AdmittedEvent, Refusal> {
        if envelope.kind != MessageType::TestEvent {
            return Err(Refusal::invalid("type", "only messages of type test_event can be published"));
        }
        let named = envelope.session_id.as_deref();
        if named.is_some_and(|name| name.parse::<SessionId>().ok() != Some(session)) {
            return Err(Refusal::invalid("sessionId", "sessionId must be absent or the one of the address"));
        }
        api.shared.intake.admit(&caller.grant, envelope, self.strict, || {
            if self.held {
                return Err(Refusal::out_of_turn());
            }
            let (gate, user) = (&api.shared.gate, &caller.grant.user_id);
            gate.charge_message(user, api.now())?;
            gate.users.take_guest_bytes(user, envelope.data.len(), api.now())
        })
    }
}
