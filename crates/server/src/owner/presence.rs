//! Presence: joins and leaves are announced to participants, at once in small sessions, once a tick in large ones.

use agentbench_protocol::SystemMessage;
use agentbench_protocol::message::Presence;
use agentbench_session::{ConnectionKey, Member, Session};

use super::Owners;
use super::context::OwnerContext;
use super::loaded::LoadedSession;

/// Participants up to which each change is announced at once; beyond that, once a tick.
const ANNOUNCED_AT_ONCE: usize = 20;

impl OwnerContext {
    pub(super) fn announce(
        &mut self,
        now: u64,
        loaded: &mut LoadedSession,
        about: ConnectionKey,
        member: &Member,
        joined: bool,
    ) {
        let session = &loaded.session;
        let presence = Presence {
            session_id: session.id(),
            user: member.describe(),
            participants: Vec::new(),
            count: session.participants.len(),
        };
        let message =
            if joined { SystemMessage::UserJoined(presence) } else { SystemMessage::UserLeft(presence) };
        if session.participants.len() > ANNOUNCED_AT_ONCE {
            if loaded.unannounced.replace(message).is_none() {
                self.unannounced.push(session.id());
            }
        } else {
            loaded.unannounced = None;
            self.notify_participants(now, session, message, Some(about));
        }
    }

    fn notify_participants(
        &mut self,
        now: u64,
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
        let json = self.system_json(Some(session.id()), &message, now);
        for (key, _) in session.participants.iter().filter(|(key, _)| Some(*key) != but) {
            self.send_json(key, json.clone(), false);
        }
    }
}

impl Owners {
    /// Announces the last change of large sessions since the last call. Called once a tick.
    pub(crate) fn announce_changes(&mut self, now: u64) {
        for id in std::mem::take(&mut self.context.unannounced) {
            let Some(loaded) = self.sessions.get_mut(&id) else { continue };
            if let Some(message) = loaded.unannounced.take() {
                self.context.notify_participants(now, &loaded.session, message, None);
            }
        }
    }
}
