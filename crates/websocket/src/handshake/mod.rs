//! The HTTP heads that open a connection (RFC 6455 §4): parsing and encoding, without IO.
//!
//! - [`Request`] and [`write_101`] for a server; which requests to take (tokens, paths, origins, capacity) is
//!   its own affair.
//! - [`Opening`] for a client.
//! - [`Request`] and [`parse_response`] for a proxy that watches.

mod opening;
mod request;
mod response;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::BytesMut;
use sha1::{Digest as _, Sha1};

pub use opening::{MAX_REFUSAL, Offer, Opened, Opening, OpeningError, Refusal};
pub use request::{Request, Target, Upgrade};
pub use response::{Response, parse_response, write_101, write_response};

/// Maximum size of a head in bytes; tokens in headers or in the query string fit many times.
pub const MAX_HEAD: usize = 16 * 1024;
/// Maximum number of headers in a head; browsers behind proxies send about 30.
pub const MAX_HEADERS: usize = 64;

/// With it, `Sec-WebSocket-Accept` proves that the other side speaks WebSocket (RFC 6455 §1.3).
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const VERSION: &str = "13";

/// Why a head does not open a WebSocket connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Not HTTP/1.
    #[error("the head is not HTTP/1.1")]
    Malformed,
    /// Over [`MAX_HEAD`] or [`MAX_HEADERS`].
    #[error("the head is too large")]
    TooLarge,
    /// WebSocket connections start with GET.
    #[error("the method must be GET")]
    Method,
    /// HTTP/1.0 has no upgrades.
    #[error("the HTTP version must be 1.1")]
    HttpVersion,
    /// HTTP/1.1 requires it.
    #[error("there must be one Host header, and it must be UTF-8 text")]
    Host,
    /// `Upgrade: websocket` is missing.
    #[error("the Upgrade header must be websocket")]
    Upgrade,
    /// `Connection: Upgrade` is missing.
    #[error("the Connection header must hold Upgrade")]
    Connection,
    /// No `Sec-WebSocket-Key`, several, or not 16 bytes in base64.
    #[error("the Sec-WebSocket-Key header must be 16 bytes in base64")]
    Key,
    /// A version of the protocol other than 13.
    #[error("the Sec-WebSocket-Version header must be 13")]
    Version,
    /// A line of the head that ends in LF alone.
    #[error("lines of the head must end in CR LF")]
    LineEnd,
    /// A header that is present but unreadable is never treated as absent.
    #[error("the {0} header is not UTF-8 text")]
    NotText(&'static str),
    /// A header with a single value occurs several times.
    #[error("the {0} header must come once")]
    Repeated(&'static str),
    /// The server's `Sec-WebSocket-Accept` does not match our key.
    #[error("the Sec-WebSocket-Accept header does not fit the key")]
    Accept,
}

impl HandshakeError {
    /// The status with which a server refuses the request.
    pub fn status(self) -> u16 {
        match self {
            Self::TooLarge => 431,
            Self::Method => 405,
            Self::HttpVersion => 505,
            Self::Upgrade | Self::Version => 426,
            Self::Malformed
            | Self::LineEnd
            | Self::Host
            | Self::Connection
            | Self::Key
            | Self::NotText(_)
            | Self::Repeated(_)
            | Self::Accept => 400,
        }
    }
}

/// The answer to a `Sec-WebSocket-Key` (RFC 6455 §4.2.2): 28 characters of base64.
pub fn accept_key(key: &str) -> [u8; 28] {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(KEY_SUFFIX);
    let mut accept = [0; 28];
    BASE64.encode_slice(hash.finalize(), &mut accept).expect("20 bytes are 28 characters of base64");
    accept
}

/// A `Sec-WebSocket-Key` of 16 random bytes, which the caller provides.
fn key(random: [u8; 16]) -> String {
    BASE64.encode(random)
}

/// Header values by name, for both kinds of head.
#[derive(Clone)]
struct Headers<'a>(Vec<httparse::Header<'a>>);

impl<'a> Headers<'a> {
    fn raw<'h>(&'h self, name: &'h str) -> impl DoubleEndedIterator<Item = &'a [u8]> + 'h {
        self.0.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
    }

    /// All text values of a header.
    fn all<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'a str> + 'h {
        self.raw(name).filter_map(header_text)
    }

    /// The value of a header that must occur only once.
    fn one(&self, name: &str) -> Option<&'a str> {
        let mut values = self.raw(name);
        let value = values.next()?;
        if values.next().is_some() { None } else { header_text(value) }
    }

    /// The value of a header that must occur only once; `None` only if it is absent.
    fn single(&self, name: &'static str) -> Result<Option<&'a str>, HandshakeError> {
        let mut values = self.raw(name);
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(HandshakeError::Repeated(name));
        }
        header_text(value).map(Some).ok_or(HandshakeError::NotText(name))
    }

    /// Whether a comma-separated list contains a token, ignoring case.
    fn lists(&self, name: &str, token: &str) -> bool {
        self.all(name).flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(token))
    }

    /// The values of a header that may be spread over several lines, as one list; empty if it is absent.
    fn list(&self, name: &'static str) -> Result<String, HandshakeError> {
        let values: Option<Vec<_>> = self.raw(name).map(header_text).collect();
        values.map(|values| values.join(", ")).ok_or(HandshakeError::NotText(name))
    }
}

fn header_text(value: &[u8]) -> Option<&str> {
    simdutf8::basic::from_utf8(value).ok().map(str::trim)
}

/// Appends a header without line breaks and other control characters, which would start another header.
fn write_header(dst: &mut BytesMut, name: &str, value: &str) {
    dst.extend_from_slice(name.as_bytes());
    dst.extend_from_slice(b": ");
    write_text(dst, value);
    dst.extend_from_slice(b"\r\n");
}

fn write_text(dst: &mut BytesMut, text: &str) {
    dst.extend(text.bytes().filter(|byte| !byte.is_ascii_control()));
}

/// Converts an error of httparse.
fn head_error(error: httparse::Error) -> HandshakeError {
    match error {
        httparse::Error::TooManyHeaders => HandshakeError::TooLarge,
        _ => HandshakeError::Malformed,
    }
}

/// An incomplete head is fine unless it can no longer be completed within the limits.
fn check_incomplete(bytes: &[u8]) -> Result<(), HandshakeError> {
    if bytes.len() >= MAX_HEAD { Err(HandshakeError::TooLarge) } else { Ok(()) }
}

/// Refuses a complete head over the limit.
fn check_size(head: usize) -> Result<(), HandshakeError> {
    if head > MAX_HEAD { Err(HandshakeError::TooLarge) } else { Ok(()) }
}
