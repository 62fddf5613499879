//! Requests to a server's HTTP API: what commands ask for that does not go over the socket.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

use crate::http::Target;

/// Time to connect, and to wait for an answer's head or its next piece.
const PATIENCE: Duration = Duration::from_secs(30);
/// Largest refusal that is read, in bytes.
const MAX_REFUSAL: usize = 64 * 1024;

/// A server, by the address that sockets connect to (`ws://…`), and who asks.
pub(crate) struct Server {
    target: Target,
    token: String,
}

/// An answer whose body is read as it comes.
pub(crate) struct Answer {
    response: Response<Incoming>,
}

impl Server {
    /// # Errors
    /// An address that is none, or an authority that cannot be read.
    pub(crate) fn new(url: &str, authority_file: Option<&Path>, token: String) -> anyhow::Result<Self> {
        Ok(Self { target: Target::parse(url, authority_file)?, token })
    }

    /// # Errors
    /// If no answer comes. A refusal is an answer.
    pub(crate) async fn get(&self, target: &str) -> anyhow::Result<Answer> {
        self.send(Method::GET, target, None, Bytes::new()).await
    }

    /// # Errors
    /// If no answer comes. A refusal is an answer.
    pub(crate) async fn put(&self, target: &str, content_type: &str, body: Bytes) -> anyhow::Result<Answer> {
        self.send(Method::PUT, target, Some(content_type), body).await
    }

    async fn send(
        &self,
        method: Method,
        target: &str,
        content_type: Option<&str>,
        body: Bytes,
    ) -> anyhow::Result<Answer> {
        let authority = format!("{}:{}", self.target.host, self.target.port);
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, &authority)
            .header(AUTHORIZATION, format!("Bearer {}", self.token));
        if let Some(kind) = content_type {
            request = request.header(CONTENT_TYPE, kind);
        }
        let request = request.body(Full::new(body))?;
        let exchange = async {
            let stream = self.target.connect().await?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            // It ends with the answer, or when nobody wants that any more.
            tokio::spawn(connection);
            anyhow::Ok(sender.send_request(request).await?)
        };
        let answered = tokio::time::timeout(PATIENCE, exchange).await;
        let response = answered
            .with_context(|| format!("no answer from {authority} in time"))?
            .with_context(|| format!("cannot reach {authority}; is the server running?"))?;
        Ok(Answer { response })
    }
}

impl Answer {
    pub(crate) fn is_success(&self) -> bool {
        self.status().is_success()
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// If the body breaks off: what came before is not all of it.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Bytes>> {
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.response.body_mut().frame());
            match frame.await.context("the server sends nothing more")? {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(data) = frame.context("the server's answer broke off")?.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// What the server says that it refuses, in words.
    ///
    /// # Errors
    /// If it does not come.
    pub(crate) async fn refusal(self) -> anyhow::Result<String> {
        let status = self.status();
        let body = Limited::new(self.response.into_body(), MAX_REFUSAL).collect();
        let body = tokio::time::timeout(PATIENCE, body).await.context("the server sends nothing more")?;
        let body = body.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes();
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        Ok(value["data"]["error"].as_str().map_or_else(|| status.to_string(), str::to_owned))
    }
}
