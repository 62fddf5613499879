//! How a link opens: with HTTP heads that make it a WebSocket, or otherwise. Each direction parses its own head, and they share
//! the result here.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::fault::Way;

/// The protocol of a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The client has not sent a request yet.
    #[default]
    Unknown,
    /// The client requested a WebSocket; this is the `Sec-WebSocket-Accept` that would grant it.
    Asked([u8; 28]),
    /// Frames.
    WebSocket(Compression),
    /// Bytes.
    Bytes,
}

/// Compression (RFC 7692), as granted by the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Compression {
    negotiated: bool,
    client_resets: bool,
    server_resets: bool,
}

impl Compression {
    /// Parses the server's `Sec-WebSocket-Extensions`.
    pub(crate) fn parse(extensions: &str) -> Self {
        let granted = extensions
            .split(',')
            .map(|extension| extension.split(';').map(str::trim).collect::<Vec<_>>())
            .find(|words| words.first().is_some_and(|name| name.eq_ignore_ascii_case("permessage-deflate")));
        let Some(words) = granted else { return Self::default() };
        let has = |name: &str| words.iter().any(|word| word.eq_ignore_ascii_case(name));
        Self {
            negotiated: true,
            client_resets: has("client_no_context_takeover"),
            server_resets: has("server_no_context_takeover"),
        }
    }

    /// Whether messages in this direction may be compressed.
    pub(crate) fn is_negotiated(self) -> bool {
        self.negotiated
    }

    /// Whether messages in this direction may refer to earlier ones.
    pub(crate) fn retains(self, way: Way) -> bool {
        let resets = match way {
            Way::Up => self.client_resets,
            Way::Down => self.server_resets,
        };
        self.negotiated && !resets
    }
}

/// The mode of one link.
#[derive(Debug, Default)]
pub(crate) struct Opening {
    mode: Mutex<Mode>,
    settled: Notify,
}

impl Opening {
    pub(crate) fn mode(&self) -> Mode {
        *self.lock()
    }

    /// Sets it. Wakes the client's reader, which may be holding frames.
    pub(crate) fn set(&self, mode: Mode) {
        *self.lock() = mode;
        self.settled.notify_one();
    }

    /// Returns after a change.
    pub(crate) async fn changed(&self) {
        self.settled.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Mode> {
        self.mode.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_who_may_refer_to_earlier_messages() {
        let all = Compression::parse(
            "foo, permessage-deflate; client_no_context_takeover; server_max_window_bits=12",
        );
        assert!(all.is_negotiated() && all.retains(Way::Down) && !all.retains(Way::Up));
        let none = Compression::parse("x-webkit-deflate-frame");
        assert!(!none.is_negotiated() && !none.retains(Way::Down));
    }
}
