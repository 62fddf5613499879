//! `POST /api/v1/profile`: a CPU profile of this process, for administrators, where the settings allow it.

use std::time::Duration;

use agentbench_auth::Permission;
use agentbench_protocol::{ErrorCode, Refusal};
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::access::Caller;
use super::answer::Answer;
use super::api::Api;
use super::head;
use crate::ops::profile::{ProfileError, flame, take};
use crate::query::Query;

/// Longest profile, in seconds.
pub(crate) const MAX_SECONDS: u64 = 60;
const SECONDS: u64 = 10;

/// Answers when the time is over: a flame graph, or the stacks as text for those who accept only that.
pub(crate) async fn profile(State(api): State<Api>, parts: Parts) -> Answer<Response> {
    let caller = Caller::of(&api, &parts)?;
    api.shared.audit_room().await?;
    caller.administers(&api, Permission::ServerDrain, "profile")?;
    let query = Query::parse(parts.uri.query())?;
    let seconds = query.number("seconds", 1..=MAX_SECONDS)?.unwrap_or(SECONDS);
    if !api.shared.config.operations.enable_profiling {
        let detail = "profiling is turned off (ENABLE_PROFILING)";
        return Err(Refusal::new(ErrorCode::NotFound, detail).into());
    }
    tracing::info!(user = caller.grant.user_id, seconds, "an administrator takes a CPU profile");
    let folded = take(Duration::from_secs(seconds), || api.shared.gate.doors.are_closed()).await;
    let folded = folded.map_err(|why| match why {
        ProfileError::Busy => {
            let detail = "another profile is being taken; one at a time";
            Refusal::new(ErrorCode::Overloaded, detail).retry_after(seconds * 1_000)
        }
        ProfileError::Failed(error) => {
            tracing::error!(error, "no profile could be taken");
            let detail = format!("no profile could be taken: {error}");
            Refusal::new(ErrorCode::Overloaded, detail).retry_after(10_000)
        }
    })?;
    let accepted = head::text(&parts.headers, header::ACCEPT.as_str()).unwrap_or("");
    let headers = |kind| [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store")];
    if accepted.contains("text/plain") && !accepted.contains("svg") {
        return Ok((StatusCode::OK, headers("text/plain; charset=utf-8"), folded.text()).into_response());
    }
    let title = format!(
        "{} {}: {} samples in {seconds} s",
        api.shared.config.node_name,
        concat!("agentbench ", env!("CARGO_PKG_VERSION")),
        folded.samples()
    );
    Ok((StatusCode::OK, headers("image/svg+xml"), flame::draw(&folded, &title)).into_response())
}
