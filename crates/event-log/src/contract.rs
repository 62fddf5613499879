//! What every log engine promises, and nothing above it has to know more.
//!
//! Written for several writers from the start: the compare-and-swap on the head makes a session's sequence gapless and
//! unforkable by construction, whoever writes. There are no leases and no clocks in it.

use agentbench_protocol::{Head, Seq, SessionId};
use bytes::Bytes;

use crate::Frame;

/// One frame to be appended to one session's log.
#[derive(Debug, Clone)]
pub struct Append {
    /// Whose log.
    pub session: SessionId,
    /// The head that the frame follows. With `seq` 0 the log does not exist yet and is created with this epoch.
    pub expected: Head,
    /// The events. `frame.first_seq()` is `expected.seq + 1`.
    pub frame: Frame,
    /// A small value kept beside the log and replaced together with this append, if given: what start-up lists without
    /// reading any log. Opaque to the engine; at most a few KiB.
    pub summary: Option<Bytes>,
}

/// What became of one [`Append`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// The frame is in the log, at the engine's ack level. The log now ends here: with the frame, or later if it was
    /// there already and others followed it.
    Committed(Head),
    /// The log does not end where the frame expected it to, but here; nothing was written. `None`: there is no such log.
    Conflict(Option<Head>),
    /// The engine cannot tell whether the frame is in the log (a failed write or fsync). It is found out by a restart.
    Unknown(String),
    /// Nothing was written and nothing will be for now (the engine is closed, or failed before; the log is archived).
    Unavailable(String),
    /// Nothing was written: there is no room. A later append succeeds when there is room again.
    Full,
}

/// Told the outcomes of one [`EventLog::submit`], in the order of its appends. Runs on the engine's thread: hand over and return.
pub type Done = Box<dyn FnOnce(Vec<Appended>) + Send>;

/// Told of every commit after it was registered, in the log's order for each session. Runs on the engine's thread.
pub type Observer = Box<dyn Fn(SessionId, Head, &Frame) + Send + Sync>;

/// How much one [`EventLog::read`] may return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimit {
    /// Stop before the frame that would exceed this many bytes; the first frame is returned whatever its size.
    pub bytes: usize,
    /// Stop after the frame that reaches this many events.
    pub events: usize,
}

/// What one [`EventLog::read`] found.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The log's head when it was read. It may be stale by now, it is never wrong about the past.
    pub head: Head,
    /// The oldest seq that the log still has (1 unless trimmed; `head.seq + 1` if nothing is left).
    pub first_seq: Seq,
    /// Whole frames in order. The first one holds the seq that was asked for, so it may begin before it.
    pub frames: Vec<Frame>,
}

/// One log, as start-up lists it.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Whose log.
    pub session: SessionId,
    /// Where it ends.
    pub head: Head,
    /// The summary of the last append that carried one.
    pub summary: Bytes,
    /// The log was moved to the archive: it can be read and deleted, and takes no append.
    pub archived: bool,
}

/// Whether the log takes appends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Writable,
    /// There was no room at the last try; appends are tried all the same.
    Full,
    /// A write or fsync failed: no appends until a restart has recovered the log. Reads go on.
    Failed(String),
}

/// Why a read, trim, archive or delete could not be done.
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
    /// The stored bytes of these events fail their checksum or make no sense. They are never served; what follows them can be read.
    #[error("events {from} to {to} are damaged: {detail}")]
    Damaged {
        /// First seq that cannot be read.
        from: Seq,
        /// Last seq that cannot be read.
        to: Seq,
        /// What was found.
        detail: String,
    },
    /// The log takes no such request now: it is archived (append), or still live (archive of a log with an append in flight).
    #[error("{0}")]
    Refused(String),
    /// The storage did not answer properly.
    #[error("the log is unavailable: {0}")]
    Unavailable(String),
}

/// A store of session logs.
///
/// - A session's log is a chain of [frames](Frame), appended whole or not at all.
/// - `append` is a compare-and-swap on the head that the frame follows: `first_seq = expected.seq + 1`. Sending the
///   identical frame again with the same expectation is harmless and is answered with `Committed`.
/// - The caller keeps at most one frame of a session in flight; frames of many sessions share one group commit.
/// - Frames carry producer and id of every event, so a dedupe window can be rebuilt by reading the log's tail.
/// - An epoch names one life of a log. A deleted and re-created log has another one.
/// - A failed fsync or a write with unknown result stops all appends until the log is opened again ([`Health::Failed`]).
///   A full disk refuses appends with [`Appended::Full`] and recovers by itself.
///
/// `submit`, `head` and `health` do not wait for storage; all other methods may, so they are called from threads that may wait.
pub trait EventLog: Send + Sync + 'static {
    /// Appends a batch. Never waits for storage; `done` is told the outcomes. The caller bounds what it has in flight.
    fn submit(&self, appends: Vec<Append>, done: Done);

    /// Where the session's log ends; `None` if there is no such log.
    fn head(&self, session: SessionId) -> Option<Head>;

    /// Reads whole frames from the one that holds `from` (≥ 1) on. `from` past the head gives no frames.
    ///
    /// # Errors
    /// [`LogError::NotFound`], [`LogError::Trimmed`] (`from` is older than what is kept), [`LogError::Damaged`] (the
    /// event at `from` is; intact events before a damaged one are returned first), [`LogError::Unavailable`].
    fn read(&self, session: SessionId, from: Seq, limit: ReadLimit) -> Result<Reading, LogError>;

    /// Every log there is, in no particular order.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    fn list(&self) -> Result<Vec<Listed>, LogError>;

    /// Registers an observer of all later commits. Restartable: who comes late asks `list` for heads and reads what it missed.
    fn observe(&self, observer: Observer);

    /// Removes whole frames whose events are all before `before`. Returns the oldest seq that is left.
    ///
    /// # Errors
    /// [`LogError::NotFound`], [`LogError::Refused`] (archived), [`LogError::Unavailable`].
    fn trim(&self, session: SessionId, before: Seq) -> Result<Seq, LogError>;

    /// Moves an ended session's log to where ended sessions are kept. Reads go on throughout; appends end. Doing it twice is harmless.
    ///
    /// # Errors
    /// [`LogError::NotFound`], [`LogError::Damaged`] (left where it is), [`LogError::Unavailable`].
    fn archive(&self, session: SessionId) -> Result<(), LogError>;

    /// Removes a session's log for good.
    ///
    /// # Errors
    /// [`LogError::NotFound`], [`LogError::Unavailable`].
    fn delete(&self, session: SessionId) -> Result<(), LogError>;

    /// Whether appends are taken.
    fn health(&self) -> Health;

    /// Commits what is in flight, makes it durable and takes no more appends. Reads go on. Doing it twice is harmless.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] if the last write could not be made durable.
    fn close(&self) -> Result<(), LogError>;
}
