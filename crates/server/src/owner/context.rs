//! State shared by all sessions of one worker, and the methods that queue effects, replies among them.

use std::rc::Rc;
use std::sync::Arc;

use agentbench_audit::Record;
use agentbench_protocol::event::{write_error, write_system};
use agentbench_protocol::message::ErrorData;
use agentbench_protocol::{Refusal, SessionId, SessionInfo, SystemMessage};
use agentbench_session::{ConnectionKey, Context};
use bytes::{Bytes, BytesMut};

use super::effect::Effect;
use super::loaded::LoadedSession;
use crate::figures::meters::{AllMeters, Meters};
use crate::figures::metrics::Metrics;
use crate::intake::Permit;
use crate::letters::Letter;
use crate::letters::exchange::ExchangeReply;
use crate::names::{self, MessageNumbers};
use crate::sabotage::Sabotage;
use crate::session::catalog::Catalog;

/// Bounds of sessions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SessionLimits {
    /// Live sessions of one user, and of all; 0 is no limit for a user.
    pub(crate) of_user: usize,
    pub(crate) of_all: usize,
    /// Time without use after which a session expires, ms.
    pub(crate) timeout_ms: u64,
    /// Bytes of one session.
    pub(crate) bytes: Option<u64>,
}

impl SessionLimits {
    /// Whether a session of `bytes` has reached the limit and accepts no more events.
    pub(super) fn is_full(&self, bytes: u64) -> bool {
        self.bytes.is_some_and(|limit| bytes >= limit)
    }
}

/// Which reports owners produce.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reporting {
    /// An audit log is configured.
    pub(crate) audit: bool,
    /// Spans are created for committed frames.
    pub(crate) traces: bool,
    /// Traces are recorded as exemplars of metrics.
    pub(crate) exemplars: bool,
}

/// Dependencies of the owners.
pub(crate) struct OwnerParts {
    pub(crate) worker: usize,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) meters: Arc<AllMeters>,
    pub(crate) numbers: Rc<MessageNumbers>,
    /// Passed to every new session.
    pub(crate) sessions: Context,
    pub(crate) limits: SessionLimits,
    /// A permit of no bytes.
    pub(crate) permit: Permit,
    pub(crate) reporting: Reporting,
    /// The refusal of requests for an unknown session.
    pub(crate) no_such_session: Refusal,
    /// Random numbers, for epochs.
    pub(crate) random: Box<dyn FnMut() -> u64>,
    pub(crate) sabotage: Sabotage,
}

/// Sessions with queued entries for the log.
#[derive(Default)]
pub(super) struct DirtySessions {
    sessions: Vec<SessionId>,
    is_due: bool,
}

impl DirtySessions {
    /// Marks a session as having queued entries for the log.
    pub(super) fn mark(&mut self, session: SessionId) {
        self.is_due |= self.sessions.is_empty();
        if self.sessions.last() != Some(&session) {
            self.sessions.push(session);
        }
    }

    /// Whether the first session was marked since the last call.
    pub(super) fn take_due(&mut self) -> bool {
        std::mem::take(&mut self.is_due)
    }

    pub(super) fn take(&mut self) -> Vec<SessionId> {
        std::mem::take(&mut self.sessions)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }
}

/// See the module.
pub(super) struct OwnerContext {
    pub(super) parts: OwnerParts,
    pub(super) effects: Vec<Effect>,
    pub(super) dirty: DirtySessions,
    /// Large sessions with a change of participants that has not been announced yet.
    pub(super) unannounced: Vec<SessionId>,
}

impl OwnerContext {
    pub(super) fn new(parts: OwnerParts) -> Self {
        let (effects, unannounced) = (Vec::new(), Vec::new());
        Self { parts, effects, dirty: DirtySessions::default(), unannounced }
    }

    pub(super) fn meters(&self) -> &Meters {
        self.parts.meters.of(self.parts.worker)
    }

    /// The session as clients see it.
    pub(super) fn describe(&self, loaded: &LoadedSession, now: u64) -> SessionInfo {
        self.parts.catalog.with_pace(&loaded.entry, loaded.session.describe(), now)
    }

    /// Sends a letter to a connection's worker.
    pub(super) fn post_to(&mut self, connection: ConnectionKey, letter: Letter) {
        self.effects.push(Effect::Post { worker: names::worker_of(connection), letter });
    }

    /// Sends a message, given as JSON. `settles` if it completes a request of the connection.
    pub(super) fn send_json(&mut self, connection: ConnectionKey, json: Bytes, settles: bool) {
        if names::is_exchange(connection) {
            return self.answer_exchange(connection, ExchangeReply::Message(json));
        }
        self.post_to(connection, Letter::Reply { connection, json, settles });
    }

    pub(super) fn answer_exchange(&mut self, exchange: ConnectionKey, reply: ExchangeReply) {
        self.effects.push(Effect::Answer { exchange, reply });
    }

    /// Answers a command.
    pub(super) fn answer(&mut self, connection: ConnectionKey, message: &SystemMessage, now: u64) {
        let json = self.system_json(None, message, now);
        self.send_json(connection, json, true);
    }

    pub(super) fn refuse(&mut self, connection: ConnectionKey, refusal: Refusal, settles: bool, now: u64) {
        self.parts.metrics.error(refusal.code);
        if names::is_exchange(connection) {
            return self.answer_exchange(connection, ExchangeReply::Refused(refusal));
        }
        let mut json = BytesMut::new();
        write_error(&mut json, self.parts.numbers.next(), now, None, &ErrorData::from(refusal));
        self.send_json(connection, json.freeze(), settles);
    }

    pub(super) fn system_json(&self, session: Option<SessionId>, message: &SystemMessage, now: u64) -> Bytes {
        let mut json = BytesMut::new();
        write_system(&mut json, self.parts.numbers.next(), now, session, message);
        json.freeze()
    }

    pub(super) fn audit(&mut self, record: impl FnOnce() -> Record) {
        if self.parts.reporting.audit {
            self.effects.push(Effect::Audit(record()));
        }
    }
}
