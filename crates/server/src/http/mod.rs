//! Plain HTTP beside the WebSocket: health, readiness, metrics.

use std::rc::Rc;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;

use crate::shared::Shared;
use crate::transport::{Peer, Prefixed};
use crate::worker::Worker;

/// The routes.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(root))
        .route("/ws", get(not_an_upgrade))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(shared)
}

/// Serves one connection that turned out to speak plain HTTP. Handlers find the [`Peer`] among the request's extensions: who
/// asked, with what trusted proxies said of it.
pub(crate) async fn serve(worker: Rc<Worker>, stream: Prefixed, peer: Peer) {
    let routes = TowerToHyperService::new(worker.router.clone());
    let shared = Arc::clone(&worker.shared);
    let service = hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        let trusted = &shared.config.security.trusted_proxies;
        let said = request.headers().get_all("x-forwarded-for").into_iter();
        let peer = peer.forwarded(trusted, said.map(header::HeaderValue::as_bytes));
        request.extensions_mut().insert(peer);
        routes.call(request)
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(hyper_util::rt::TokioTimer::new()).header_read_timeout(worker.shared.config.auth_timeout);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "an HTTP connection ended with an error");
    }
}

async fn root() -> &'static str {
    "AgentBench realtime speaks WebSocket here: connect to / or /ws with a token (see docs/protocol.md).\n"
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
async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    match shared.not_ready() {
        None => "ready\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    if !shared.config.enable_metrics {
        return (StatusCode::NOT_FOUND, "metrics are turned off (ENABLE_METRICS)\n").into_response();
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], shared.metrics.encode()).into_response()
}
