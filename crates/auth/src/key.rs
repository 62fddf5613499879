//! One key, prepared to verify signatures with its one algorithm.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::DecodingKey;
use jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER;
use sha2::{Sha256, Sha384, Sha512};

use crate::algorithm::Algorithm;
use crate::key_file::KeyFault;
use crate::secret::{WeakSecret, strength_of};

/// Minimum RSA modulus in bits (NIST SP 800-131A, RFC 7518).
const MIN_RSA_BITS: usize = 2048;
/// Maximum RSA modulus that the library supports, in bits.
const MAX_RSA_BITS: usize = 4096;
/// Size of an Ed25519 public key, in bytes.
const ED25519_BYTES: usize = 32;

/// A key and its algorithm; no token can change the pair.
pub(crate) struct Key {
    algorithm: Algorithm,
    prepared: Verifier,
    weakness: Option<WeakSecret>,
}

/// HMAC states already include the secret, so a token costs a copy and its own bytes. The library's own verifiers
/// are built for every token and cannot be shared between threads; compared with a public-key operation that is cheap.
enum Verifier {
    Hs256(Hmac<Sha256>),
    Hs384(Hmac<Sha384>),
    Hs512(Hmac<Sha512>),
    Public(DecodingKey),
}

impl Key {
    /// A key from a nonempty secret.
    pub(crate) fn from_secret(algorithm: Algorithm, secret: &[u8]) -> Result<Self, KeyFault> {
        if secret.is_empty() {
            return Err(KeyFault::EmptySecret);
        }
        let prepared = match algorithm {
            Algorithm::Hs256 => Verifier::Hs256(keyed(secret)?),
            Algorithm::Hs384 => Verifier::Hs384(keyed(secret)?),
            Algorithm::Hs512 => Verifier::Hs512(keyed(secret)?),
            Algorithm::Rs256 | Algorithm::Es256 | Algorithm::EdDsa => return Err(KeyFault::NotOfAlgorithm),
        };
        Ok(Self { algorithm, prepared, weakness: strength_of(secret).err() })
    }

    /// A key from the PEM of a public key.
    pub(crate) fn from_public_pem(algorithm: Algorithm, pem: &str) -> Result<Self, KeyFault> {
        if pem.contains("PRIVATE KEY") {
            return Err(KeyFault::PrivateKey);
        }
        // The library would use the first thing it finds in a certificate, which is not the key.
        if !pem.contains("PUBLIC KEY") {
            return Err(KeyFault::BadPem);
        }
        let key = match algorithm {
            Algorithm::Rs256 => return Self::from_rsa_pem(pem),
            Algorithm::Es256 => DecodingKey::from_ec_pem(pem.as_bytes()),
            Algorithm::EdDsa => DecodingKey::from_ed_pem(pem.as_bytes()),
            Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => return Err(KeyFault::NotOfAlgorithm),
        };
        Self::from_public(algorithm, key.map_err(|_| KeyFault::BadPem)?)
    }

    fn from_rsa_pem(pem: &str) -> Result<Self, KeyFault> {
        let key = DecodingKey::from_rsa_pem(pem.as_bytes()).map_err(|_| KeyFault::BadPem)?;
        let der = key.try_get_as_bytes().map_err(|_| KeyFault::BadPem)?;
        let (n, e) = (DEFAULT_PROVIDER.key_utils.rsa_pub_components_from_public_key)(der)
            .map_err(|_| KeyFault::BadPublicKey)?;
        Self::from_rsa_numbers(&n, &e)
    }

