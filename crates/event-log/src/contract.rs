//! What every log engine guarantees, which is all that its users need to know.
//!
//! Designed for several writers: the compare-and-swap on the head makes a session's sequence gapless and
//! unforkable by construction, whichever writer appends. It needs no leases and no clocks. A writer is one process, or
//! whoever holds a handle of its own to a shared log.

use std::time::Duration;

use agentbench_protocol::{Epoch, Head, Seq, SessionId};
use bytes::Bytes;

use crate::Frame;

/// One frame to append to one session's log.
#[derive(Debug, Clone)]
pub struct Append {
    /// The session.
    pub session: SessionId,
    /// The head that the frame follows. With `seq` 0 the log must not exist yet, and is created with this epoch.
    pub expected: Head,
    /// The events. `frame.first_seq()` is `expected.seq + 1`.
    pub frame: Frame,
    /// A small value stored beside the log and replaced together with this append, if given: start-up lists it without
    /// reading any log. Opaque to the engine; at most a few KiB.
    pub summary: Option<Bytes>,
}

/// The outcome of one [`Append`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// The frame is in the log, at the engine's ack level. This is the log's head: the end of the frame, or later if it was
    /// already there and others followed it.
    Committed(Head),
    /// The log's head is not the expected one, but this; nothing was written. `None`: there is no such log, or no longer.
    Conflict(Option<Head>),
    /// The engine does not know whether the frame is in the log (a failed write or fsync, a lost answer). The identical append
    /// again tells, as soon as the engine takes appends.
    Unknown(String),
    /// Nothing was written, and appends are refused for now (the engine is closed, or failed before; or the log is archived).
    Unavailable(String),
    /// Nothing was written: the disk is full. Appends succeed again once there is space.
    Full,
}

/// Called with the outcomes of one [`EventLog::submit`], in the order of its appends. Runs on the engine's thread: hand over and
/// return.
pub type Done = Box<dyn FnOnce(Vec<Appended>) + Send>;

/// A change of a log that this writer was not told by an outcome of its own.
#[derive(Debug, Clone)]
pub enum Change {
    /// A frame was committed: by another writer, or by this one with an outcome that was [`Appended::Unknown`].
    Committed {
        /// The session.
        session: SessionId,
        /// The log's head with this frame.
        head: Head,
        /// The events.
        frame: Frame,
        /// The summary that was stored with it, if there was one.
        summary: Option<Bytes>,
    },
    /// Another writer moved the log to the archive.
    Archived(SessionId),
    /// Another writer removed the log of this epoch.
    Removed(SessionId, Epoch),
}

/// Called after each [`Change`] since its registration, in the log's order for each session. Runs on the engine's thread: hand
/// over and return.
pub type Observer = Box<dyn Fn(&Change) + Send + Sync>;

/// Limits of one [`EventLog::read`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimit {
    /// Stop before the frame that would exceed this many bytes; the first frame is always returned.
    pub bytes: usize,
    /// Stop after the frame that reaches this many events.
    pub events: usize,
}

/// The result of one [`EventLog::read`].
#[derive(Debug, Clone)]
pub struct Reading {
    /// The log's head at the time of the read. It may be outdated, but is never wrong about the past.
    pub head: Head,
    /// The oldest seq still in the log (1 unless trimmed; `head.seq + 1` if nothing is left).
    pub first_seq: Seq,
    /// Whole frames in order. The first one contains the requested seq, so it may start before it.
    pub frames: Vec<Frame>,
}

/// One log in the list for start-up.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The session.
    pub session: SessionId,
    /// Its head.
    pub head: Head,
    /// The summary of the last append that had one.
    pub summary: Bytes,
    /// Whether the log is in the archive: it can be read and deleted, but not appended to.
    pub archived: bool,
}

/// Limits on what is archived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// A log is removed when it was archived longer ago than this; `None` for no limit.
    pub max_age: Option<Duration>,
    /// The oldest logs are removed until all have at most this many bytes; `None` for no limit.
    pub max_bytes: Option<u64>,
    /// Maximum number of logs removed by one call, so that a mistake can be noticed before all are gone; 0 for no limit.
    pub at_most: usize,
}

/// Whether the log accepts appends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It accepts appends.
    Writable,
    /// The last append found the disk full; further appends are still tried.
    Full,
    /// A write or fsync failed: no appends until a restart has recovered the log. Reads continue.
    Failed(String),
}

