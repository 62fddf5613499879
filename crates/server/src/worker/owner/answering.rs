//! What those who ask are told at once: answers, refusals, and what the audit log hears of refusals.

use std::rc::Rc;

use agentbench_audit::Record;
use agentbench_protocol::event::{write_error, write_system};
use agentbench_protocol::message::ErrorData;
use agentbench_protocol::{ErrorCode, Refusal, SessionId, SystemMessage};
use agentbench_session::ConnectionKey;
use bytes::{Bytes, BytesMut};

use super::lifecycle::step_name;
use crate::letters::exchange::Answered;
use crate::letters::{Asker, Request};
use crate::names;
use crate::worker::Worker;

impl Worker {
    pub(super) fn refuse_request(
        self: &Rc<Self>,
        session: SessionId,
        asker: &Asker,
        request: &Request,
        refusal: Refusal,
    ) {
        if let Request::PublishAll(events) = request {
            for event in events {
                self.answer_refusal(asker.connection, refusal.clone().of(&*event.id), false);
            }
            return;
        }
        let refusal = match request_id(request) {
            Some(id) => refusal.of(id),
            None => return,
        };
        if let Some(action) = action_of(request) {
            self.audit_refusal(asker, session, action, &refusal);
        }
        self.answer_refusal(asker.connection, refusal, !matches!(request, Request::Publish(_)));
    }

    /// Writes down what was not let be done to a session.
    pub(super) fn audit_refusal(
        &self,
        asker: &Asker,
        session: SessionId,
        action: &'static str,
        refusal: &Refusal,
    ) {
        self.shared.audit(|| {
            // To whom it is hidden it is not found; the audit log says what was tried.
            let hidden =
                refusal.code == ErrorCode::SessionNotFound && self.shared.catalog.get(session).is_some();
            let code = if hidden { ErrorCode::Forbidden } else { refusal.code };
            asker.record(session, Record::refused(self.now(), action, code.as_str()))
        });
    }

    pub(super) fn answer_refusal(
        self: &Rc<Self>,
        connection: ConnectionKey,
        refusal: Refusal,
        settles: bool,
    ) {
        self.shared.metrics.error(refusal.code);
        if names::is_exchange(connection) {
            self.shared.exchanges.answer(connection, Answered::Refused(refusal));
            return;
        }
        let mut json = BytesMut::new();
        write_error(&mut json, self.next_number(), self.now(), None, &ErrorData::from(refusal));
        self.reply(connection, json.freeze(), settles);
    }

    pub(super) fn answer(self: &Rc<Self>, connection: ConnectionKey, message: &SystemMessage) {
        let json = self.system_json(None, message);
        self.reply(connection, json, true);
    }

    pub(super) fn system_json(&self, session: Option<SessionId>, message: &SystemMessage) -> Bytes {
        let mut json = BytesMut::new();
        write_system(&mut json, self.next_number(), self.now(), session, message);
        json.freeze()
    }
}

pub(super) fn request_id(request: &Request) -> Option<&str> {
    match request {
        Request::Create { command, .. }
        | Request::Join { command, .. }
        | Request::Leave { command, .. }
        | Request::Control { command, .. }
        | Request::Info { command } => Some(command),
        Request::Publish(event) => Some(&event.id),
        Request::PublishAll(_) | Request::Acknowledge { .. } | Request::Gone => None,
    }
}

/// What the audit log calls a request; `None` for what it is not told of.
pub(super) fn action_of(request: &Request) -> Option<&'static str> {
    match request {
        Request::Create { .. } => Some("create_session"),
        Request::Join { .. } => Some("join_session"),
        Request::Control { step, .. } => Some(step_name(step)),
        Request::Info { .. } => Some("get_session_info"),
        Request::Leave { .. }
        | Request::Publish(_)
        | Request::PublishAll(_)
        | Request::Acknowledge { .. }
        | Request::Gone => None,
    }
}
