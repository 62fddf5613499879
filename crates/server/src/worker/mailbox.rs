//! What workers tell each other: one bounded mailbox for each, filled from any thread, emptied in one go.
//!
//! Commits are the bulk. When too many bytes of them wait, the rest is not queued: the reader's feed is told to go back to
//! the log instead. Requests and replies are bounded by what each connection may have under way.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use agentbench_auth::Grant;
use agentbench_event_log::{Appended, Frame, LogError};
use agentbench_protocol::command::CreateSession;
use agentbench_protocol::message::Sender;
use agentbench_protocol::{CloseCode, Outline, Priority, Seq, SessionId, StartAt};
use agentbench_session::{ConnectionKey, Step};
use bytes::Bytes;
use tokio::sync::{Notify, oneshot};

use crate::http::connections::ConnectionInfo;
use crate::ops::inspection::Tap;
use crate::session::catalog::Entry;

/// Bytes of commits that may wait for one worker.
const MAX_COMMIT_BYTES: usize = 32 * 1024 * 1024;

/// Who asks.
#[derive(Clone)]
pub(crate) struct Asker {
    pub(crate) connection: ConnectionKey,
    pub(crate) who: Arc<Sender>,
    pub(crate) grant: Arc<Grant>,
    /// Where the connection came from, for the audit log.
    pub(crate) address: IpAddr,
}

/// An event on its way to its session's owner.
pub(crate) struct OwnedEvent {
    pub(crate) id: Box<str>,
    pub(crate) timestamp: Box<str>,
    pub(crate) data: Box<str>,
    pub(crate) metadata: Option<Box<str>>,
    pub(crate) producer: Box<str>,
    pub(crate) sender: Arc<str>,
    pub(crate) ttl_ms: u32,
    pub(crate) requires_ack: bool,
    pub(crate) in_order: bool,
    pub(crate) priority: Priority,
    pub(crate) outline: Outline,
}

/// What a session's owner is asked to do.
pub(crate) enum Request {
    Create {
        command: String,
        fields: CreateSession,
    },
    Join {
        command: String,
        follow: bool,
        from: StartAt,
        id_at_position: Option<String>,
        subscribe: bool,
    },
    Leave {
        command: String,
        unsubscribe: bool,
    },
    Control {
        command: String,
        step: Step,
    },
    Info {
        command: String,
    },
    Publish(OwnedEvent),
    /// The events of one HTTP request, in order; from no participant.
    PublishAll(Vec<OwnedEvent>),
    Acknowledge {
        seq: Seq,
    },
    /// The connection has ended.
    Gone,
}

/// A question for a worker's connections, answered in the order of their keys.
pub(crate) struct Survey {
    /// Those after this one; or this one alone.
    pub(crate) after: Option<ConnectionKey>,
    pub(crate) only: bool,
    pub(crate) limit: usize,
    /// Those of this user.
    pub(crate) user: Option<String>,
    pub(crate) reply: oneshot::Sender<Vec<(ConnectionKey, ConnectionInfo)>>,
}

/// One message from one thread to a worker.
pub(crate) enum Letter {
    /// To the owner of a session.
    Request { session: SessionId, asker: Asker, request: Request },
    /// To a connection: a message as JSON. `settles` if it ends something that the connection has under way.
    Reply { connection: ConnectionKey, json: Bytes, settles: bool },
    /// To a connection: acks of one session.
    Acks { connection: ConnectionKey, entry: Arc<Entry>, acks: Vec<(String, Seq, bool)> },
    /// To a connection that joined: the reply, then everything after `after`.
    Joined {
        connection: ConnectionKey,
        entry: Arc<Entry>,
        json: Bytes,
        gap: Option<Bytes>,
        follow: Option<Seq>,
        head: Seq,
    },
    /// To a connection that left.
    Left { connection: ConnectionKey, session: SessionId, json: Bytes },
    /// To the owner: a connection that joined has ended before it could hear of it.
    Gone { session: SessionId, connection: ConnectionKey },
    /// To every worker with a feed of the session; `opened` is when the frame's oldest event was taken.
    Commit { session: SessionId, frame: Frame, priority: Priority, opened: Instant },
    /// From the log: what became of a batch.
    Settled { outcomes: Vec<(SessionId, Appended)>, submitted: Instant },
    /// From a reading thread: the end of a session's log, for its owner.
    Loaded { session: SessionId, tail: Result<Vec<Frame>, LogError> },
    /// To a worker: what connections it has.
    Survey(Survey),
    /// To a worker: somebody looks at frames, and is told when that has begun.
    Inspect { tap: Arc<Tap>, begun: oneshot::Sender<()> },
    /// To a worker: that look is over.
    EndInspection { number: u64 },
    /// To a connection: end.
    Close { connection: ConnectionKey, code: CloseCode, detail: &'static str },
}

#[derive(Default)]
struct Inner {
    letters: Vec<Letter>,
    commit_bytes: usize,
    /// Sessions whose commits were left out.
    missed: HashSet<SessionId>,
}

/// Everything that waits for one worker.
#[derive(Default)]
pub(crate) struct Mailbox {
    inner: Mutex<Inner>,
    pub(crate) filled: Notify,
}

/// What was taken out of a mailbox.
pub(crate) struct Delivery {
    pub(crate) letters: Vec<Letter>,
    pub(crate) missed: HashSet<SessionId>,
}

impl Mailbox {
    pub(crate) fn send(&self, letter: Letter) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Letter::Commit { session, frame, .. } = &letter {
            if inner.missed.contains(session) || inner.commit_bytes > MAX_COMMIT_BYTES {
                inner.missed.insert(*session);
                return;
            }
            inner.commit_bytes += frame.bytes().len();
        }
        let was_empty = inner.letters.is_empty();
        inner.letters.push(letter);
        drop(inner);
        if was_empty {
            self.filled.notify_one();
        }
    }

    /// Bytes of commits that wait, and how many there may be.
    pub(crate) fn commit_bytes(&self) -> (usize, usize) {
        (self.inner.lock().unwrap_or_else(PoisonError::into_inner).commit_bytes, MAX_COMMIT_BYTES)
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).letters.is_empty()
    }

    /// Takes everything. `spare` becomes the next letters' buffer.
    pub(crate) fn take(&self, spare: Vec<Letter>) -> Delivery {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.commit_bytes = 0;
        Delivery {
            letters: std::mem::replace(&mut inner.letters, spare),
            missed: std::mem::take(&mut inner.missed),
        }
    }
}
