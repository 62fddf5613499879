//! Negotiation of permessage-deflate in the opening handshake (RFC 7692 §7.1), for both ends.
//!
//! By default both ends disable context takeover: then one compressor and one inflater per thread serve all
//! connections, and an event compressed once can be sent to all readers.

use std::borrow::Cow;

use crate::{RetainingDeflater, Role};

const NAME: &str = "permessage-deflate";
const SERVER_NO_CONTEXT_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_CONTEXT_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_MAX_WINDOW_BITS: &str = "server_max_window_bits";
const CLIENT_MAX_WINDOW_BITS: &str = "client_max_window_bits";

/// The smallest window that we can compress with: zlib's format allows 8, its algorithm does not.
const MIN_SEND_WINDOW_BITS: u8 = 9;
const MIN_WINDOW_BITS: u8 = 8;
const MAX_WINDOW_BITS: u8 = 15;

/// What we offer as a client, or accept as a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeflatePolicy {
    /// The server compresses each message independently.
    pub server_no_context_takeover: bool,
    /// The client compresses each message independently.
    pub client_no_context_takeover: bool,
    /// Largest window of the server's compressor, 9 to 15 bits.
    pub server_max_window_bits: u8,
    /// Largest window of the client's compressor, 9 to 15 bits.
    pub client_max_window_bits: u8,
}

impl Default for DeflatePolicy {
    fn default() -> Self {
        Self {
            server_no_context_takeover: true,
            client_no_context_takeover: true,
            server_max_window_bits: MAX_WINDOW_BITS,
            client_max_window_bits: MAX_WINDOW_BITS,
        }
    }
}

impl DeflatePolicy {
    fn server_bits(&self) -> u8 {
        self.server_max_window_bits.clamp(MIN_SEND_WINDOW_BITS, MAX_WINDOW_BITS)
    }

    fn client_bits(&self) -> u8 {
        self.client_max_window_bits.clamp(MIN_SEND_WINDOW_BITS, MAX_WINDOW_BITS)
    }
}

/// The result of the negotiation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Negotiated {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: u8,
    client_max_window_bits: u8,
    /// The offer named the server's window, so the response must, too, whatever its size (RFC 7692 §7.1.2.1).
    names_server_window: bool,
}

impl Negotiated {
    /// The window that we, as `role`, compress with: for [`Deflater::compress`](crate::Deflater::compress).
    pub fn send_window_bits(&self, role: Role) -> u8 {
        match role {
            Role::Server => self.server_max_window_bits,
            Role::Client => self.client_max_window_bits,
        }
    }

    /// A compressor that uses context takeover, if `role` may; a [`Deflater`](crate::Deflater) is
    /// always valid.
    pub fn retaining_deflater(&self, role: Role, level: u8) -> Option<RetainingDeflater> {
        let forbidden = match role {
            Role::Server => self.server_no_context_takeover,
            Role::Client => self.client_no_context_takeover,
        };
        (!forbidden).then(|| RetainingDeflater::new(level, self.send_window_bits(role)))
    }

    /// The window in which the peer of `role` may refer to its earlier messages, if at all.
    pub(crate) fn peer_retained_window(&self, role: Role) -> Option<u8> {
        match role {
            Role::Server => (!self.client_no_context_takeover).then_some(self.client_max_window_bits),
            Role::Client => (!self.server_no_context_takeover).then_some(self.server_max_window_bits),
        }
    }

    /// The server's `Sec-WebSocket-Extensions`.
    pub fn response_value(&self) -> String {
        let mut value = NAME.to_owned();
        if self.server_no_context_takeover {
            push_parameter(&mut value, SERVER_NO_CONTEXT_TAKEOVER, None);
        }
        if self.client_no_context_takeover {
            push_parameter(&mut value, CLIENT_NO_CONTEXT_TAKEOVER, None);
        }
        if self.names_server_window || self.server_max_window_bits < MAX_WINDOW_BITS {
            push_parameter(&mut value, SERVER_MAX_WINDOW_BITS, Some(self.server_max_window_bits));
        }
        // Below 15 only if the offer allowed the parameter.
        if self.client_max_window_bits < MAX_WINDOW_BITS {
            push_parameter(&mut value, CLIENT_MAX_WINDOW_BITS, Some(self.client_max_window_bits));
        }
        value
    }
}

