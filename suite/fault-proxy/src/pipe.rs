//! The queue between a link's reader and its writer: short and bounded, so that a slow end slows the other one.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;

/// Bytes that may wait to be written.
const MOST_BYTES: usize = 64 * 1024;
/// Bytes that may wait while they are delayed: a latency needs its bandwidth times its time.
const MOST_BYTES_DELAYED: usize = 1024 * 1024;

/// What follows the bytes of an item.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Continuation {
    /// More bytes.
    #[default]
    Nothing,
    /// The end of this direction.
    Fin,
    /// The end of this direction, after a close frame; after both ends, the link ends.
    Closed,
    /// The end of the link.
    End(End),
}

/// How a link ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// RST to both sides.
    Reset,
    /// FIN to both sides.
    Fin,
}

/// Bytes on their way.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) bytes: Bytes,
    /// Earliest time to write it.
    pub(crate) due: Instant,
    pub(crate) then: Continuation,
}

/// One direction's queue.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    queue: Mutex<Queue>,
    arrived: Notify,
    taken: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<Item>,
    bytes: usize,
    /// Closed: the end of this direction is queued or has passed.
    sealed: bool,
    held_until: Option<Instant>,
}

impl Pipe {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // No code that holds the lock can panic halfway.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends an item when there is room. An empty pipe accepts an item of any size. Anything after the end of the
    /// direction is discarded.
    pub(crate) async fn push(&self, item: Item) {
        let most = if item.due > Instant::now() { MOST_BYTES_DELAYED } else { MOST_BYTES };
        loop {
            {
                let queue = self.queue();
                if queue.sealed || queue.items.is_empty() || queue.bytes + item.bytes.len() <= most {
                    break;
                }
            }
            self.taken.notified().await;
        }
        self.push_now(item);
    }

    /// Appends an item at once, for the few bytes of a close frame, which must not wait for a reader.
    pub(crate) fn push_now(&self, item: Item) {
        let mut queue = self.queue();
        if queue.sealed {
            return;
        }
        queue.sealed = item.then != Continuation::Nothing;
        queue.bytes += item.bytes.len();
        queue.items.push_back(item);
        drop(queue);
        self.arrived.notify_one();
    }

    /// The next item, when it is due.
    pub(crate) async fn pop(&self) -> Item {
        loop {
            let wait = {
                let mut queue = self.queue();
                match queue.next_due() {
                    Some(due) if due <= Instant::now() => {
                        let item = queue.items.pop_front().expect("an item is due");
                        queue.bytes -= item.bytes.len();
                        drop(queue);
                        self.taken.notify_one();
                        return item;
                    }
                    other => other,
                }
            };
            match wait {
                None => self.arrived.notified().await,
                Some(due) => {
                    // A hold, or a release, changes the time.
                    let _ = tokio::time::timeout_at(due.into(), self.arrived.notified()).await;
                }
            }
        }
    }

    /// Blocks the queue until this time.
    pub(crate) fn hold_until(&self, until: Instant) {
        let mut queue = self.queue();
        queue.held_until = queue.held_until.max(Some(until));
    }

    /// Makes all queued items due.
    pub(crate) fn release(&self) {
        let now = Instant::now();
        let mut queue = self.queue();
        queue.held_until = None;
        for item in &mut queue.items {
            item.due = item.due.min(now);
        }
        drop(queue);
        self.arrived.notify_one();
    }
}

impl Queue {
    fn next_due(&self) -> Option<Instant> {
        let first = self.items.front()?;
        Some(self.held_until.map_or(first.due, |held| held.max(first.due)))
    }
}

/// An item with more bytes to follow.
pub(crate) fn item(bytes: Bytes, wait: Duration) -> Item {
    Item { bytes, due: Instant::now() + wait, then: Continuation::Nothing }
}
