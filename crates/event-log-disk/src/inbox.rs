//! What the writer has to do, in the order in which it was asked.
//!
//! There is no bound here: the contract has the callers bound what they have in flight. A sleeping writer is woken once;
//! a busy one finds what came meanwhile without being woken, and takes all of it together.

use std::sync::mpsc::SyncSender;
use std::sync::{Condvar, Mutex, PoisonError};

use agentbench_event_log::{Append, Done, LogError};
use agentbench_protocol::{Seq, SessionId};

use crate::table::LiveLog;

/// How a caller that waits is answered.
pub(crate) type Reply<T> = SyncSender<Result<T, LogError>>;

/// One thing for the writer to do.
pub(crate) enum Request {
    /// Append and tell the outcomes.
    Append { appends: Vec<Append>, done: Done },
    /// Take no more appends of a session, for its log is being archived. Answered with the log as it was before.
    Shut { session: SessionId, reply: Reply<LiveLog> },
    /// Take appends again, unless there was another reason not to.
    Reopen { session: SessionId, number: u64, shut: Option<&'static str> },
    /// Remove a live log, if it still has this number.
    Remove { session: SessionId, number: u64, reply: Reply<()> },
    /// Let a live log begin at `first_seq`, the first of the frame `ordinal`, if it still has this number.
    Trim { session: SessionId, number: u64, first_seq: Seq, ordinal: u64, reply: Reply<()> },
    /// Make everything durable and take no more appends.
    Close { reply: Reply<()> },
    /// Make everything durable and end the writer's thread.
    Stop,
}

/// The queue of requests.
#[derive(Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    requests: Vec<Request>,
    asleep: bool,
}

impl Inbox {
    pub(crate) fn put(&self, request: Request) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.requests.push(request);
        let wake = std::mem::take(&mut state.asleep);
        drop(state);
        if wake {
            self.arrived.notify_one();
        }
    }

    /// Waits for requests and takes all that are there. `empty` takes their place, so that its memory is used again.
    pub(crate) fn take(&self, empty: &mut Vec<Request>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.requests.is_empty() {
            state.asleep = true;
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.asleep = false;
        std::mem::swap(&mut state.requests, empty);
    }
}
