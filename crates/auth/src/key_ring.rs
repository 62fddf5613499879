//! The keys that a server trusts, and the verification of tokens with them.

use std::fmt;
use std::sync::Arc;

use crate::algorithm::Algorithm;
use crate::error::AuthError;
use crate::grant::Grant;
use crate::key::Key;
use crate::key_file::{self, KeyError, NamedKey, PassedOver};
use crate::secret::WeakSecret;
use crate::token::UnprovenToken;

/// A set of keys, each with one algorithm; immutable, so that a reload replaces the whole ring.
///
/// Which key verifies a token:
///
/// | the token | its key |
/// |---|---|
/// | names a `kid` | the key with that id. If there is none: refused, unless no key of the ring has an id |
/// | names none | the key without an id, or the only key. Otherwise refused: keys are never tried one after another |
///
/// Keys with the same id, or without one, differ in their algorithms; the token's algorithm selects among them. A ring without
/// ids accepts tokens with any `kid`; algorithm and signature are verified as for every key.
///
/// Lookup is linear: rings contain a handful of keys.
pub struct KeyRing {
    keys: Vec<Arc<NamedKey>>,
}

impl KeyRing {
    /// One HS256 key without an id. An empty secret makes an empty ring, since anybody could sign with it.
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
    /// One key per algorithm may have no `kid`: it verifies tokens that name no key (such as an older secret from before the
    /// file). `alg` may be absent only in JWKs of types RSA, EC and OKP, where RS256, ES256 and EdDSA are the only choice.
    pub fn from_json(text: &str) -> Result<Self, KeyError> {
        key_file::read(text).map(Self::of)
    }

    /// The keys that an issuer publishes (JWKS, RFC 7517), and those that were skipped because they cannot be used here.
    /// Secrets from there are never used.
    ///
    /// # Errors
    /// The text is not a key set, or contains no usable key: then with the reason for each.
    pub fn from_jwks(text: &str) -> Result<(Self, Vec<PassedOver>), KeyError> {
        key_file::read_published(text).map(|(keys, passed_over)| (Self::of(keys), passed_over))
    }

    /// A ring with the keys of both; if both have a key with the same id and algorithm, this ring's is used.
    #[must_use]
    pub fn joined(&self, other: &Self) -> Self {
        let is_new = |key: &&Arc<NamedKey>| !self.has_like(key);
        Self { keys: self.keys.iter().chain(other.keys.iter().filter(is_new)).cloned().collect() }
    }

    /// Ids and algorithms of those keys of `other` that [`KeyRing::joined`] leaves out.
    pub fn hides<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (Option<&'a str>, Algorithm)> {
        let hidden = other.keys.iter().filter(|key| self.has_like(key));
        hidden.map(|named| (named.kid.as_deref(), named.key.algorithm()))
    }

    fn has_like(&self, key: &NamedKey) -> bool {
        self.keys.iter().any(|own| own.is_like(key))
    }

    /// Whether it has no keys.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    fn of(keys: Vec<NamedKey>) -> Self {
        Self { keys: keys.into_iter().map(Arc::new).collect() }
    }

    /// The grant of a token at `now_ms` (ms since 1970), or why it is refused.
    pub fn verify(&self, token: &str, now_ms: u64) -> Result<Grant, AuthError> {
        let token = UnprovenToken::parse(token)?;
        let mut named = self.keys_for(token.header.kid.as_deref()).peekable();
        named.peek().ok_or(AuthError::UnknownKey)?;
        let algorithm: Algorithm = token.header.alg.parse().map_err(|_| AuthError::WrongAlgorithm)?;
        let key = named.find(|key| key.algorithm() == algorithm).ok_or(AuthError::WrongAlgorithm)?;
        if !key.signed(token.message.as_bytes(), &token.signature) {
            return Err(AuthError::BadSignature);
        }
        Grant::from_claims(token.claims()?, now_ms)
    }

    /// The ids and faults of secrets that are too weak for production; `None` is the key without an id.
    pub fn weak_secrets(&self) -> impl Iterator<Item = (Option<&str>, WeakSecret)> {
        self.keys.iter().filter_map(|named| Some((named.kid.as_deref(), named.key.weakness()?)))
    }

    /// The id and algorithm of every key.
    pub fn keys(&self) -> impl Iterator<Item = (Option<&str>, Algorithm)> {
        self.keys.iter().map(|named| (named.kid.as_deref(), named.key.algorithm()))
    }

    /// The keys that a token with this `kid` can mean: with the same id, so with different algorithms.
    fn keys_for(&self, kid: Option<&str>) -> impl Iterator<Item = &Key> {
        let is_exact = move |named: &Arc<NamedKey>| named.kid.as_deref() == kid;
        let has_exact = self.keys.iter().any(is_exact);
        let any = !has_exact
            && match kid {
                Some(_) => self.keys.iter().all(|named| named.kid.is_none()),
                None => self.keys.len() == 1,
            };
        self.keys.iter().filter(move |named| any || is_exact(named)).map(|named| &named.key)
    }
}

/// Ids and algorithms only, so that a ring can be logged.
impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys()).finish()
    }
}
