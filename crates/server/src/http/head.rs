//! What the head of a request must be before anything reads it: one `Host`, one framing, and text in every header that
//! counts. A header that is present but unreadable is refused by name; taken as absent, it would change what is meant: a
//! position that is passed over, a producer that nobody named, an origin that was not asked.

use agentbench_protocol::Refusal;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::answer::Refused;
use super::api::Api;

/// Headers with one value, by the names that answers use.
const SINGLE: [&str; 12] = [
    "Authorization",
    "Agentbench-Producer",
    "Last-Event-ID",
    "Host",
    "Origin",
    "Content-Type",
    "Content-Length",
    "Content-Range",
    "Content-Encoding",
    "Transfer-Encoding",
    "Range",
    "If-Range",
];
/// Headers whose values are lists, perhaps over several lines.
const LISTS: [&str; 5] = [
    "Accept",
    "Accept-Encoding",
    "If-None-Match",
    "Access-Control-Request-Method",
    "Access-Control-Request-Headers",
];

/// Around everything else. Connections whose request is refused here end: where the next one begins is in doubt.
pub(crate) async fn apply(State(api): State<Api>, request: Request, next: Next) -> Response {
    let Err(refused) = check(request.version(), request.headers()) else { return next.run(request).await };
    let mut response = refused.into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    api.shared.metrics.http(response.status().as_u16());
    response
}

fn check(version: Version, headers: &HeaderMap) -> Result<(), Refused> {
    for name in SINGLE {
        if headers.get_all(name).iter().count() > 1 {
            return Err(Refusal::invalid(name, format!("the {name} header must come once")).into());
        }
    }
    for name in SINGLE.into_iter().chain(LISTS) {
        if headers.get_all(name).iter().any(|value| std::str::from_utf8(value.as_bytes()).is_err()) {
            return Err(Refusal::invalid(name, not_text(name)).into());
        }
    }
    // HTTP/1.0 has no Host (RFC 9112 §3.2); some probes still speak it.
    if version >= Version::HTTP_11 && !headers.contains_key(header::HOST) {
        return Err(Refusal::invalid("Host", "the Host header is missing").into());
    }
    let coding = text(headers, "Content-Encoding").unwrap_or("identity");
    if !coding.trim().eq_ignore_ascii_case("identity") {
        let detail = "bodies are taken as they are, without Content-Encoding";
        let refusal = Refusal::invalid("Content-Encoding", detail);
        return Err(Refused { refusal, status: Some(StatusCode::UNSUPPORTED_MEDIA_TYPE) });
    }
    Ok(())
}

fn not_text(name: &str) -> String {
    let elsewhere = match name {
        "Agentbench-Producer" => "; ?producerId= takes the name percent-encoded",
        "Last-Event-ID" => "; ?lastEventId= takes it percent-encoded",
        _ => "",
    };
    format!("the {name} header is not UTF-8 text{elsewhere}")
}

/// The text of a header, if it is there. Only headers that were checked are read this way.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    debug_assert!(
        SINGLE.iter().chain(&LISTS).any(|known| known.eq_ignore_ascii_case(name)),
        "{name} is read and was not checked"
    );
    std::str::from_utf8(headers.get(name)?.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    #[test]
    fn no_header_that_is_read_may_be_unreadable_or_ambiguous() {
        let lower = |name: &str| -> &'static str { name.to_ascii_lowercase().leak() };
        for name in SINGLE.into_iter().chain(LISTS) {
            for latin in [&b"gr\xf6\xdfe"[..], b"\xff", b"a\xc3", b"\xed\xa0\x80"] {
                let refused = check(Version::HTTP_10, &headers(&[(lower(name), latin)])).unwrap_err();
                assert_eq!(refused.refusal.field.as_deref(), Some(name), "{latin:?}");
            }
            let once = check(Version::HTTP_10, &headers(&[(lower(name), "größe".as_bytes())]));
            assert_eq!(once.is_ok(), name != "Content-Encoding", "UTF-8 in {name}");
        }
        for name in SINGLE {
            let twice = headers(&[(lower(name), b"identity"), (lower(name), b"identity")]);
            let refused = check(Version::HTTP_10, &twice).unwrap_err();
            assert_eq!(refused.refusal.field.as_deref(), Some(name));
        }
    }

    #[test]
    fn a_host_is_needed_from_http_1_1_on() {
        assert!(check(Version::HTTP_10, &headers(&[])).is_ok());
        let refused = check(Version::HTTP_11, &headers(&[])).unwrap_err();
        assert_eq!(refused.refusal.field.as_deref(), Some("Host"));
        assert!(check(Version::HTTP_11, &headers(&[("host", b"h")])).is_ok());
    }
}
