//! Who is there: participants are told of others who come and go, at once in small sessions, now and then in large ones.

use std::rc::Rc;

use agentbench_protocol::SystemMessage;
use agentbench_protocol::message::Presence;
use agentbench_session::{ConnectionKey, Member, Session};

use crate::session::owned::Owned;
use crate::worker::Worker;

/// Participants up to which everybody is told at once who came or went; beyond that, once a tick.
const PRESENCE_AT_ONCE: usize = 20;

impl Worker {
    pub(super) fn presence(
        self: &Rc<Self>,
        owned: &mut Owned,
        about: ConnectionKey,
        member: &Member,
        joined: bool,
    ) {
        let session = &owned.session;
        let presence = Presence {
            session_id: session.id(),
            user: member.describe(),
            participants: Vec::new(),
            count: session.participants.len(),
        };
        let message =
            if joined { SystemMessage::UserJoined(presence) } else { SystemMessage::UserLeft(presence) };
        if session.participants.len() > PRESENCE_AT_ONCE {
            if owned.untold.replace(message).is_none() {
                self.untold.borrow_mut().push(owned.session.id());
            }
        } else {
            owned.untold = None;
            self.tell_participants(session, message, Some(about));
        }
    }

    /// Tells participants of large sessions the last change since the last time.
    pub(crate) fn tell_presence(self: &Rc<Self>) {
        let changed = std::mem::take(&mut *self.untold.borrow_mut());
        for id in changed {
            let Some(owned) = self.sessions.borrow().get(&id).cloned() else { continue };
            let mut guard = owned.borrow_mut();
            if let Some(message) = guard.untold.take() {
                self.tell_participants(&guard.session, message, None);
            }
        }
    }

    fn tell_participants(
        self: &Rc<Self>,
        session: &Session,
        mut message: SystemMessage,
        but: Option<ConnectionKey>,
    ) {
        if session.participants.is_empty() {
            return;
        }
        if let SystemMessage::UserJoined(presence) | SystemMessage::UserLeft(presence) = &mut message {
            presence.participants = session.participants.list();
            presence.count = session.participants.len();
        }
        let json = self.system_json(Some(session.id()), &message);
        for (key, _) in session.participants.iter().filter(|(key, _)| Some(*key) != but) {
            self.reply(key, json.clone(), false);
        }
    }
}
