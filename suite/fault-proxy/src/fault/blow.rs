//! What happens to one struck message or piece: the effects write into it, the link carries it out.

use std::time::Duration;

use bytes::Bytes;

use crate::pipe::Then;

/// The sum of what strikes one message or piece.
#[derive(Debug)]
pub(crate) struct Blow {
    /// What goes on, perhaps damaged.
    pub(crate) bytes: Bytes,
    /// How often it goes on.
    pub(crate) copies: usize,
    /// How much later.
    pub(crate) held: Duration,
    /// It waits for the next message, and goes after it.
    pub(crate) swapped: bool,
    /// What follows it.
    pub(crate) then: Then,
}

impl Blow {
    /// Nothing has struck yet.
    pub(crate) fn none(bytes: Bytes) -> Self {
        Self { bytes, copies: 1, held: Duration::ZERO, swapped: false, then: Then::Nothing }
    }

    /// Whether the link ends here, so that nothing more can strike.
    pub(crate) fn is_final(&self) -> bool {
        self.then != Then::Nothing
    }
}
