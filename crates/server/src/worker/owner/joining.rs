//! Who takes part: joining from a position, leaving, and being gone.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use agentbench_audit::Record;
use agentbench_protocol::message::Joined;
use agentbench_protocol::{Position, Seq, SessionId, StartAt, SystemMessage};
use agentbench_session::{ConnectionKey, resolve};
use bytes::Bytes;

use crate::letters::exchange::Answered;
use crate::letters::{Asker, Letter};
use crate::names;
use crate::session::catalog::Entry;
use crate::session::owned::Owned;
use crate::worker::Worker;

impl Worker {
    #[expect(clippy::too_many_arguments, reason = "the fields of a letter")]
    pub(super) fn begin_following(
        self: &Rc<Self>,
        owned: &Rc<RefCell<Owned>>,
        connection: ConnectionKey,
        entry: Arc<Entry>,
        json: Bytes,
        gap: Option<Bytes>,
        follow: Option<Seq>,
        head: Seq,
    ) {
        if names::is_exchange(connection) {
            // A stream reads the log by itself: no feed has to be kept for it.
            let joined = Answered::Joined { json, gap, after: follow.unwrap_or(head) };
            if !self.shared.exchanges.answer(connection, joined) {
                self.part(owned, connection);
            }
            return;
        }
        if follow.is_some() {
            owned.borrow_mut().mirrors |= 1 << names::worker_of(connection);
        }
        self.post_to(connection, Letter::Joined { connection, entry, json, gap, follow, head });
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of a command")]
    pub(super) fn join(
        self: &Rc<Self>,
        owned: &Rc<RefCell<Owned>>,
        asker: &Asker,
        command: String,
        follow: bool,
        from: &StartAt,
        id_at_position: Option<&str>,
        subscribe: bool,
    ) {
        let id = owned.borrow().session.id();
        self.shared.audit(|| asker.record(id, Record::allowed(self.now(), "join_session")));
        self.add_participant(owned, asker, follow);
        let (head, session, entry) = {
            let owned = owned.borrow();
            (owned.session.head(), self.describe(&owned), Arc::clone(&owned.entry))
        };
        // Retention removes whole sessions only, so a log that is there begins with its first event.
        let resolution = resolve(from, head, 1, id_at_position);
        let session_id = session.session_id;
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
        let json = self.system_json(None, &message);
        let gap = resolution.gap.filter(|_| follow).map(|(from_seq, to_seq, cause)| {
            self.shared.metrics.gap(cause.as_str());
            self.system_json(
                Some(session_id),
                &SystemMessage::Gap { session_id, from_seq, to_seq, cause, history: false },
            )
        });
        let after = self.shared.sabotage.resume_after(from, resolution.after, head.seq);
        let after = follow.then_some(after);
        self.begin_following(owned, asker.connection, entry, json, gap, after, head.seq);
    }

    pub(super) fn add_participant(self: &Rc<Self>, owned: &Rc<RefCell<Owned>>, asker: &Asker, follow: bool) {
        let now = self.now();
        let mut guard = owned.borrow_mut();
        if guard.session.join(asker.connection, Arc::clone(&asker.who), follow, now)
            && let Some(member) = guard.session.participants.get(asker.connection).cloned()
        {
            self.presence(&mut guard, asker.connection, &member, true);
        }
    }

    /// A connection has ended that may be a participant.
    pub(crate) fn gone(self: &Rc<Self>, session: SessionId, connection: ConnectionKey) {
        let owned = self.sessions.borrow().get(&session).cloned();
        if let Some(owned) = owned {
            self.part(&owned, connection);
        }
    }

    pub(super) fn part(self: &Rc<Self>, owned: &Rc<RefCell<Owned>>, connection: ConnectionKey) {
        let now = self.now();
        let mut guard = owned.borrow_mut();
        if let Some(member) = guard.session.leave(connection, now) {
            guard.entry.last_used.store(now, Ordering::Relaxed);
            self.presence(&mut guard, connection, &member, false);
        }
    }
}
