//! Reading a session's log again at its own pace.

use std::sync::Arc;

use agentbench_protocol::{Seq, SessionId};

use crate::follow::Follow;
use crate::item::Item;
use crate::machine::FollowKey;
use crate::outcome::Error;
use crate::shared::Shared;

/// A session that is replayed. It goes on over reconnects where it was. Dropping it ends it.
///
/// Its items are entries of the log, expired ones too, and gaps; none of them is new. Like a follow it holds back its
/// whole connection if it is not read.
pub struct Replay {
    items: Follow,
    key: FollowKey,
    from: Seq,
    to: Seq,
}

impl Replay {
    pub(crate) fn new(shared: Arc<Shared>, session: SessionId, key: FollowKey) -> Self {
        Self { items: Follow::new(shared, session, key), key, from: 1, to: 0 }
    }

    pub(crate) fn started(&mut self, from: Seq, to: Seq) {
        (self.from, self.to) = (from, to);
    }

    /// Which session.
    pub fn session_id(&self) -> SessionId {
        self.items.session_id()
    }

    /// First and last seq, as the server has named them at the start.
    pub fn range(&self) -> (Seq, Seq) {
        (self.from, self.to)
    }

    /// The next item; `None` when the replay has finished, or is over as [`Replay::ended`] says. Cancel safe.
    pub async fn next(&mut self) -> Option<Item> {
        self.items.next().await
    }

    /// Why the replay is over before its end, once `next` has given `None`.
    pub fn ended(&self) -> Option<&Error> {
        self.items.ended().filter(|_| !self.items.has_finished())
    }
}

impl std::fmt::Debug for Replay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replay").field("session", &self.session_id()).finish_non_exhaustive()
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        let (session, key) = (self.session_id(), self.key);
        self.items.shared().ask(|state, _| state.machine.stop_replay(session, key));
    }
}
