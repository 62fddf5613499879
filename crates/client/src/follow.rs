//! Follows a session's log as it grows.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use agentbench_protocol::SessionId;
use agentbench_protocol::message::Joined;

use crate::item::Item;
use crate::machine::FollowKey;
use crate::outcome::Error;
use crate::queue::End;
use crate::shared::{ReadResult, Shared};

/// A follower of one session. After a reconnect it continues where it was. It ends once the session has ended and all of it
/// was read (see [`Client::follow_and_stay`](crate::Client::follow_and_stay)), and when it is dropped.
///
/// Read it quickly: a follow with a full buffer stops the whole connection of its client (see
/// [`Config::follow_buffer`](crate::Config::follow_buffer)).
pub struct Follow {
    shared: Arc<Shared>,
    session: SessionId,
    key: FollowKey,
    joined: Option<Box<Joined>>,
    items: VecDeque<Item>,
    end: Option<End>,
}

impl Follow {
    pub(crate) fn new(shared: Arc<Shared>, session: SessionId, key: FollowKey) -> Self {
        Self { shared, session, key, joined: None, items: VecDeque::new(), end: None }
    }

    pub(crate) fn set_joined(&mut self, joined: Joined) {
        let key = self.key;
        self.shared.request(|state, now| state.joined(now, key, &joined));
        self.joined = Some(Box::new(joined));
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The session.
    pub fn session_id(&self) -> SessionId {
        self.session
    }

    /// The server's answer to the first join: the log's position, and the session.
    pub fn joined(&self) -> Option<&Joined> {
        self.joined.as_deref()
    }

    /// The next item; `None` once the follow is over, see [`Follow::ended`]. Cancel safe.
    pub async fn next(&mut self) -> Option<Item> {
        if let Some(item) = self.items.pop_front() {
            return Some(item);
        }
        poll_fn(|context| self.poll_next(context)).await
    }

    /// Like [`Follow::next`], as a poll function for a `Stream` or a `select`.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Item>> {
        if self.items.is_empty() && self.end.is_none() {
            let taken = self.shared.lock().take_items(self.key, &mut self.items, context.waker());
            match taken {
                ReadResult::Items(wake) => {
                    if wake {
                        self.shared.wake.notify_one();
                    }
                }
                ReadResult::Nothing => return Poll::Pending,
                ReadResult::Ended(end) => self.end = Some(end),
            }
        }
        Poll::Ready(self.items.pop_front())
    }

    /// The next item, if one is available.
    pub fn try_next(&mut self) -> Option<Item> {
        match self.poll_next(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(item) => item,
            Poll::Pending => None,
        }
    }

    /// Why the follow ended before its session, once `next` has returned `None`; `None` if the session has ended and all of it was
    /// read.
    pub fn ended(&self) -> Option<&Error> {
        match &self.end {
            Some(End::Failed(error)) => Some(error),
            _ => None,
        }
    }
}

impl std::fmt::Debug for Follow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follow").field("session", &self.session).finish_non_exhaustive()
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        let (session, key) = (self.session, self.key);
        self.shared.request(|state, now| {
            state.machine.unfollow(now, session, key);
            state.remove_follow(key);
        });
    }
}
