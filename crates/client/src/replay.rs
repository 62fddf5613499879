//! Reads a session's log again at its own pace.

use std::sync::Arc;

use agentbench_protocol::{ErrorCode, Seq, SessionId};
use tokio::sync::oneshot;

use crate::follow::Follow;
use crate::item::Item;
use crate::machine::FollowKey;
use crate::outcome::{Ended, Error};
use crate::shared::{Reply, Shared};

/// A replay of a session. It continues across reconnects. Dropping it ends it, here and on the server;
/// [`Replay::stop`] waits for that.
///
/// Its items are entries of the log, including expired ones, and gaps; none of them is new. Like a follow, it blocks its
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

    /// The session.
    pub fn session_id(&self) -> SessionId {
        self.items.session_id()
    }

    /// First and last seq, as announced by the server at the start.
    pub fn range(&self) -> (Seq, Seq) {
        (self.from, self.to)
    }

    /// The next item; `None` once the replay has finished or ended, see [`Replay::ended`]. Cancel safe.
    pub async fn next(&mut self) -> Option<Item> {
        self.items.next().await
    }

    /// Why the replay ended early, once `next` has returned `None`.
    pub fn ended(&self) -> Option<&Error> {
        self.items.ended()
    }

    /// Ends the replay, and waits until the server has stopped it. Unread items are dropped.
    /// A replay that is over already is not an error.
    ///
    /// # Errors
    /// [`Error::Refused`] by a server that cannot stop replays (`unknown_command`): it sends the rest, which is ignored.
    /// [`Error::TimedOut`], [`Error::Ended`].
    pub async fn stop(self) -> Result<(), Error> {
        let Some(stopped) = self.ask_to_stop() else { return Ok(()) };
        let reply = stopped.await.unwrap_or(Err(Error::Ended(Ended::Closed)));
        match reply {
            // It had finished before the server received the request.
            Err(Error::Refused(refusal)) if refusal.code == ErrorCode::InvalidMessage => Ok(()),
            reply => reply.map(drop),
        }
    }

    /// The receiver of the answer, if there is something to stop.
    fn ask_to_stop(&self) -> Option<oneshot::Receiver<Reply>> {
        let (session, replay) = (self.session_id(), self.key);
        self.items.shared().request(|state, now| {
            let (key, reply) = state.expect_reply();
            if state.machine.stop_replay(now, Some(key), session, replay) {
                return Some(reply);
            }
            state.forget_reply(key);
            None
        })
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
        self.items.shared().request(|state, now| state.machine.stop_replay(now, None, session, key));
    }
}
