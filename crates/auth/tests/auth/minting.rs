//! Keys and tokens for the other files: the only place that knows how they are made.

use agentbench_auth::{Algorithm, AuthError, Claims, Grant, KeyRing, Role, SigningKey, sign};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};

pub(crate) const SECRET: &str = "the secret of the tests, 8f1d0c7ab2e9";
pub(crate) const RSA_PRIVATE: &str = include_str!("../keys/rsa.private.pem");
pub(crate) const RSA_PUBLIC: &str = include_str!("../keys/rsa.public.pem");
pub(crate) const P256_PRIVATE: &str = include_str!("../keys/p256.private.pem");
pub(crate) const P256_PUBLIC: &str = include_str!("../keys/p256.public.pem");
pub(crate) const OTHER_P256_PRIVATE: &str = include_str!("../keys/other-p256.private.pem");
pub(crate) const ED25519_PRIVATE: &str = include_str!("../keys/ed25519.private.pem");
pub(crate) const ED25519_PUBLIC: &str = include_str!("../keys/ed25519.public.pem");

/// When the tests take place: seconds, and the same in ms.
pub(crate) const NOW: u64 = 1_760_000_000;
pub(crate) const NOW_MS: u64 = NOW * 1_000;

/// One signing key per algorithm, named after it, as in [`ring`].
pub(crate) fn signing_key(algorithm: Algorithm) -> SigningKey {
    let key = match algorithm {
        Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => {
            SigningKey::from_secret(algorithm, SECRET.as_bytes())
        }
        Algorithm::Rs256 => SigningKey::from_private_pem(algorithm, RSA_PRIVATE),
        Algorithm::Es256 => SigningKey::from_private_pem(algorithm, P256_PRIVATE),
        Algorithm::EdDsa => SigningKey::from_private_pem(algorithm, ED25519_PRIVATE),
    };
    key.unwrap().with_kid(algorithm.as_str())
}

/// A ring with one key per algorithm, each named after it.
pub(crate) fn ring() -> KeyRing {
    let keys = json!({"keys": [
        {"kid": "HS256", "alg": "HS256", "secret": SECRET},
        {"kid": "HS384", "alg": "HS384", "secret": SECRET},
        {"kid": "HS512", "alg": "HS512", "secret": SECRET},
        {"kid": "RS256", "alg": "RS256", "publicKeyPem": RSA_PUBLIC},
        {"kid": "ES256", "alg": "ES256", "publicKeyPem": P256_PUBLIC},
        {"kid": "EdDSA", "alg": "EdDSA", "publicKeyPem": ED25519_PUBLIC},
    ]});
    KeyRing::from_json(&keys.to_string()).unwrap()
}

/// Claims of an evaluator that are good at [`NOW`].
pub(crate) fn claims() -> Claims {
    Claims::new("ada", Role::Evaluator, NOW - 60, NOW + 3_600)
}

/// The same as JSON, with some members set, or taken out where the value is null.
pub(crate) fn payload(changes: &Value) -> Value {
    let mut payload = serde_json::to_value(claims()).unwrap();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => payload.as_object_mut().unwrap().remove(name),
            value => payload.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    payload
}

/// A good HS256 token of exactly these bytes as header and payload, signed without the crate's help.
pub(crate) fn hs256(header: &[u8], payload: &[u8], secret: &[u8]) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret).unwrap();
    mac.update(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// A token with exactly these bytes as header, signed with the Ed25519 key without the crate's help.
pub(crate) fn ed25519_token(header: &[u8], claims: &Claims) -> String {
    let key = jsonwebtoken::EncodingKey::from_ed_pem(ED25519_PRIVATE.as_bytes()).unwrap();
    let payload = serde_json::to_vec(claims).unwrap();
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::EdDSA).unwrap();
    format!("{message}.{signature}")
}

/// A nameless, well signed HS256 token with this payload.
pub(crate) fn token_of(payload: &str) -> String {
    hs256(br#"{"alg":"HS256","typ":"JWT"}"#, payload.as_bytes(), SECRET.as_bytes())
}

/// What a server that has only [`SECRET`] says to a well signed token with this payload, at [`NOW`].
pub(crate) fn judged(payload: &str) -> Result<Grant, AuthError> {
    KeyRing::from_secret(SECRET.as_bytes()).verify(&token_of(payload), NOW_MS)
}

/// The good claims under this algorithm.
pub(crate) fn good_token(algorithm: Algorithm) -> String {
    sign(&claims(), &signing_key(algorithm)).unwrap()
}
