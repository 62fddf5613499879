//! `black_hole`: a cable that was pulled. Everything is read and thrown away, in both directions, the ends of connections
//! too; so neither side learns of it but by its own timeouts.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a link has lost anything in a black hole. Such a link cannot be mended: it is reset when the hole closes.
#[derive(Debug, Default)]
pub(crate) struct Lost(AtomicBool);

impl Lost {
    /// Bytes, or an end, went in.
    pub(crate) fn mark(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether anything is missing.
    pub(crate) fn is_marked(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
