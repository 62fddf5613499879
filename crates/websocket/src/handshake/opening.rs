//! The client's half of the opening handshake (RFC 6455 §4.1), from the request to the first byte behind the answer.
//!
//! [`Opening::new`] writes the request, [`Opening::feed`] takes the answer in pieces of any size, and the outcome does not depend on
//! how they were cut. Kept are at most [`MAX_HEAD`] bytes of a head and [`MAX_REFUSAL`] of a refusal's body. Connecting, waiting and
//! giving up are the caller's.

use std::fmt;

use bytes::BytesMut;

use super::request::write_request;
use super::response::{Response, parse_response};
use super::{HandshakeError, MAX_HEAD, accept_key, key};
use crate::{DeflatePolicy, Negotiated, ResponseError, accept_response, offer_value};

/// Most bytes of a refusal's body that are kept: an error object of ours and its hint fit.
pub const MAX_REFUSAL: usize = 1024;

/// What a client asks for.
#[derive(Clone, Copy)]
pub struct Offer<'a> {
    /// The `Host` header.
    pub host: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// Subprotocols in order of preference.
    pub protocols: &'a [&'a str],
    /// Compression, if the client wants it.
    pub deflate: Option<DeflatePolicy>,
    /// Further headers.
    pub headers: &'a [(&'a str, &'a str)],
}

/// A request that waits for its answer. Once it has given an outcome it is of no more use.
pub struct Opening {
    accept: [u8; 28],
    protocols: Vec<String>,
    deflate: Option<DeflatePolicy>,
    /// The answer's head, or, once `refusal` is set, nothing.
    head: BytesMut,
    refusal: Option<PartialRefusal>,
}

/// A refusal whose body is still on its way.
struct PartialRefusal {
    refusal: Refusal,
    /// Bytes of the body that are still to be kept.
    missing: usize,
}

/// A connection that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The subprotocol that the server chose out of those offered.
    pub protocol: Option<String>,
    /// Compression, if both sides want it.
    pub deflate: Option<Negotiated>,
    /// What came behind the head: the server's first frames.
    pub rest: BytesMut,
}

/// An answer other than 101.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// `Retry-After`, if given in seconds.
    pub retry_after: Option<u64>,
    /// The first [`MAX_REFUSAL`] bytes of the body. Empty if the head does not give a length.
    pub body: Vec<u8>,
}

impl Refusal {
    /// The body as text without blanks around it.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().to_owned()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server refused the connection with HTTP status {}", self.status)?;
        let text = self.text();
        if text.is_empty() { Ok(()) } else { write!(f, ": {text}") }
    }
}

/// Why a connection is not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpeningError {
    /// The server answered with another status than 101.
    #[error("{0}")]
    Refused(Refusal),
    /// The answer is not HTTP/1.1, is over the limits, or is a 101 that does not fit the request.
    #[error(transparent)]
    Head(#[from] HandshakeError),
    /// A 101 with a subprotocol that was not offered.
    #[error("the server chose a subprotocol that was not offered")]
    Protocol,
    /// A 101 with extensions that do not fit the offer.
    #[error(transparent)]
    Extensions(#[from] ResponseError),
    /// No whole answer came.
    #[error("the server ended the connection during the handshake")]
    Ended,
}

impl Opening {
    /// Appends the request to `dst`. `nonce` are random bytes, which the caller brings.
    pub fn new(dst: &mut BytesMut, offer: &Offer<'_>, nonce: [u8; 16]) -> Self {
        let key = key(nonce);
        let extensions = offer.deflate.as_ref().map(offer_value);
        let Offer { host, target, protocols, headers, .. } = offer;
        write_request(dst, host, target, &key, protocols, extensions.as_deref(), headers);
        Self {
            accept: accept_key(&key),
            protocols: protocols.iter().map(|protocol| (*protocol).to_owned()).collect(),
            deflate: offer.deflate,
            head: BytesMut::new(),
            refusal: None,
        }
    }

    /// The only `Sec-WebSocket-Accept` that answers this request.
    pub fn expected_accept(&self) -> &[u8; 28] {
        &self.accept
    }

    /// Takes bytes of the answer. `None` if more are needed.
    ///
    /// A refusal is an error once its body is whole, or [`MAX_REFUSAL`] bytes of it are there, or at once if its head does not give
    /// the body's length.
    ///
    /// # Errors
    /// If the answer does not open a connection.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<Opened>, OpeningError> {
        if self.refusal.is_some() {
            return self.feed_body(bytes).map(|()| None);
        }
        let (kept, beyond) = bytes.split_at(bytes.len().min(MAX_HEAD - self.head.len()));
        self.head.extend_from_slice(kept);
        match parse_response(&self.head, &self.accept)? {
            Response::Incomplete => Ok(None),
            Response::Rejected { status, retry_after, length, consumed } => {
                let refusal = Refusal { status, retry_after, body: Vec::new() };
                let missing = length.unwrap_or(0).min(MAX_REFUSAL as u64) as usize;
                self.refusal = Some(PartialRefusal { refusal, missing });
                let head = std::mem::take(&mut self.head);
                self.feed_body(&head[consumed..])?;
                self.feed_body(beyond).map(|()| None)
            }
            Response::Accepted { protocol, extensions, consumed } => {
                if protocol.is_some_and(|protocol| !self.protocols.iter().any(|offered| offered == protocol))
                {
                    return Err(OpeningError::Protocol);
                }
                let deflate = match &self.deflate {
                    Some(policy) => accept_response(&extensions, policy)?,
                    None if extensions.is_empty() => None,
                    None => return Err(ResponseError::NotOffered.into()),
                };
                let protocol = protocol.map(str::to_owned);
                let mut rest = self.head.split_off(consumed);
                rest.extend_from_slice(beyond);
                self.head = BytesMut::new();
                Ok(Some(Opened { protocol, deflate, rest }))
            }
        }
    }

    /// Takes bytes of a refusal's body, if there is one; it is the error once it has all that is kept of it.
    fn feed_body(&mut self, bytes: &[u8]) -> Result<(), OpeningError> {
        let Some(partial) = &mut self.refusal else { return Ok(()) };
        let (kept, _) = bytes.split_at(bytes.len().min(partial.missing));
        partial.refusal.body.extend_from_slice(kept);
        partial.missing -= kept.len();
        if partial.missing > 0 { Ok(()) } else { Err(self.end()) }
    }

    /// The outcome if nothing more comes, because the connection has ended or the time is up: a refusal with as much of its body as
    /// came, or [`OpeningError::Ended`].
    pub fn end(&mut self) -> OpeningError {
        match self.refusal.take() {
            Some(partial) => OpeningError::Refused(partial.refusal),
            None => OpeningError::Ended,
        }
    }
}

impl fmt::Debug for Offer<'_> {
    /// Without target, subprotocols and headers: they carry tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer")
            .field("host", &self.host)
            .field("deflate", &self.deflate)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Opening {
    /// Without the subprotocols: they carry tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening")
            .field("head", &self.head.len())
            .field("is_refused", &self.refusal.is_some())
            .finish_non_exhaustive()
    }
}
