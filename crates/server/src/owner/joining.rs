//! Participation: joining from a position, leaving, and disconnecting.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use agentbench_audit::Record;
use agentbench_protocol::message::Joined;
use agentbench_protocol::{Position, Seq, SystemMessage};
use agentbench_session::{ConnectionKey, resolve};
use bytes::Bytes;

use super::context::OwnerContext;
use super::loaded::LoadedSession;
use crate::letters::exchange::ExchangeReply;
use crate::letters::{Join, Letter, Requester};
use crate::names;

impl OwnerContext {
    /// Answers a join, and starts delivery after `follow`.
    pub(super) fn start_following(
        &mut self,
        loaded: &mut LoadedSession,
        connection: ConnectionKey,
        json: Bytes,
        gap: Option<Bytes>,
        follow: Option<Seq>,
    ) {
        let (session, head) = (loaded.session.id(), loaded.session.head().seq);
        if names::is_exchange(connection) {
            // A stream reads the log itself and needs no feed.
            let after = follow.unwrap_or(head);
            return self.answer_exchange(connection, ExchangeReply::Joined { session, json, gap, after });
        }
        if follow.is_some() {
            // At once, so that commits until the worker has its feed are sent to it.
            loaded.entry.set_feed(names::worker_of(connection), true);
        }
        let entry = Arc::clone(&loaded.entry);
        self.post_to(connection, Letter::Joined { connection, entry, json, gap, follow, head });
    }

    pub(super) fn join(&mut self, now: u64, loaded: &mut LoadedSession, requester: &Requester, join: Join) {
        let Join { command, follow, from, id_at_position, subscribe, .. } = join;
        let session_id = loaded.session.id();
        self.audit(|| requester.record(session_id, Record::allowed(now, "join_session")));
        self.add_participant(now, loaded, requester, follow);
        let (head, session) = (loaded.session.head(), self.describe(loaded, now));
        // Retention removes whole sessions only, so an existing log begins with its first event.
        let resolution = resolve(&from, head, 1, id_at_position.as_deref());
        let joined = Joined {
            original_message_id: command,
            session_id,
            epoch: head.epoch,
            head_seq: head.seq,
            from: Position { epoch: head.epoch, seq: resolution.after, last_id: None },
            recovered: resolution.reason.is_none(),
            reason: resolution.reason,
            session,
        };
        let message = if subscribe {
            SystemMessage::SessionSubscribed(joined)
        } else {
            SystemMessage::SessionJoined(joined)
        };
        let json = self.system_json(None, &message, now);
        let gap = resolution.gap.filter(|_| follow).map(|(from_seq, to_seq, cause)| {
            self.parts.metrics.gap(cause.as_str());
            let gap = SystemMessage::Gap { session_id, from_seq, to_seq, cause, history: false };
            self.system_json(Some(session_id), &gap, now)
        });
        let after = self.parts.sabotage.resume_after(&from, resolution.after, head.seq);
        self.start_following(loaded, requester.connection, json, gap, follow.then_some(after));
    }

    pub(super) fn add_participant(
        &mut self,
        now: u64,
        loaded: &mut LoadedSession,
        requester: &Requester,
        follow: bool,
    ) {
        let connection = requester.connection;
        if loaded.session.join(connection, Arc::clone(&requester.who), follow, now)
            && let Some(member) = loaded.session.participants.get(connection).cloned()
        {
            self.announce(now, loaded, connection, &member, true);
        }
    }

    /// A worker has no feed of the session any more, unless a follower is on its way there.
    pub(super) fn end_feed(loaded: &LoadedSession, worker: usize) {
        let mut participants = loaded.session.participants.iter();
        let is_there = |key| !names::is_exchange(key) && names::worker_of(key) == worker;
        if !participants.any(|(key, member)| member.following && is_there(key)) {
            loaded.entry.set_feed(worker, false);
        }
    }

    /// Removes a participant, if the connection is one.
    pub(super) fn leave(&mut self, now: u64, loaded: &mut LoadedSession, connection: ConnectionKey) {
        if let Some(member) = loaded.session.leave(connection, now) {
            loaded.entry.last_used.store(now, Ordering::Relaxed);
            self.announce(now, loaded, connection, &member, false);
        }
    }
}
