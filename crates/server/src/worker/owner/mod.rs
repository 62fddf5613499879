//! The owner of a session: the one place where its state changes.
//!
//! Requests come from connections of any worker, and are carried out in order. What has to wait for the log is answered when
//! the log has spoken ([`Worker::settled`]). A session that is not in memory is read from its log first; requests wait for it.
//!
//! - `creating`, `joining`, `presence`: sessions and who takes part in them.
//! - `publishing`, `lifecycle`: what goes into their logs.
//! - `settling`: the log's word. `answering`: what can be said without it.
//! - `loading`: into memory and out of it.

mod answering;
mod creating;
mod joining;
mod lifecycle;
mod loading;
mod presence;
mod publishing;
mod settling;

use std::cell::RefCell;
use std::rc::Rc;

use agentbench_auth::Permission;
use agentbench_protocol::{ErrorCode, Refusal, SessionId, SessionInfo, SystemMessage};

use crate::letters::{Asker, Letter, Request};
use crate::rules::publishing_needs;
use crate::session::owned::{Loading, Owned};
use crate::worker::Worker;

impl Worker {
    /// The session as clients are told of it.
    fn describe(&self, owned: &Owned) -> SessionInfo {
        self.shared.catalog.with_pace(&owned.entry, owned.session.describe())
    }

    /// Carries out a request, or lets it wait until the session is in memory.
    pub(crate) fn handle(self: &Rc<Self>, id: SessionId, asker: Asker, request: Request) {
        if let Some(owned) = self.sessions.borrow().get(&id).cloned() {
            return self.carry_out(&owned, &asker, request);
        }
        if matches!(request, Request::Gone | Request::Acknowledge { .. }) {
            return;
        }
        if let Some(loading) = self.loading.borrow_mut().get_mut(&id) {
            return loading.waiting.push((asker, request));
        }
        if self.shared.catalog.get(id).is_some() {
            return self.load(id, Loading { waiting: vec![(asker, request)], expire: false });
        }
        match request {
            Request::Create { command, fields } => self.create(id, &asker, command, fields),
            other => {
                let refusal = self.shared.no_such_session();
                self.refuse_request(id, &asker, &other, refusal);
            }
        }
    }

    fn carry_out(self: &Rc<Self>, owned: &Rc<RefCell<Owned>>, asker: &Asker, request: Request) {
        if let Err(refusal) = may_use(&owned.borrow(), asker, &request) {
            let id = owned.borrow().session.id();
            return self.refuse_request(id, asker, &request, refusal);
        }
        let now = self.now();
        match request {
            Request::Create { command, fields } => self.create_again(owned, asker, command, &fields),
            Request::Join { command, follow, from, id_at_position, subscribe } => {
                self.join(owned, asker, command, follow, &from, id_at_position.as_deref(), subscribe);
            }
            Request::Leave { command, unsubscribe } => {
                let session_id = owned.borrow().session.id();
                self.part(owned, asker.connection);
                let message = if unsubscribe {
                    SystemMessage::SessionUnsubscribed { original_message_id: command, session_id }
                } else {
                    SystemMessage::SessionLeft { original_message_id: command, session_id }
                };
                let json = self.system_json(None, &message);
                self.post_to(
                    asker.connection,
                    Letter::Left { connection: asker.connection, session: session_id, json },
                );
            }
            Request::Control { command, step } => self.control(owned, asker, command, &step, now),
            Request::Info { command } => {
                let session = self.describe(&owned.borrow());
                self.answer(
                    asker.connection,
                    &SystemMessage::SessionInfo { original_message_id: command, session },
                );
            }
            Request::Publish(event) => self.publish_owned(owned, asker, event, now),
            Request::PublishAll(events) => {
                for event in events {
                    self.publish_owned(owned, asker, event, now);
                }
            }
            Request::Acknowledge { seq } => {
                let mut owned = owned.borrow_mut();
                let seq = seq.min(owned.session.head().seq);
                owned.session.participants.acknowledge(asker.connection, seq);
            }
            Request::Gone => self.part(owned, asker.connection),
        }
    }
}

fn may_use(owned: &Owned, asker: &Asker, request: &Request) -> Result<(), Refusal> {
    let summary = owned.entry.summary();
    let permission = match request {
        Request::Create { .. } => Permission::SessionCreate,
        Request::Join { .. } | Request::Info { .. } => Permission::SessionRead,
        Request::Control { .. } => Permission::SessionControl,
        Request::Publish(event) => publishing_needs(event.outline),
        // Each event's own permission was looked at when the request came in.
        Request::PublishAll(events) => {
            events.first().map_or(Permission::SessionPublish, |event| publishing_needs(event.outline))
        }
        // Whoever is in may say how far it has read, and go.
        Request::Acknowledge { .. } | Request::Gone => return Ok(()),
        Request::Leave { .. } if owned.session.participants.get(asker.connection).is_some() => return Ok(()),
        Request::Leave { .. } => Permission::Connect,
    };
    if !asker.grant.may_access(&summary.project_id) && !matches!(request, Request::Create { .. }) {
        // As if it were not there: a name that was guessed or leaked says nothing of another project.
        return Err(Refusal::new(ErrorCode::SessionNotFound, "there is no such session"));
    }
    if !asker.grant.allows(permission) || !asker.grant.may_access(&summary.project_id) {
        return Err(Refusal::new(
            ErrorCode::Forbidden,
            "the token does not permit this in the session's project",
        ));
    }
    Ok(())
}
