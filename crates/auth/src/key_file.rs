//! Parses a keys file. Errors say which key is wrong and why, and never contain a part of it.

use std::fmt;

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

use crate::algorithm::Algorithm;
use crate::key::Key;

/// Why a keys file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not JSON. The parser's own text is omitted, since it may quote the file.
    #[error("the keys file is not JSON: line {line}, column {column}")]
    NotJson {
        /// Line of the first error.
        line: usize,
        /// Column of the first error.
        column: usize,
    },
    /// There is no `keys` array, or it is empty.
    #[error("the keys file must be an object with a `keys` array that has at least one key")]
    NoKeys,
    /// None of an issuer's keys can be used.
    #[error("none of the published keys can be used: {}", listed(.0))]
    NoneUsable(Vec<PassedOver>),
    /// One key is invalid.
    #[error("keys[{index}]: {fault}")]
    Key {
        /// Its index in the array.
        index: usize,
        /// What is wrong.
        fault: KeyFault,
    },
}

/// A published key that is not used, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// Its index in the array.
    pub index: usize,
    /// Its id.
    pub kid: Option<String>,
    /// Why this server cannot use it.
    pub fault: KeyFault,
}

impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, kid, fault } = self;
        match kid {
            Some(kid) => write!(f, "keys[{index}] ({kid:?}): {fault}"),
            None => write!(f, "keys[{index}]: {fault}"),
        }
    }
}

/// Maximum number of keys in a message.
const MAX_LISTED: usize = 8;

fn listed(keys: &[PassedOver]) -> String {
    let mut texts: Vec<_> = keys.iter().take(MAX_LISTED).map(ToString::to_string).collect();
    if keys.len() > MAX_LISTED {
        texts.push(format!("and {} more", keys.len() - MAX_LISTED));
    }
    texts.join("; ")
}

/// What is wrong with one key of a keys file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// Not a JSON object.
    #[error("a key must be an object")]
    NotAnObject,
    /// A field that is not a string.
    #[error("`{0}` must be a string")]
    NotText(&'static str),
    /// A required field is missing.
    #[error("`{0}` is missing")]
    MissingField(&'static str),
    /// An unknown algorithm.
    #[error("`alg` must be one of HS256, HS384, HS512, RS256, ES256, EdDSA (or Ed25519)")]
    UnknownAlgorithm,
    /// A `kty` or `crv` that no supported algorithm uses.
    #[error("`kty` must be oct, RSA, EC (with `crv` P-256) or OKP (with `crv` Ed25519)")]
    UnknownKeyType,
    /// The key does not match its `alg`.
    #[error("this kind of key is not for the algorithm that `alg` names")]
    NotOfAlgorithm,
    /// None or several of the possible forms of a key.
    #[error("a key must have exactly one of `secret`, `secretBase64`, `publicKeyPem`, `kty`")]
    NotOneForm,
    /// The private half of a key pair.
    #[error("this is a private key; the server needs only the public one")]
    PrivateKey,
    /// A PEM text that is not a public key of this algorithm.
    #[error("`publicKeyPem` must be one public key (BEGIN PUBLIC KEY) of the algorithm that `alg` names")]
    BadPem,
    /// A field that is not base64url, or has padding.
    #[error("`{0}` must be base64 (in a JWK base64url without padding)")]
    BadBase64(&'static str),
    /// Numbers that do not form a key.
    #[error("this is not a valid public key")]
    BadPublicKey,
    /// An RSA key that is too short, or longer than can be used.
    #[error("an RSA key must have 2048 to 4096 bits")]
    RsaSize,
    /// An empty secret.
    #[error("the secret is empty")]
    EmptySecret,
    /// A secret that is a PEM text: most likely a public key, with which anybody could sign.
    #[error("the secret is a PEM text; a public key belongs in `publicKeyPem`, with RS256, ES256 or EdDSA")]
    SecretIsPem,
    /// A JWK for another use.
    #[error("`use` must be `sig` where it is given")]
    NotForSignatures,
    /// Two keys with the same id and algorithm, or two without an id.
    #[error("another key of this algorithm has the same `kid`, or none either")]
    SameKid,
    /// A secret among public keys.
    #[error("a secret is never taken from an issuer: whoever can read it could sign with it")]
    PublishedSecret,
}

/// One key of the file with its id.
pub(crate) struct NamedKey {
    pub(crate) kid: Option<String>,
    pub(crate) key: Key,
}

impl NamedKey {
    /// Whether a token could not distinguish the two.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.kid == other.kid && self.key.algorithm() == other.key.algorithm()
    }
}

/// Parses all keys of a file, or reports the first invalid one.
pub(crate) fn read(text: &str) -> Result<Vec<NamedKey>, KeyError> {
    let value: Value = serde_json::from_str(text)
        .map_err(|error| KeyError::NotJson { line: error.line(), column: error.column() })?;
    let entries = value.get("keys").and_then(Value::as_array).filter(|entries| !entries.is_empty());
    let entries = entries.ok_or(KeyError::NoKeys)?;
    let mut keys: Vec<NamedKey> = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let key = read_key(entry).map_err(|fault| KeyError::Key { index, fault })?;
        if keys.iter().any(|other| other.is_like(&key)) {
            return Err(KeyError::Key { index, fault: KeyFault::SameKid });
        }
        keys.push(key);
    }
    Ok(keys)
}

