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
use axum::handler::Handler;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, get, on};

use crate::overview;
use crate::shared::Shared;
use answer::Refused;
use api::Api;

/// The API's description, as the code gives it (`cargo xtask codegen`, fresh by test).
const OPENAPI: &str = include_str!("../../../../docs/openapi.json");

/// Where the API's description is served.
const OPENAPI_PATH: &str = "/api/v1/openapi.json";

/// One way to ask for something.
struct Route {
    path: &'static str,
    #[cfg_attr(not(feature = "schema"), expect(dead_code, reason = "the description alone reads it"))]
    method: Method,
    /// The id of its operation in the API's description; none for what is no part of the API.
    #[cfg_attr(not(feature = "schema"), expect(dead_code, reason = "the description alone reads it"))]
    operation: Option<&'static str>,
    handler: MethodRouter<Api>,
}

/// A route that the API's description lists.
fn api<H, T>(method: Method, path: &'static str, operation: &'static str, handler: H) -> Route
where
    H: Handler<T, Api>,
    T: 'static,
{
    Route { operation: Some(operation), ..route(method, path, handler) }
}

/// A route beside the API.
fn route<H, T>(method: Method, path: &'static str, handler: H) -> Route
where
    H: Handler<T, Api>,
    T: 'static,
{
    let filter = MethodFilter::try_from(method.clone()).expect("a method of HTTP");
    Route { path, method, operation: None, handler: on(filter, handler) }
}

/// Everything that is served; the router and the API's description are made of it.
fn routes() -> Vec<Route> {
    const GET: Method = Method::GET;
    const POST: Method = Method::POST;
    vec![
        route(GET, "/", pages::index),
        route(GET, "/assets/{*file}", pages::file),
        route(GET, "/favicon.svg", pages::file),
        route(GET, "/ws", not_an_upgrade),
        route(GET, "/healthz", healthz),
        route(GET, "/readyz", readyz),
        route(GET, "/metrics", figures::metrics),
        route(GET, OPENAPI_PATH, openapi),
        api(GET, "/api/v1/sessions", "listSessions", sessions::list),
        api(POST, "/api/v1/sessions", "createSession", commands::create),
        api(GET, "/api/v1/sessions/{sessionId}", "getSession", sessions::one),
        api(GET, "/api/v1/sessions/{sessionId}/events", "readEvents", events::range),
        api(POST, "/api/v1/sessions/{sessionId}/events", "publishEvents", publish::publish),
        api(POST, "/api/v1/sessions/{sessionId}/commands", "commandSession", commands::step),
        api(GET, "/api/v1/sessions/{sessionId}/export", "exportSession", events::export),
        api(GET, "/api/v1/sessions/{sessionId}/stream", "streamSession", stream::open),
        api(GET, "/api/v1/sessions/{sessionId}/frames", "inspectSession", frames::of_session),
        api(GET, "/api/v1/evidence/{hash}", "getEvidence", evidence::download),
        api(Method::PUT, "/api/v1/evidence/{hash}", "putEvidence", evidence::upload),
        api(Method::HEAD, "/api/v1/evidence/{hash}", "headEvidence", evidence::progress),
        api(GET, "/api/v1/connections", "listConnections", connections::list),
        api(GET, "/api/v1/connections/{clientId}", "getConnection", connections::one),
        api(Method::DELETE, "/api/v1/connections/{clientId}", "closeConnection", connections::close),
        api(GET, "/api/v1/connections/{clientId}/why", "explainConnection", connections::why),
        api(GET, "/api/v1/connections/{clientId}/frames", "inspectConnection", frames::of_connection),
        api(POST, "/api/v1/tokens/revoke", "revokeTokens", control::revoke),
        api(POST, "/api/v1/drain", "drain", control::drain),
        api(POST, "/api/v1/reload", "reload", control::reload),
        api(POST, "/api/v1/profile", "takeProfile", profile::profile),
        api(GET, "/api/v1/stats", "getStats", figures::stats),
        api(GET, "/api/v1/alerts", "getAlerts", figures::alerts),
    ]
}

/// Serves all routes for a worker.
pub(crate) fn router(shared: Arc<Shared>, worker: usize) -> Router {
    let api = Api { shared, worker };
    let add = |router: Router<Api>, route: Route| router.route(route.path, route.handler);
    routes()
        .into_iter()
        .fold(Router::new(), add)
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
