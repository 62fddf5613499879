//! Keys files: every form that is taken, every fault that is named, and nothing secret in what is said.

use agentbench_auth::{Algorithm, KeyError, KeyFault, KeyRing, SignError, SigningKey, WeakSecret};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::minting::*;

const RSA_PKCS1: &str = include_str!("../keys/rsa.public.pkcs1.pem");
const RSA_1024: &str = include_str!("../keys/rsa-1024.public.pem");
const P384: &str = include_str!("../keys/p384.public.pem");

fn read(keys: &Value) -> Result<KeyRing, KeyError> {
    KeyRing::from_json(&json!({ "keys": keys }).to_string())
}

fn der(pem: &str) -> Vec<u8> {
    STANDARD.decode(pem.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap()
}

/// The last bytes of the key's DER: of these keys, the raw public key.
fn tail(pem: &str, bytes: usize) -> Vec<u8> {
    let der = der(pem);
    der[der.len() - bytes..].to_vec()
}

fn rsa_jwk() -> Value {
    // PKCS#1: SEQUENCE header 4, INTEGER header 4, a zero, 256 bytes of modulus, INTEGER header 2, exponent 3.
    let der = der(RSA_PKCS1);
    json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode(&der[9..265]), "e": URL_SAFE_NO_PAD.encode(&der[267..270])})
}

fn ec_jwk() -> Value {
    let point = tail(P256_PUBLIC, 64);
    let (x, y) = (URL_SAFE_NO_PAD.encode(&point[..32]), URL_SAFE_NO_PAD.encode(&point[32..]));
    json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "use": "sig"})
}

fn ed_jwk() -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": URL_SAFE_NO_PAD.encode(tail(ED25519_PUBLIC, 32))})
}

fn set(mut object: Value, field: &str, value: Value) -> Value {
    object[field] = value;
    object
}

