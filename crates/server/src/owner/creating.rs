//! Creating sessions, and repeats of the command that created one.

use std::sync::Arc;

use agentbench_audit::Record;
use agentbench_protocol::command::CreateSession;
use agentbench_protocol::{Epoch, ErrorCode, Head, Refusal, Seq, SessionId, Status, SystemMessage};
use agentbench_session::{ConnectionKey, Session, Summary, Waiter};

use super::context::OwnerContext;
use super::loaded::{Creation, LoadedSession};
use crate::letters::Requester;
use crate::letters::exchange::ExchangeReply;
use crate::names;
use crate::session::catalog::SessionLimitReached;
use crate::session::entry::Entry;

impl OwnerContext {
    /// Creates a session with its first entry; `None` if it was refused.
    pub(super) fn create(
        &mut self,
        now: u64,
        id: SessionId,
        requester: &Requester,
        command: String,
        fields: CreateSession,
    ) -> Option<LoadedSession> {
        let limits = self.parts.limits;
        let reservation =
            match self.parts.catalog.reserve(id, &requester.who.user_id, limits.of_user, limits.of_all) {
                Ok(reservation) => reservation,
                Err(reached) => {
                    let limit = match reached {
                        SessionLimitReached::User => {
                            format!("the user has {} live sessions, as many as one may have", limits.of_user)
                        }
                        SessionLimitReached::Server => {
                            format!("the server has {} sessions, as many as it may have", limits.of_all)
                        }
                    };
                    let refusal =
                        Refusal::new(ErrorCode::SessionLimit, limit).retry_after(10_000).of(command);
                    self.audit_refusal(now, requester, id, "create_session", &refusal);
                    self.refuse(requester.connection, refusal, true, now);
                    return None;
                }
            };
        self.audit(|| {
            requester.record(id, Record::allowed(now, "create_session").detail(fields.project_id.clone()))
        });
        let follow = fields.follow;
        let creation =
            Creation { requester: requester.clone(), command: command.clone(), fields: fields.clone() };
        let summary = summary_of(fields, requester, now);
        let head = Head { epoch: Epoch::from_u64((self.parts.random)()), seq: 0 };
        let first = (&*command, Waiter::Command(requester.connection));
        let context = self.parts.sessions;
        let mut session = Session::create(id, head, context, summary.clone(), first, &requester.who);
        if !names::is_exchange(requester.connection) {
            session.join(requester.connection, Arc::clone(&requester.who), follow, now);
        }
        let entry = Entry::new(id, head, summary, now);
        entry.set_loaded(true);
        self.parts.catalog.expect(&entry);
        let loaded = LoadedSession::new(session, entry, self.parts.permit.empty());
        Some(LoadedSession { reservation: Some(reservation), creation: Some(Box::new(creation)), ..loaded })
    }

    /// Handles a repeated `create_session`, perhaps from a newer connection: it gets the same answer and participates.
    pub(super) fn create_again(
        &mut self,
        now: u64,
        loaded: &mut LoadedSession,
        requester: &Requester,
        command: String,
        fields: &CreateSession,
    ) {
        let (connection, follow) = (requester.connection, fields.follow);
        let summary = summary_of(fields.clone(), requester, now);
        if !loaded.session.was_created_as(&summary) {
            let detail = "this user used the id for another create_session before";
            let refusal = Refusal::new(ErrorCode::IdConflict, detail).of(command);
            return self.refuse(connection, refusal, true, now);
        }
        if loaded.session.head().seq == 0 {
            loaded.session.repeat_create(Waiter::Command(connection), &command);
            if !names::is_exchange(connection) {
                loaded.session.join(connection, Arc::clone(&requester.who), follow, now);
            }
            return;
        }
        if !names::is_exchange(connection) {
            self.add_participant(now, loaded, requester, follow);
        }
        self.answer_created(now, loaded, connection, &command, follow.then_some(0), true);
    }

    /// Answers `create_session` once the log has the session, and starts delivery if `follow` is given. `again` if an earlier
    /// command of the same id created it.
    pub(super) fn answer_created(
        &mut self,
        now: u64,
        loaded: &mut LoadedSession,
        connection: ConnectionKey,
        command: &str,
        follow: Option<Seq>,
        again: bool,
    ) {
        let session = self.describe(loaded, now);
        let message = SystemMessage::SessionCreated {
            original_message_id: Some(command.to_owned()),
            session_id: session.session_id,
            epoch: session.epoch,
            session,
        };
        let json = self.system_json(None, &message, now);
        if names::is_exchange(connection) {
            // An HTTP request ends with its answer and does not participate.
            return self.answer_exchange(connection, ExchangeReply::Created { json, again });
        }
        if loaded.session.participants.get(connection).is_none() {
            // It left before the log had the session: it gets the answer and no events.
            return self.send_json(connection, json, true);
        }
        self.start_following(loaded, connection, json, None, follow);
    }
}

fn summary_of(fields: CreateSession, requester: &Requester, now: u64) -> Summary {
    Summary {
        project_id: fields.project_id,
        test_id: fields.test_id,
        agent_name: fields.agent_name,
        created_by: requester.who.user_id.clone(),
        created_at: now,
        metadata: fields.metadata,
        status: Status::Idle,
        started_at: None,
        ended_at: None,
        reason: None,
        progress: None,
    }
}
