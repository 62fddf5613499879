//! Well signed tokens: which claims are taken, and which are refused with what reason.

use agentbench_auth::{AuthError, CLOCK_LEEWAY_MS, KeyRing, MAX_TOKEN_BYTES};
use serde_json::{Value, json};

use crate::minting::{NOW, NOW_MS, SECRET, judged, payload, token_of};

#[test]
fn each_claim_is_refused_for_its_own_reason() {
    use AuthError::*;
    const TEXT: &str = "must be a string";
    const TEXTS: &str = "must be an array of strings";
    const SECONDS: &str = "must be a number of seconds since 1970";
    const SHOWN: &str = "must have 1 to 256 characters, none of which controls or turns the text";
    let bad = |claim, must| BadClaim { claim, must };
    let cases = [
        (json!({"iss": null}), MissingClaim("iss")),
        (json!({"iss": "somebody-else"}), WrongIssuer),
        (json!({"iss": ""}), WrongIssuer),
        (json!({"iss": 1}), bad("iss", TEXT)),
        (json!({"aud": null}), MissingClaim("aud")),
        (json!({"aud": "agentbench-api"}), WrongAudience),
        (json!({"aud": []}), WrongAudience),
        (json!({"aud": ["agentbench-api", "other"]}), WrongAudience),
        (
            json!({"aud": {"0": "agentbench-websocket"}}),
            bad("aud", "must be a string or an array of strings"),
        ),
        (json!({"type": null}), MissingClaim("type")),
        (json!({"type": "refresh"}), WrongType),
        (json!({"exp": null}), MissingClaim("exp")),
        (json!({"exp": 0}), Expired),
        (json!({"exp": NOW - 60}), Expired),
        (json!({"exp": NOW - 5}), Expired),
        (json!({"exp": -1}), bad("exp", SECONDS)),
        (json!({"exp": (NOW + 60).to_string()}), bad("exp", SECONDS)),
        (json!({"exp": true}), bad("exp", SECONDS)),
        (json!({"nbf": NOW + 6}), NotYetValid),
        (json!({"nbf": NOW + 60}), NotYetValid),
        (json!({"nbf": u64::MAX}), NotYetValid),
        (json!({"iat": NOW + 6}), NotYetValid),
        (json!({"iat": NOW + 3_600}), NotYetValid),
        (json!({"iat": 1e300}), NotYetValid),
        (json!({"role": null}), MissingClaim("role")),
        (json!({"role": "owner"}), UnknownRole),
        (json!({"role": "Admin"}), UnknownRole),
        (json!({"role": ""}), UnknownRole),
        (json!({"role": ["admin"]}), bad("role", TEXT)),
        (json!({"userId": null}), MissingClaim("userId")),
        (json!({"userId": ""}), bad("userId", SHOWN)),
        (json!({"userId": 7}), bad("userId", TEXT)),
        (json!({"userId": null, "sub": 7}), bad("sub", TEXT)),
        (json!({"userId": null, "sub": ""}), bad("sub", SHOWN)),
        (json!({"userId": "a".repeat(257)}), bad("userId", SHOWN)),
        (json!({"userId": "a\nb"}), bad("userId", SHOWN)),
        (json!({"userId": "a\u{0}"}), bad("userId", SHOWN)),
        (json!({"userId": "a\u{202e}b"}), bad("userId", SHOWN)),
        (json!({"userId": "ada", "sub": "bob"}), bad("sub", "must be the same as userId")),
        (json!({"username": "\u{1b}[31mada"}), bad("username", SHOWN)),
        (json!({"username": "a".repeat(257)}), bad("username", SHOWN)),
        (json!({"projectId": ""}), bad("projectId", SHOWN)),
        (json!({"projectId": "p\u{7f}"}), bad("projectId", SHOWN)),
        (json!({"projectId": 7}), bad("projectId", TEXT)),
        (json!({"jti": "x".repeat(257)}), bad("jti", SHOWN)),
        (json!({"jti": {}}), bad("jti", TEXT)),
        (json!({"iat": "soon"}), bad("iat", SECONDS)),
        (json!({"nbf": []}), bad("nbf", SECONDS)),
        (json!({"type": 1}), bad("type", TEXT)),
        (json!({"username": 1}), bad("username", TEXT)),
        (json!({"permissions": "session:read"}), bad("permissions", TEXTS)),
        (json!({"permissions": 0}), bad("permissions", TEXTS)),
        (json!({"permissions": [1]}), bad("permissions", TEXTS)),
    ];
    for (changes, reason) in cases {
        assert_eq!(judged(&payload(&changes).to_string()), Err(reason), "{changes}");
    }
}

