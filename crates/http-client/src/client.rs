//! The target of requests, and how to reach it.

use std::io;
use std::path::Path;

use agentbench_tls::{Connector, Stream};
use bytes::Bytes;
use http_body_util::Full;
use hyper::Uri;
use hyper::client::conn::http1::handshake;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::response::drive;
use crate::{RequestBuilder, RequestError, Response};

/// A server by its address: `ws://`, `wss://`, `http://` and `https://` are treated alike.
#[derive(Debug)]
pub struct HttpClient {
    uri: Uri,
    host: String,
    port: u16,
    connector: Option<Connector>,
}

impl HttpClient {
    /// Parses an address; `authority` is the file of the CA that signs its certificate, the system's CAs if not given.
    /// Errors refer to the address by `name`, since it may contain a secret.
    ///
    /// # Errors
    /// The address is invalid, or the CA file cannot be read.
    pub fn new(name: &str, url: &str, authority: Option<&Path>) -> io::Result<Self> {
        let invalid = |fault| io::Error::new(io::ErrorKind::InvalidInput, format!("{name} {fault}"));
        let uri: Uri = url.parse().map_err(|_| invalid("is not a valid address"))?;
        let is_encrypted = match uri.scheme_str() {
            Some("wss" | "https") => true,
            Some("ws" | "http") => false,
            _ => return Err(invalid("must begin with ws://, wss://, http:// or https://")),
        };
        let host = uri.host().ok_or_else(|| invalid("has no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(if is_encrypted { 443 } else { 80 });
        let connector = match authority {
            _ if !is_encrypted => None,
            None => Some(Connector::native()),
            Some(path) => Some(Connector::with_authority_file(path)),
        };
        let connector = connector.transpose().map_err(io::Error::other)?;
        Ok(Self { uri, host, port, connector })
    }

    /// Name or IP address of the server.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Path and query of the address.
    pub fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }

    /// Connects a socket, with TLS if the address requires it.
    ///
    /// # Errors
    /// The server cannot be reached, or its identity cannot be verified ([`agentbench_tls::TrustFault`]).
    pub async fn connect(&self) -> io::Result<Stream> {
        let socket = TcpStream::connect((self.host.as_str(), self.port)).await?;
        match &self.connector {
            Some(connector) => connector.connect(socket, &self.host).await,
            None => Ok(Stream::Plain(socket)),
        }
    }

    /// Sends a request and waits for the head of the answer.
    ///
    /// # Errors
    /// [`RequestError`]. A refusal counts as an answer.
    pub async fn send(&self, request: RequestBuilder, body: Bytes) -> Result<Response, RequestError> {
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        // A name and password before the host do not belong to the `Host` header.
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let request = request.header(HOST, host).body(Full::new(body))?;
        let (mut sender, connection) = handshake(TokioIo::new(self.connect().await?)).await?;
        let mut connection = Some(connection);
        let (head, body) = drive(&mut connection, sender.send_request(request)).await?.into_parts();
        Ok(Response { head, body, connection })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let read = |url| HttpClient::new("x", url, None).unwrap();
        let place = |url| (read(url).host().to_owned(), read(url).port());
        assert_eq!(place("ws://127.0.0.1:3001"), ("127.0.0.1".to_owned(), 3001));
        assert_eq!(place("http://example/x"), ("example".to_owned(), 80));
        assert_eq!(place("ws://[::1]:9"), ("::1".to_owned(), 9));
        assert_eq!(read("http://example/x?y=1").path(), "/x?y=1");
        assert_eq!(read("http://example").path(), "/");
        for wrong in ["", "example:1", "ftp://x", "ws://"] {
            assert!(HttpClient::new("x", wrong, None).is_err(), "{wrong}");
        }
        let error = HttpClient::new("WEBHOOK_URL", "ftp://secret", None).unwrap_err();
        assert_eq!(error.to_string(), "WEBHOOK_URL must begin with ws://, wss://, http:// or https://");
    }
}
