//! `slice`: small writes, so that the reader sees heads and messages cut anywhere. Nagle's algorithm is off on both sockets;
//! still, a kernel may join slices that lie unread together, unless there is a `delay_us`.

use std::time::Duration;

/// How writes are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slices {
    pub(crate) bytes: usize,
    pub(crate) delay: Duration,
}

/// Two slicings at once: the smaller slices, the longer pauses.
pub(crate) fn finer(a: Option<Slices>, b: Slices) -> Slices {
    match a {
        Some(a) => Slices { bytes: a.bytes.min(b.bytes), delay: a.delay.max(b.delay) },
        None => b,
    }
}
