//! One GET over plain TCP or TLS, with limits on everything that the other end may do.

use std::io;
use std::path::Path;
use std::time::Duration;

use agentbench_tls::{Connector, Stream};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::{ACCEPT, CACHE_CONTROL, HOST};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Largest set of keys that is read, in bytes; real ones have a few thousand.
const MAX_BODY: usize = 1024 * 1024;

/// Where keys are fetched from.
pub(super) struct Source {
    uri: Uri,
    host: String,
    port: u16,
    connector: Option<Connector>,
}

/// What came back.
pub(super) struct Answer {
    pub(super) body: String,
    /// How long the other end says that it stays right.
    pub(super) max_age: Option<Duration>,
}

impl Source {
    /// # Errors
    /// An address that is none, or an authority that cannot be read.
    pub(super) fn new(url: &str, authority: Option<&Path>) -> io::Result<Self> {
        let wrong = |why: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("JWKS_URL {why}"));
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

    /// # Errors
    /// What went wrong, in words for the log. Redirections are not followed: keys come from where the settings say.
    pub(super) async fn fetch(&self) -> Result<Answer, String> {
        let stream = self.connect().await.map_err(|error| error.to_string())?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        let target = self.uri.path_and_query().map_or("/", |target| target.as_str());
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        let request = Request::get(target).header(HOST, authority).header(ACCEPT, "application/json");
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
            if response.status() != StatusCode::OK {
                return Err(format!("the answer is {}", response.status()));
            }
            let max_age =
                response.headers().get(CACHE_CONTROL).and_then(|value| max_age(value.to_str().ok()?));
            let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
            let body = body.map_err(|error| error.to_string())?.to_bytes();
            let body = String::from_utf8(body.into()).map_err(|_| "the answer is no text".to_owned())?;
            Ok(Answer { body, max_age })
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
    fn the_issuers_word_on_age() {
        assert_eq!(max_age("public, max-age=60"), Some(Duration::from_secs(60)));
        assert_eq!(max_age("Max-Age=\"5\", must-revalidate"), Some(Duration::from_secs(5)));
        assert_eq!(max_age("no-store"), Some(Duration::ZERO));
        assert_eq!(max_age("private"), None);
        assert_eq!(max_age("max-age=soon"), None);
    }
}
