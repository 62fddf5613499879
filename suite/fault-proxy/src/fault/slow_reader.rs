//! `slow_reader`: the proxy reads the server's side slowly, so that the server sees what a client with a bad link looks
//! like to it: a socket that stays full.

use socket2::SockRef;
use tokio::net::TcpStream;

/// Receive buffer while reading slowly: else the kernel would take megabytes for us, and the server notice nothing.
const SLOW_BUFFER: usize = 4 * 1024;
/// Receive buffer afterwards. The kernel no longer sizes it by itself once it was set.
const USUAL_BUFFER: usize = 1024 * 1024;

/// How the server's side is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Not at all.
    Paused,
    /// So many bytes a second.
    BytesPerSecond(u64),
}

/// Two at once: the slower.
pub(crate) fn slower(a: Option<Pace>, b: Pace) -> Pace {
    match (a, b) {
        (None, pace) => pace,
        (Some(Pace::Paused), _) | (_, Pace::Paused) => Pace::Paused,
        (Some(Pace::BytesPerSecond(a)), Pace::BytesPerSecond(b)) => Pace::BytesPerSecond(a.min(b)),
    }
}

/// Sizes the kernel's buffer for the pace.
pub(crate) fn fit_buffer(stream: &TcpStream, is_slow: bool) {
    let size = if is_slow { SLOW_BUFFER } else { USUAL_BUFFER };
    // A kernel that refuses only makes the effect come later.
    let _ = SockRef::from(stream).set_recv_buffer_size(size);
}
