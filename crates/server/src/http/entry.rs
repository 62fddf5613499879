//! What comes before every route of the API: the address's rate, the issuer, who may know a key that is new, and the
//! wait of refused tokens.

use agentbench_protocol::{ErrorCode, Refusal};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::access::address_of;
use super::answer::Refused;
use super::api::Api;
use super::head;
use crate::rules::bearer;

/// Around every route. Health and metrics are for whoever watches the server, and are not counted.
pub(crate) async fn apply(State(api): State<Api>, request: Request, next: Next) -> Response {
    if !request.uri().path().starts_with("/api/") {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let address = address_of(&parts);
    if let Err(wait) = api.shared.gate.addresses.take_message(address, api.now()) {
        let detail = "this address sends faster than the limit allows";
        let refusal = Refusal::new(ErrorCode::RateLimited, detail).retry_after(wait);
        return Refused::from(refusal).into_response();
    }
    if let Some(token) = head::text(&parts.headers, header::AUTHORIZATION.as_str()).and_then(bearer) {
        know_key(&api, token).await;
    }
    let answer = next.run(Request::from_parts(parts, body)).await;
    if answer.status() == StatusCode::UNAUTHORIZED {
        api.shared.gate.penalties.wait(&api.shared.gate.addresses, address, api.now()).await;
    }
    answer
}

/// Has the issuer's keys fetched again if the token is of one that is not known; the route then finds it.
async fn know_key(api: &Api, token: &str) {
    if api.shared.gate.issuer.is_none() {
        return;
    }
    if let Err(error) = api.shared.gate.authenticate(token, api.now())
        && let Some(issuer) = api.shared.gate.issuer_may_know(error)
    {
        issuer.refetch_keys().await;
    }
}
