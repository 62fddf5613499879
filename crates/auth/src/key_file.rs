//! Reading a keys file. Says which key is wrong and why, and never shows a part of it.

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

use crate::algorithm::Algorithm;
use crate::key::Key;

/// Why a keys file is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not JSON. The parser's own words are left out, since they may quote the file.
    #[error("the keys file is not JSON: line {line}, column {column}")]
    NotJson {
        /// Line of the first fault.
        line: usize,
        /// Column of the first fault.
        column: usize,
    },
    /// No `keys` array in it, or an empty one.
    #[error("the keys file must be an object with a `keys` array that has at least one key")]
    NoKeys,
    /// One key is wrong.
    #[error("keys[{index}]: {fault}")]
    Key {
        /// Its place in the array, from 0.
        index: usize,
        /// What is wrong.
        fault: KeyFault,
    },
}

/// What is wrong with one key of a keys file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// Not a JSON object.
    #[error("a key must be an object")]
    NotAnObject,
    /// A field of another type than text.
    #[error("`{0}` must be a string")]
    NotText(&'static str),
    /// A field that is needed is absent.
    #[error("`{0}` is missing")]
    MissingField(&'static str),
    /// An algorithm that is not known.
    #[error("`alg` must be one of HS256, HS384, HS512, RS256, ES256, EdDSA")]
    UnknownAlgorithm,
    /// A `kty` or `crv` that no algorithm here uses.
    #[error("`kty` must be oct, RSA, EC (with `crv` P-256) or OKP (with `crv` Ed25519)")]
    UnknownKeyType,
    /// The key is not one for its `alg`.
    #[error("this kind of key is not for the algorithm that `alg` names")]
    NotOfAlgorithm,
    /// None, or more than one, of the forms that a key can have.
    #[error("a key must have exactly one of `secret`, `secretBase64`, `publicKeyPem`, `kty`")]
    NotOneForm,
    /// The private half of a pair.
    #[error("this is a private key; the server needs only the public one")]
    PrivateKey,
    /// A PEM text that is not of a public key of this algorithm.
    #[error("`publicKeyPem` must be one public key (BEGIN PUBLIC KEY) of the algorithm that `alg` names")]
    BadPem,
    /// A field that is not base64.
    #[error("a field that should be base64 is not")]
    BadBase64,
    /// Numbers that make no key.
    #[error("this is not a valid public key")]
    BadPublicKey,
    /// An RSA key that is too short, or longer than can be used.
    #[error("an RSA key must have 2048 to 4096 bits")]
    RsaSize,
    /// A secret of no bytes.
    #[error("the secret is empty")]
    EmptySecret,
    /// A secret that is a PEM text: most likely a public key, with which everybody could sign.
    #[error("the secret is a PEM text; a public key belongs in `publicKeyPem`, with RS256, ES256 or EdDSA")]
    SecretIsPem,
    /// A JWK that is for something else.
    #[error("`use` must be `sig` where it is given")]
    NotForSignatures,
    /// Two keys with one name, or two without.
    #[error("another key has the same `kid`, or none either")]
    SameKid,
}

/// One key of the file with its name.
pub(crate) struct NamedKey {
    pub(crate) kid: Option<String>,
    pub(crate) key: Key,
}

/// Reads all keys of a file, or says which is the first that cannot be used.
pub(crate) fn read(text: &str) -> Result<Vec<NamedKey>, KeyError> {
    let value: Value = serde_json::from_str(text)
        .map_err(|error| KeyError::NotJson { line: error.line(), column: error.column() })?;
    let entries = value.get("keys").and_then(Value::as_array).filter(|entries| !entries.is_empty());
    let entries = entries.ok_or(KeyError::NoKeys)?;
    let mut keys: Vec<NamedKey> = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let key = read_key(entry).map_err(|fault| KeyError::Key { index, fault })?;
        if keys.iter().any(|other| other.kid == key.kid) {
            return Err(KeyError::Key { index, fault: KeyFault::SameKid });
        }
        keys.push(key);
    }
    Ok(keys)
}

/// Reads an issuer's published keys (RFC 7517 §5): those that cannot be used here are passed over, as that section asks, and
/// counted. A secret is never taken: whoever can read the set could sign with it.
pub(crate) fn read_published(text: &str) -> Result<(Vec<NamedKey>, usize), KeyError> {
    let value: Value = serde_json::from_str(text)
        .map_err(|error| KeyError::NotJson { line: error.line(), column: error.column() })?;
    let entries = value.get("keys").and_then(Value::as_array).ok_or(KeyError::NoKeys)?;
    let is_public = |entry: &&Value| matches!(entry["kty"].as_str(), Some("RSA" | "EC" | "OKP"));
    let mut keys: Vec<NamedKey> = Vec::new();
    for key in entries.iter().filter(is_public).filter_map(|entry| read_key(entry).ok()) {
        if keys.iter().all(|other| other.kid != key.kid) {
            keys.push(key);
        }
    }
    let passed_over = entries.len() - keys.len();
    if keys.is_empty() { Err(KeyError::NoKeys) } else { Ok((keys, passed_over)) }
}

fn read_key(entry: &Value) -> Result<NamedKey, KeyFault> {
    let entry = Entry(entry.as_object().ok_or(KeyFault::NotAnObject)?);
    let kid = entry.text("kid")?.map(str::to_owned);
    let forms =
        [entry.text("secret")?, entry.text("secretBase64")?, entry.text("publicKeyPem")?, entry.text("kty")?];
    let key = match forms {
        [Some(secret), None, None, None] => secret_key(entry.algorithm()?, secret.as_bytes()),
        [None, Some(secret), None, None] => secret_key(entry.algorithm()?, &any_base64(secret)?),
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

/// A JSON Web Key (RFC 7517). `alg` may be absent where the key's type leaves only one here.
fn jwk(kty: &str, entry: &Entry<'_>) -> Result<Key, KeyFault> {
    if entry.text("use")?.is_some_and(|purpose| purpose != "sig") {
        return Err(KeyFault::NotForSignatures);
    }
    if entry.0.contains_key("d") {
        return Err(KeyFault::PrivateKey);
    }
    let key = match (kty, entry.text("crv")?) {
        ("oct", _) => {
            let secret = URL_SAFE_NO_PAD.decode(entry.needed("k")?).map_err(|_| KeyFault::BadBase64)?;
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

/// Either alphabet, with or without padding: what the tools that make secrets write.
fn any_base64(text: &str) -> Result<Vec<u8>, KeyFault> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let decode = |alphabet| GeneralPurpose::new(alphabet, LENIENT).decode(text);
    decode(&STANDARD).or_else(|_| decode(&URL_SAFE)).map_err(|_| KeyFault::BadBase64)
}

/// The fields of one key, read without quoting them.
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
