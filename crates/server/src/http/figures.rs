//! The figures: as `/metrics`, as one JSON object, and the alerts that watch over them.

use agentbench_auth::Permission;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::access::Caller;
use super::answer::{Answer, json};
use super::api::Api;
use super::head;
use crate::figures::exposition::Format;
use crate::overview;
use crate::overview::figures::gather;

/// `/metrics`
pub(super) async fn metrics(State(api): State<Api>, parts: Parts) -> Response {
    let shared = &api.shared;
    if !shared.config.enable_metrics {
        return (StatusCode::NOT_FOUND, "metrics are turned off (ENABLE_METRICS)\n").into_response();
    }
    let format = Format::accepted(head::text(&parts.headers, "accept").unwrap_or(""));
    let headers = [(header::CONTENT_TYPE, format.content_type()), (header::VARY, "Accept")];
    (headers, format.write(&gather(shared))).into_response()
}

/// `GET /api/v1/stats`
pub(super) async fn stats(State(api): State<Api>, parts: Parts) -> Answer<Response> {
    Caller::of(&api, &parts)?.needs(Permission::ConnectionList)?;
    Ok(json(StatusCode::OK, &overview::stats::describe(&api.shared)))
}

/// `GET /api/v1/alerts`
pub(super) async fn alerts(State(api): State<Api>, parts: Parts) -> Answer<Response> {
    Caller::of(&api, &parts)?.needs(Permission::ConnectionList)?;
    Ok(json(StatusCode::OK, &api.shared.ops.alerts.describe()))
}
