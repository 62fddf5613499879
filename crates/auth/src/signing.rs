//! Signs tokens: for the CLI's `token mint`, for tests, and for load generators. The server never signs.
//!
//! RS256 signing blinds the private key with the library's own random numbers; the token does not depend on them.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER;
use serde::Serialize;

use crate::algorithm::Algorithm;
use crate::claims::Claims;

/// Why a token could not be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The key does not fit the algorithm.
    #[error("the key is not a private key for {0}; PEM keys must be in PKCS#8 form (BEGIN PRIVATE KEY)")]
    BadKey(Algorithm),
    /// An empty secret.
    #[error("the secret is empty")]
    EmptySecret,
    /// The library could not sign, or the claims could not be serialized; neither is known to happen with a valid key.
    #[error("the token could not be signed")]
    Failed,
}

/// A key for signing tokens, with its algorithm and id.
pub struct SigningKey {
    algorithm: Algorithm,
    key: EncodingKey,
    kid: Option<String>,
}

impl SigningKey {
    /// A key from a secret, for one of the HS algorithms.
    pub fn from_secret(algorithm: Algorithm, secret: &[u8]) -> Result<Self, SignError> {
        if !algorithm.is_symmetric() {
            return Err(SignError::BadKey(algorithm));
        }
        if secret.is_empty() {
            return Err(SignError::EmptySecret);
        }
        Ok(Self { algorithm, key: EncodingKey::from_secret(secret), kid: None })
    }

    /// A private key in PEM, for RS256, ES256 or EdDSA.
    pub fn from_private_pem(algorithm: Algorithm, pem: &str) -> Result<Self, SignError> {
        let bad = SignError::BadKey(algorithm);
        let key = match algorithm {
            Algorithm::Rs256 => EncodingKey::from_rsa_pem(pem.as_bytes()),
            Algorithm::Es256 => EncodingKey::from_ec_pem(pem.as_bytes()),
            Algorithm::EdDsa => EncodingKey::from_ed_pem(pem.as_bytes()),
            Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => return Err(bad),
        }
        .map_err(|_| bad)?;
        let key = Self { algorithm, key, kid: None };
        // Some keys are parsed only on use; an error is better now than with the first token.
        key.signature_of(b"").map_err(|_| bad)?;
        Ok(key)
    }

    /// Sets the key id that its tokens carry.
    #[must_use]
    pub fn with_kid(mut self, kid: impl Into<String>) -> Self {
        self.kid = Some(kid.into());
        self
    }

    fn signature_of(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signer = (DEFAULT_PROVIDER.signer_factory)(&self.algorithm.library_name(), &self.key)
            .map_err(|_| SignError::Failed)?;
        signer.try_sign(message).map_err(|_| SignError::Failed)
    }
}

/// Algorithm and id only.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("algorithm", &self.algorithm)
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Header<'a> {
    typ: &'static str,
    alg: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
}

/// Signs a token. The claims are written unchanged and unchecked.
pub fn sign(claims: &Claims, key: &SigningKey) -> Result<String, SignError> {
    let header = Header { typ: "JWT", alg: key.algorithm.as_str(), kid: key.kid.as_deref() };
    let mut token = encode_part(&header)?;
    token.push('.');
    token.push_str(&encode_part(claims)?);
    let signature = key.signature_of(token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}

fn encode_part(content: &impl Serialize) -> Result<String, SignError> {
    serde_json::to_vec(content).map(|json| URL_SAFE_NO_PAD.encode(json)).map_err(|_| SignError::Failed)
}
