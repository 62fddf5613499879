//! What owners want done: values that the worker carries out, in order.

use std::time::Duration;

use agentbench_audit::Record;
use agentbench_event_log::Frame;
use agentbench_protocol::SessionId;
use agentbench_session::ConnectionKey;

use crate::intake::Permit;
use crate::letters::Letter;
use crate::letters::exchange::Answered;

/// One thing to be done.
pub(crate) enum Effect {
    /// Send a letter to this worker, or act on it if it is the owner's own.
    Post { worker: usize, letter: Letter },
    /// Hand an answer to an exchange. If a join is answered and the exchange has ended, it leaves the session again.
    Answer { exchange: ConnectionKey, answered: Answered },
    /// Read the end of a session's log ([`read_tail`](super::loading::read_tail)) and pass it to
    /// [`Owners::loaded`](super::Owners::loaded).
    Load(SessionId),
    /// Move an ended session into the archive.
    Archive(SessionId),
    /// Write a line into the audit log.
    Audit(Record),
    /// Make spans of a frame that the log has taken, after so long.
    Trace { session: SessionId, frame: Frame, took: Duration },
    /// Give room in the commit backlog back; done by dropping it. It comes after the answers: a server that stops waits for
    /// the backlog before it closes connections.
    Release { _permit: Permit },
}
