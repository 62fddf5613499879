//! The server's head: encoded by a server, parsed by a client.

use bytes::BytesMut;

use super::{
    HandshakeError, Headers, MAX_HEADERS, check_incomplete, check_size, head_error, write_header, write_text,
};

/// Appends the response that switches the connection to WebSocket. `accept` is from
/// [`Upgrade`](super::Upgrade), `protocol` one that the client offered, `extensions` from
/// [`Negotiated::response_value`](crate::Negotiated::response_value).
pub fn write_101(
    dst: &mut BytesMut,
    accept: &[u8; 28],
    protocol: Option<&str>,
    extensions: Option<&str>,
    extra_headers: &[(&str, &str)],
) {
    dst.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
    );
    dst.extend_from_slice(b"Sec-WebSocket-Accept: ");
    dst.extend_from_slice(accept);
    dst.extend_from_slice(b"\r\n");
    if let Some(protocol) = protocol {
        write_header(dst, "Sec-WebSocket-Protocol", protocol);
    }
    if let Some(extensions) = extensions {
        write_header(dst, "Sec-WebSocket-Extensions", extensions);
    }
    for (name, value) in extra_headers {
        write_header(dst, name, value);
    }
    dst.extend_from_slice(b"\r\n");
}

/// Appends a whole response that ends the connection: a refusal before the upgrade.
/// A 426 names the supported version (RFC 6455 §4.4).
pub fn write_response(
    dst: &mut BytesMut,
    status: u16,
    reason: &str,
    extra_headers: &[(&str, &str)],
    body: &str,
) {
    dst.extend_from_slice(format!("HTTP/1.1 {status} ").as_bytes());
    write_text(dst, reason);
    dst.extend_from_slice(b"\r\n");
    write_header(dst, "Connection", "close");
    write_header(dst, "Content-Length", &body.len().to_string());
    if status == 426 {
        write_header(dst, "Upgrade", "websocket");
        write_header(dst, "Sec-WebSocket-Version", super::VERSION);
    }
    for (name, value) in extra_headers {
        write_header(dst, name, value);
    }
    dst.extend_from_slice(b"\r\n");
    dst.extend_from_slice(body.as_bytes());
}

/// A server's answer to an opening handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response<'a> {
    /// The head is incomplete.
    Incomplete,
    /// The connection is a WebSocket now.
    Accepted {
        /// The chosen subprotocol. The caller must check that it was offered.
        protocol: Option<&'a str>,
        /// For [`accept_response`](crate::accept_response); empty if there is none.
        extensions: String,
        /// Size of the head in bytes; the server's first frames follow.
        consumed: usize,
    },
    /// Anything but a 101.
    Rejected {
        /// The HTTP status.
        status: u16,
        /// `Retry-After`, if given in seconds.
        retry_after: Option<u64>,
        /// `Content-Length`, if there is one that can be read.
        length: Option<u64>,
        /// Bytes of the head; what follows is the body.
        consumed: usize,
    },
}

/// Parses a server's answer, for a proxy that watches a handshake; a client uses [`Opening`](super::Opening). `expected_accept` is [`accept_key`](super::accept_key) of the key that was sent.
///
/// # Errors
/// The answer is not HTTP/1, exceeds the limits, or is a 101 that does not match our request (RFC 6455 §4.1).
pub fn parse_response<'a>(
    bytes: &'a [u8],
    expected_accept: &[u8; 28],
) -> Result<Response<'a>, HandshakeError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(consumed) = response.parse(bytes).map_err(head_error)? else {
        check_incomplete(bytes)?;
        return Ok(Response::Incomplete);
    };
    check_size(consumed)?;
    let status = response.code.ok_or(HandshakeError::Malformed)?;
    let headers = Headers(response.headers.to_vec());
    if status != 101 {
        let number = |name| headers.one(name).and_then(|digits| digits.parse().ok());
        let (retry_after, length) = (number("retry-after"), number("content-length"));
        return Ok(Response::Rejected { status, retry_after, length, consumed });
    }
    if !headers.lists("upgrade", "websocket") {
        return Err(HandshakeError::Upgrade);
    }
    if !headers.lists("connection", "upgrade") {
        return Err(HandshakeError::Connection);
    }
    if headers.one("sec-websocket-accept").map(str::as_bytes) != Some(expected_accept.as_slice()) {
        return Err(HandshakeError::Accept);
    }
    Ok(Response::Accepted {
        protocol: headers.single("sec-websocket-protocol")?,
        extensions: headers.list("sec-websocket-extensions")?,
        consumed,
    })
}
