//! No token but the one that was signed is taken, and nothing at all makes the check panic.

use agentbench_auth::{Algorithm, KeyRing};
use proptest::prelude::*;

use crate::minting::{NOW_MS, SECRET, good_token, hs256, ring};

/// A token with one byte replaced, where the result is text at all.
fn mutated(token: &str, place: usize, byte: u8) -> Option<String> {
    let mut bytes = token.as_bytes().to_vec();
    let place = place % bytes.len();
    let changed = bytes[place] != byte;
    bytes[place] = byte;
    String::from_utf8(bytes).ok().filter(|_| changed)
}

/// All places and all bytes, since HMAC is quick: the last character of the signature has bits to spare, and a lenient
/// decoder would let them vary.
#[test]
fn every_change_of_one_byte_of_an_hs256_token_is_refused() {
    let (ring, token) = (ring(), good_token(Algorithm::Hs256));
    assert!(ring.verify(&token, NOW_MS).is_ok());
    for place in 0..token.len() {
        for changed in (0..128).filter_map(|byte| mutated(&token, place, byte)) {
            assert!(ring.verify(&changed, NOW_MS).is_err(), "{changed}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_change_of_one_byte_is_refused(which in 0..Algorithm::ALL.len(), place: usize, byte in 0_u8..128) {
        thread_local! {
            static GOOD: (KeyRing, Vec<String>) = (ring(), Algorithm::ALL.map(good_token).to_vec());
        }
        GOOD.with(|(ring, tokens)| {
            if let Some(changed) = mutated(&tokens[which], place, byte) {
                prop_assert!(ring.verify(&changed, NOW_MS).is_err(), "{}", changed);
            }
            Ok(())
        })?;
    }

    #[test]
    fn arbitrary_text_is_refused_without_a_panic(token in ".*", now: u64) {
        prop_assert!(ring().verify(&token, now).is_err());
    }

    #[test]
    fn text_of_three_parts_is_refused_without_a_panic(
        token in "([A-Za-z0-9_-]{0,80}\\.){2}[A-Za-z0-9_-]{0,90}",
        now: u64,
    ) {
        prop_assert!(KeyRing::from_secret(SECRET.as_bytes()).verify(&token, now).is_err());
    }

    /// Even a holder of the secret cannot do harm with what they sign.
    #[test]
    fn signed_rubbish_does_not_panic(header: Vec<u8>, payload: Vec<u8>, now: u64) {
        let ring = KeyRing::from_secret(SECRET.as_bytes());
        prop_assert!(ring.verify(&hs256(&header, &payload, SECRET.as_bytes()), now).is_err());
        let plain = hs256(br#"{"alg":"HS256"}"#, &payload, SECRET.as_bytes());
        prop_assert!(ring.verify(&plain, now).is_err());
    }

    #[test]
    fn arbitrary_keys_files_do_not_panic(
        alg in "HS256|RS256|ES256|EdDSA",
        kty in "oct|RSA|EC|OKP",
        crv in "P-256|Ed25519",
        a in "[A-Za-z0-9_-]{0,90}",
        b in "[A-Za-z0-9_-]{0,90}",
    ) {
        let key = serde_json::json!({"alg": alg, "kty": kty, "crv": crv, "k": a, "n": a, "e": b, "x": a, "y": b});
        drop(KeyRing::from_json(&serde_json::json!({"keys": [key]}).to_string()));
        drop(KeyRing::from_json(&a));
    }
}
