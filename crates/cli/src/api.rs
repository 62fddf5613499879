//! Requests to a running server's HTTP API, for what commands do not do over the socket.

use std::path::Path;
use std::time::Duration;

use agentbench_http_client::header::AUTHORIZATION;
use agentbench_http_client::{HttpClient, RequestBuilder, RequestError, Response, StatusCode};
use anyhow::{Context, bail};
use bytes::Bytes;

/// Time limit for connecting, for an answer's head and for each further chunk.
const PATIENCE: Duration = Duration::from_secs(30);
/// Largest answer read as a whole, in bytes: the flame graph of a busy minute takes a few megabytes.
const MAX_BODY: usize = 64 * 1024 * 1024;
/// Largest refusal read, in bytes.
const MAX_REFUSAL: usize = 64 * 1024;

/// An HTTP client for the server at this address.
///
/// # Errors
/// The address is invalid, or the CA file cannot be read.
pub(crate) fn client(url: &str, authority_file: Option<&Path>) -> anyhow::Result<HttpClient> {
    Ok(HttpClient::new(&format!("{url:?}"), url, authority_file)?)
}

/// A server, by its WebSocket address (`ws://…`), and the requester's token.
pub(crate) struct Server {
    client: HttpClient,
    token: String,
}

impl Server {
    /// # Errors
    /// The address is invalid, or the CA file cannot be read.
    pub(crate) fn new(url: &str, authority_file: Option<&Path>, token: String) -> anyhow::Result<Self> {
        Ok(Self { client: client(url, authority_file)?, token })
    }

    /// Sends a request with the token. The caller sets the time limit.
    ///
    /// # Errors
    /// No answer arrives. A refusal counts as an answer.
    pub(crate) async fn send(&self, request: RequestBuilder, body: Bytes) -> anyhow::Result<Response> {
        let request = request.header(AUTHORIZATION, format!("Bearer {}", self.token));
        match self.client.send(request, body).await {
            Err(error @ RequestError::Request(_)) => Err(error.into()),
            response => {
                response.with_context(|| format!("cannot reach {}; is the server running?", self.place()))
            }
        }
    }

    /// Sends a request with the token.
    ///
    /// # Errors
    /// No answer arrives in time. A refusal counts as an answer.
    pub(crate) async fn send_in_time(
        &self,
        request: RequestBuilder,
        body: Bytes,
    ) -> anyhow::Result<Response> {
        let response = tokio::time::timeout(PATIENCE, self.send(request, body)).await;
        response.with_context(|| format!("no answer from {} in time", self.place()))?
    }

    fn place(&self) -> String {
        format!("{}:{}", self.client.host(), self.client.port())
    }
}

/// The next chunk of an answer's body; `None` at its end.
///
/// # Errors
/// The chunk does not arrive in time, or the body is cut off, so what was read is incomplete.
pub(crate) async fn next(response: &mut Response) -> anyhow::Result<Option<Bytes>> {
    let piece = tokio::time::timeout(PATIENCE, response.next()).await;
    piece.context("the server stopped sending")?.context("the server's answer was cut off")
}

/// The text of a refusal.
///
/// # Errors
/// The text does not arrive in time.
pub(crate) async fn refusal(response: Response) -> anyhow::Result<String> {
    let status = response.status();
    let body = tokio::time::timeout(PATIENCE, response.whole(MAX_REFUSAL)).await;
    let body = body.context("the server stopped sending")??;
    Ok(error_in(&body).unwrap_or_else(|| status.to_string()))
}

/// The whole body as text, with invalid UTF-8 replaced.
///
/// # Errors
/// The body is cut off or exceeds 64 MiB.
pub(crate) async fn text(response: Response) -> anyhow::Result<String> {
    let body = response.whole(MAX_BODY).await.context("the answer was cut off")?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// Returns the answer if its status is 200.
///
/// # Errors
/// Any other status, with the server's error text.
pub(crate) async fn expect_ok(response: Response) -> anyhow::Result<Response> {
    let status = response.status();
    if status == StatusCode::OK {
        return Ok(response);
    }
    let body = text(response).await.unwrap_or_default();
    let error = error_in(body.as_bytes()).unwrap_or_else(|| body.trim().to_owned());
    bail!("the server answered {}: {error}", status.as_u16());
}

/// The error text of a refusal, if the body has the server's form.
fn error_in(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    body["data"]["error"].as_str().map(str::to_owned)
}
