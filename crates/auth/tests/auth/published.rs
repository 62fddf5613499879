//! Keys that an issuer publishes, and rings of several sources.

use agentbench_auth::{
    Algorithm, AuthError, KeyError, KeyFault, KeyRing, PassedOver, Role, SigningKey, sign,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::minting::*;

fn ed_jwk(kid: &str) -> Value {
    let text: String = ED25519_PUBLIC.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(text).unwrap();
    json!({"kid": kid, "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(&der[der.len() - 32..])})
}

fn published(keys: &Value) -> Result<(KeyRing, Vec<PassedOver>), KeyError> {
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
    let reasons: Vec<_> = passed_over.iter().map(|it| (it.index, it.kid.as_deref(), it.fault)).collect();
    assert_eq!(
        reasons,
        [
            (0, Some("shared"), KeyFault::PublishedSecret),
            (1, Some("own"), KeyFault::PublishedSecret),
            (2, Some("large"), KeyFault::UnknownKeyType),
            (3, Some("encrypts"), KeyFault::NotForSignatures),
            (4, None, KeyFault::NotAnObject),
            (6, Some("good"), KeyFault::SameKid),
        ]
    );
    assert_eq!(ring.keys().collect::<Vec<_>>(), [(Some("good"), Algorithm::EdDsa)]);
    for none in [json!([]), json!(1)] {
        assert_eq!(published(&none).unwrap_err(), KeyError::NoKeys, "{none}");
    }
    assert!(matches!(KeyRing::from_jwks("<html>"), Err(KeyError::NotJson { .. })));
}

#[test]
fn of_keys_that_cannot_be_used_each_reason_is_told() {
    let padded = format!("{}==", "A".repeat(342));
    for (key, fault) in [
        (json!({"kid": "k", "kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"}), KeyFault::UnknownKeyType),
        (json!({"kid": "k", "kty": "RSA", "n": padded, "e": "AQAB"}), KeyFault::BadBase64("n")),
        (json!({"kid": "k", "kty": "RSA", "n": "AA", "e": "AQ=="}), KeyFault::BadBase64("e")),
        (with(ed_jwk("k"), "alg", json!(null)), KeyFault::NotText("alg")),
        (with(ed_jwk("k"), "alg", json!("PS256")), KeyFault::UnknownAlgorithm),
        (with(ed_jwk("k"), "alg", json!("ES256")), KeyFault::NotOfAlgorithm),
        (json!({"kid": "k", "kty": "oct", "alg": "HS256", "k": "AAAA"}), KeyFault::PublishedSecret),
    ] {
        let refused = published(&json!([key])).unwrap_err();
        let reason = PassedOver { index: 0, kid: Some("k".into()), fault };
        assert_eq!(refused, KeyError::NoneUsable(vec![reason]), "{key}");
        assert!(refused.to_string().contains(&format!("keys[0] (\"k\"): {fault}")), "{refused}");
    }
    let many = Value::Array((0..20).map(Value::from).collect());
    assert!(published(&many).unwrap_err().to_string().ends_with("; and 12 more"));
}

fn with(mut key: Value, field: &str, value: Value) -> Value {
    key[field] = value;
    key
}

/// RFC 9864's name for what RFC 8037 calls EdDSA, in keys and in tokens.
#[test]
fn ed25519_is_a_second_name_of_eddsa() {
    let key = SigningKey::from_private_pem(Algorithm::EdDsa, ED25519_PRIVATE).unwrap();
    let claims = agentbench_auth::Claims::new("ada", Role::Viewer, 1_760_000_000, 1_760_003_600);
    let old = sign(&claims, &key).unwrap();
    let pem = json!({"alg": "Ed25519", "publicKeyPem": ED25519_PUBLIC});
    for jwk in [
        ed_jwk("k"),
        with(ed_jwk("k"), "alg", json!("Ed25519")),
        with(ed_jwk("k"), "alg", json!("EdDSA")),
        pem,
    ] {
        let ring = KeyRing::from_json(&json!({ "keys": [jwk] }).to_string()).unwrap();
        assert!(ring.verify(&old, 1_760_000_001_000).is_ok(), "{jwk}");
        let new = ed25519_token(br#"{"typ":"JWT","alg":"Ed25519"}"#, &claims);
        assert_eq!(
            ring.verify(&new, 1_760_000_001_000).map(|grant| grant.user_id).as_deref(),
            Ok("ada"),
            "{jwk}"
        );
        let other = ed25519_token(br#"{"typ":"JWT","alg":"Ed448"}"#, &claims);
        assert_eq!(ring.verify(&other, 1_760_000_001_000), Err(AuthError::WrongAlgorithm));
    }
}

/// One name or none for keys of several algorithms: the token's algorithm says which, each key keeps its own.
#[test]
fn keys_of_one_name_and_different_algorithms_are_two_keys() {
    let secret = "a secret of the server's own, long enough";
    let now = 1_760_000_001_000;
    let claims = agentbench_auth::Claims::new("ada", Role::Viewer, 1_760_000_000, 1_760_003_600);
    let ed = || SigningKey::from_private_pem(Algorithm::EdDsa, ED25519_PRIVATE).unwrap();
    let hs = || SigningKey::from_secret(Algorithm::Hs256, secret.as_bytes()).unwrap();
    let mut nameless = ed_jwk("");
    nameless.as_object_mut().unwrap().remove("kid");
    let (issuers, _) = published(&json!([nameless])).unwrap();
    let ring = KeyRing::from_secret(secret.as_bytes()).joined(&issuers);
    for key in [ed(), hs(), ed().with_kid("whatever"), hs().with_kid("whatever")] {
        assert!(ring.verify(&sign(&claims, &key).unwrap(), now).is_ok(), "{key:?}");
    }
    let forged = SigningKey::from_secret(Algorithm::Hs256, ED25519_PUBLIC.as_bytes()).unwrap();
    assert_eq!(ring.verify(&sign(&claims, &forged).unwrap(), now), Err(AuthError::BadSignature));
    let file = json!({"keys": [
        {"kid": "a", "alg": "HS256", "secret": secret},
        {"kid": "a", "alg": "EdDSA", "publicKeyPem": ED25519_PUBLIC},
    ]});
    let ring = KeyRing::from_json(&file.to_string()).unwrap();
    for key in [ed(), hs()] {
        assert!(ring.verify(&sign(&claims, &key.with_kid("a")).unwrap(), now).is_ok());
    }
    assert_eq!(ring.verify(&sign(&claims, &hs()).unwrap(), now), Err(AuthError::UnknownKey));
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
    let both = [
        (Some("local"), Algorithm::Hs256),
        (Some("local"), Algorithm::EdDsa),
        (Some("issuer"), Algorithm::EdDsa),
    ];
    assert_eq!(names, both);
    assert_eq!(joined.hides(&issuers).collect::<Vec<_>>(), both[1..]);
    assert_eq!(own.hides(&issuers).count(), 0);
    let key =
        SigningKey::from_secret(Algorithm::Hs256, b"a secret of the server's own, long enough").unwrap();
    let claims = agentbench_auth::Claims::new("ada", Role::Viewer, 1_760_000_000, 1_760_003_600);
    let token = sign(&claims, &key.with_kid("local")).unwrap();
    assert!(joined.verify(&token, 1_760_000_001_000).is_ok());
    assert!(issuers.verify(&token, 1_760_000_001_000).is_err());
    assert!(KeyRing::from_secret(b"").is_empty() && !joined.is_empty());
}
