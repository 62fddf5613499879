//! What administrators do to the server: revoke tokens, drain, reload.

use std::sync::Arc;

use agentbench_auth::Permission;
use agentbench_protocol::limits::MAX_TEXT_CHARS;
use agentbench_protocol::{ErrorCode, Refusal};
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::access::Caller;
use super::answer::{Answer, json};
use super::api::Api;
use super::pipe;
use crate::control::Control;
use crate::revocation::Revocation;

/// Bytes of the body of such a request.
const MAX_BODY: usize = 16 * 1024;

/// A revocation: exactly one of the fields.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RevokeBody {
    /// The token with this id.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 256)))]
    jti: Option<String>,
    /// All tokens of this user that were issued until now.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 256)))]
    user_id: Option<String>,
    /// Everybody's tokens that were issued before this time, ms since 1970; not in the future.
    issued_before: Option<u64>,
}

/// A revocation that is in force.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct RevokeAnswer {
    /// Since when, ms since 1970.
    revoked_at: u64,
}

/// What was asked for has begun or is done.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct Done {
    /// What happens now, or has happened.
    detail: String,
}

/// `POST /api/v1/tokens/revoke`
pub(crate) async fn revoke(State(api): State<Api>, parts: Parts, body: Body) -> Answer<Response> {
    let caller = Caller::of(&api, &parts)?;
    api.shared.audit_room().await?;
    caller.administers(&api, Permission::TokenRevoke, "revoke_tokens")?;
    let taken = pipe::read(&api.shared, body, MAX_BODY).await?;
    let what = what_of(taken.text()?, api.now())?;
    drop(taken);
    if !api.shared.gate.revocations.has_room() {
        let detail = "there are too many revocations; revoke all older tokens with issuedBefore";
        return Err(Refusal::new(ErrorCode::Overloaded, detail).into());
    }
    let shared = Arc::clone(&api.shared);
    let stored = tokio::task::spawn_blocking(move || shared.gate.revoke(what)).await;
    match stored {
        Ok(Ok(revoked_at)) => {
            tracing::info!("an administrator revoked tokens");
            Ok(json(StatusCode::OK, &RevokeAnswer { revoked_at }))
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "a revocation is in force but could not be stored");
            let detail = "the revocation is in force until the server restarts, but could not be stored; send it again";
            Err(Refusal::new(ErrorCode::LogUnavailable, detail).into())
        }
        Err(error) => Err(Refusal::new(ErrorCode::Internal, error.to_string()).into()),
    }
}

fn what_of(text: &str, now: u64) -> Answer<Revocation> {
    let body: RevokeBody = serde_json::from_str(text).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => {
            Refusal::invalid("", "send exactly one of jti, userId (texts) and issuedBefore (ms since 1970)")
        }
        _ => Refusal::new(ErrorCode::MalformedJson, format!("the body is not valid JSON: {error}")),
    })?;
    let short = |field: &'static str, text: String| {
        if text.is_empty() || text.chars().count() > MAX_TEXT_CHARS {
            return Err(Refusal::invalid(
                field,
                format!("{field} must have 1 to {MAX_TEXT_CHARS} characters"),
            ));
        }
        Ok(text)
    };
    let what = match (body.jti, body.user_id, body.issued_before) {
        (Some(jti), None, None) => Revocation::Jti(short("jti", jti)?),
        (None, Some(user), None) => Revocation::User(short("userId", user)?),
        (None, None, Some(time)) if time <= now => Revocation::IssuedBefore(time),
        (None, None, Some(_)) => {
            return Err(Refusal::invalid("issuedBefore", "issuedBefore must not be in the future").into());
        }
        _ => return Err(Refusal::invalid("", "send exactly one of jti, userId and issuedBefore").into()),
    };
    Ok(what)
}

fn nobody_listens() -> Refusal {
    Refusal::new(
        ErrorCode::Overloaded,
        "the program that runs this server takes no such request now; use its own signals",
    )
}

/// `POST /api/v1/drain`
pub(crate) async fn drain(State(api): State<Api>, parts: Parts) -> Answer<Response> {
    let caller = Caller::of(&api, &parts)?;
    api.shared.audit_room().await?;
    caller.administers(&api, Permission::ServerDrain, "drain")?;
    if !api.shared.gate.doors.retire() {
        return Err(nobody_listens().into());
    }
    tracing::info!("an administrator drains the server");
    let detail = "not ready any more; clients are sent away, then the server stops".to_owned();
    Ok(json(StatusCode::ACCEPTED, &Done { detail }))
}

/// `POST /api/v1/reload`
pub(crate) async fn reload(State(api): State<Api>, parts: Parts) -> Answer<Response> {
    let caller = Caller::of(&api, &parts)?;
    api.shared.audit_room().await?;
    caller.administers(&api, Permission::ServerDrain, "reload")?;
    let (reply, answer) = oneshot::channel();
    if !api.shared.gate.doors.notify_host(Control::Reload(reply)) {
        return Err(nobody_listens().into());
    }
    match answer.await {
        Ok(Ok(detail)) => Ok(json(StatusCode::OK, &Done { detail })),
        Ok(Err(detail)) => Err(Refusal::new(ErrorCode::InvalidTransition, detail).into()),
        Err(_) => Err(nobody_listens().into()),
    }
}
