//! Readers with pending output, flushed at the end of the turn.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::sync::Notify;

use super::reader::Reader;

/// See the module.
#[derive(Default)]
pub(crate) struct FlushQueue {
    readers: RefCell<Vec<Rc<Reader>>>,
    due: Notify,
}

impl FlushQueue {
    /// Schedules a flush of the reader for the end of this turn.
    pub(crate) fn push(&self, reader: &Rc<Reader>) {
        let mut readers = self.readers.borrow_mut();
        if readers.is_empty() {
            self.due.notify_one();
        }
        readers.push(Rc::clone(reader));
    }

    /// Waits for scheduled readers, and takes all of them.
    pub(crate) async fn next(&self) -> Vec<Rc<Reader>> {
        self.due.notified().await;
        std::mem::take(&mut *self.readers.borrow_mut())
    }
}
