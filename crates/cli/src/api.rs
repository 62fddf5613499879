//! Requests to a running server's HTTP API: what commands ask for that does not go over the socket.

use std::path::Path;
use std::time::Duration;

use agentbench_http_client::header::AUTHORIZATION;
use agentbench_http_client::{HttpClient, RequestBuilder, RequestError, Response, StatusCode};
use anyhow::{Context, bail};
use bytes::Bytes;

/// Time to connect, and to wait for an answer's head or its next piece.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest answer that is read whole, in bytes: a flame graph of a busy minute has a few megabytes.
const MAX_BODY: usize = 64 * 1024 * 1024;
/// Largest refusal that is read, in bytes.
const MAX_REFUSAL: usize = 64 * 1024;

/// The server at this address.
///
/// # Errors
/// The address is invalid, or the authority cannot be read.
pub(crate) fn client(url: &str, authority_file: Option<&Path>) -> anyhow::Result<HttpClient> {
    Ok(HttpClient::new(&format!("{url:?}"), url, authority_file)?)
}

/// A server, by the address that sockets connect to (`ws://…`), and the token of the requester.
pub(crate) struct Server {
    client: HttpClient,
    token: String,
}

impl Server {
    /// # Errors
    /// The address is invalid, or the authority cannot be read.
    pub(crate) fn new(url: &str, authority_file: Option<&Path>, token: String) -> anyhow::Result<Self> {
        Ok(Self { client: client(url, authority_file)?, token })
    }

    /// Sends a request with the token. The time limit is the caller's.
    ///
    /// # Errors
    /// No answer comes. A refusal is an answer.
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
    /// No answer comes in time. A refusal is an answer.
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

/// The next piece of an answer's body; `None` at its end.
///
/// # Errors
/// It does not come in time, or the body breaks off: what came before is not all of it.
pub(crate) async fn next(response: &mut Response) -> anyhow::Result<Option<Bytes>> {
    let piece = tokio::time::timeout(PATIENCE, response.next()).await;
    piece.context("the server sends nothing more")?.context("the server's answer broke off")
}

/// What the server says that it refuses, in words.
///
/// # Errors
/// It does not come in time.
pub(crate) async fn refusal(response: Response) -> anyhow::Result<String> {
    let status = response.status();
    let body = tokio::time::timeout(PATIENCE, response.whole(MAX_REFUSAL)).await;
    let body = body.context("the server sends nothing more")??;
    Ok(error_in(&body).unwrap_or_else(|| status.to_string()))
}

/// The whole body, as text. What is no UTF-8 is replaced.
///
/// # Errors
/// A body that breaks off or has more than 64 MiB.
pub(crate) async fn text(response: Response) -> anyhow::Result<String> {
    let body = response.whole(MAX_BODY).await.context("the answer broke off")?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// The answer if it is good.
///
/// # Errors
/// Any status but 200, with what the server says is wrong.
pub(crate) async fn expect_ok(response: Response) -> anyhow::Result<Response> {
    let status = response.status();
    if status == StatusCode::OK {
        return Ok(response);
    }
    let body = text(response).await.unwrap_or_default();
    let said = error_in(body.as_bytes()).unwrap_or_else(|| body.trim().to_owned());
    bail!("the server answers {}: {said}", status.as_u16());
}

/// The words of a refusal as the server writes it.
fn error_in(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    body["data"]["error"].as_str().map(str::to_owned)
}