/// Why a read, trim, archive or delete failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// There is no log of this session.
    #[error("there is no log of session {0}")]
    NotFound(SessionId),
    /// The events before `first_seq` were removed by retention.
    #[error("the log begins at seq {first_seq}")]
    Trimmed {
        /// The oldest seq that can be read.
        first_seq: Seq,
    },
    /// The stored bytes of these events fail their checksum or are invalid. They are never returned; later events can be read.
    #[error("events {from} to {to} are damaged: {detail}")]
    Damaged {
        /// First seq that cannot be read.
        from: Seq,
        /// Last seq that cannot be read.
        to: Seq,
        /// What was found.
        detail: String,
    },
    /// The log does not accept this request now: it is archived (append), or still live (archive of a log with an append in flight).
    #[error("{0}")]
    Refused(String),
    /// The storage failed.
    #[error("the log is unavailable: {0}")]
    Unavailable(String),
}

/// A store of session logs.
///
/// - A session's log is a chain of [frames](Frame), appended whole or not at all.
/// - `append` is a compare-and-swap on the head that the frame follows: `first_seq = expected.seq + 1`. Sending the
///   identical frame again with the same expectation is harmless and returns `Committed`.
/// - A frame that expects the head of a removed log is refused with `Conflict`, also the first one: what was removed does
///   not come back by an append that was under way.
/// - The caller keeps at most one frame of a session in flight; frames of many sessions share one group commit.
/// - Frames contain producer and id of every event, so a dedupe window can be rebuilt by reading the log's tail.
/// - An epoch identifies one incarnation of a log. A log that is deleted and created again has a new one.
/// - A failed fsync or a write with unknown result stops all appends until the log is opened again ([`Health::Failed`]).
///   A full disk refuses appends with [`Appended::Full`] and recovers by itself.
///
/// `submit`, `head` and `health` do not wait for storage; all other methods may, so call them from threads that can block.
pub trait EventLog: Send + Sync + 'static {
    /// Appends a batch. Never waits for storage; `done` is called with the outcomes. The caller limits what it has in flight.
    fn submit(&self, appends: Vec<Append>, done: Done);

    /// Whether other writers may change the logs. If not, nothing is ever observed, and a session that is not known to its
    /// only writer does not exist.
    fn is_shared(&self) -> bool;

    /// The head of the session's log; `None` if there is no such log. In a shared log it may be outdated.
    fn head(&self, session: SessionId) -> Option<Head>;

    /// Reads whole frames, starting with the one that contains `from` (≥ 1). `from` past the head returns no frames.
    ///
    /// # Errors
    /// [`LogError::NotFound`], [`LogError::Trimmed`] (`from` is older than what is kept), [`LogError::Damaged`] (the
    /// event at `from` is damaged; intact events before a damaged one are returned first), [`LogError::Unavailable`].
    fn read(&self, session: SessionId, from: Seq, limit: ReadLimit) -> Result<Reading, LogError>;

    /// All logs, in no particular order.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    fn list(&self) -> Result<Vec<Listed>, LogError>;

    /// One log.
    ///
    /// # Errors
    /// [`LogError::NotFound`], [`LogError::Unavailable`].
    fn find(&self, session: SessionId) -> Result<Listed, LogError>;

    /// Registers an observer of all later changes by others. A late observer gets the heads from `list` and reads what it
    /// missed.
    fn observe(&self, observer: Observer);

    /// Removes whole frames whose events are all before `before`. Returns the oldest remaining seq.
    ///
    /// # Errors
    /// [`LogError::NotFound`], [`LogError::Refused`] (archived), [`LogError::Unavailable`].
    fn trim(&self, session: SessionId, before: Seq) -> Result<Seq, LogError>;

    /// Moves an ended session's log to the archive; `now` (ms since 1970) is when, for retention. Reads continue throughout;
    /// appends end. Doing it twice is harmless.
    ///
    /// # Errors
    /// [`LogError::NotFound`], [`LogError::Damaged`] (it stays where it is), [`LogError::Unavailable`].
    fn archive(&self, session: SessionId, now: u64) -> Result<(), LogError>;

    /// Removes archived logs beyond the limits, oldest first, and returns their sessions and epochs; `now` in ms since 1970.
    ///
    /// # Errors
    /// [`LogError::Unavailable`]; logs removed before the error stay removed.
    fn retain(&self, now: u64, retention: Retention) -> Result<Vec<(SessionId, Epoch)>, LogError>;

    /// Removes a session's log permanently.
    ///
    /// # Errors
    /// [`LogError::NotFound`], [`LogError::Unavailable`].
    fn delete(&self, session: SessionId) -> Result<(), LogError>;

    /// Whether appends are accepted.
    fn health(&self) -> Health;

    /// Number of frames that were found damaged since the log was opened, each counted once. 0 for an engine that leaves that to
    /// its storage.
    fn damaged_frames(&self) -> u64 {
        0
    }

    /// Commits what is in flight, makes it durable and refuses further appends. Reads continue. Doing it twice is harmless.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] if the last write could not be made durable.
    fn close(&self) -> Result<(), LogError>;
}
