//! What of a connection's input is not taken in yet: bytes that were read and not decoded, and the message that has not
//! arrived whole, with what it holds of the receive budget.

use std::cell::{Cell, RefCell};

use agentbench_websocket::Decoder;

use crate::intake::Share;

/// Time between two checks of a message that has not arrived whole, ms.
const PROGRESS_MS: u64 = 10_000;
/// Bytes that have to come in that time, so that no message is kept open without end: 1 KiB a second.
const PROGRESS_BYTES: usize = 10 * 1024;
/// Messages up to this size may take as long as they like; the budget counts them all the same.
const PROGRESS_FREE: usize = 64 * 1024;

/// A message that has not arrived whole.
#[derive(Debug, Clone, Copy, Default)]
struct Unfinished {
    bytes: usize,
    /// When it began, ms by the steady clock.
    since: u64,
    /// What it had at the last check, and when that was.
    seen_bytes: usize,
    seen_at: u64,
}

impl Unfinished {
    /// What is known when the message has `bytes`.
    fn grown_to(self, bytes: usize, now: u64) -> Self {
        if bytes == 0 || self.bytes == 0 || bytes < self.bytes {
            return Self { bytes, since: now, seen_bytes: bytes, seen_at: now };
        }
        Self { bytes, ..self }
    }

    /// Whether it has stopped coming. Called with every tick.
    fn has_stopped(&mut self, now: u64) -> bool {
        if self.bytes <= PROGRESS_FREE || now.saturating_sub(self.seen_at) < PROGRESS_MS {
            return false;
        }
        let came = self.bytes - self.seen_bytes;
        (self.seen_bytes, self.seen_at) = (self.bytes, now);
        came < PROGRESS_BYTES
    }
}

/// The receive budget's totals after a change: of the process, of the user.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Receiving {
    pub(crate) of_all: usize,
    pub(crate) of_user: usize,
}

/// See the module.
pub(crate) struct Input {
    pub(crate) decoder: RefCell<Decoder>,
    /// What was read and not decoded yet: others come first.
    unread: Cell<Option<Box<[u8]>>>,
    /// A message is converted on another thread: nothing behind it is taken until that is done.
    is_suspended: Cell<bool>,
    unfinished: Cell<Unfinished>,
    /// What the unfinished message holds of the process's budget and of the user's.
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

    /// Keeps bytes until the connection's next turn.
    pub(crate) fn keep(&self, unread: &[u8]) {
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

    /// Takes nothing more until [`Input::resume`].
    pub(crate) fn suspend(&self) {
        self.is_suspended.set(true);
    }

    /// Takes what follows; the connection's driver has to be woken.
    pub(crate) fn resume(&self) {
        self.is_suspended.set(false);
    }

    pub(crate) fn is_suspended(&self) -> bool {
        self.is_suspended.get()
    }

    /// The unfinished message has `bytes` now; `None` if that is no more than before.
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

    /// Whether the unfinished message has stopped coming.
    pub(crate) fn has_stopped(&self, steady: u64) -> bool {
        let mut unfinished = self.unfinished.get();
        let has_stopped = unfinished.has_stopped(steady);
        self.unfinished.set(unfinished);
        has_stopped
    }

    /// Nothing more comes: gives back what the unfinished message holds.
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
        assert!(!message.has_stopped(14_999));
        assert!(message.has_stopped(15_000), "it did not go on");
        let mut slow = message.grown_to(1_000_000 + PROGRESS_BYTES, 20_000);
        assert!(!slow.has_stopped(25_000), "a slow line is no attack");
        let mut slower = slow.grown_to(1_000_000 + 2 * PROGRESS_BYTES - 1, 30_000);
        assert!(slower.has_stopped(35_000));
        let mut small = Unfinished::default().grown_to(PROGRESS_FREE, 0);
        assert!(!small.has_stopped(1_000_000));
        let next = slower.grown_to(100, 40_000);
        assert_eq!((next.since, next.bytes), (40_000, 100), "another message");
    }
}
