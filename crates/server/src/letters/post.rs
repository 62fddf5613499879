//! Routing of letters: the mailbox of each worker, the exchanges, and the names that address them.

use std::sync::Arc;

use tokio::sync::Notify;

use super::Letter;
use super::exchange::Exchanges;
use super::mailbox::Mailbox;
use crate::names::Names;

/// See the module.
pub(crate) struct PostOffice {
    pub(crate) names: Names,
    pub(crate) mailboxes: Vec<Mailbox>,
    /// Notified when a worker's periodic work is due.
    pub(crate) ticks: Vec<Notify>,
    pub(crate) exchanges: Arc<Exchanges>,
}

impl PostOffice {
    /// For `workers` workers. `instance` distinguishes this process's client ids from those of others.
    pub(crate) fn new(instance: u32, workers: usize) -> Self {
        let mailboxes = (0..workers).map(|_| Mailbox::default()).collect();
        let ticks = (0..workers).map(|_| Notify::new()).collect();
        Self { names: Names::new(instance, workers), mailboxes, ticks, exchanges: Arc::default() }
    }

    pub(crate) fn send(&self, worker: usize, letter: Letter) {
        self.mailboxes[worker].send(letter);
    }
}
