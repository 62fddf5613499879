//! The keys that a server trusts, and the check of a token against them.

use std::fmt;
use std::sync::Arc;

use crate::algorithm::Algorithm;
use crate::error::AuthError;
use crate::grant::Grant;
use crate::key::Key;
use crate::key_file::{self, KeyError, NamedKey};
use crate::secret::WeakSecret;
use crate::token::UnprovenToken;

/// Several keys at once, each with one algorithm; immutable, so that a reload is a new ring in place of the old one.
///
/// Which key checks a token:
///
/// | the token | its key |
/// |---|---|
/// | names a `kid` | the key of that name. None of that name: refused, unless the ring is one key without a name |
/// | names none | the key without a name, or the only key. Else refused: keys are never tried one after the other |
///
/// A single nameless key takes tokens whatever `kid` they carry, since there is nothing to choose; its algorithm and
/// signature are checked all the same.
///
/// Lookup walks the keys: rings hold a handful.
pub struct KeyRing {
    keys: Vec<Arc<NamedKey>>,
}

impl KeyRing {
    /// One HS256 key without a name. An empty secret makes a ring that trusts nobody, for anybody could sign with it.
    pub fn from_secret(secret: &[u8]) -> Self {
        let key = Key::from_secret(Algorithm::Hs256, secret).ok();
        Self { keys: key.map(|key| Arc::new(NamedKey { kid: None, key })).into_iter().collect() }
    }

    /// The keys of a keys file.
    ///
    /// ```json
    /// {"keys": [
    ///   {"kid": "2026-a", "alg": "HS256", "secret": "…"},
    ///   {"kid": "2026-b", "alg": "HS512", "secretBase64": "…"},
    ///   {"kid": "login", "alg": "RS256", "publicKeyPem": "-----BEGIN PUBLIC KEY-----\n…"},
    ///   {"kid": "idp", "kty": "EC", "crv": "P-256", "x": "…", "y": "…"}
    /// ]}
    /// ```
    ///
    /// One key may be without a `kid`: tokens that name no key are its (a secret from before there was a file). `alg` may
    /// be absent only in JWKs of types RSA, EC and OKP, where RS256, ES256 and EdDSA are the only choice.
    pub fn from_json(text: &str) -> Result<Self, KeyError> {
        key_file::read(text).map(Self::of)
    }

    /// The keys that an issuer publishes (JWKS, RFC 7517), and how many of them were passed over because they cannot be used
    /// here. Secrets are never taken from there.
    ///
    /// # Errors
    /// A text that is no key set, or one without a key that can be used.
    pub fn from_jwks(text: &str) -> Result<(Self, usize), KeyError> {
        key_file::read_published(text).map(|(keys, passed_over)| (Self::of(keys), passed_over))
    }

    /// A ring with the keys of both; where both have a key of one name, this ring's is taken.
    #[must_use]
    pub fn joined(&self, other: &Self) -> Self {
        let is_new = |key: &&Arc<NamedKey>| self.keys.iter().all(|own| own.kid != key.kid);
        Self { keys: self.keys.iter().chain(other.keys.iter().filter(is_new)).cloned().collect() }
    }

    /// Whether it trusts nobody.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    fn of(keys: Vec<NamedKey>) -> Self {
        Self { keys: keys.into_iter().map(Arc::new).collect() }
    }

    /// What a token gives to its holder at `now_ms` (ms since 1970), or why it gives nothing.
    pub fn verify(&self, token: &str, now_ms: u64) -> Result<Grant, AuthError> {
        let token = UnprovenToken::parse(token)?;
        let key = self.key_for(token.header.kid.as_deref()).ok_or(AuthError::UnknownKey)?;
        if token.header.alg != key.algorithm().as_str() {
            return Err(AuthError::WrongAlgorithm);
        }
        if !key.signed(token.message.as_bytes(), &token.signature) {
            return Err(AuthError::BadSignature);
        }
        Grant::from_claims(token.claims()?, now_ms)
    }

    /// The names and faults of secrets that are not fit for production; `None` is the key without a name.
    pub fn weak_secrets(&self) -> impl Iterator<Item = (Option<&str>, WeakSecret)> {
        self.keys.iter().filter_map(|named| Some((named.kid.as_deref(), named.key.weakness()?)))
    }

    /// The name and algorithm of every key.
    pub fn keys(&self) -> impl Iterator<Item = (Option<&str>, Algorithm)> {
        self.keys.iter().map(|named| (named.kid.as_deref(), named.key.algorithm()))
    }

    fn key_for(&self, kid: Option<&str>) -> Option<&Key> {
        let exact = self.keys.iter().find(|named| named.kid.as_deref() == kid);
        let named = exact.or_else(|| match self.keys.as_slice() {
            [only] if only.kid.is_none() || kid.is_none() => Some(only),
            _ => None,
        })?;
        Some(&named.key)
    }
}

/// Names and algorithms alone: a ring can be logged.
impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys()).finish()
    }
}
