//! Refusals of whole requests, and their lines in the audit log.

use agentbench_audit::Record;
use agentbench_protocol::{ErrorCode, Refusal, SessionId};

use super::context::OwnerContext;
use super::lifecycle::step_name;
use crate::letters::{Join, Request, Requester};

impl OwnerContext {
    pub(super) fn refuse_request(
        &mut self,
        now: u64,
        session: SessionId,
        requester: &Requester,
        request: &Request,
        refusal: Refusal,
    ) {
        if let Request::PublishAll(events) = request {
            for event in events {
                self.refuse(requester.connection, refusal.clone().of(&*event.id), false, now);
            }
            return;
        }
        let refusal = match request_id(request) {
            Some(id) => refusal.of(id),
            None => return,
        };
        if let Some(action) = action_of(request) {
            self.audit_refusal(now, requester, session, action, &refusal);
        }
        self.refuse(requester.connection, refusal, !matches!(request, Request::Publish(_)), now);
    }

    /// Records an action on a session that was refused.
    pub(super) fn audit_refusal(
        &mut self,
        now: u64,
        requester: &Requester,
        session: SessionId,
        action: &'static str,
        refusal: &Refusal,
    ) {
        // Hidden sessions are refused as not found; the audit log has what was tried.
        let is_hidden =
            refusal.code == ErrorCode::SessionNotFound && self.parts.catalog.get(session).is_some();
        let code = if is_hidden { ErrorCode::Forbidden } else { refusal.code };
        self.audit(|| requester.record(session, Record::refused(now, action, code.as_str())));
    }
}

fn request_id(request: &Request) -> Option<&str> {
    match request {
        Request::Create { command, .. }
        | Request::Join(Join { command, .. })
        | Request::Leave { command, .. }
        | Request::Control { command, .. }
        | Request::Info { command } => Some(command),
        Request::Publish(event) => Some(&event.id),
        Request::PublishAll(_) | Request::Acknowledge { .. } | Request::Disconnect => None,
    }
}

/// The request's name in the audit log; `None` if it is not recorded.
fn action_of(request: &Request) -> Option<&'static str> {
    match request {
        Request::Create { .. } => Some("create_session"),
        Request::Join(_) => Some("join_session"),
        Request::Control { step, .. } => Some(step_name(step)),
        Request::Info { .. } => Some("get_session_info"),
        Request::Leave { .. }
        | Request::Publish(_)
        | Request::PublishAll(_)
        | Request::Acknowledge { .. }
        | Request::Disconnect => None,
    }
}
