//! Requests that the server makes itself (for keys, of alerts, with spans): each over a connection of its own, plain or TLS, with a
//! limit on what comes back. The time limit is the caller's.

use std::io;
use std::path::Path;
use std::time::Duration;

use agentbench_tls::{Connector, Stream};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CACHE_CONTROL, HOST};
use hyper::http::request::Builder;
use hyper::{StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Largest answer that is read, in bytes; sets of keys have a few thousand.
const MAX_BODY: usize = 1024 * 1024;

/// Where requests go.
pub(crate) struct Destination {
    uri: Uri,
    host: String,
    port: u16,
    connector: Option<Connector>,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
    /// How long the other end says that it stays right.
    pub(crate) max_age: Option<Duration>,
}

impl Destination {
    /// # Errors
    /// An address that is none, or an authority that cannot be read.
    pub(crate) fn new(setting: &str, url: &str, authority: Option<&Path>) -> io::Result<Self> {
        let wrong = |why: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("{setting} {why}"));
        let uri: Uri = url.parse().map_err(|_| wrong("is no address"))?;
        let host = uri.host().ok_or_else(|| wrong("names no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_encrypted = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_encrypted { 443 } else { 80 });
        let connector = match authority {
            _ if !is_encrypted => None,
            None => Some(Connector::native()),
            Some(path) => Some(Connector::with_authority_file(path)),
        };
        let connector = connector.transpose().map_err(io::Error::other)?;
        Ok(Self { uri, host, port, connector })
    }

    /// The target of requests there.
    pub(crate) fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", |target| target.as_str())
    }

    /// Sends one request to where the settings say; redirections are not followed.
    ///
    /// # Errors
    /// What went wrong, in words for the log.
    pub(crate) async fn send(&self, request: Builder, body: Full<Bytes>) -> Result<Answer, String> {
        let stream = self.connect().await.map_err(|error| error.to_string())?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        // A name and password before the host are not part of its name.
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let request = request.header(HOST, host).body(body).map_err(|error| error.to_string())?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
            let status = response.status();
            let max_age =
                response.headers().get(CACHE_CONTROL).and_then(|value| max_age(value.to_str().ok()?));
            let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
            let body = body.map_err(|error| error.to_string())?.to_bytes();
            Ok(Answer { status, body, max_age })
        };
        tokio::pin!(exchange, connection);
        let mut is_over = false;
        loop {
            tokio::select! {
                answer = &mut exchange => return answer,
                // The end of the connection; what the exchange makes of it is the answer.
                _ = &mut connection, if !is_over => is_over = true,
            }
        }
    }

    async fn connect(&self) -> io::Result<Stream> {
        let socket = TcpStream::connect((self.host.as_str(), self.port)).await?;
        match &self.connector {
            Some(connector) => connector.connect(socket, &self.host).await,
            None => Ok(Stream::Plain(socket)),
        }
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
