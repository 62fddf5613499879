//! Why a token is refused. Contains nothing of the token, so that it can be logged and sent to anybody.

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum AuthError {
    /// There is no token.
    #[error(
        "no token was sent: Authorization: Bearer TOKEN, or the subprotocol bearer.TOKEN (agentbench token mint makes one)"
    )]
    Missing,
    /// Not a token of the expected form: size, parts or encoding are wrong.
    #[error("the token cannot be read")]
    Malformed,
    /// There is no key with this id, or the token names none although there are several.
    #[error("the token's key is not known here")]
    UnknownKey,
    /// The token names a different algorithm than its key's.
    #[error("the token's algorithm is not the one of its key")]
    WrongAlgorithm,
    /// The signature does not match token and key.
    #[error("the token's signature is not valid")]
    BadSignature,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// The token was revoked.
    #[error("the token was revoked")]
    Revoked,
    /// `nbf` or `iat` is in the future: a token issued in the future would outlive every revocation until then.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `iss` names another issuer.
    #[error("the token is from another issuer")]
    WrongIssuer,
    /// `aud` does not name this server.
    #[error("the token is for another audience")]
    WrongAudience,
    /// `type` is that of another kind of token.
    #[error("the token is of another type")]
    WrongType,
    /// A claim that every token needs is absent.
    #[error("the token has no {0} claim")]
    MissingClaim(&'static str),
    /// A claim of the wrong type, or with content that cannot be displayed.
    #[error("the token's {claim} claim {must}")]
    BadClaim {
        /// The claim.
        claim: &'static str,
        /// What it must be.
        must: &'static str,
    },
    /// `role` is unknown.
    #[error("the token's role is not known")]
    UnknownRole,
    /// Valid, but it does not permit connecting.
    #[error("the token does not permit this")]
    NotPermitted,
}

impl AuthError {
    /// The reason as a label of a metric or a log line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::UnknownKey => "unknown_key",
            Self::WrongAlgorithm => "wrong_algorithm",
            Self::BadSignature => "bad_signature",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongIssuer => "wrong_issuer",
            Self::WrongAudience => "wrong_audience",
            Self::WrongType => "wrong_type",
            Self::MissingClaim(_) => "missing_claim",
            Self::BadClaim { .. } => "bad_claim",
            Self::UnknownRole => "unknown_role",
            Self::NotPermitted => "not_permitted",
        }
    }
}
