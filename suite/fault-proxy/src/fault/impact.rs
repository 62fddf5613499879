//! The effect of strikes on one message or piece: the effects set it, the link applies it.

use std::time::Duration;

use bytes::Bytes;

use crate::pipe::Continuation;

/// The sum of all strikes on one message or piece.
#[derive(Debug)]
pub(crate) struct Impact {
    /// The bytes to forward, possibly damaged.
    pub(crate) bytes: Bytes,
    /// Number of times to forward them.
    pub(crate) copies: usize,
    /// Delay before forwarding.
    pub(crate) held: Duration,
    /// Whether it waits for the next message, and follows it.
    pub(crate) swapped: bool,
    /// What follows it.
    pub(crate) then: Continuation,
}

impl Impact {
    /// No strike so far.
    pub(crate) fn none(bytes: Bytes) -> Self {
        Self { bytes, copies: 1, held: Duration::ZERO, swapped: false, then: Continuation::Nothing }
    }

    /// Whether the link ends here, so that no further fault can strike.
    pub(crate) fn is_final(&self) -> bool {
        self.then != Continuation::Nothing
    }
}
