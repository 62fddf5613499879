//! Tokens, good and bad.

use std::time::{SystemTime, UNIX_EPOCH};

use agentbench_auth::{Algorithm, Claims, Role, SigningKey, sign};

pub(crate) const SECRET: &str = "a secret that only these tests know, long enough";

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_secs()
}

/// Claims that are good for an hour.
pub(crate) fn claims(user: &str, role: Role) -> Claims {
    Claims::new(user, role, now(), now() + 3600)
}

/// The same, held to a project.
pub(crate) fn claims_for_project(user: &str, role: Role, project: &str) -> Claims {
    Claims { project_id: Some(project.to_owned()), ..claims(user, role) }
}

/// A token by the secret that the test server trusts.
pub(crate) fn mint(claims: &Claims) -> String {
    mint_with(claims, Algorithm::Hs256, SECRET.as_bytes())
}

pub(crate) fn mint_with(claims: &Claims, algorithm: Algorithm, secret: &[u8]) -> String {
    let key = SigningKey::from_secret(algorithm, secret).expect("the secret is a key");
    sign(claims, &key).expect("claims can be signed")
}

/// A token for an evaluator without a project.
pub(crate) fn evaluator(user: &str) -> String {
    mint(&claims(user, Role::Evaluator))
}
