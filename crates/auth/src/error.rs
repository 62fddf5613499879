//! Why a token is refused. Holds nothing of the token, so that it can be logged and sent to anybody.

/// Why a token gives no grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum AuthError {
    /// There is no token.
    #[error(
        "no token was sent: Authorization: Bearer TOKEN, or the subprotocol bearer.TOKEN (agentbench token mint makes one)"
    )]
    Missing,
    /// Not a token of the form that is expected here: size, parts or encoding are wrong.
    #[error("the token cannot be read")]
    Malformed,
    /// No key of this name is known, or the token names none where there are several.
    #[error("the token's key is not known here")]
    UnknownKey,
    /// The token names another algorithm than its key has.
    #[error("the token's algorithm is not the one of its key")]
    WrongAlgorithm,
    /// The signature is not of this token by this key.
    #[error("the token's signature is not valid")]
    BadSignature,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// The server was told to take it no more.
    #[error("the token was revoked")]
    Revoked,
    /// `nbf` has not come yet, or `iat`: a token that is issued in the future would outlive each revocation until then.
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
    /// A claim of another type than it should be, or with a content that cannot be shown.
    #[error("the token's {claim} claim {must}")]
    BadClaim {
        /// The claim.
        claim: &'static str,
        /// What it has to be.
        must: &'static str,
    },
    /// `role` names no role.
    #[error("the token's role is not known")]
    UnknownRole,
    /// Valid, but it does not permit to connect.
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