/// For a server: accepts the first of a client's offers that we support. `offers` is
/// `Sec-WebSocket-Extensions`, several such headers joined by commas. `None`: no compression, and no such
/// header in the response.
pub fn negotiate(offers: &str, policy: &DeflatePolicy) -> Option<Negotiated> {
    split_unquoted(offers, ',').filter_map(parse_extension).find_map(|offer| accept_offer(&offer, policy))
}

fn accept_offer(offer: &Parameters, policy: &DeflatePolicy) -> Option<Negotiated> {
    let server_max_window_bits = offer.server_window.unwrap_or(MAX_WINDOW_BITS).min(policy.server_bits());
    if server_max_window_bits < MIN_SEND_WINDOW_BITS {
        return None;
    }
    let client_max_window_bits = match offer.client_window {
        // The client has not announced that it supports this parameter (RFC 7692 §7.1.2.2).
        ClientWindow::Absent => MAX_WINDOW_BITS,
        ClientWindow::AnyValue => policy.client_bits(),
        ClientWindow::Bits(bits) => bits.min(policy.client_bits()),
    };
    Some(Negotiated {
        server_no_context_takeover: offer.server_no_context_takeover || policy.server_no_context_takeover,
        client_no_context_takeover: offer.client_no_context_takeover || policy.client_no_context_takeover,
        server_max_window_bits,
        client_max_window_bits,
        names_server_window: offer.server_window.is_some(),
    })
}

/// For a client: our `Sec-WebSocket-Extensions`.
pub fn offer_value(policy: &DeflatePolicy) -> String {
    let mut value = NAME.to_owned();
    if policy.server_no_context_takeover {
        push_parameter(&mut value, SERVER_NO_CONTEXT_TAKEOVER, None);
    }
    if policy.client_no_context_takeover {
        push_parameter(&mut value, CLIENT_NO_CONTEXT_TAKEOVER, None);
    }
    if policy.server_bits() < MAX_WINDOW_BITS {
        push_parameter(&mut value, SERVER_MAX_WINDOW_BITS, Some(policy.server_bits()));
    }
    let client_bits = (policy.client_bits() < MAX_WINDOW_BITS).then(|| policy.client_bits());
    push_parameter(&mut value, CLIENT_MAX_WINDOW_BITS, client_bits);
    value
}

/// A server's answer that does not match our offer; the connection must be failed (RFC 7692 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// An extension that was not offered, or more than one.
    #[error("the server chose an extension that was not offered")]
    NotOffered,
    /// Unknown, repeated or ill-formed parameters.
    #[error("the server's compression parameters are not valid")]
    Parameters,
    /// A window larger than offered, or one of 8 bits, which we cannot compress with.
    #[error("the server's compression window cannot be honoured")]
    Window,
}

/// For a client: parses the server's answer to [`offer_value`] of the same policy. An empty value: no
/// compression.
///
/// A server that keeps context takeover although we asked it not to is tolerated: the decoder then keeps
/// its history.
///
/// # Errors
/// The answer does not match the offer.
pub fn accept_response(value: &str, policy: &DeflatePolicy) -> Result<Option<Negotiated>, ResponseError> {
    let value = value.trim();
    if value.is_empty() {
        return Ok(None);
    }
    let mut extensions = split_unquoted(value, ',');
    let (Some(extension), None) = (extensions.next(), extensions.next()) else {
        return Err(ResponseError::NotOffered);
    };
    if split_unquoted(extension, ';').next() != Some(NAME) {
        return Err(ResponseError::NotOffered);
    }
    let response = parse_extension(extension).ok_or(ResponseError::Parameters)?;
    let client_window = match response.client_window {
        ClientWindow::Absent => MAX_WINDOW_BITS,
        ClientWindow::Bits(bits) => bits,
        ClientWindow::AnyValue => return Err(ResponseError::Parameters),
    };
    let server_max_window_bits = response.server_window.unwrap_or(MAX_WINDOW_BITS);
    let client_max_window_bits = client_window.min(policy.client_bits());
    if server_max_window_bits > policy.server_bits() || client_max_window_bits < MIN_SEND_WINDOW_BITS {
        return Err(ResponseError::Window);
    }
    Ok(Some(Negotiated {
        server_no_context_takeover: response.server_no_context_takeover,
        client_no_context_takeover: response.client_no_context_takeover || policy.client_no_context_takeover,
        server_max_window_bits,
        client_max_window_bits,
        names_server_window: response.server_window.is_some(),
    }))
}

