//! Tokens that were not made with the key that they claim, or not in the way that the key allows.

use agentbench_auth::{Algorithm, AuthError, KeyRing, SigningKey, sign};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::minting::*;

#[test]
fn every_algorithm_verifies_what_it_signed() {
    for algorithm in Algorithm::ALL {
        let grant = ring().verify(&good_token(algorithm), NOW_MS);
        assert_eq!(grant.map(|grant| grant.user_id).as_deref(), Ok("ada"), "{algorithm}");
    }
}

/// The header with its `alg` and `kid` replaced; payload and signature stay.
fn reheaded(token: &str, header: &Value) -> String {
    let rest = token.split_once('.').unwrap().1;
    format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()))
}

#[test]
fn no_header_makes_a_key_check_with_another_algorithm() {
    let names = Algorithm::ALL.map(Algorithm::as_str);
    let others = [
        "none", "None", "NONE", "", "hs256", "HS256 ", "RS384", "RS512", "PS256", "ES384", "ES512", "Ed25519",
    ];
    for key in Algorithm::ALL {
        for alg in names.into_iter().chain(others).filter(|alg| *alg != key.as_str()) {
            let token = reheaded(&good_token(key), &json!({"alg": alg, "kid": key.as_str()}));
            // Another name of the same algorithm, under which the token was not signed.
            let same = alg == "Ed25519" && key == Algorithm::EdDsa;
            let refused = if same { AuthError::BadSignature } else { AuthError::WrongAlgorithm };
            assert_eq!(ring().verify(&token, NOW_MS), Err(refused), "{alg} for {key}");
        }
    }
}

#[test]
fn a_token_without_a_signature_is_refused() {
    let good = good_token(Algorithm::Hs256);
    let unsigned = good.rsplit_once('.').unwrap().0;
    let none = reheaded(&good, &json!({"alg": "none"}));
    let none = format!("{}.", none.rsplit_once('.').unwrap().0);
    let secret = KeyRing::from_secret(SECRET.as_bytes());
    for (ring, token, reason) in [
        (&secret, none.as_str(), AuthError::WrongAlgorithm),
        (&ring(), none.as_str(), AuthError::UnknownKey),
        (&ring(), &format!("{unsigned}."), AuthError::BadSignature),
        (&ring(), unsigned, AuthError::Malformed),
    ] {
        assert_eq!(ring.verify(token, NOW_MS), Err(reason), "{token}");
    }
}

/// The public key is public: whoever has it may not use it as a secret.
#[test]
fn a_public_key_is_no_secret() {
    let payload = payload(&json!({"role": "admin"})).to_string();
    for (kid, pem) in [("RS256", RSA_PUBLIC), ("ES256", P256_PUBLIC), ("EdDSA", ED25519_PUBLIC)] {
        let der = pem.lines().filter(|line| !line.starts_with('-')).collect::<String>();
        let der = base64::engine::general_purpose::STANDARD.decode(der).unwrap();
        let one_key =
            KeyRing::from_json(&json!({"keys": [{"alg": kid, "publicKeyPem": pem}]}).to_string()).unwrap();
        for secret in [pem.as_bytes(), pem.trim_end().as_bytes(), &der, b""] {
            for alg in ["HS256", kid] {
                let header = json!({"alg": alg, "kid": kid}).to_string();
                let token = hs256(header.as_bytes(), payload.as_bytes(), secret);
                let reason = if alg == kid { AuthError::BadSignature } else { AuthError::WrongAlgorithm };
                assert_eq!(ring().verify(&token, NOW_MS), Err(reason), "{header}");
                assert_eq!(one_key.verify(&token, NOW_MS), Err(reason), "{header}");
            }
        }
    }
}

#[test]
fn the_signature_of_another_key_is_refused() {
    let other_secret = SigningKey::from_secret(Algorithm::Hs256, b"another").unwrap().with_kid("HS256");
    let other_p256 =
        SigningKey::from_private_pem(Algorithm::Es256, OTHER_P256_PRIVATE).unwrap().with_kid("ES256");
    for key in [other_secret, other_p256] {
        let token = sign(&claims(), &key).unwrap();
        assert_eq!(ring().verify(&token, NOW_MS), Err(AuthError::BadSignature), "{key:?}");
    }
    // The signature of one good token under the content of another.
    for algorithm in Algorithm::ALL {
        let one = good_token(algorithm);
        let other = sign(
            &agentbench_auth::Claims { username: Some("x".into()), ..claims() },
            &signing_key(algorithm),
        );
        let mixed =
            format!("{}.{}", other.unwrap().rsplit_once('.').unwrap().0, one.rsplit_once('.').unwrap().1);
        assert_eq!(ring().verify(&mixed, NOW_MS), Err(AuthError::BadSignature), "{algorithm}");
    }
}

