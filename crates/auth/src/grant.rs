//! The result of verifying a token: its claims, validated.

use agentbench_protocol::limits::MAX_TEXT_CHARS;

use crate::claims::{AUDIENCE, Claims, ISSUER, TOKEN_TYPE};
use crate::error::AuthError;
use crate::permission::{Permission, Permissions};
use crate::role::Role;

/// Tolerated difference between the issuer's clock and ours, ms: more than NTP leaves, less than matters.
pub const CLOCK_LEEWAY_MS: u64 = 5_000;

/// The latest time of a JavaScript `Date`, ms since 1970 (the year 275760). Later times are clamped to it, so that
/// additions to a grant's times, and browsers, get valid numbers.
const LAST_MS: u64 = 8_640_000_000_000_000;

/// A user's identity and permissions, with scope and expiry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The user.
    pub user_id: String,
    /// The user's display name.
    pub username: String,
    /// The user's role.
    pub role: Role,
    /// The union of the role's and the token's permissions.
    pub permissions: Permissions,
    /// The project that the token restricts the user to.
    pub project: Option<String>,
    /// The token's id (`jti`), for revoking it.
    pub token_id: Option<String>,
    /// When the token was issued, ms since 1970, for revoking all older ones. By the issuer's clock.
    pub issued_at: Option<u64>,
    /// When the token expires, ms since 1970, without leeway; every grant from a token has it.
    pub expires_at: Option<u64>,
}

impl Grant {
    /// Whether the user may do this (in a project that they have access to).
    pub const fn allows(&self, permission: Permission) -> bool {
        self.permissions.contains(permission)
    }

    /// Whether the user may act in or read this project. A token with a project restricts its user to that one,
    /// unless it has `access:all_projects`; a token without one permits all projects, for every role.
    pub fn may_access(&self, project_id: &str) -> bool {
        self.scope().is_none_or(|project| project == project_id)
    }

    /// The one project that the grant is restricted to; `None` if it covers all of them.
    pub fn scope(&self) -> Option<&str> {
        self.project.as_deref().filter(|_| !self.allows(Permission::AccessAllProjects))
    }

    /// Whether the grant has expired, by the same rule (including leeway) by which a token is refused as expired.
    pub fn has_expired(&self, now_ms: u64) -> bool {
        self.expires_at.is_some_and(|end| end.saturating_add(CLOCK_LEEWAY_MS) <= now_ms)
    }

    /// Validates the claims of a token whose signature is verified.
    ///
    /// The order follows what a client can do about it: a token that was never for this server is reported before one that
    /// only needs to be renewed.
    pub(crate) fn from_claims(claims: Claims, now_ms: u64) -> Result<Self, AuthError> {
        check_purpose(&claims)?;
        let expires_at = check_times(&claims, now_ms)?;
        let role: Role = required(claims.role, "role")?.parse().map_err(|_| AuthError::UnknownRole)?;
        let user_id = user(claims.user_id, claims.sub)?;
        let username = match claims.username {
            Some(name) if !name.is_empty() => checked("username", name)?,
            _ => user_id.clone(),
        };
        let permissions = role.permissions().union(Permissions::from_claim(&claims.permissions));
        check_may_connect(permissions)?;
        Ok(Self {
            user_id,
            username,
            role,
            permissions,
            project: claims.project_id.map(|text| checked("projectId", text)).transpose()?,
            token_id: claims.jti.map(|text| checked("jti", text)).transpose()?,
            issued_at: claims.iat.map(to_ms),
            expires_at: Some(expires_at),
        })
    }
}

/// Checks that the token was made by AgentBench, for this server and this use.
fn check_purpose(claims: &Claims) -> Result<(), AuthError> {
    if claims.iss.as_deref().ok_or(AuthError::MissingClaim("iss"))? != ISSUER {
        return Err(AuthError::WrongIssuer);
    }
    if !claims.aud.as_ref().ok_or(AuthError::MissingClaim("aud"))?.names(AUDIENCE) {
        return Err(AuthError::WrongAudience);
    }
    if claims.token_type.as_deref().ok_or(AuthError::MissingClaim("type"))? != TOKEN_TYPE {
        return Err(AuthError::WrongType);
    }
    Ok(())
}

/// Checks that now is within the token's validity; returns its expiry in ms.
fn check_times(claims: &Claims, now_ms: u64) -> Result<u64, AuthError> {
    let expires_at = to_ms(claims.exp.ok_or(AuthError::MissingClaim("exp"))?);
    if expires_at.saturating_add(CLOCK_LEEWAY_MS) <= now_ms {
        return Err(AuthError::Expired);
    }
    // A token issued in the future would outlive every revocation until then.
    let begins = claims.nbf.into_iter().chain(claims.iat);
    if begins.map(to_ms).any(|begin| begin > now_ms.saturating_add(CLOCK_LEEWAY_MS)) {
        return Err(AuthError::NotYetValid);
    }
    Ok(expires_at)
}

/// The user by either of the two claims. If both are present and differ, the user is ambiguous.
fn user(user_id: Option<String>, sub: Option<String>) -> Result<String, AuthError> {
    if let (Some(one), Some(other)) = (&user_id, &sub)
        && one != other
    {
        return Err(AuthError::BadClaim { claim: "sub", must: "must be the same as userId" });
    }
    let claim = if user_id.is_some() { "userId" } else { "sub" };
    checked(claim, required(user_id.or(sub), "userId")?)
}

/// Every role may connect today; this check is for a future one that may not.
fn check_may_connect(permissions: Permissions) -> Result<(), AuthError> {
    if permissions.contains(Permission::Connect) { Ok(()) } else { Err(AuthError::NotPermitted) }
}

fn required(claim: Option<String>, name: &'static str) -> Result<String, AuthError> {
    claim.ok_or(AuthError::MissingClaim(name))
}

/// A text that is displayed, logged and stored: short, not empty, and without control characters.
fn checked(claim: &'static str, text: String) -> Result<String, AuthError> {
    const { assert!(MAX_TEXT_CHARS == 256, "the words below name the number") };
    let short = text.len() <= MAX_TEXT_CHARS || text.chars().count() <= MAX_TEXT_CHARS;
    if !short || text.is_empty() || text.chars().any(acts) {
        let must = "must have 1 to 256 characters, none of which controls or turns the text";
        return Err(AuthError::BadClaim { claim, must });
    }
    Ok(text)
}

/// Control characters, line separators, and marks that change the direction of text (a name could make a
/// log line or a list of participants read as something else).
fn acts(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn to_ms(seconds: u64) -> u64 {
    seconds.saturating_mul(1_000).min(LAST_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_may_not_connect_is_not_let_in() {
        let all_but = |left_out| Permission::ALL.into_iter().filter(|p| *p != left_out).collect::<Vec<_>>();
        let set = Permissions::of(&all_but(Permission::Connect));
        assert_eq!(check_may_connect(set), Err(AuthError::NotPermitted));
        assert_eq!(check_may_connect(Permissions::of(&[Permission::Connect])), Ok(()));
    }
}