#[test]
fn each_of_these_is_taken() {
    let cases = [
        json!({}),
        json!({"aud": ["agentbench-api", "agentbench-websocket"]}),
        json!({"exp": NOW - 4}),
        json!({"exp": (NOW + 60) as f64 + 0.5}),
        json!({"exp": 1e300}),
        json!({"exp": u64::MAX}),
        json!({"nbf": NOW + 5}),
        json!({"nbf": NOW - 60}),
        json!({"iat": null}),
        json!({"iat": NOW + 5}),
        json!({"sub": "ada"}),
        json!({"userId": null, "sub": "ada"}),
        json!({"username": ""}),
        json!({"username": "ü".repeat(256)}),
        json!({"permissions": []}),
        json!({"somethingElse": {"deep": [1, 2, {"x": null}]}}),
    ];
    for changes in cases {
        let grant = judged(&payload(&changes).to_string());
        assert_eq!(grant.map(|grant| grant.user_id).as_deref(), Ok("ada"), "{changes}");
    }
}

#[test]
fn a_grant_says_what_the_token_says() {
    let token = payload(
        &json!({"username": "Ada L.", "projectId": "p1", "jti": "t-1", "permissions": ["audit:read"]}),
    );
    let grant = judged(&token.to_string()).unwrap();
    assert_eq!((grant.user_id.as_str(), grant.username.as_str()), ("ada", "Ada L."));
    assert_eq!((grant.project.as_deref(), grant.token_id.as_deref()), (Some("p1"), Some("t-1")));
    assert_eq!((grant.issued_at, grant.expires_at), (Some(NOW_MS - 60_000), Some(NOW_MS + 3_600_000)));
    assert_eq!(judged(&payload(&json!({})).to_string()).unwrap().username, "ada");
}

#[test]
fn a_time_beyond_all_calendars_stays_a_number_that_clients_can_hold() {
    let grant = judged(&payload(&json!({"exp": u64::MAX, "iat": 1})).to_string()).unwrap();
    assert_eq!((grant.issued_at, grant.expires_at), (Some(1_000), Some(8_640_000_000_000_000)));
    let grant = judged(&payload(&json!({"exp": 1e300})).to_string()).unwrap();
    assert_eq!(grant.expires_at, Some(8_640_000_000_000_000));
}

#[test]
fn a_grant_ends_when_its_token_is_refused() {
    let ring = KeyRing::from_secret(SECRET.as_bytes());
    let token = token_of(&payload(&json!({"exp": NOW})).to_string());
    let grant = ring.verify(&token, NOW_MS).unwrap();
    for (now, ended) in [
        (NOW_MS, false),
        (NOW_MS + CLOCK_LEEWAY_MS - 1, false),
        (NOW_MS + CLOCK_LEEWAY_MS, true),
        (u64::MAX, true),
    ] {
        assert_eq!(grant.has_expired(now), ended, "{now}");
        assert_eq!(ring.verify(&token, now).is_err(), ended, "{now}");
    }
}

