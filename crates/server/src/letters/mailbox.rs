//! The mailbox of one worker: bounded, filled from any thread, emptied in one go.
//!
//! Commits are the bulk. When too many bytes of them wait, the rest is not queued: the reader's feed is told to go back to
//! the log instead. Requests and replies are bounded by what each connection may have under way.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use agentbench_protocol::SessionId;
use tokio::sync::Notify;

use super::Letter;

/// Bytes of commits that may wait for one worker.
const MAX_COMMIT_BYTES: usize = 32 * 1024 * 1024;

#[derive(Default)]
struct Inner {
    letters: Vec<Letter>,
    commit_bytes: usize,
    /// Sessions whose commits were left out.
    missed: HashSet<SessionId>,
}

/// Everything that waits for one worker.
#[derive(Default)]
pub(crate) struct Mailbox {
    inner: Mutex<Inner>,
    pub(crate) filled: Notify,
}

/// What was taken out of a mailbox.
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

    /// Bytes of commits that wait, and how many there may be.
    pub(crate) fn commit_bytes(&self) -> (usize, usize) {
        (self.inner.lock().unwrap_or_else(PoisonError::into_inner).commit_bytes, MAX_COMMIT_BYTES)
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).letters.is_empty()
    }

    /// Takes everything. `spare` becomes the next letters' buffer.
    pub(crate) fn take(&self, spare: Vec<Letter>) -> Delivery {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.commit_bytes = 0;
        Delivery {
            letters: std::mem::replace(&mut inner.letters, spare),
            missed: std::mem::take(&mut inner.missed),
        }
    }
}