#[test]
fn every_form_of_a_key_verifies() {
    let cases = [
        (Algorithm::Hs256, json!({"alg": "HS256", "secret": SECRET})),
        (Algorithm::Hs384, json!({"alg": "HS384", "secretBase64": STANDARD.encode(SECRET)})),
        (Algorithm::Hs512, json!({"alg": "HS512", "secretBase64": URL_SAFE_NO_PAD.encode(SECRET)})),
        (Algorithm::Hs256, json!({"alg": "HS256", "kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET)})),
        (Algorithm::Rs256, json!({"alg": "RS256", "publicKeyPem": RSA_PUBLIC})),
        (Algorithm::Rs256, json!({"alg": "RS256", "publicKeyPem": RSA_PKCS1})),
        (Algorithm::Rs256, rsa_jwk()),
        (Algorithm::Es256, json!({"alg": "ES256", "publicKeyPem": P256_PUBLIC})),
        (Algorithm::Es256, ec_jwk()),
        (Algorithm::EdDsa, json!({"alg": "EdDSA", "publicKeyPem": ED25519_PUBLIC})),
        (Algorithm::EdDsa, ed_jwk()),
    ];
    for (algorithm, key) in cases {
        let ring = read(&json!([set(key.clone(), "kid", algorithm.as_str().into())])).unwrap();
        assert!(ring.verify(&good_token(algorithm), NOW_MS).is_ok(), "{algorithm}: {key}");
        assert_eq!(ring.keys().collect::<Vec<_>>(), [(Some(algorithm.as_str()), algorithm)]);
    }
}

#[test]
fn every_fault_of_a_key_is_named() {
    use KeyFault::*;
    let secret = json!({"alg": "HS256", "secret": SECRET});
    let pem = |alg: &str, pem: &str| json!({"alg": alg, "publicKeyPem": pem});
    let cases = [
        (json!("key"), NotAnObject),
        (json!({}), NotOneForm),
        (json!({"alg": "HS256"}), NotOneForm),
        (json!({"alg": "RS256", "publicKeyPEM": RSA_PUBLIC}), NotOneForm),
        (set(secret.clone(), "secretBase64", SECRET.into()), NotOneForm),
        (set(secret.clone(), "publicKeyPem", RSA_PUBLIC.into()), NotOneForm),
        (set(secret.clone(), "kid", 7.into()), NotText("kid")),
        (set(secret.clone(), "secret", 12_345_678.into()), NotText("secret")),
        (set(secret.clone(), "alg", Value::Null), NotText("alg")),
        (json!({"secret": SECRET}), MissingField("alg")),
        (set(secret.clone(), "alg", "none".into()), UnknownAlgorithm),
        (set(secret.clone(), "alg", "hs256".into()), UnknownAlgorithm),
        (set(secret.clone(), "alg", "RS256".into()), NotOfAlgorithm),
        (set(secret.clone(), "secret", "".into()), EmptySecret),
        (set(secret.clone(), "secret", RSA_PUBLIC.into()), SecretIsPem),
        (json!({"alg": "HS256", "secretBase64": STANDARD.encode(RSA_PUBLIC)}), SecretIsPem),
        (json!({"alg": "HS256", "secretBase64": "not base64!"}), BadBase64("secretBase64")),
        (pem("HS256", RSA_PUBLIC), NotOfAlgorithm),
        (pem("RS256", P256_PUBLIC), BadPem),
        (pem("RS256", ED25519_PUBLIC), BadPem),
        (pem("ES256", RSA_PUBLIC), BadPem),
        (pem("ES256", ED25519_PUBLIC), BadPem),
        (pem("ES256", P384), BadPublicKey),
        (pem("EdDSA", P256_PUBLIC), BadPem),
        (pem("RS256", "rubbish"), BadPem),
        (pem("RS256", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"), BadPem),
        (pem("RS256", &RSA_PUBLIC.replace("PUBLIC KEY", "CERTIFICATE")), BadPem),
        (pem("RS256", RSA_PRIVATE), PrivateKey),
        (pem("ES256", P256_PRIVATE), PrivateKey),
        (pem("RS256", RSA_1024), RsaSize),
        (set(rsa_jwk(), "d", "AQAB".into()), PrivateKey),
        (set(rsa_jwk(), "n", URL_SAFE_NO_PAD.encode([255; 128]).into()), RsaSize),
        (set(rsa_jwk(), "n", URL_SAFE_NO_PAD.encode([255; 1_024]).into()), RsaSize),
        (set(rsa_jwk(), "e", "".into()), BadPublicKey),
        (set(rsa_jwk(), "e", "AQ".into()), BadPublicKey),
        (set(rsa_jwk(), "e", "AQAA".into()), BadPublicKey),
        (set(rsa_jwk(), "e", "//".into()), BadBase64("e")),
        (set(rsa_jwk(), "e", Value::Null), NotText("e")),
        (json!({"kty": "RSA", "e": "AQAB"}), MissingField("n")),
        (set(rsa_jwk(), "alg", "HS256".into()), NotOfAlgorithm),
        (set(rsa_jwk(), "use", "enc".into()), NotForSignatures),
        (set(ec_jwk(), "x", URL_SAFE_NO_PAD.encode([1; 32]).into()), BadPublicKey),
        (set(ec_jwk(), "x", "AQ".into()), BadPublicKey),
        (set(ec_jwk(), "crv", "P-384".into()), UnknownKeyType),
        (set(ed_jwk(), "x", "AQ".into()), BadPublicKey),
        (set(ed_jwk(), "x", URL_SAFE_NO_PAD.encode([1; 64]).into()), BadPublicKey),
        (set(ed_jwk(), "crv", "X25519".into()), UnknownKeyType),
        (json!({"kty": "oct", "k": "AAAA"}), MissingField("alg")),
        (json!({"kty": "PQC", "alg": "HS256"}), UnknownKeyType),
    ];
    for (key, fault) in cases {
        let error = read(&json!([set(secret.clone(), "kid", "good".into()), key])).map(drop).unwrap_err();
        assert_eq!(error, KeyError::Key { index: 1, fault }, "{key}");
        assert!(error.to_string().starts_with("keys[1]: "), "{error}");
    }
    for twins in
        [json!([secret, secret]), json!([set(ec_jwk(), "kid", "a".into()), set(ec_jwk(), "kid", "a".into())])]
    {
        assert_eq!(read(&twins).map(drop), Err(KeyError::Key { index: 1, fault: SameKid }));
    }
}

#[test]
fn a_file_that_is_none_is_told_apart() {
    for text in ["{}", "[]", "[[{}]]", "null", r#"{"keys":{}}"#, r#"{"keys":[]}"#, r#"{"keys":null}"#] {
        assert_eq!(KeyRing::from_json(text).map(drop), Err(KeyError::NoKeys), "{text}");
    }
    let broken = "{\"keys\": [\n {\"kid\": \"a\", \"secret\": \"sesame\" \"alg\": \"HS256\"}]}";
    let error = KeyRing::from_json(broken).map(drop).unwrap_err();
    assert!(matches!(error, KeyError::NotJson { line: 2, .. }), "{error}");
}

/// A typing mistake must not put a secret into a log.
#[test]
fn no_error_and_no_debug_output_shows_a_secret() {
    let secret = "sesame-sesame";
    for alg in [json!("HS1"), json!(7), json!("RS256"), json!("HS256")] {
        let text = json!({"keys": [{"alg": alg, "secret": secret}]}).to_string();
        for end in 0..=text.len() {
            let shown = match KeyRing::from_json(&text[..end]) {
                Ok(ring) => format!("{ring:?}"),
                Err(error) => format!("{error} {error:?}"),
            };
            assert!(!shown.contains("sesame"), "{shown}");
        }
    }
    let key = SigningKey::from_secret(Algorithm::Hs256, secret.as_bytes()).unwrap();
    assert!(!format!("{key:?}").contains("sesame"));
}

#[test]
fn weak_secrets_of_a_ring_are_named() {
    let keys = json!([
        {"alg": "HS256", "secret": "secret"},
        {"kid": "good", "alg": "HS256", "secret": SECRET},
        {"kid": "short", "alg": "HS512", "secretBase64": "AAECAwQFBgcICQ=="},
        set(set(ec_jwk(), "kid", "public".into()), "alg", "ES256".into()),
    ]);
    let ring = read(&keys).unwrap();
    let weak = [(None, WeakSecret::KnownSample), (Some("short"), WeakSecret::TooShort { bytes: 10 })];
    assert_eq!(ring.weak_secrets().collect::<Vec<_>>(), weak);
    assert_eq!(KeyRing::from_secret(b"changeme").weak_secrets().count(), 1);
}

#[test]
fn signing_takes_only_keys_of_its_algorithm() {
    let pems = [
        (Algorithm::Rs256, RSA_PRIVATE),
        (Algorithm::Es256, P256_PRIVATE),
        (Algorithm::EdDsa, ED25519_PRIVATE),
    ];
    for algorithm in Algorithm::ALL {
        for (own, pem) in pems {
            let key = SigningKey::from_private_pem(algorithm, pem).map(drop);
            assert_eq!(key, if own == algorithm { Ok(()) } else { Err(SignError::BadKey(algorithm)) });
        }
        for pem in [RSA_PUBLIC, P256_PUBLIC, ED25519_PUBLIC, P384, "rubbish"] {
            let key = SigningKey::from_private_pem(algorithm, pem).map(drop);
            assert_eq!(key, Err(SignError::BadKey(algorithm)), "{algorithm} {pem}");
        }
        let secret = SigningKey::from_secret(algorithm, b"x").map(drop);
        assert_eq!(secret.is_ok(), algorithm.is_symmetric());
    }
    assert_eq!(SigningKey::from_secret(Algorithm::Hs256, b"").map(drop), Err(SignError::EmptySecret));
}
