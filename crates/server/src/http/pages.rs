//! The dashboard: files of the build that is in the binary, under headers that let a page load and run nothing else.

use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::api::Api;
use super::head;
use super::nothing_here;

/// Own scripts and styles only; own pictures and those that the page has made of evidence; nobody may frame it.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src blob:; connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
/// A file whose name changes with its bytes.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// Asked for again each time; it is answered with 304 as long as it is the same.
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");
/// What is said instead of pages that were not built.
const WITHOUT_PAGES: &str = "\
AgentBench realtime runs. This binary was built without the dashboard's pages.

To get them: cargo xtask dashboard (needs npm), then build and start the server again.

WebSocket clients connect here or to /ws with a token (docs/protocol.md); /api/v1/openapi.json describes the HTTP API.
";

/// `GET /`
pub(super) async fn index(State(api): State<Api>, parts: Parts) -> Response {
    match api.shared.config.pages.index() {
        Some(index) => serve(index, &parts.headers),
        None => ([(header::CACHE_CONTROL, ASK_AGAIN)], WITHOUT_PAGES).into_response(),
    }
}

/// `GET /assets/…`, `GET /favicon.svg`
pub(super) async fn file(State(api): State<Api>, parts: Parts) -> Response {
    match api.shared.config.pages.find(parts.uri.path()) {
        Some(asset) => serve(asset, &parts.headers),
        None => nothing_here().await.into_response(),
    }
}

fn serve(asset: &'static agentbench_pages::Asset, asked: &HeaderMap) -> Response {
    let accepted = head::text(asked, header::ACCEPT_ENCODING.as_str()).unwrap_or("");
    let small = asset.gzip.filter(|_| takes_gzip(accepted));
    // Two forms of a file are two things to caches (RFC 9110 §8.8.3).
    let etag = format!("\"{}{}\"", asset.etag, if small.is_some() { "-gz" } else { "" });
    let known = head::text(asked, header::IF_NONE_MATCH.as_str()).unwrap_or("");
    let is_known =
        known.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag);
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        small.unwrap_or(asset.bytes).into_response()
    };
    let headers = response.headers_mut();
    let fixed = [
        (header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type())),
        (header::CACHE_CONTROL, if asset.is_immutable() { FOR_EVER } else { ASK_AGAIN }),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (
            header::HeaderName::from_static("cross-origin-opener-policy"),
            HeaderValue::from_static("same-origin"),
        ),
        (header::VARY, HeaderValue::from_static("accept-encoding")),
    ];
    for (name, value) in fixed {
        // Not `extend`, which leaves the type that the body brought beside ours.
        headers.insert(name, value);
    }
    if small.is_some() && !is_known {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    // Digits of our own.
    headers.insert(header::ETAG, HeaderValue::from_str(&etag).expect("a tag is a header's text"));
    response
}

/// Whether `Accept-Encoding` takes gzip (RFC 9110 §12.5.3); a weight of 0 is a no.
fn takes_gzip(accepted: &str) -> bool {
    accepted.split(',').any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let refused =
            weight.trim().strip_prefix("q=").and_then(|q| q.trim().parse::<f32>().ok()) == Some(0.0);
        matches!(name.trim(), "gzip" | "x-gzip" | "*") && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_gzip() {
        for yes in ["gzip", "br, gzip", "gzip;q=0.5", "*", "deflate, x-gzip ; q=1"] {
            assert!(takes_gzip(yes), "{yes}");
        }
        for no in ["", "br", "gzip;q=0", "identity", "gzip; q=0.0", "gzipped"] {
            assert!(!takes_gzip(no), "{no}");
        }
    }
}
