//! What to do after a connection has ended, or failed to open: a table.

use std::time::Duration;

use agentbench_protocol::{CloseCode, Reconnect};

use crate::item::Disconnected;
use crate::outcome::Ended;

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionLoss {
    /// The socket failed, or ended without a close.
    Io(String),
    /// The server could not be reached.
    Unreachable(String),
    /// The connection was not ready in time.
    TooSlow,
    /// Nothing was received for too long.
    Silent,
    /// The server answered the upgrade with another status than 101.
    Http {
        /// The status.
        status: u16,
        /// `Retry-After`.
        retry_after: Option<Duration>,
        /// The start of the body.
        body: String,
    },
    /// The server's bytes violate the protocol.
    Violation(String),
    /// The server cannot read a message of this client, and cannot tell which.
    Unreadable(String),
    /// The server closed the connection.
    Closed {
        /// The close code, if it gave one.
        code: Option<u16>,
        /// Its reason.
        reason: String,
        /// What its earlier `disconnecting` message requested, if there was one.
        asked: Option<(Reconnect, Option<Duration>)>,
    },
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    /// Try again after the usual backoff, and not before this time.
    Retry(Duration),
    /// Fetch a new token, then try again.
    NewToken,
    /// The token was refused: a new one helps, if there is one.
    BadToken(Ended),
    /// Never.
    End(Ended),
}

impl ConnectionLoss {
    pub(super) fn verdict(&self) -> Verdict {
        match self {
            Self::Io(_)
            | Self::Unreachable(_)
            | Self::TooSlow
            | Self::Silent
            | Self::Violation(_)
            | Self::Unreadable(_) => Verdict::Retry(Duration::ZERO),
            Self::Http { status, retry_after, body } => http(*status, *retry_after, body),
            Self::Closed { code, reason, asked } => closed(*code, reason, *asked),
        }
    }

    /// The reason as reported to the user.
    pub(super) fn describe(&self) -> Disconnected {
        let detail = match self {
            Self::Io(detail)
            | Self::Unreachable(detail)
            | Self::Violation(detail)
            | Self::Unreadable(detail) => detail.clone(),
            Self::TooSlow => "the server did not answer in time".into(),
            Self::Silent => "nothing was received from the server for too long".into(),
            Self::Http { status, body, .. } => format!("HTTP status {status}: {body}"),
            Self::Closed { reason, .. } if reason.is_empty() => "closed by the server".into(),
            Self::Closed { reason, .. } => reason.clone(),
        };
        let code = if let Self::Closed { code, .. } = self { *code } else { None };
        Disconnected { code, detail }
    }
}

fn http(status: u16, retry_after: Option<Duration>, body: &str) -> Verdict {
    let ended = Ended::Http { status, detail: body.to_owned() };
    match status {
        401 => Verdict::BadToken(ended),
        408 | 425 | 429 | 500..=599 => Verdict::Retry(retry_after.unwrap_or_default()),
        _ => Verdict::End(ended),
    }
}

fn closed(code: Option<u16>, reason: &str, asked: Option<(Reconnect, Option<Duration>)>) -> Verdict {
    let known = code.and_then(CloseCode::from_u16);
    let ended = Ended::Dismissed { code, detail: reason.to_owned() };
    // The server's explicit request takes precedence over its close code. Without either, as after a proxy's
    // close, reconnecting is right.
    let (reconnect, after) = asked.unwrap_or((known.map_or(Reconnect::Now, CloseCode::reconnect), None));
    match reconnect {
        Reconnect::Now | Reconnect::After => Verdict::Retry(after.unwrap_or_default()),
        Reconnect::RefreshToken => Verdict::NewToken,
        Reconnect::Never if known == Some(CloseCode::Policy) => Verdict::BadToken(ended),
        Reconnect::Never => Verdict::End(ended),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_codes() {
        let verdict = |code, asked| ConnectionLoss::Closed { code, reason: "why".into(), asked }.verdict();
        let now = Verdict::Retry(Duration::ZERO);
        let ended = |code| Ended::Dismissed { code: Some(code), detail: "why".into() };
        for code in [
            None,
            Some(1001),
            Some(1002),
            Some(1011),
            Some(1012),
            Some(1013),
            Some(4408),
            Some(4429),
            Some(3000),
        ] {
            assert_eq!(verdict(code, None), now, "{code:?}");
        }
        for code in [1000, 4403, 4409] {
            assert_eq!(verdict(Some(code), None), Verdict::End(ended(code)));
        }
        assert_eq!(verdict(Some(1008), None), Verdict::BadToken(ended(1008)));
        assert_eq!(verdict(Some(4401), None), Verdict::NewToken);
        let later = Duration::from_millis(700);
        assert_eq!(verdict(Some(1012), Some((Reconnect::After, Some(later)))), Verdict::Retry(later));
        assert_eq!(verdict(Some(1000), Some((Reconnect::Now, None))), now);
        assert_eq!(verdict(Some(1001), Some((Reconnect::Never, None))), Verdict::End(ended(1001)));
    }

    #[test]
    fn http_statuses() {
        let verdict = |status, seconds: Option<u64>| {
            ConnectionLoss::Http { status, retry_after: seconds.map(Duration::from_secs), body: "b".into() }
                .verdict()
        };
        let ended = |status| Ended::Http { status, detail: "b".into() };
        assert_eq!(verdict(503, Some(3)), Verdict::Retry(Duration::from_secs(3)));
        assert_eq!(verdict(503, None), Verdict::Retry(Duration::ZERO));
        assert_eq!(verdict(429, Some(1)), Verdict::Retry(Duration::from_secs(1)));
        assert_eq!(verdict(401, None), Verdict::BadToken(ended(401)));
        for status in [200, 301, 400, 403, 404, 426] {
            assert_eq!(verdict(status, None), Verdict::End(ended(status)));
        }
    }
}
