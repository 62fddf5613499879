//! The mailbox of one worker: bounded, filled from any thread, emptied in one operation.
//!
//! Most letters are commits. When too many bytes of them wait, further commits are not queued, and the session's feed falls
//! back to reading the log. Requests and replies are bounded by the limits on concurrent requests of each connection.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use agentbench_protocol::SessionId;
use tokio::sync::Notify;

use super::Letter;

/// Bytes of commits that may be queued for one worker.
const MAX_COMMIT_BYTES: usize = 32 * 1024 * 1024;

#[derive(Default)]
struct Inner {
    letters: Vec<Letter>,
    commit_bytes: usize,
    /// Sessions with commits that were not queued.
    missed: HashSet<SessionId>,
}

/// The queued letters of one worker.
#[derive(Default)]
pub(crate) struct Mailbox {
    inner: Mutex<Inner>,
    pub(crate) filled: Notify,
}

/// The contents taken out of a mailbox.
pub(crate) struct Delivery {
    pub(crate) letters: Vec<Letter>,
    pub(crate) missed: HashSet<SessionId>,
}

impl Mailbox {
    pub(crate) fn send(&self, letter: Letter) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Letter::Commit { session, frame, .. } = &letter {
            if inner.missed.contains(session) || inner.commit_bytes > MAX_COMMIT_BYTES {
                inner.missed.insert(*session);
                return;
            }
            inner.commit_bytes += frame.bytes().len();
        }
        let was_empty = inner.letters.is_empty();
        inner.letters.push(letter);
        drop(inner);
        if was_empty {
            self.filled.notify_one();
        }
    }

    /// Bytes of queued commits, and their bound.
    pub(crate) fn commit_bytes(&self) -> (usize, usize) {
        (self.inner.lock().unwrap_or_else(PoisonError::into_inner).commit_bytes, MAX_COMMIT_BYTES)
    }

    /// Whether no letter is queued.
    pub(crate) fn is_empty(&self) -> bool {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).letters.is_empty()
    }

    /// Takes all letters. `spare` becomes the buffer of the next ones.
    pub(crate) fn take(&self, spare: Vec<Letter>) -> Delivery {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.commit_bytes = 0;
        Delivery {
            letters: std::mem::replace(&mut inner.letters, spare),
            missed: std::mem::take(&mut inner.missed),
        }
    }
}
