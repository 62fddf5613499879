//! The effects that owners request; the worker carries them out in order.

use std::time::Duration;

use agentbench_audit::Record;
use agentbench_event_log::Frame;
use agentbench_protocol::{Seq, SessionId};
use agentbench_session::ConnectionKey;

use crate::intake::Permit;
use crate::letters::Letter;
use crate::letters::exchange::ExchangeReply;

/// One effect.
pub(crate) enum Effect {
    /// Send a letter to this worker, or process it if it is the owner's own.
    Post { worker: usize, letter: Letter },
    /// Pass a reply to an exchange. If it answers a join and the exchange has ended, the exchange leaves the session again.
    Answer { exchange: ConnectionKey, reply: ExchangeReply },
    /// Read the end of a session's log ([`read_tail`](super::loading::read_tail)) and pass it to
    /// [`Owners::finish_load`](super::Owners::finish_load). `finds` if this process does not know the session.
    Load { session: SessionId, finds: bool },
    /// Read a step of a session's log ([`read_on`](super::loading::read_on)) and pass it to
    /// [`Owners::catch_up`](super::Owners::catch_up).
    CatchUp { session: SessionId, from: Seq },
    /// Move an ended session into the archive.
    Archive(SessionId),
    /// Write a line into the audit log.
    Audit(Record),
    /// Create spans for a committed frame; `took` is the time of the commit.
    Trace { session: SessionId, frame: Frame, took: Duration },
    /// Release space in the commit backlog, by dropping the permit. It comes after the answers: a stopping server waits for
    /// the backlog before it closes connections.
    Release { _permit: Permit },
}
