//! Keys that an issuer publishes, and rings of several sources.

use agentbench_auth::{Algorithm, KeyError, KeyRing, Role, SigningKey, sign};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::minting::*;

fn ed_jwk(kid: &str) -> Value {
    let text: String = ED25519_PUBLIC.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(text).unwrap();
    json!({"kid": kid, "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(&der[der.len() - 32..])})
}

fn published(keys: &Value) -> Result<(KeyRing, usize), KeyError> {
    KeyRing::from_jwks(&json!({ "keys": keys }).to_string())
}

#[test]
fn what_cannot_be_used_is_passed_over_and_secrets_are_never_taken() {
    let secret = URL_SAFE_NO_PAD.encode([7; 32]);
    let (ring, passed_over) = published(&json!([
        {"kid": "shared", "kty": "oct", "alg": "HS256", "k": secret},
        {"kid": "own", "alg": "HS256", "secret": "a secret that everybody can read"},
        {"kid": "large", "kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"},
        {"kid": "encrypts", "kty": "RSA", "use": "enc", "n": "AA", "e": "AQAB"},
        17,
        ed_jwk("good"),
        ed_jwk("good"),
    ]))
    .unwrap();
    assert_eq!(passed_over, 6);
    assert_eq!(ring.keys().collect::<Vec<_>>(), [(Some("good"), Algorithm::EdDsa)]);
    for none in [json!([]), json!([{"kid": "shared", "kty": "oct", "alg": "HS256", "k": secret}]), json!(1)] {
        assert_eq!(published(&none).unwrap_err(), KeyError::NoKeys, "{none}");
    }
    assert!(matches!(KeyRing::from_jwks("<html>"), Err(KeyError::NotJson { .. })));
}

#[test]
fn joined_rings_trust_both_and_the_first_one_wins() {
    let own = KeyRing::from_json(
        &json!({"keys": [
            {"kid": "local", "alg": "HS256", "secret": "a secret of the server's own, long enough"},
        ]})
        .to_string(),
    )
    .unwrap();
    let (issuers, _) = published(&json!([ed_jwk("local"), ed_jwk("issuer")])).unwrap();
    let joined = own.joined(&issuers);
    let names: Vec<_> = joined.keys().collect();
    assert_eq!(names, [(Some("local"), Algorithm::Hs256), (Some("issuer"), Algorithm::EdDsa)]);
    let key =
        SigningKey::from_secret(Algorithm::Hs256, b"a secret of the server's own, long enough").unwrap();
    let claims = agentbench_auth::Claims::new("ada", Role::Viewer, 1_760_000_000, 1_760_003_600);
    let token = sign(&claims, &key.with_kid("local")).unwrap();
    assert!(joined.verify(&token, 1_760_000_001_000).is_ok());
    assert!(issuers.verify(&token, 1_760_000_001_000).is_err());
    assert!(KeyRing::from_secret(b"").is_empty() && !joined.is_empty());
}