/// Two readers of one token must not be able to believe different things.
#[test]
fn a_claim_that_is_written_twice_is_refused() {
    let good = payload(&json!({})).to_string();
    let null = payload(&json!({})).to_string().replacen('{', "{\"permissions\":null,", 1);
    let permissions = AuthError::BadClaim { claim: "permissions", must: "must be an array of strings" };
    assert_eq!(judged(&null), Err(permissions), "null is no list");
    for (twice, claim) in [
        (r#""role":"admin""#, "role"),
        (r#""exp":9999999999"#, "exp"),
        (r#""userId":"bob""#, "userId"),
        (r#""r\u006fle":"admin""#, "role"),
    ] {
        let refused = Err(AuthError::BadClaim { claim, must: "must be written once" });
        let before = format!("{{{twice},{}", &good[1..]);
        let after = format!("{},{twice}}}", &good[..good.len() - 1]);
        assert_eq!(judged(&before), refused, "{before}");
        assert_eq!(judged(&after), refused, "{after}");
    }
}

#[test]
fn a_payload_must_be_one_json_object_in_utf_8() {
    let good = payload(&json!({})).to_string();
    for bad in
        ["", "null", "[]", r#"["ada"]"#, "7", "\"ada\"", "{", &format!("{good}{good}"), &format!("{good}x")]
    {
        assert_eq!(judged(bad), Err(AuthError::Malformed), "{bad}");
    }
    let ring = KeyRing::from_secret(SECRET.as_bytes());
    for part in [&b"\"x\":\"\xff\xfe\""[..], b"\"\xc3(\":1", b"\"username\":\"\xed\xa0\x80\""] {
        let bytes = [&good.as_bytes()[..good.len() - 1], b",", part, b"}"].concat();
        let token = crate::minting::hs256(br#"{"alg":"HS256"}"#, &bytes, SECRET.as_bytes());
        assert_eq!(ring.verify(&token, NOW_MS), Err(AuthError::Malformed), "{part:?}");
    }
}

/// Depth costs no stack: what is not known is skipped, and what is known is not deep.
#[test]
fn deep_nesting_does_no_harm() {
    let good = payload(&json!({"aud": null})).to_string();
    let deep = format!("{}{}", "[".repeat(2_500), "]".repeat(2_500));
    let with = |claims: &str| format!("{},{claims}}}", &good[..good.len() - 1]);
    assert!(judged(&with(&format!(r#""aud":"agentbench-websocket","x":{deep}"#))).is_ok());
    assert_eq!(judged(&with(&format!(r#""aud":{deep}"#))), Err(AuthError::Malformed));
    assert_eq!(judged(&deep), Err(AuthError::Malformed));
}

#[test]
fn size_is_checked_before_anything_else() {
    let ring = KeyRing::from_secret(SECRET.as_bytes());
    let padded = |bytes| token_of(&payload(&json!({"note": "x".repeat(bytes)})).to_string());
    let fits = padded(5_700);
    assert!(fits.len() <= MAX_TOKEN_BYTES);
    assert!(ring.verify(&fits, NOW_MS).is_ok());
    let huge = padded(6_100);
    assert!(huge.len() > MAX_TOKEN_BYTES);
    assert_eq!(ring.verify(&huge, NOW_MS), Err(AuthError::Malformed));
    assert_eq!(ring.verify(&"a".repeat(50_000_000), NOW_MS), Err(AuthError::Malformed));
    assert_eq!(ring.verify("", NOW_MS), Err(AuthError::Missing));
}

#[test]
fn every_reason_has_its_own_label_and_none_shows_the_token() {
    use AuthError::*;
    let all = [
        Missing,
        Malformed,
        UnknownKey,
        WrongAlgorithm,
        BadSignature,
        Expired,
        NotYetValid,
        WrongIssuer,
        WrongAudience,
        WrongType,
        MissingClaim("exp"),
        BadClaim { claim: "exp", must: "" },
        UnknownRole,
        NotPermitted,
    ];
    let labels: std::collections::BTreeSet<_> = all.iter().map(|error| error.as_str()).collect();
    assert_eq!(labels.len(), all.len());
    assert!(labels.iter().all(|label| label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
    let refused = judged(&payload(&json!({"role": "Sesame"})).to_string()).unwrap_err();
    assert!(!format!("{refused} {refused:?}").contains("Sesame"));
    assert_eq!(Value::from(refused.as_str()), "unknown_role");
}
