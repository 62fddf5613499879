//! `slow_reader`: the proxy reads the server's output slowly, so that the server sees a client with a bad connection:
//! a socket that stays full.

use socket2::SockRef;
use tokio::net::TcpStream;

/// Receive buffer while reading slowly: otherwise the kernel would accept megabytes, and the server would notice nothing.
const SLOW_BUFFER: usize = 4 * 1024;
/// Receive buffer afterwards. The kernel no longer adjusts it once it was set.
const USUAL_BUFFER: usize = 1024 * 1024;

/// The rate at which the server's output is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Not at all.
    Paused,
    /// This number of bytes per second.
    BytesPerSecond(u64),
}

/// Combines two rates: the slower one.
pub(crate) fn slower(a: Option<Pace>, b: Pace) -> Pace {
    match (a, b) {
        (None, pace) => pace,
        (Some(Pace::Paused), _) | (_, Pace::Paused) => Pace::Paused,
        (Some(Pace::BytesPerSecond(a)), Pace::BytesPerSecond(b)) => Pace::BytesPerSecond(a.min(b)),
    }
}

/// Sets the kernel's buffer size for the rate.
pub(crate) fn fit_buffer(stream: &TcpStream, is_slow: bool) {
    let size = if is_slow { SLOW_BUFFER } else { USUAL_BUFFER };
    // If the kernel refuses, the effect only starts later.
    let _ = SockRef::from(stream).set_recv_buffer_size(size);
}
