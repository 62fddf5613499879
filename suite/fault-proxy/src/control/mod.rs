//! The control API: a [`ProxySet`] over HTTP and JSON. `docs/fault-proxy.md` is its reference.
//!
//! It has no authentication, so it belongs on loopback. Requests from web pages (with an `Origin` header) are
//! refused: otherwise any page could break its visitor's connections.

mod answer;
mod view;

use std::sync::Arc;

use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::set::{ProxySet, StartError};
use crate::{Effect, Fault, FaultId, Proxy};
use answer::{Answer, Refusal};

/// Maximum size of a request's body in bytes: enough for a proxy with hundreds of faults.
const MAX_BODY: usize = 256 * 1024;

type Set = State<Arc<ProxySet>>;

/// The API's routes, for the caller to serve.
pub fn router(set: Arc<ProxySet>) -> Router {
    Router::new()
        .route("/proxies", get(list).post(create))
        .route("/proxies/{name}", get(show).post(change).delete(remove))
        .route("/proxies/{name}/faults", get(faults).post(add_fault))
        .route("/proxies/{name}/faults/{id}", delete(remove_fault))
        .route("/proxies/{name}/strike", post(strike))
        .route("/proxies/{name}/links", get(links))
        .route("/proxies/{name}/strikes", get(strikes))
        .route("/reset", post(reset))
        .fallback(async || Refusal::not_found("no such path; see docs/fault-proxy.md"))
        .method_not_allowed_fallback(async || Refusal::method())
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn(refuse_pages))
        .with_state(set)
}

async fn refuse_pages(request: Request, next: Next) -> Response {
    if request.headers().contains_key("origin") {
        return Refusal::page().into_response();
    }
    next.run(request).await
}

fn find(set: &ProxySet, name: &str) -> Result<Arc<Proxy>, Refusal> {
    set.get(name).ok_or_else(|| Refusal::not_found(format!("there is no proxy {name:?}")))
}

async fn list(State(set): Set) -> Json<Value> {
    Json(set.all().iter().map(|(name, proxy)| view::proxy(name, proxy)).collect())
}

async fn create(State(set): Set, body: Result<Bytes, BytesRejection>) -> Answer {
    let plan: crate::ProxyPlan = answer::body(body)?;
    let name = plan.name.clone();
    let proxy = set.start(plan).await?;
    Ok((StatusCode::CREATED, Json(view::proxy(&name, &proxy))))
}

async fn show(State(set): Set, Path(name): Path<String>) -> Answer {
    Ok(answer::ok(view::proxy(&name, &*find(&set, &name)?)))
}

/// What can be changed at run time.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    upstream: Option<std::net::SocketAddr>,
    enabled: Option<bool>,
}

async fn change(State(set): Set, Path(name): Path<String>, body: Result<Bytes, BytesRejection>) -> Answer {
    let proxy = find(&set, &name)?;
    let change: Change = answer::body(body)?;
    if let Some(upstream) = change.upstream {
        proxy.set_upstream(upstream);
    }
    if let Some(enabled) = change.enabled {
        proxy.set_enabled(enabled);
    }
    Ok(answer::ok(view::proxy(&name, &proxy)))
}

async fn remove(State(set): Set, Path(name): Path<String>) -> Result<StatusCode, Refusal> {
    if set.remove(&name) {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Refusal::not_found(format!("there is no proxy {name:?}")))
}

async fn faults(State(set): Set, Path(name): Path<String>) -> Answer {
    Ok(answer::ok(find(&set, &name)?.faults().iter().map(view::fault).collect()))
}

async fn add_fault(State(set): Set, Path(name): Path<String>, body: Result<Bytes, BytesRejection>) -> Answer {
    let proxy = find(&set, &name)?;
    let fault: Fault = answer::body(body)?;
    let id = proxy.add(fault)?;
    Ok((StatusCode::CREATED, Json(json!({ "id": id }))))
}

async fn remove_fault(
    State(set): Set,
    Path((name, id)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    let proxy = find(&set, &name)?;
    if id.parse().is_ok_and(|id| proxy.remove(FaultId(id))) {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Refusal::not_found(format!("proxy {name:?} has no fault {id:?}")))
}

async fn strike(State(set): Set, Path(name): Path<String>, body: Result<Bytes, BytesRejection>) -> Answer {
    let proxy = find(&set, &name)?;
    let effect: Effect = answer::body(body)?;
    effect.check()?;
    Ok(answer::ok(json!({ "links": proxy.strike_now(effect) })))
}

async fn links(State(set): Set, Path(name): Path<String>) -> Answer {
    Ok(answer::ok(find(&set, &name)?.links().iter().map(view::link).collect()))
}

async fn strikes(State(set): Set, Path(name): Path<String>) -> Answer {
    Ok(answer::ok(find(&set, &name)?.strikes().iter().map(view::strike).collect()))
}

async fn reset(State(set): Set) -> StatusCode {
    for (_, proxy) in set.all() {
        proxy.heal();
    }
    StatusCode::NO_CONTENT
}

impl From<StartError> for Refusal {
    fn from(refused: StartError) -> Self {
        let (status, code) = match &refused {
            StartError::Exists(_) => (StatusCode::CONFLICT, "proxy_exists"),
            StartError::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid_proxy"),
            StartError::Listen(..) => (StatusCode::CONFLICT, "cannot_listen"),
        };
        Self::new(status, code, refused.to_string())
    }
}
