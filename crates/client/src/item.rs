//! Items of a follow: events of the log, and everything that a reader must know about its position in it.

use std::borrow::Cow;
use std::fmt;

use agentbench_protocol::message::{Presence, Sender, SystemMessage};
use agentbench_protocol::{GapCause, NotRecovered, Position, Seq, SessionId};
use bytes::Bytes;
use serde::de::DeserializeOwned;

/// One item of a follow.
#[derive(Debug, Clone)]
pub enum Item {
    /// An event of the log.
    Event(Delivered),
    /// An entry of the log about the session itself.
    Lifecycle(Box<Lifecycle>),
    /// Events that this follow does not receive, and why.
    Gap(Gap),
    /// A participant joined or left; not in the log.
    Presence {
        /// Joined or left.
        joined: bool,
        /// The participant, and those present now.
        presence: Box<Presence>,
    },
    /// The connection is lost; the follow continues by itself on the next one.
    Disconnected(Disconnected),
    /// Joined again at its position: nothing is missing.
    Resumed(Resumed),
    /// The log could not resume at the position; the follow continues from another one.
    NotRecovered {
        /// The reason.
        reason: Option<NotRecovered>,
        /// The old position.
        was: Position,
        /// The new position.
        from: Position,
    },
    /// The server violated the order. The follow continues after the violation.
    Violation(Violation),
    /// An entry that a [`Violation`] had skipped, received late, after newer ones.
    Late(Delivered),
}

/// A range of seqs that a follow does not receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// First seq.
    pub from: Seq,
    /// Last seq.
    pub to: Seq,
    /// The cause.
    pub cause: GapCause,
    /// Whether the history still has them.
    pub history: bool,
}

/// A hole in the order that no gap explains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Violation {
    /// The expected seq.
    pub expected: Seq,
    /// The received seq (for a gap, its first).
    pub got: Seq,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disconnected {
    /// The WebSocket close code, if the server closed it.
    pub code: Option<u16>,
    /// What happened.
    pub detail: String,
}

/// How a follow was resumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resumed {
    /// The position at which it stopped and continues.
    pub from: Position,
    /// The last seq of the log at that moment.
    pub head_seq: Seq,
}

/// One message of a log as it was received. It shares the memory of its frame, and keeps that alive.
#[derive(Clone)]
pub struct Delivered {
    pub(crate) frame: Bytes,
    pub(crate) parts: Parts,
    /// Its session.
    pub session_id: SessionId,
    /// Its position in the session's log.
    pub seq: Seq,
    /// When the server received it, ms since 1970.
    pub received_at: u64,
}

/// Positions of a message's parts in its frame.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) whole: Span,
    pub(crate) id: Span,
    pub(crate) timestamp: Span,
    pub(crate) data: Span,
    pub(crate) metadata: Span,
    pub(crate) sender: Span,
}

/// A half-open range of bytes. A frame is far smaller than 4 GiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Self {
        let narrow = |at| u32::try_from(at).unwrap_or(u32::MAX);
        Self { start: narrow(start), end: narrow(end) }
    }

    pub(crate) fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl Delivered {
    fn text(&self, part: Span) -> &str {
        // The frame was validated as text, and the parts are whole JSON values in it.
        simdutf8::basic::from_utf8(&self.frame[part.range()]).unwrap_or_default()
    }

    /// The id that the sender gave it.
    pub fn id(&self) -> Cow<'_, str> {
        let quoted = self.text(self.parts.id);
        match quoted.get(1..quoted.len().saturating_sub(1)) {
            Some(plain) if !plain.contains('\\') => Cow::Borrowed(plain),
            _ => Cow::Owned(serde_json::from_str(quoted).unwrap_or_default()),
        }
    }

    /// The sender's clock, ms since 1970.
    pub fn timestamp(&self) -> f64 {
        self.text(self.parts.timestamp).parse().unwrap_or_default()
    }

    /// The content as the sender wrote it: a JSON object.
    pub fn data(&self) -> &str {
        self.text(self.parts.data)
    }

    /// The content, without a copy.
    pub fn data_bytes(&self) -> Bytes {
        self.frame.slice(self.parts.data.range())
    }

    /// Deserializes the content.
    ///
    /// # Errors
    /// The content does not match the type.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.data())
    }

    /// The sender's handling instructions, a JSON object.
    pub fn metadata(&self) -> Option<&str> {
        (!self.parts.metadata.range().is_empty()).then(|| self.text(self.parts.metadata))
    }

    /// The sender.
    pub fn sender(&self) -> Option<Sender> {
        serde_json::from_str(self.text(self.parts.sender)).ok()
    }

    /// The whole message as it was received: a JSON object.
    pub fn json(&self) -> &str {
        self.text(self.parts.whole)
    }
}

impl fmt::Debug for Delivered {
    /// Omits the content, which belongs to users.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivered").field("seq", &self.seq).field("id", &self.id()).finish_non_exhaustive()
    }
}

/// An entry of the log about the session itself.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    /// The entry's position, times and bytes.
    pub entry: Delivered,
    /// What happened: `SessionCreated`, `SessionStarted` and the like.
    pub message: SystemMessage,
}

impl Item {
    /// The seq, if it is an entry of the log.
    pub fn seq(&self) -> Option<Seq> {
        match self {
            Self::Event(event) => Some(event.seq),
            Self::Lifecycle(lifecycle) => Some(lifecycle.entry.seq),
            _ => None,
        }
    }
}
