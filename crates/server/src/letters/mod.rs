//! What threads send to each other: requests to owners, answers to connections and exchanges, commits to feeds.

pub(crate) mod connections;
pub(crate) mod exchange;
pub(crate) mod mailbox;
pub(crate) mod post;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use agentbench_auth::Grant;
use agentbench_event_log::{Appended, Frame, LogError, Run};
use agentbench_protocol::command::CreateSession;
use agentbench_protocol::message::Sender;
use agentbench_protocol::{CloseCode, Doubts, Envelope, Outline, Priority, Seq, SessionId, StartAt};
use agentbench_session::{ConnectionKey, Step};
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::inspection::Tap;
use crate::intake::{Admitted, Permit};
use crate::session::catalog::Entry;
use connections::ConnectionInfo;

/// Who asks.
#[derive(Clone)]
pub(crate) struct Requester {
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
    /// Its room in the commit backlog.
    pub(crate) permit: Permit,
}

/// From whom an event is, and how it is answered.
#[derive(Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) producer: &'a str,
    pub(crate) sender: &'a Arc<str>,
    pub(crate) requires_ack: bool,
    pub(crate) in_order: bool,
}

impl OwnedEvent {
    /// The event of an envelope that was admitted.
    pub(crate) fn new(envelope: &Envelope<'_>, origin: Origin<'_>, admitted: Admitted) -> Self {
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

/// A wish to take part in a session.
pub(crate) struct Join {
    pub(crate) command: String,
    pub(crate) follow: bool,
    pub(crate) from: StartAt,
    /// The id of the event at the position in `from`, if that was looked up.
    pub(crate) id_at_position: Option<String>,
    pub(crate) subscribe: bool,
}

/// Acks of one session for one connection.
pub(crate) enum Acks {
    /// Events that are in the log now, without any doubt.
    Run(Run),
    /// One event.
    Single(SingleAck),
}

/// The ack of an event that is answered alone.
#[derive(Debug)]
pub(crate) struct SingleAck {
    pub(crate) id: String,
    pub(crate) seq: Seq,
    /// The log had it before.
    pub(crate) duplicate: bool,
    /// What readers will not understand of it.
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

/// What a session's owner is asked to do.
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
    Request { session: SessionId, requester: Requester, request: Request },
    /// To a connection: a message as JSON. `settles` if it ends something that the connection has under way.
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