fn push_parameter(value: &mut String, name: &str, bits: Option<u8>) {
    value.push_str("; ");
    value.push_str(name);
    if let Some(bits) = bits {
        value.push('=');
        value.push_str(&bits.to_string());
    }
}

/// The parameters of one permessage-deflate, as written.
#[derive(Default)]
struct Parameters {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_window: Option<u8>,
    client_window: ClientWindow,
}

#[derive(Default, PartialEq)]
enum ClientWindow {
    #[default]
    Absent,
    /// Named without a value, as allowed in an offer: any window is fine.
    AnyValue,
    Bits(u8),
}

/// Parses one extension; `None` if it is a different one, or a parameter is unknown, repeated or malformed (RFC
/// 7692 §7.1).
fn parse_extension(extension: &str) -> Option<Parameters> {
    let mut parts = split_unquoted(extension, ';');
    if parts.next() != Some(NAME) {
        return None;
    }
    let mut parameters = Parameters::default();
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim(), Some(unquoted(value.trim())?)),
            None => (part, None),
        };
        parameters.set(name, value.as_deref())?;
    }
    Some(parameters)
}

impl Parameters {
    fn set(&mut self, name: &str, value: Option<&str>) -> Option<()> {
        let is_new = match (name, value) {
            (SERVER_NO_CONTEXT_TAKEOVER, None) => {
                !std::mem::replace(&mut self.server_no_context_takeover, true)
            }
            (CLIENT_NO_CONTEXT_TAKEOVER, None) => {
                !std::mem::replace(&mut self.client_no_context_takeover, true)
            }
            (SERVER_MAX_WINDOW_BITS, Some(bits)) => self.server_window.replace(window_bits(bits)?).is_none(),
            (CLIENT_MAX_WINDOW_BITS, bits) => {
                let window = match bits {
                    Some(bits) => ClientWindow::Bits(window_bits(bits)?),
                    None => ClientWindow::AnyValue,
                };
                std::mem::replace(&mut self.client_window, window) == ClientWindow::Absent
            }
            _ => false,
        };
        is_new.then_some(())
    }
}

/// 8 to 15, in decimal without leading zeros (RFC 7692 §7.1.2).
fn window_bits(text: &str) -> Option<u8> {
    let all_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits || text.starts_with('0') {
        return None;
    }
    text.parse().ok().filter(|bits| (MIN_WINDOW_BITS..=MAX_WINDOW_BITS).contains(bits))
}

/// A parameter's value, which may be a token or a quoted string (RFC 6455 §9.1).
fn unquoted(value: &str) -> Option<Cow<'_, str>> {
    let Some(rest) = value.strip_prefix('"') else {
        return (!value.is_empty() && !value.contains('"')).then_some(Cow::Borrowed(value));
    };
    let inner = rest.strip_suffix('"')?;
    if !inner.contains(['\\', '"']) {
        return Some(Cow::Borrowed(inner));
    }
    let mut text = String::new();
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.push(characters.next()?),
            '"' => return None,
            other => text.push(other),
        }
    }
    Some(Cow::Owned(text))
}

/// Splits at a separator outside quoted strings; parts are trimmed.
fn split_unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |character: char| {
        if escaped {
            escaped = false;
        } else if quoted && character == '\\' {
            escaped = true;
        } else if character == '"' {
            quoted = !quoted;
        } else if character == separator {
            return !quoted;
        }
        false
    })
    .map(str::trim)
}
