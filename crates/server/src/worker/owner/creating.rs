//! Making sessions: the first time, and the same command once more.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use agentbench_audit::Record;
use agentbench_protocol::command::CreateSession;
use agentbench_protocol::{Epoch, ErrorCode, Head, Refusal, Seq, SessionId, Status, SystemMessage};
use agentbench_session::{ConnectionKey, Session, Summary, Waiter};

use crate::letters::Asker;
use crate::letters::exchange::Answered;
use crate::names;
use crate::session::catalog::Entry;
use crate::session::owned::Owned;
use crate::worker::Worker;

impl Worker {
    pub(super) fn create(
        self: &Rc<Self>,
        id: SessionId,
        asker: &Asker,
        command: String,
        fields: CreateSession,
    ) {
        let shared = &self.shared;
        let user_limit = shared.config.security.user_sessions;
        if !shared.catalog.reserve_for(&asker.who.user_id, user_limit) {
            let limit = format!("the user has {user_limit} live sessions, as many as one may have");
            let refusal = Refusal::new(ErrorCode::SessionLimit, limit).retry_after(10_000).of(command);
            self.audit_refusal(asker, id, "create_session", &refusal);
            return self.answer_refusal(asker.connection, refusal, true);
        }
        if !shared.catalog.reserve(shared.config.max_sessions) {
            shared.catalog.give_back_for(&asker.who.user_id);
            let limit =
                format!("the server has {} sessions, as many as it may have", shared.config.max_sessions);
            let refusal = Refusal::new(ErrorCode::SessionLimit, limit).retry_after(10_000).of(command);
            self.audit_refusal(asker, id, "create_session", &refusal);
            return self.answer_refusal(asker.connection, refusal, true);
        }
        let now = self.now();
        shared.audit(|| {
            asker.record(id, Record::allowed(now, "create_session").detail(fields.project_id.clone()))
        });
        let summary = summary_of(fields, asker, now);
        let head = Head { epoch: Epoch::from_u64(self.random()), seq: 0 };
        let waiter = Waiter::Command(asker.connection);
        let mut session =
            Session::create(id, head, shared.context(), summary.0.clone(), (&command, waiter), &asker.who);
        if !names::is_exchange(asker.connection) {
            session.join(asker.connection, Arc::clone(&asker.who), summary.1, now);
        }
        let entry = Entry::new(id, head, summary.0, now);
        let owned = Owned::new(session, entry, self.shared.intake.empty_permit());
        self.sessions.borrow_mut().insert(id, Rc::new(RefCell::new(owned)));
        self.mark_dirty(id);
    }

    /// The same command once more, perhaps from a newer connection: the same answer, and participation.
    pub(super) fn create_again(
        self: &Rc<Self>,
        owned: &Rc<RefCell<Owned>>,
        asker: &Asker,
        command: String,
        fields: &CreateSession,
    ) {
        let (now, follow) = (self.now(), fields.follow);
        let (summary, _) = summary_of(fields.clone(), asker, now);
        let mut guard = owned.borrow_mut();
        if !guard.session.was_created_as(&summary) {
            drop(guard);
            let detail = "this user used the id for another create_session before";
            let refusal = Refusal::new(ErrorCode::IdConflict, detail).of(command);
            return self.answer_refusal(asker.connection, refusal, true);
        }
        if guard.session.head().seq == 0 {
            guard.session.repeat_create(Waiter::Command(asker.connection), &command);
            if !names::is_exchange(asker.connection) {
                guard.session.join(asker.connection, Arc::clone(&asker.who), follow, now);
            }
            return;
        }
        drop(guard);
        if !names::is_exchange(asker.connection) {
            self.add_participant(owned, asker, follow);
        }
        self.answer_created(owned, asker.connection, &command, follow.then_some(0), true);
    }

    /// Answers `create_session` once the log has the session, and begins to deliver if that is wanted. `again` if this
    /// command is not the one that made it.
    pub(super) fn answer_created(
        self: &Rc<Self>,
        owned: &Rc<RefCell<Owned>>,
        connection: ConnectionKey,
        command: &str,
        follow: Option<Seq>,
        again: bool,
    ) {
        let (json, entry, head) = {
            let owned = owned.borrow();
            let session = self.describe(&owned);
            let message = SystemMessage::SessionCreated {
                original_message_id: Some(command.to_owned()),
                session_id: session.session_id,
                epoch: session.epoch,
                session,
            };
            (self.system_json(None, &message), Arc::clone(&owned.entry), owned.session.head().seq)
        };
        if names::is_exchange(connection) {
            // A request is over with its answer: it takes no part.
            self.shared.exchanges.answer(connection, Answered::Created { json, again });
            return;
        }
        self.begin_following(owned, connection, entry, json, None, follow, head);
    }

    fn random(&self) -> u64 {
        // Without randomness there are no epochs, and without epochs no honest positions: the process cannot go on.
        getrandom::u64().expect("the system gives random numbers")
    }
}

fn summary_of(fields: CreateSession, asker: &Asker, now: u64) -> (Summary, bool) {
    let summary = Summary {
        project_id: fields.project_id,
        test_id: fields.test_id,
        agent_name: fields.agent_name,
        created_by: asker.who.user_id.clone(),
        created_at: now,
        metadata: fields.metadata,
        status: Status::Idle,
        started_at: None,
        ended_at: None,
        reason: None,
        progress: None,
    };
    (summary, fields.follow)
}
