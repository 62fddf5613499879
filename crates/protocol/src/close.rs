//! Why a connection ends, and what the client may do next.

use serde::{Deserialize, Serialize};

/// Every close code that the server sends: those of RFC 6455 §7.4.1 and our own in 4000–4999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum CloseCode {
    /// The client requested it.
    Normal = 1000,
    /// The server stops permanently.
    GoingAway = 1001,
    /// Broken framing.
    Protocol = 1002,
    /// Text that is not UTF-8, or invalid compressed data.
    InvalidData = 1007,
    /// No token, an invalid one, or too many malformed messages.
    Policy = 1008,
    /// A message larger than `maxPayload`.
    TooBig = 1009,
    /// A bug in the server.
    Internal = 1011,
    /// The server restarts; reconnect after the announced time.
    Restarting = 1012,
    /// The server is at its limit; try again later.
    TryLater = 1013,
    /// The token has expired or was revoked: get a new one first.
    TokenExpired = 4401,
    /// Not permitted; do not reconnect.
    Forbidden = 4403,
    /// The client did not read for `SLOW_CONSUMER_TIMEOUT`, or did not answer pings.
    SlowConsumer = 4408,
    /// Replaced by a newer connection of the same producer.
    Replaced = 4409,
    /// Kept exceeding the rate limit.
    RateLimited = 4429,
}

impl CloseCode {
    /// The code on the wire.
    pub const fn as_u16(self) -> u16 {
        self as u16
    }

    /// A short name for metrics and logs.
    pub const fn cause(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::GoingAway => "going_away",
            Self::Protocol => "protocol",
            Self::InvalidData => "invalid_data",
            Self::Policy => "policy",
            Self::TooBig => "too_big",
            Self::Internal => "internal",
            Self::Restarting => "restarting",
            Self::TryLater => "try_later",
            Self::TokenExpired => "token_expired",
            Self::Forbidden => "forbidden",
            Self::SlowConsumer => "slow_consumer",
            Self::Replaced => "replaced",
            Self::RateLimited => "rate_limited",
        }
    }

    /// What a client should do after a close with this code.
    pub const fn reconnect(self) -> Reconnect {
        match self {
            Self::Normal | Self::Forbidden | Self::Replaced | Self::Policy => Reconnect::Never,
            Self::TokenExpired => Reconnect::RefreshToken,
            Self::Restarting | Self::TryLater | Self::RateLimited => Reconnect::After,
            _ => Reconnect::Now,
        }
    }

    /// The code with this number, if the server uses it.
    pub fn from_u16(code: u16) -> Option<Self> {
        const ALL: [CloseCode; 14] = [
            CloseCode::Normal,
            CloseCode::GoingAway,
            CloseCode::Protocol,
            CloseCode::InvalidData,
            CloseCode::Policy,
            CloseCode::TooBig,
            CloseCode::Internal,
            CloseCode::Restarting,
            CloseCode::TryLater,
            CloseCode::TokenExpired,
            CloseCode::Forbidden,
            CloseCode::SlowConsumer,
            CloseCode::Replaced,
            CloseCode::RateLimited,
        ];
        ALL.into_iter().find(|known| known.as_u16() == code)
    }
}

/// What a client should do after a disconnect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Reconnect {
    /// Reconnect at once (with the usual backoff).
    Now,
    /// Reconnect after `afterMs`.
    After,
    /// Get a new token first.
    RefreshToken,
    /// Do not reconnect.
    Never,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_codes_go_both_ways() {
        for code in [1000, 1001, 1002, 1007, 1008, 1009, 1011, 1012, 1013, 4401, 4403, 4408, 4409, 4429] {
            assert_eq!(CloseCode::from_u16(code).unwrap().as_u16(), code);
        }
        assert_eq!(CloseCode::from_u16(1005), None);
    }
}
