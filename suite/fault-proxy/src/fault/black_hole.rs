//! `black_hole`: an unplugged cable. Everything is read and discarded, in both directions, including the ends of
//! connections; so each side notices only by its own timeouts.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a link has lost anything in a black hole. Such a link cannot be repaired: it is reset when the hole closes.
#[derive(Debug, Default)]
pub(crate) struct LossFlag(AtomicBool);

impl LossFlag {
    /// Records that bytes or an end were lost.
    pub(crate) fn mark(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether anything was lost.
    pub(crate) fn is_marked(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
