//! The client's head: parsed by a server, encoded by a client.

use std::fmt;

use base64::Engine as _;
use bytes::BytesMut;

use super::{
    BASE64, HandshakeError, Headers, MAX_HEADERS, VERSION, accept_key, check_incomplete, check_size,
    head_error, write_header, write_text,
};

/// The head of any HTTP/1 request.
#[derive(Clone)]
pub struct Request<'a> {
    /// The method, such as `GET`.
    pub method: &'a str,
    /// Path and query, as sent.
    pub target: &'a str,
    /// Size of the head in bytes; the peer's first frames or a body follow.
    pub size: usize,
    minor_version: u8,
    headers: Headers<'a>,
}

/// The parts of a request's target.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    /// Host and port of a target in absolute form. They take precedence over the `Host` header.
    pub authority: Option<&'a str>,
    /// The path.
    pub path: &'a str,
    /// The part after the first `?`.
    pub query: Option<&'a str>,
}

/// A valid request to open a WebSocket connection.
#[derive(Clone)]
pub struct Upgrade {
    /// For [`write_101`](super::write_101).
    pub accept: [u8; 28],
    /// `Sec-WebSocket-Extensions`, for [`negotiate`](crate::negotiate); empty if there is none.
    pub extensions: String,
    protocols: String,
}

impl Upgrade {
    /// The subprotocols that the client offers, in order of preference.
    pub fn protocols(&self) -> impl Iterator<Item = &str> {
        self.protocols.split(',').map(str::trim).filter(|protocol| !protocol.is_empty())
    }
}

impl<'a> Request<'a> {
    /// Parses the head at the start of `bytes`. `None` if it is incomplete.
    ///
    /// # Errors
    /// The head is not HTTP/1 or exceeds the limits.
    pub fn parse(bytes: &'a [u8]) -> Result<Option<Self>, HandshakeError> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let httparse::Status::Complete(size) = request.parse(bytes).map_err(head_error)? else {
            check_incomplete(bytes)?;
            return Ok(None);
        };
        check_size(size)?;
        check_line_ends(&bytes[..size])?;
        let (Some(method), Some(target), Some(minor_version)) =
            (request.method, request.path, request.version)
        else {
            return Err(HandshakeError::Malformed);
        };
        Ok(Some(Self { method, target, size, minor_version, headers: Headers(request.headers.to_vec()) }))
    }

    /// The parts of the target, which may be in absolute form (RFC 9112 §3.2.2).
    pub fn target_parts(&self) -> Target<'a> {
        let (before, query) = match self.target.split_once('?') {
            Some((before, query)) => (before, Some(query)),
            None => (self.target, None),
        };
        let schemes = ["http", "https", "ws", "wss"];
        let absolute = before
            .split_once("://")
            .filter(|(scheme, _)| schemes.iter().any(|known| scheme.eq_ignore_ascii_case(known)));
        let Some((_, rest)) = absolute else { return Target { authority: None, path: before, query } };
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        Target { authority: Some(authority), path, query }
    }

    /// The value of a header, if it occurs once and is text.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.one(name)
    }

    /// The value of a single-valued header; `None` only if it is absent.
    ///
    /// # Errors
    /// [`HandshakeError::NotText`], [`HandshakeError::Repeated`].
    pub fn single(&self, name: &'static str) -> Result<Option<&'a str>, HandshakeError> {
        self.headers.single(name)
    }

    /// The values of a header that may occur several times, in order.
    pub fn headers<'h>(&'h self, name: &'h str) -> impl DoubleEndedIterator<Item = &'a [u8]> + 'h {
        self.headers.raw(name)
    }

    /// Whether this requests a WebSocket at all; if not, it is a plain HTTP request.
    pub fn wants_websocket(&self) -> bool {
        self.headers.lists("upgrade", "websocket")
    }

    /// Checks all requirements of RFC 6455 §4.2.1 for an opening handshake.
    ///
    /// # Errors
    /// What is missing or wrong; [`HandshakeError::status`] is the status to answer with.
    pub fn upgrade(&self) -> Result<Upgrade, HandshakeError> {
        if self.method != "GET" {
            return Err(HandshakeError::Method);
        }
        if self.minor_version < 1 {
            return Err(HandshakeError::HttpVersion);
        }
        if self.header("host").is_none() {
            return Err(HandshakeError::Host);
        }
        if !self.wants_websocket() {
            return Err(HandshakeError::Upgrade);
        }
        if !self.headers.lists("connection", "upgrade") {
            return Err(HandshakeError::Connection);
        }
        if self.header("sec-websocket-version") != Some(VERSION) {
            return Err(HandshakeError::Version);
        }
        let key = self.header("sec-websocket-key").filter(|key| is_key(key)).ok_or(HandshakeError::Key)?;
        Ok(Upgrade {
            accept: accept_key(key),
            extensions: self.headers.list("sec-websocket-extensions")?,
            protocols: self.headers.list("sec-websocket-protocol")?,
        })
    }
}

impl fmt::Debug for Request<'_> {
    /// Omits target and headers, which contain tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Target<'_> {
    /// Omits the query, which contains tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("authority", &self.authority)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Upgrade {
    /// Omits the subprotocols, which contain tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgrade").field("extensions", &self.extensions).finish_non_exhaustive()
    }
}

/// httparse accepts a lone LF, as RFC 9112 §2.2 allows. Proxies differ in that, and a head must not be split into lines here
/// differently than there.
fn check_line_ends(head: &[u8]) -> Result<(), HandshakeError> {
    let is_whole = |(at, byte): (usize, &u8)| *byte != b'\n' || (at > 0 && head[at - 1] == b'\r');
    if head.iter().enumerate().all(is_whole) { Ok(()) } else { Err(HandshakeError::LineEnd) }
}

fn is_key(key: &str) -> bool {
    let mut nonce = [0; 18];
    key.len() == 24 && BASE64.decode_slice(key, &mut nonce) == Ok(16)
}

/// Appends a client's opening handshake. `key` is a [`key`](super::key) of fresh random bytes, `protocols` is in
/// order of preference.
pub(super) fn write_request(
    dst: &mut BytesMut,
    host: &str,
    target: &str,
    key: &str,
    protocols: &[&str],
    extensions: Option<&str>,
    extra_headers: &[(&str, &str)],
) {
    dst.extend_from_slice(b"GET ");
    write_text(dst, target);
    dst.extend_from_slice(b" HTTP/1.1\r\n");
    write_header(dst, "Host", host);
    write_header(dst, "Upgrade", "websocket");
    write_header(dst, "Connection", "Upgrade");
    write_header(dst, "Sec-WebSocket-Version", VERSION);
    write_header(dst, "Sec-WebSocket-Key", key);
    if !protocols.is_empty() {
        write_header(dst, "Sec-WebSocket-Protocol", &protocols.join(", "));
    }
    if let Some(extensions) = extensions {
        write_header(dst, "Sec-WebSocket-Extensions", extensions);
    }
    for (name, value) in extra_headers {
        write_header(dst, name, value);
    }
    dst.extend_from_slice(b"\r\n");
}
