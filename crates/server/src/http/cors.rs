//! Pages of other origins: which may read answers, and the question that browsers ask first (Fetch standard, "CORS protocol").

use agentbench_protocol::{ErrorCode, Refusal};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::answer::Refused;
use super::api::Api;
use super::head;

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE");
const HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, content-range, range, last-event-id, agentbench-producer, cache-control, \
     traceparent, tracestate",
);
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "retry-after, agentbench-epoch, agentbench-head-seq, upload-offset, content-range",
);
/// Seconds for which a browser remembers the answer.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// Around every route.
pub(crate) async fn apply(State(api): State<Api>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let allowed = origin.filter(|origin| {
        let authority = request.uri().authority().map(axum::http::uri::Authority::as_str);
        let host = authority.or_else(|| head::text(request.headers(), header::HOST.as_str()));
        let origin = std::str::from_utf8(origin.as_bytes());
        origin.is_ok_and(|origin| api.shared.config.allowed_origins.allow(origin, host))
    });
    let asks_first = request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match (&allowed, asks_first) {
        (Some(_), true) => StatusCode::NO_CONTENT.into_response(),
        (None, true) => {
            api.shared.metrics.refused("origin");
            let detail = "pages of this origin may not use this server (ALLOWED_ORIGINS)";
            Refused::from(Refusal::new(ErrorCode::Forbidden, detail)).into_response()
        }
        (_, false) => next.run(request).await,
    };
    api.shared.metrics.http(response.status().as_u16());
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        if asks_first {
            allow(headers);
        }
    }
    response
}

fn allow(headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
}
