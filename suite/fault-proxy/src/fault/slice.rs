//! `slice`: small writes, so that the reader sees heads and messages cut anywhere. Nagle's algorithm is off on both sockets;
//! still, a kernel may merge unread slices unless there is a `delay_us`.

use std::time::Duration;

/// How writes are sliced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slices {
    pub(crate) bytes: usize,
    pub(crate) delay: Duration,
}

/// Combines two slicings: the smaller slices, the longer pauses.
pub(crate) fn finer(a: Option<Slices>, b: Slices) -> Slices {
    match a {
        Some(a) => Slices { bytes: a.bytes.min(b.bytes), delay: a.delay.max(b.delay) },
        None => b,
    }
}
