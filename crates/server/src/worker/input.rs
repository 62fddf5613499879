//! The pending input of a connection: bytes that were read but not decoded, and the incomplete message with its share of
//! the receive budget.

use std::cell::{Cell, RefCell};

use agentbench_websocket::Decoder;

use crate::intake::Share;

/// Time between two checks of an incomplete message, ms.
const PROGRESS_MS: u64 = 10_000;
/// Bytes that must arrive in that time, so that no message stays open indefinitely: 1 KiB a second.
const PROGRESS_BYTES: usize = 10 * 1024;
/// Messages up to this size have no time limit; they still count against the budget.
const PROGRESS_FREE: usize = 64 * 1024;

/// An incomplete message.
#[derive(Debug, Clone, Copy, Default)]
struct Unfinished {
    bytes: usize,
    /// When it began, ms by the steady clock.
    since: u64,
    /// Its size at the last check, and the time of that check.
    seen_bytes: usize,
    seen_at: u64,
}

impl Unfinished {
    /// The state after the message has grown to `bytes`.
    fn grown_to(self, bytes: usize, now: u64) -> Self {
        if bytes == 0 || self.bytes == 0 || bytes < self.bytes {
            return Self { bytes, since: now, seen_bytes: bytes, seen_at: now };
        }
        Self { bytes, ..self }
    }

    /// Whether it has stalled. Called every tick.
    fn has_stalled(&mut self, now: u64) -> bool {
        if self.bytes <= PROGRESS_FREE || now.saturating_sub(self.seen_at) < PROGRESS_MS {
            return false;
        }
        let came = self.bytes - self.seen_bytes;
        (self.seen_bytes, self.seen_at) = (self.bytes, now);
        came < PROGRESS_BYTES
    }
}

/// The receive budget's totals after a change, for the process and for the user.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Receiving {
    pub(crate) of_all: usize,
    pub(crate) of_user: usize,
}

/// See the module.
pub(crate) struct Input {
    pub(crate) decoder: RefCell<Decoder>,
    /// Bytes that were read and not decoded yet, because other connections come first.
    unread: Cell<Option<Box<[u8]>>>,
    /// A message is being converted on another thread: nothing behind it is processed until that is done.
    is_suspended: Cell<bool>,
    unfinished: Cell<Unfinished>,
    /// The unfinished message's shares of the process's budget and of the user's.
    shares: RefCell<(Share, Share)>,
}

impl Input {
    pub(crate) fn new(decoder: Decoder, of_all: Share, of_user: Share) -> Self {
        Self {
            decoder: RefCell::new(decoder),
            unread: Cell::new(None),
            is_suspended: Cell::new(false),
            unfinished: Cell::default(),
            shares: RefCell::new((of_all, of_user)),
        }
    }

    /// Stores bytes until the connection's next turn.
    pub(crate) fn store_unread(&self, unread: &[u8]) {
        self.unread.set(Some(unread.into()));
    }

    pub(crate) fn take_unread(&self) -> Option<Box<[u8]>> {
        self.unread.take()
    }

    pub(crate) fn has_unread(&self) -> bool {
        let unread = self.unread.take();
        let has_some = unread.is_some();
        self.unread.set(unread);
        has_some
    }

    /// Suspends processing until [`Input::resume`].
    pub(crate) fn suspend(&self) {
        self.is_suspended.set(true);
    }

    /// Resumes processing; the caller wakes the connection's driver.
    pub(crate) fn resume(&self) {
        self.is_suspended.set(false);
    }

    pub(crate) fn is_suspended(&self) -> bool {
        self.is_suspended.get()
    }

    /// Records that the unfinished message has `bytes` now; `None` if it has not grown.
    pub(crate) fn grow(&self, bytes: usize, steady: u64) -> Option<Receiving> {
        let before = self.unfinished.get();
        if before.bytes == bytes {
            return None;
        }
        self.unfinished.set(before.grown_to(bytes, steady));
        let (all, user) = &mut *self.shares.borrow_mut();
        let receiving = Receiving { of_all: all.set(bytes), of_user: user.set(bytes) };
        (bytes > before.bytes).then_some(receiving)
    }

    /// When the unfinished message began, if there is one.
    pub(crate) fn unfinished_since(&self) -> Option<u64> {
        let unfinished = self.unfinished.get();
        (unfinished.bytes > 0).then_some(unfinished.since)
    }

    /// Whether the unfinished message has stalled.
    pub(crate) fn has_stalled(&self, steady: u64) -> bool {
        let mut unfinished = self.unfinished.get();
        let has_stalled = unfinished.has_stalled(steady);
        self.unfinished.set(unfinished);
        has_stalled
    }

    /// Ends the input: releases the unfinished message's shares.
    pub(crate) fn end(&self) {
        self.grow(0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_stops_coming_is_seen_at_the_next_look() {
        let mut message = Unfinished::default().grown_to(1_000_000, 5_000);
        assert!(!message.has_stalled(14_999));
        assert!(message.has_stalled(15_000), "it did not go on");
        let mut slow = message.grown_to(1_000_000 + PROGRESS_BYTES, 20_000);
        assert!(!slow.has_stalled(25_000), "a slow line is no attack");
        let mut slower = slow.grown_to(1_000_000 + 2 * PROGRESS_BYTES - 1, 30_000);
        assert!(slower.has_stalled(35_000));
        let mut small = Unfinished::default().grown_to(PROGRESS_FREE, 0);
        assert!(!small.has_stalled(1_000_000));
        let next = slower.grown_to(100, 40_000);
        assert_eq!((next.since, next.bytes), (40_000, 100), "another message");
    }
}
