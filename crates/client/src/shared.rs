//! State shared by the handles of a client and its driver: the machine, and the waiters for its outputs.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime};

use agentbench_protocol::message::Joined;
use agentbench_protocol::{SessionId, SystemMessage};
use tokio::sync::{Notify, broadcast, oneshot, watch};

use crate::item::Item;
use crate::machine::{ConnectionEvent, FollowKey, Machine, Now, Output};
use crate::outcome::{Error, Outcome};
use crate::queue::{AtEnd, End, Queue};

/// Capacity of the queue of connection events.
const EVENTS_KEPT: usize = 64;

/// Longer than any process lives (about 30 years), and short enough for every clock.
const NEVER: Duration = Duration::from_secs(1_000_000_000);

/// What the waiter of a reply receives.
pub(crate) type Reply = Result<Box<SystemMessage>, Error>;

/// Shared between the handles and the driver.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Wakes the driver.
    pub(crate) wake: Notify,
    /// Wakes those who wait for room in the outbox, or for it to be empty.
    pub(crate) room: Notify,
    /// Whether the driver is done.
    pub(crate) done: watch::Sender<bool>,
    started: Instant,
}

/// Everything behind the lock. It is held briefly, never across an await.
pub(crate) struct State {
    pub(crate) machine: Machine<oneshot::Sender<Outcome>>,
    pub(crate) events: broadcast::Sender<ConnectionEvent>,
    replies: BTreeMap<u64, oneshot::Sender<Reply>>,
    follows: BTreeMap<FollowKey, Queue>,
    follow_buffer: usize,
    /// Number of follows with a full buffer: while there are any, the driver does not read.
    full: usize,
    last_key: u64,
    messages_seen: usize,
}

/// The result of a read.
pub(crate) enum ReadResult {
    /// Items, in the reader's buffer; whether the driver must be woken.
    Items(bool),
    /// Nothing yet.
    Nothing,
    /// The end.
    Ended(End),
}

impl Shared {
    pub(crate) fn new(machine: Machine<oneshot::Sender<Outcome>>, follow_buffer: usize) -> Self {
        let state = State {
            machine,
            events: broadcast::Sender::new(EVENTS_KEPT),
            replies: BTreeMap::new(),
            follows: BTreeMap::new(),
            follow_buffer,
            full: 0,
            last_key: 0,
            messages_seen: 0,
        };
        Self {
            state: Mutex::new(state),
            wake: Notify::new(),
            room: Notify::new(),
            done: watch::Sender::new(false),
            started: Instant::now(),
        }
    }

    /// Calls the machine, and passes on its outputs.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut State, Now) -> R) -> R {
        let now = self.now();
        let mut state = self.lock();
        let result = act(&mut state, now);
        state.pass_on(now);
        let messages = state.machine.usage().messages;
        let has_room = messages < std::mem::replace(&mut state.messages_seen, messages);
        let has_ended = state.machine.ended().is_some();
        drop(state);
        if has_room || has_ended {
            self.room.notify_waiters();
        }
        result
    }

    /// Like [`Self::with`], for a user's request, which gives the driver something to do.
    pub(crate) fn request<R>(&self, act: impl FnOnce(&mut State, Now) -> R) -> R {
        let result = self.with(act);
        self.wake.notify_one();
        result
    }

    /// Locks without calling the machine.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock is a bug that was already reported; the state is consistent enough to continue.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Now {
            since_start: self.started.elapsed(),
            unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// A time of the machine's clock, on the runtime's; one that the runtime cannot represent means never.
    pub(crate) fn instant(&self, at: Duration) -> tokio::time::Instant {
        (self.started + at.min(NEVER)).into()
    }
}

impl State {
    /// A number for the waiter of a reply, and the receiver of the reply.
    pub(crate) fn expect_reply(&mut self) -> (u64, oneshot::Receiver<Reply>) {
        self.last_key += 1;
        let (sender, receiver) = oneshot::channel();
        self.replies.insert(self.last_key, sender);
        (self.last_key, receiver)
    }

    /// Drops the waiter of this reply.
    pub(crate) fn forget_reply(&mut self, key: u64) {
        self.replies.remove(&key);
    }

    pub(crate) fn add_follow(&mut self, session: SessionId, at_end: AtEnd) -> FollowKey {
        self.last_key += 1;
        let key = FollowKey(self.last_key);
        self.follows.insert(key, Queue::new(session, at_end));
        key
    }

    pub(crate) fn remove_follow(&mut self, key: FollowKey) {
        let limit = self.follow_buffer;
        let was_full = self.follows.remove(&key).is_some_and(|queue| queue.is_full(limit));
        self.full -= usize::from(was_full);
    }

    /// A follow's join was answered.
    pub(crate) fn joined(&mut self, now: Now, key: FollowKey, joined: &Joined) {
        if self.change_queue(key, |queue| queue.joined(joined)) == Some(true) {
            self.finish(now, key);
        }
    }

    /// Whether the driver must not read the socket.
    pub(crate) fn is_full(&self) -> bool {
        self.full > 0
    }

    /// Swaps the reader's empty buffer for the queued items; if there are none, `waker` is kept.
    pub(crate) fn take_items(
        &mut self,
        key: FollowKey,
        buffer: &mut VecDeque<Item>,
        waker: &Waker,
    ) -> ReadResult {
        let Some(queue) = self.follows.get_mut(&key) else { return ReadResult::Nothing };
        let was_full = queue.is_full(self.follow_buffer);
        if queue.swap(buffer) {
            self.full -= usize::from(was_full);
            return ReadResult::Items(was_full && self.full == 0);
        }
        if let Some(end) = queue.ended() {
            return ReadResult::Ended(end.clone());
        }
        queue.reader = Some(waker.clone());
        ReadResult::Nothing
    }

    fn pass_on(&mut self, now: Now) {
        while let Some(told) = self.machine.poll_event() {
            match told {
                // A waiter that has gone needs no reply.
                Output::Published { ticket, outcome } => drop(ticket.send(outcome)),
                Output::Reply { key, reply } => {
                    if let Some(waiting) = self.replies.remove(&key) {
                        drop(waiting.send(reply));
                    }
                }
                Output::Item { follow, item } => {
                    if self.change_queue(follow, |queue| queue.push(item)) == Some(true) {
                        self.finish(now, follow);
                    }
                }
                Output::FollowEnded { follow, why } => {
                    self.change_queue(follow, |queue| queue.end(End::Failed(why)));
                }
                Output::ReplayFinished { replay } => {
                    self.change_queue(replay, |queue| queue.end(End::Finished));
                }
                Output::Connection(event) => drop(self.events.send(event)),
            }
        }
    }

    /// Its session has ended and all of it was passed on: the follow is over, here and for the machine.
    fn finish(&mut self, now: Now, key: FollowKey) {
        if let Some(session) = self.change_queue(key, |queue| {
            queue.end(End::Finished);
            queue.session
        }) {
            self.machine.unfollow(now, session, key);
        }
    }

    /// Changes a queue, and updates the number of full ones.
    fn change_queue<R>(&mut self, key: FollowKey, change: impl FnOnce(&mut Queue) -> R) -> Option<R> {
        let limit = self.follow_buffer;
        let queue = self.follows.get_mut(&key)?;
        let was_full = queue.is_full(limit);
        let result = change(queue);
        match (was_full, queue.is_full(limit)) {
            (false, true) => self.full += 1,
            (true, false) => self.full -= 1,
            _ => {}
        }
        Some(result)
    }
}
