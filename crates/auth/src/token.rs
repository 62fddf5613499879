//! The outer form of a token: three base64url parts, of which only the header is read before the signature is verified.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::claims::{Claims, fault_in};
use crate::error::AuthError;

/// Maximum length of a token in bytes: room for some hundred permissions, and what HTTP servers accept as a header line. Checked
/// before anything else, so that an unknown peer costs no more than this.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// The parts of a token, none of them trusted.
pub(crate) struct UnprovenToken<'a> {
    pub(crate) header: Header,
    /// The signed text: header and payload as they were sent.
    pub(crate) message: &'a str,
    pub(crate) signature: Vec<u8>,
    payload: &'a str,
}

/// The two header fields that are used, to select the key and to compare with it. Other fields (`jku`, `jwk`,
/// `x5u` …) would let a token bring its own key, and are ignored.
#[derive(Deserialize)]
pub(crate) struct Header {
    pub(crate) alg: String,
    #[serde(default)]
    pub(crate) kid: Option<String>,
    /// Extensions that a reader must support (RFC 7515). We support none.
    #[serde(default)]
    crit: Option<IgnoredAny>,
}

impl<'a> UnprovenToken<'a> {
    /// Splits a token and parses its header.
    pub(crate) fn parse(token: &'a str) -> Result<Self, AuthError> {
        if token.is_empty() {
            return Err(AuthError::Missing);
        }
        if token.len() > MAX_TOKEN_BYTES {
            return Err(AuthError::Malformed);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(AuthError::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(AuthError::Malformed)?;
        let header = self::header(&decode(header)?)?;
        if header.crit.is_some() {
            return Err(AuthError::Malformed);
        }
        // A fourth part would be a dot in the payload, which is not base64url; it is refused here, before the signature.
        if payload.contains('.') {
            return Err(AuthError::Malformed);
        }
        Ok(Self { header, message, signature: decode(signature)?, payload })
    }

    /// Parses the payload. Only for tokens whose signature is verified.
    pub(crate) fn claims(&self) -> Result<Claims, AuthError> {
        let payload = decode(self.payload)?;
        let text = object_text(&payload)?;
        serde_json::from_str(text).map_err(|_| fault_in(text))
    }
}

fn header(json: &[u8]) -> Result<Header, AuthError> {
    serde_json::from_str(object_text(json)?).map_err(|_| AuthError::Malformed)
}

/// The text of one JSON object. All of it must be UTF-8, not only the strings that are read; an array is refused,
/// although serde would accept one as the fields in their order.
fn object_text(json: &[u8]) -> Result<&str, AuthError> {
    let text = std::str::from_utf8(json).map_err(|_| AuthError::Malformed)?;
    if !text.trim_ascii_start().starts_with('{') {
        return Err(AuthError::Malformed);
    }
    Ok(text)
}

/// Strict: no padding, no other alphabet, no excess bits, so that each token has exactly one form.
fn decode(part: &str) -> Result<Vec<u8>, AuthError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| AuthError::Malformed)
}
