//! Plain HTTP beside the WebSocket: health, readiness, metrics, and the API under `/api/v1`.
//!
//! Handlers change nothing themselves: what a session or a connection has to do is a letter to its worker, and the answer
//! comes back through an [exchange](crate::letters::exchange). So a session's owner stays the only one who changes it.
//!
//! - `access` is who asks, `asking` is how owners are asked, `pipe` is what comes in and goes out, `answer` is refusals, `cors` is other origins,
//!   `head` is what a request's head must be, `entry` what comes before every route.
//! - `sessions`, `events`, `publish`, `commands`, `stream`, `connections`, `control`, `figures` are the routes; `openapi` describes them.

pub(crate) mod access;
pub(crate) mod answer;
pub(crate) mod api;
mod asking;
mod commands;
pub(crate) mod connections;
mod control;
mod cors;
mod entry;
mod events;
pub(crate) mod evidence;
mod figures;
mod frames;
mod head;
#[cfg(feature = "schema")]
pub(crate) mod openapi;
mod page_export;
mod pages;
mod pipe;
mod profile;
mod publish;
mod range;
mod sessions;
mod stream;

use std::sync::Arc;

use agentbench_protocol::{ErrorCode, Refusal};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};

use crate::overview;
use crate::shared::Shared;
use answer::Refused;
use api::Api;

/// The API's description, as the code gives it (`cargo xtask codegen`, fresh by test).
const OPENAPI: &str = include_str!("../../../../docs/openapi.json");

/// The routes.
pub(crate) fn router(shared: Arc<Shared>, worker: usize) -> Router {
    let api = Api { shared, worker };
    Router::new()
        .route("/", get(pages::index))
        .route("/assets/{*file}", get(pages::file))
        .route("/favicon.svg", get(pages::file))
        .route("/ws", get(not_an_upgrade))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(figures::metrics))
        .route("/api/v1/openapi.json", get(openapi))
        .route("/api/v1/sessions", get(sessions::list).post(commands::create))
        .route("/api/v1/sessions/{sessionId}", get(sessions::one))
        .route("/api/v1/sessions/{sessionId}/events", get(events::range).post(publish::publish))
        .route("/api/v1/sessions/{sessionId}/commands", post(commands::step))
        .route("/api/v1/sessions/{sessionId}/export", get(events::export))
        .route("/api/v1/sessions/{sessionId}/stream", get(stream::open))
        .route(
            "/api/v1/evidence/{hash}",
            get(evidence::download).put(evidence::upload).head(evidence::progress),
        )
        .route("/api/v1/connections", get(connections::list))
        .route("/api/v1/connections/{clientId}", delete(connections::close).get(connections::one))
        .route("/api/v1/connections/{clientId}/why", get(connections::why))
        .route("/api/v1/connections/{clientId}/frames", get(frames::of_connection))
        .route("/api/v1/sessions/{sessionId}/frames", get(frames::of_session))
        .route("/api/v1/tokens/revoke", post(control::revoke))
        .route("/api/v1/drain", post(control::drain))
        .route("/api/v1/reload", post(control::reload))
        .route("/api/v1/profile", post(profile::profile))
        .route("/api/v1/stats", get(figures::stats))
        .route("/api/v1/alerts", get(figures::alerts))
        .fallback(nothing_here)
        .method_not_allowed_fallback(other_method)
        .layer(axum::middleware::from_fn_with_state(api.clone(), entry::apply))
        .layer(axum::middleware::from_fn_with_state(api.clone(), cors::apply))
        .layer(axum::middleware::from_fn_with_state(api.clone(), head::apply))
        .with_state(api)
}

/// What probes ask, for a thread that is no worker.
pub(crate) fn probes(shared: Arc<Shared>) -> Router {
    let api = Api { shared, worker: 0 };
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(figures::metrics))
        .with_state(api)
}

async fn nothing_here() -> Refused {
    Refusal::new(ErrorCode::NotFound, "there is nothing here; /api/v1/openapi.json lists what there is")
        .into()
}

async fn other_method() -> Refused {
    let refusal = Refusal::invalid("method", "this address has other methods; see Allow");
    Refused { refusal, status: Some(StatusCode::METHOD_NOT_ALLOWED) }
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

/// A plain request where a WebSocket is served (RFC 9110 §15.5.22).
async fn not_an_upgrade() -> Response {
    let headers = [(header::UPGRADE, "websocket"), (header::CONNECTION, "Upgrade")];
    (StatusCode::UPGRADE_REQUIRED, headers, "connect with a WebSocket client\n").into_response()
}

/// The process runs and answers.
async fn healthz() -> &'static str {
    "ok\n"
}

/// The server should get new connections and takes publishes.
async fn readyz(State(api): State<Api>) -> Response {
    match overview::not_ready(&api.shared) {
        None => "ready\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}
