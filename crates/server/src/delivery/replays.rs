//! The active replays of a worker's connections.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use agentbench_protocol::{Seq, SessionId};
use agentbench_session::ConnectionKey;
use foldhash::HashMap;
use tokio::sync::Notify;

use crate::delivery::reader::Reader;

/// Time between checks whether the connection is still open.
const CHECK_PERIOD: Duration = Duration::from_millis(500);

/// An active replay, shared by its connection and its task.
pub(crate) struct ActiveReplay {
    pub(crate) session: SessionId,
    /// Id of the command that started it.
    pub(crate) command: String,
    /// The next seq to be sent.
    pub(crate) next: Cell<Seq>,
    pub(crate) is_stopped: Cell<bool>,
    /// Wakes a stopped replay from its pause.
    pub(crate) stopped: Notify,
}

impl ActiveReplay {
    pub(crate) fn is_wanted(&self, reader: &Reader) -> bool {
        reader.is_open() && !self.is_stopped.get()
    }

    /// Pauses for `rest`, or until the connection has ended: a sleeping replay would keep it and its socket alive.
    pub(crate) async fn pause(&self, reader: &Reader, mut rest: Duration) {
        while !rest.is_zero() && self.is_wanted(reader) {
            let step = rest.min(CHECK_PERIOD);
            // Woken or not, the loop checks whether to continue.
            let _ = tokio::time::timeout(step, self.stopped.notified()).await;
            rest -= step;
        }
    }
}

/// The active replays of a worker, by connection.
#[derive(Default)]
pub(crate) struct Replays(RefCell<HashMap<ConnectionKey, Vec<Rc<ActiveReplay>>>>);

impl Replays {
    pub(crate) fn add(&self, connection: ConnectionKey, active: &Rc<ActiveReplay>) {
        self.0.borrow_mut().entry(connection).or_default().push(Rc::clone(active));
    }

    /// The sessions being replayed to a connection.
    pub(crate) fn sessions_of(&self, connection: ConnectionKey) -> Vec<SessionId> {
        self.0.borrow().get(&connection).into_iter().flatten().map(|active| active.session).collect()
    }

    /// Removes and returns the connection's replays for which `is_over` returns true.
    pub(crate) fn take(
        &self,
        connection: ConnectionKey,
        is_over: impl Fn(&Rc<ActiveReplay>) -> bool,
    ) -> Vec<Rc<ActiveReplay>> {
        let mut replays = self.0.borrow_mut();
        let Some(running) = replays.get_mut(&connection) else { return Vec::new() };
        let taken = running.extract_if(.., |active| is_over(active)).collect();
        if running.is_empty() {
            replays.remove(&connection);
        }
        taken
    }
}
