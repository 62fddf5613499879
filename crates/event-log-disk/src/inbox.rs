//! The writer's requests, in the order in which they were made.
//!
//! The queue is unbounded: the contract makes the callers limit what they have in flight. A sleeping writer is woken once;
//! a busy one finds new requests without being woken, and takes all of them together.

use std::sync::mpsc::SyncSender;
use std::sync::{Condvar, Mutex, PoisonError};

use agentbench_event_log::{Append, Done, LogError};
use agentbench_protocol::{Seq, SessionId};

use crate::moving::Moving;
use crate::record::LogIdentity;
use crate::writer::ShutLog;

/// The channel that answers a waiting caller.
pub(crate) type Reply<T> = SyncSender<Result<T, LogError>>;

/// One request to the writer.
pub(crate) enum Request {
    /// Append and report the outcomes.
    Append { appends: Vec<Append>, done: Done },
    /// Accept no more appends of a session, since its log is being archived. Answered with the log's previous state.
    Shut { session: SessionId, reply: Reply<ShutLog> },
    /// Accept appends again, unless there was another reason to refuse them.
    Reopen { session: SessionId, number: u64, shut: Option<&'static str> },
    /// Remove a live log, if it still has this number.
    Remove { session: SessionId, number: u64, reply: Reply<()> },
    /// Remove logs that are not among the live ones, with the segments that have records of them.
    Forget { logs: Vec<(LogIdentity, Vec<u32>)>, reply: Reply<()> },
    /// Trim a live log to `first_seq`, the first of a frame, if it still has this number.
    Trim { session: SessionId, number: u64, first_seq: Seq, reply: Reply<()> },
    /// Write records of an old segment again, those that are still needed.
    Move { records: Vec<Moving>, reply: Reply<()> },
    /// Make durable all that was written, and the names of its files.
    Sync { reply: Reply<()> },
    /// Make everything durable and accept no more appends.
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
    pub(crate) fn push(&self, request: Request) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.requests.push(request);
        let wake = std::mem::take(&mut state.asleep);
        drop(state);
        if wake {
            self.arrived.notify_one();
        }
    }

    /// Waits for requests and takes all of them. `empty` replaces them, so that its memory is reused.
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
