//! Messages between threads: requests to owners, replies to connections and exchanges, commits to feeds.

pub(crate) mod connections;
pub(crate) mod exchange;
pub(crate) mod mailbox;
pub(crate) mod post;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use agentbench_auth::Grant;
use agentbench_event_log::{Appended, Change, Frame, Listed, LogError, Reading, Run};
use agentbench_protocol::command::CreateSession;
use agentbench_protocol::message::Sender;
use agentbench_protocol::{CloseCode, Doubts, Envelope, Head, Outline, Priority, Seq, SessionId, StartAt};
use agentbench_session::{ConnectionKey, Step};
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::inspection::Tap;
use crate::intake::{AdmittedEvent, Permit};
use crate::session::entry::Entry;
use connections::ConnectionInfo;

/// The sender of a request.
#[derive(Clone)]
pub(crate) struct Requester {
    pub(crate) connection: ConnectionKey,
    pub(crate) who: Arc<Sender>,
    pub(crate) grant: Arc<Grant>,
    /// The connection's address, for the audit log.
    pub(crate) address: IpAddr,
}

/// An event that is forwarded to its session's owner.
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
    /// Its reservation in the commit backlog.
    pub(crate) permit: Permit,
}

/// The producer of an event, and how the event is answered.
#[derive(Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) producer: &'a str,
    pub(crate) sender: &'a Arc<str>,
    pub(crate) requires_ack: bool,
    pub(crate) in_order: bool,
}

impl OwnedEvent {
    /// The event of an envelope that was admitted.
    pub(crate) fn new(envelope: &Envelope<'_>, origin: Origin<'_>, admitted: AdmittedEvent) -> Self {
        let metadata = &envelope.metadata;
        Self {
            id: (*envelope.id).into(),
            timestamp: envelope.timestamp.into(),
            data: envelope.data.into(),
            metadata: metadata.raw.map(Into::into),
            producer: origin.producer.into(),
            sender: Arc::clone(origin.sender),
            ttl_ms: metadata.ttl_ms,
            requires_ack: origin.requires_ack,
            in_order: origin.in_order,
            priority: metadata.priority,
            outline: admitted.outline,
            permit: admitted.permit,
        }
    }
}

/// A request to join a session.
pub(crate) struct Join {
    pub(crate) command: String,
    pub(crate) follow: bool,
    pub(crate) from: StartAt,
    /// The id of the event at the position in `from`, if that was looked up.
    pub(crate) id_at_position: Option<String>,
    pub(crate) subscribe: bool,
    /// The log was read after the request had come: the owner knows its end.
    pub(crate) log_was_read: bool,
}

/// Acks of one session for one connection.
pub(crate) enum Acks {
    /// Committed events without warnings.
    Run(Run),
    /// One event.
    Single(SingleAck),
}

/// The ack of a single event.
#[derive(Debug)]
pub(crate) struct SingleAck {
    pub(crate) id: String,
    pub(crate) seq: Seq,
    /// The event was already in the log.
    pub(crate) duplicate: bool,
    /// Fields that readers will not understand.
    pub(crate) doubts: Doubts,
}

impl Acks {
    /// Number of acks.
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Run(run) => run.count(),
            Self::Single(_) => 1,
        }
    }
}

/// A request to a session's owner.
pub(crate) enum Request {
    Create {
        command: String,
        fields: CreateSession,
    },
    Join(Join),
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
    /// The events of one HTTP request, in order; the requester is no participant.
    PublishAll(Vec<OwnedEvent>),
    Acknowledge {
        seq: Seq,
    },
    /// The connection has ended.
    Disconnect,
}

/// The end of a session's log.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) head: Head,
    pub(crate) frames: Vec<Frame>,
    /// How the log lists the session, if this process did not know it.
    pub(crate) found: Option<Listed>,
}

/// A query for a worker's connections, answered in the order of their keys.
pub(crate) struct Survey {
    /// Lists connections after this one; with `only`, this one alone.
    pub(crate) after: Option<ConnectionKey>,
    pub(crate) only: bool,
    pub(crate) limit: usize,
    /// Lists connections of this user only.
    pub(crate) user: Option<String>,
    pub(crate) reply: oneshot::Sender<Vec<(ConnectionKey, ConnectionInfo)>>,
}

/// A message to the owners of sessions on one worker.
pub(crate) enum OwnerLetter {
    /// A request to the owner of a session.
    Request { session: SessionId, requester: Requester, request: Request },
    /// A connection ended before it received the reply to its join.
    Disconnect { session: SessionId, connection: ConnectionKey },
    /// From the log: the outcomes of a batch.
    Outcomes { outcomes: Vec<(SessionId, Appended)>, submitted: Instant },
    /// From a blocking thread: the end of a session's log.
    Loaded { session: SessionId, tail: Result<Tail, LogError> },
    /// From a blocking thread: what follows the head that a session's owner knows.
    CaughtUp { session: SessionId, read: Result<Reading, LogError> },
    /// From the log: what another process did with a session.
    Observed { session: SessionId, change: Change },
    /// A worker has no feed of the session any more.
    FeedEnded { session: SessionId, worker: usize },
}

impl From<OwnerLetter> for Letter {
    fn from(letter: OwnerLetter) -> Self {
        Self::Owner(letter)
    }
}

/// One message from one thread to a worker.
pub(crate) enum Letter {
    /// To the owners of sessions.
    Owner(OwnerLetter),
    /// To a connection: a message as JSON. `settles` if it completes a request of the connection.
    Reply { connection: ConnectionKey, json: Bytes, settles: bool },
    /// To a connection: acks of one session.
    Acks { connection: ConnectionKey, entry: Arc<Entry>, acks: Acks },
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
    /// To every worker with a feed of the session; `opened` is when the frame's oldest event was accepted.
    Commit { session: SessionId, frame: Frame, priority: Priority, opened: Instant },
    /// To every worker with a feed of the session: its log goes on with events that have to be read.
    Resync { session: SessionId },
    /// To a worker: a query for its connections.
    Survey(Survey),
    /// To a worker: start an inspection of frames, and confirm the start.
    Inspect { tap: Arc<Tap>, begun: oneshot::Sender<()> },
    /// To a worker: end an inspection.
    EndInspection { number: u64 },
    /// To a connection: close it.
    Close { connection: ConnectionKey, code: CloseCode, detail: &'static str },
}
