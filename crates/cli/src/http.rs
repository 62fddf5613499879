//! One HTTP request to a running server: what the operator's commands ask beside the WebSocket.

use std::path::Path;

use agentbench_tls::{Connector, Stream};
use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, HOST};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Longest answer that is read whole, in bytes: a flame graph of a busy minute has a few megabytes.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// A server by its address: `ws://`, `wss://`, `http://` and `https://` all mean the same port.
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
    connector: Option<Connector>,
}

impl Target {
    /// # Errors
    /// An address that is none, or an authority that cannot be read.
    pub(crate) fn parse(url: &str, authority: Option<&Path>) -> anyhow::Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("{url:?} is no address"))?;
        let encrypted = match uri.scheme_str() {
            Some("wss" | "https") => true,
            Some("ws" | "http") => false,
            _ => bail!("{url:?} must begin with ws://, wss://, http:// or https://"),
        };
        let host = uri.host().with_context(|| format!("{url:?} names no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
        let connector = match authority {
            _ if !encrypted => None,
            None => Some(Connector::native()?),
            Some(path) => Some(Connector::with_authority_file(path)?),
        };
        Ok(Self { host, port, connector })
    }

    /// A connected socket, with TLS on it if the address says so.
    pub(crate) async fn connect(&self) -> std::io::Result<Stream> {
        let socket = TcpStream::connect((self.host.as_str(), self.port)).await?;
        match &self.connector {
            Some(connector) => connector.connect(socket, &self.host).await,
            None => Ok(Stream::Plain(socket)),
        }
    }

    /// Sends a request without a body; the answer's body is still to be read.
    ///
    /// # Errors
    /// If the server cannot be reached or speaks no HTTP.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        accept: &str,
    ) -> anyhow::Result<Response<Incoming>> {
        let (host, port) = (&self.host, self.port);
        let stream = self.connect().await.with_context(|| format!("cannot connect to {host}:{port}"))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the answer's body; what breaks it is seen there.
        tokio::spawn(async move { drop(connection.await) });
        let mut request = Request::builder().method(method).uri(path).header(ACCEPT, accept);
        request = request.header(HOST, format!("{host}:{port}"));
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        Ok(sender.send_request(request.body(Empty::<Bytes>::new())?).await?)
    }
}

/// The whole body, as text. What is no UTF-8 is replaced.
///
/// # Errors
/// A body that breaks off or has more than 64 MiB.
pub(crate) async fn text(body: Incoming) -> anyhow::Result<String> {
    let body = Limited::new(body, MAX_BODY).collect().await;
    let bytes = body.map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?.to_bytes();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The answer if it is good; else what the server says is wrong, in words.
///
/// # Errors
/// Any status but 200.
pub(crate) async fn expect_ok(response: Response<Incoming>) -> anyhow::Result<Response<Incoming>> {
    let status = response.status();
    if status == StatusCode::OK {
        return Ok(response);
    }
    let body = text(response.into_body()).await.unwrap_or_default();
    let said = serde_json::from_str::<serde_json::Value>(&body).ok();
    let said = said.as_ref().and_then(|body| body["data"]["error"].as_str()).unwrap_or(body.trim());
    bail!("the server answers {}: {said}", status.as_u16());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let read = |url| Target::parse(url, None).map(|target| (target.host, target.port)).unwrap();
        assert_eq!(read("ws://127.0.0.1:3001"), ("127.0.0.1".to_owned(), 3001));
        assert_eq!(read("http://example/x"), ("example".to_owned(), 80));
        assert_eq!(read("ws://[::1]:9"), ("::1".to_owned(), 9));
        for wrong in ["", "example:1", "ftp://x", "ws://"] {
            assert!(Target::parse(wrong, None).is_err(), "{wrong}");
        }
    }
}
