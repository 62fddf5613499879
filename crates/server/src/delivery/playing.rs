//! A replay under way, as its connection knows it.

use std::cell::Cell;
use std::time::Duration;

use agentbench_protocol::{Seq, SessionId};
use tokio::sync::Notify;

use crate::delivery::reader::Reader;

/// Time between looks whether the connection is still there.
const LOOK: Duration = Duration::from_millis(500);

/// A replay as its connection knows it.
pub(crate) struct Playing {
    pub(crate) session: SessionId,
    /// Id of the command that began it.
    pub(crate) command: String,
    /// The next seq to be sent.
    pub(crate) next: Cell<Seq>,
    pub(crate) is_stopped: Cell<bool>,
    /// Wakes a replay that waits for an event's time when it is stopped.
    pub(crate) stopped: Notify,
}

impl Playing {
    pub(crate) fn is_wanted(&self, reader: &Reader) -> bool {
        reader.is_open() && !self.is_stopped.get()
    }

    /// Waits, but not for a connection that has ended: it would be kept until then, with its socket.
    pub(crate) async fn pause(&self, reader: &Reader, mut rest: Duration) {
        while !rest.is_zero() && self.is_wanted(reader) {
            let step = rest.min(LOOK);
            // Woken or not: whether to go on is looked at again.
            let _ = tokio::time::timeout(step, self.stopped.notified()).await;
            rest -= step;
        }
    }
}