#[test]
fn the_name_of_a_key_chooses_it_and_nothing_else_does() {
    let key = |kid: &str, secret: &str| json!({"kid": kid, "alg": "HS256", "secret": secret});
    let nameless = |secret: &str| json!({"alg": "HS256", "secret": secret});
    let ring = |keys: Value| KeyRing::from_json(&json!({ "keys": keys }).to_string()).unwrap();
    let (two, mixed) =
        (ring(json!([key("a", "A"), key("b", "B")])), ring(json!([nameless("A"), key("b", "B")])));
    let (one, alone) = (ring(json!([key("a", "A")])), KeyRing::from_secret(b"A"));
    let (ok, unknown, bad) = (Ok(()), Err(AuthError::UnknownKey), Err(AuthError::BadSignature));
    let cases = [
        ("two keys", &two, Some("a"), "A", ok),
        ("two keys", &two, Some("b"), "B", ok),
        ("two keys", &two, Some("b"), "A", bad),
        ("two keys", &two, Some("c"), "A", unknown),
        ("two keys", &two, Some(""), "A", unknown),
        ("two keys", &two, Some("A"), "A", unknown),
        ("two keys", &two, Some("../../dev/null"), "", unknown),
        ("two keys", &two, None, "A", unknown),
        ("one of them nameless", &mixed, None, "A", ok),
        ("one of them nameless", &mixed, None, "B", bad),
        ("one of them nameless", &mixed, Some("c"), "A", unknown),
        ("one key", &one, None, "A", ok),
        ("one key", &one, Some("a"), "A", ok),
        ("one key", &one, Some("c"), "A", unknown),
        ("one nameless key", &alone, None, "A", ok),
        ("one nameless key", &alone, Some("c"), "A", ok),
        ("one nameless key", &alone, Some("c"), "B", bad),
        ("an empty secret", &KeyRing::from_secret(b""), None, "", unknown),
    ];
    for (what, ring, kid, secret, verdict) in cases {
        let header = json!({"alg": "HS256", "kid": kid}).to_string();
        let token = hs256(header.as_bytes(), payload(&json!({})).to_string().as_bytes(), secret.as_bytes());
        assert_eq!(ring.verify(&token, NOW_MS).map(drop), verdict, "{what}: {kid:?} signed by {secret}");
    }
}

#[test]
fn headers_that_are_not_plain_are_refused() {
    let ring = KeyRing::from_secret(SECRET.as_bytes());
    let payload = payload(&json!({})).to_string();
    let refused = [
        "",
        "{}",
        "[]",
        r#"["HS256"]"#,
        r#"["HS256",null]"#,
        "null",
        r#"{"alg":null}"#,
        r#"{"alg":["HS256"]}"#,
        r#"{"alg":"HS256","alg":"HS256"}"#,
        r#"{"alg":"HS256","kid":"a","kid":"b"}"#,
        r#"{"alg":"HS256","kid":{}}"#,
        r#"{"alg":"HS256","crit":["exp"]}"#,
        r#"{"alg":"HS256","crit":[],"b64":false}"#,
        r#"{"alg":"HS256"} x"#,
    ];
    for header in refused {
        let token = hs256(header.as_bytes(), payload.as_bytes(), SECRET.as_bytes());
        assert_eq!(ring.verify(&token, NOW_MS), Err(AuthError::Malformed), "{header}");
    }
    let mut own_key = json!({"alg": "HS256", "typ": "JWT", "jku": "https://example.org/keys"});
    own_key["jwk"] = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode("mine")});
    let header = own_key.to_string();
    let mine = hs256(header.as_bytes(), payload.as_bytes(), b"mine");
    assert_eq!(
        ring.verify(&mine, NOW_MS),
        Err(AuthError::BadSignature),
        "a key that the token brings is not used"
    );
}

#[test]
fn what_has_not_the_form_of_a_token_is_refused() {
    let good = token_of(&payload(&json!({})).to_string());
    let ring = KeyRing::from_secret(SECRET.as_bytes());
    assert!(ring.verify(&good, NOW_MS).is_ok());
    let cases = [
        ".".into(),
        "..".into(),
        "...".into(),
        "a.b".into(),
        "a.b.c".into(),
        "ä.ö.ü".into(),
        "\0.\0.\0".into(),
        format!(" {good}"),
        format!("{good} "),
        format!("{good}\n"),
        format!("{good}="),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.AAAA"),
        format!("Bearer {good}"),
        good.replace('.', ".."),
        good.replacen('e', "+", 1),
        "eyJhbGciOiJIUzI1NiJ9".into(),
        "a".repeat(8_000),
        ".".repeat(8_000),
    ];
    for token in cases {
        assert_eq!(ring.verify(&token, NOW_MS), Err(AuthError::Malformed), "{token:.80}");
    }
    for end in 0..good.len() {
        assert!(ring.verify(&good[..end], NOW_MS).is_err(), "cut at {end}");
    }
}