/// Parses an issuer's published keys (RFC 7517 §5): unusable ones are skipped, as that section requires, each
/// with its reason.
pub(crate) fn read_published(text: &str) -> Result<(Vec<NamedKey>, Vec<PassedOver>), KeyError> {
    let value: Value = serde_json::from_str(text)
        .map_err(|error| KeyError::NotJson { line: error.line(), column: error.column() })?;
    let entries = value.get("keys").and_then(Value::as_array).ok_or(KeyError::NoKeys)?;
    let (mut keys, mut passed_over): (Vec<NamedKey>, _) = (Vec::new(), Vec::new());
    for (index, entry) in entries.iter().enumerate() {
        let read = read_public(entry).and_then(|key| {
            if keys.iter().any(|other| other.is_like(&key)) { Err(KeyFault::SameKid) } else { Ok(key) }
        });
        match read {
            Ok(key) => keys.push(key),
            Err(fault) => {
                let kid = entry["kid"].as_str().map(str::to_owned);
                passed_over.push(PassedOver { index, kid, fault });
            }
        }
    }
    match (keys.is_empty(), passed_over.is_empty()) {
        (false, _) => Ok((keys, passed_over)),
        (true, true) => Err(KeyError::NoKeys),
        (true, false) => Err(KeyError::NoneUsable(passed_over)),
    }
}

fn read_public(entry: &Value) -> Result<NamedKey, KeyFault> {
    let is_secret =
        entry["kty"] == "oct" || ["secret", "secretBase64"].iter().any(|name| entry.get(name).is_some());
    if is_secret {
        return Err(KeyFault::PublishedSecret);
    }
    // Other forms of a keys file are not JWKs.
    Entry(entry.as_object().ok_or(KeyFault::NotAnObject)?).needed("kty")?;
    read_key(entry)
}

fn read_key(entry: &Value) -> Result<NamedKey, KeyFault> {
    let entry = Entry(entry.as_object().ok_or(KeyFault::NotAnObject)?);
    let kid = entry.text("kid")?.map(str::to_owned);
    let forms =
        [entry.text("secret")?, entry.text("secretBase64")?, entry.text("publicKeyPem")?, entry.text("kty")?];
    let key = match forms {
        [Some(secret), None, None, None] => secret_key(entry.algorithm()?, secret.as_bytes()),
        [None, Some(secret), None, None] => {
            secret_key(entry.algorithm()?, &any_base64("secretBase64", secret)?)
        }
        [None, None, Some(pem), None] => Key::from_public_pem(entry.algorithm()?, pem),
        [None, None, None, Some(kty)] => jwk(kty, &entry),
        _ => Err(KeyFault::NotOneForm),
    }?;
    Ok(NamedKey { kid, key })
}

fn secret_key(algorithm: Algorithm, secret: &[u8]) -> Result<Key, KeyFault> {
    if secret.trim_ascii_start().starts_with(b"-----BEGIN") {
        return Err(KeyFault::SecretIsPem);
    }
    Key::from_secret(algorithm, secret)
}

/// A JSON Web Key (RFC 7517). `alg` may be absent if the key's type allows only one.
fn jwk(kty: &str, entry: &Entry<'_>) -> Result<Key, KeyFault> {
    if entry.text("use")?.is_some_and(|purpose| purpose != "sig") {
        return Err(KeyFault::NotForSignatures);
    }
    if entry.0.contains_key("d") {
        return Err(KeyFault::PrivateKey);
    }
    let key = match (kty, entry.text("crv")?) {
        ("oct", _) => {
            let secret = URL_SAFE_NO_PAD.decode(entry.needed("k")?);
            let secret = secret.map_err(|_| KeyFault::BadBase64("k"))?;
            secret_key(entry.algorithm()?, &secret)
        }
        ("RSA", _) => Key::from_rsa_jwk(entry.needed("n")?, entry.needed("e")?),
        ("EC", Some("P-256")) => Key::from_ec_jwk(entry.needed("x")?, entry.needed("y")?),
        ("OKP", Some("Ed25519")) => Key::from_ed_jwk(entry.needed("x")?),
        _ => Err(KeyFault::UnknownKeyType),
    }?;
    if entry.text("alg")?.is_some() && entry.algorithm()? != key.algorithm() {
        return Err(KeyFault::NotOfAlgorithm);
    }
    Ok(key)
}

/// Either alphabet, with or without padding, since tools that generate secrets differ.
fn any_base64(field: &'static str, text: &str) -> Result<Vec<u8>, KeyFault> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let decode = |alphabet| GeneralPurpose::new(alphabet, LENIENT).decode(text);
    decode(&STANDARD).or_else(|_| decode(&URL_SAFE)).map_err(|_| KeyFault::BadBase64(field))
}

/// The fields of one key; errors do not quote them.
struct Entry<'a>(&'a Map<String, Value>);

impl<'a> Entry<'a> {
    fn text(&self, field: &'static str) -> Result<Option<&'a str>, KeyFault> {
        match self.0.get(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(KeyFault::NotText(field)),
        }
    }

    fn needed(&self, field: &'static str) -> Result<&'a str, KeyFault> {
        self.text(field)?.ok_or(KeyFault::MissingField(field))
    }

    fn algorithm(&self) -> Result<Algorithm, KeyFault> {
        self.needed("alg")?.parse().map_err(|_| KeyFault::UnknownAlgorithm)
    }
}