    /// An RS256 key from modulus and exponent in base64url.
    pub(crate) fn from_rsa_jwk(n: &str, e: &str) -> Result<Self, KeyFault> {
        let decode = |name, text| URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyFault::BadBase64(name));
        Self::from_rsa_numbers(&decode("n", n)?, &decode("e", e)?)
    }

    fn from_rsa_numbers(n: &[u8], e: &[u8]) -> Result<Self, KeyFault> {
        if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits(n)) {
            return Err(KeyFault::RsaSize);
        }
        // What the library can verify with: odd, from 3 to 33 bits. Checked here, since it would fail only at the first token.
        if e.last().is_none_or(|low| low % 2 == 0) || !(2..=33).contains(&bits(e)) {
            return Err(KeyFault::BadPublicKey);
        }
        Self::from_public(Algorithm::Rs256, DecodingKey::from_rsa_raw_components(n, e))
    }

    /// An ES256 key from its point in base64url.
    pub(crate) fn from_ec_jwk(x: &str, y: &str) -> Result<Self, KeyFault> {
        let key = DecodingKey::from_ec_components(x, y).map_err(|_| KeyFault::BadBase64("x` and `y"))?;
        Self::from_public(Algorithm::Es256, key)
    }

    /// An Ed25519 key from its public half in base64url.
    pub(crate) fn from_ed_jwk(x: &str) -> Result<Self, KeyFault> {
        let key = DecodingKey::from_ed_components(x).map_err(|_| KeyFault::BadBase64("x"))?;
        Self::from_public(Algorithm::EdDsa, key)
    }

    /// Accepts the key only if the library can build a verifier with it, so that a bad one is found when it is loaded.
    fn from_public(algorithm: Algorithm, key: DecodingKey) -> Result<Self, KeyFault> {
        let size = key.try_get_as_bytes().map_or(0, <[u8]>::len);
        // The library slices before it checks: a short key would panic there.
        if algorithm == Algorithm::EdDsa && size != ED25519_BYTES {
            return Err(KeyFault::BadPublicKey);
        }
        (DEFAULT_PROVIDER.verifier_factory)(&algorithm.library_name(), &key)
            .map_err(|_| KeyFault::BadPublicKey)?;
        Ok(Self { algorithm, prepared: Verifier::Public(key), weakness: None })
    }

    /// The only algorithm that the key is used with.
    pub(crate) const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Why the secret is too weak for production.
    pub(crate) const fn weakness(&self) -> Option<WeakSecret> {
        self.weakness
    }

    /// Whether this key made the signature of this message.
    pub(crate) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.prepared {
            Verifier::Hs256(state) => authentic(state, message, signature),
            Verifier::Hs384(state) => authentic(state, message, signature),
            Verifier::Hs512(state) => authentic(state, message, signature),
            Verifier::Public(key) => (DEFAULT_PROVIDER.verifier_factory)(&self.algorithm.library_name(), key)
                .is_ok_and(|verifier| verifier.verify(message, &signature.to_vec()).is_ok()),
        }
    }
}

fn keyed<M: KeyInit>(secret: &[u8]) -> Result<M, KeyFault> {
    // HMAC accepts keys of every length.
    M::new_from_slice(secret).map_err(|_| KeyFault::EmptySecret)
}

/// Compares the whole code in constant time.
fn authentic<M: Mac + Clone>(state: &M, message: &[u8], signature: &[u8]) -> bool {
    let mut state = state.clone();
    state.update(message);
    state.verify_slice(signature).is_ok()
}

/// Length of a big-endian number, in bits.
fn bits(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let digits = &number[zeros..];
    digits.first().map_or(0, |first| digits.len() * 8 - first.leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_7515_is_signed() {
        let secret = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        let message = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let signature = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
        let key = Key::from_secret(Algorithm::Hs256, &decode(secret)).unwrap();
        assert!(key.signed(message.as_bytes(), &decode(signature)));
        assert!(!key.signed(message.as_bytes(), &decode(signature)[..31]));
        assert!(!key.signed(message.as_bytes(), b""));
    }

    #[test]
    fn bits_are_counted_without_leading_zeros() {
        for (number, count) in [(&[][..], 0), (&[0], 0), (&[1], 1), (&[0, 0x80], 8), (&[1, 0, 1], 17)] {
            assert_eq!(bits(number), count, "{number:?}");
        }
    }
}
