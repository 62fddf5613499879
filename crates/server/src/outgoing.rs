//! Requests that the server makes itself (for keys, alerts and spans), with a size limit on responses. The caller sets the
//! time limit.

use std::io;
use std::path::Path;
use std::time::Duration;

use agentbench_http_client::{HttpClient, RequestBuilder, StatusCode, header::CACHE_CONTROL};
use bytes::Bytes;

/// Size limit of a response, in bytes; key sets have a few thousand.
const MAX_BODY: usize = 1024 * 1024;

/// The destination of requests.
pub(crate) struct Destination(HttpClient);

/// The response.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
    /// How long the response stays valid, according to its `Cache-Control`.
    pub(crate) max_age: Option<Duration>,
}

impl Destination {
    /// # Errors
    /// The address in this setting is invalid, or the authority cannot be read.
    pub(crate) fn new(setting: &str, url: &str, authority: Option<&Path>) -> io::Result<Self> {
        HttpClient::new(setting, url, authority).map(Self)
    }

    /// The target of requests.
    pub(crate) fn path(&self) -> &str {
        self.0.path()
    }

    /// Sends one request to the destination.
    ///
    /// # Errors
    /// A description of the failure for the log.
    pub(crate) async fn send(&self, request: RequestBuilder, body: Bytes) -> Result<Answer, String> {
        let response = self.0.send(request, body).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let max_age = response.headers().get(CACHE_CONTROL).and_then(|value| max_age(value.to_str().ok()?));
        let body = response.whole(MAX_BODY).await.map_err(|error| error.to_string())?;
        Ok(Answer { status, body, max_age })
    }
}

/// `max-age` of a `Cache-Control` header (RFC 9111 §5.2.2.1); `no-cache` and `no-store` are zero.
fn max_age(value: &str) -> Option<Duration> {
    let mut directives = value.split(',').map(|part| part.trim().to_ascii_lowercase());
    directives.find_map(|part| match part.as_str() {
        "no-cache" | "no-store" => Some(Duration::ZERO),
        _ => part.strip_prefix("max-age=")?.trim_matches('"').parse().ok().map(Duration::from_secs),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_of_the_other_end_on_age() {
        assert_eq!(max_age("public, max-age=60"), Some(Duration::from_secs(60)));
        assert_eq!(max_age("Max-Age=\"5\", must-revalidate"), Some(Duration::from_secs(5)));
        assert_eq!(max_age("no-store"), Some(Duration::ZERO));
        assert_eq!(max_age("private"), None);
        assert_eq!(max_age("max-age=soon"), None);
    }
}
