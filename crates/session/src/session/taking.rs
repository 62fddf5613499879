//! Taking events: each gets its seq at once, and a repeat is known.

use agentbench_event_log::{Kind, Record};
use agentbench_protocol::event::write_event;
use agentbench_protocol::json::{Spelling, respell};
use agentbench_protocol::{ErrorCode, Refusal, Seq};
use xxhash_rust::xxh3::xxh3_64;

use super::{Answer, Publish, Published, Session, Waiter};
use crate::{EventKey, Seen};

/// How long a publisher's later events wait at least for one that was refused for now, ms: the refusal has to reach the
/// publisher, and the event to come back.
pub(super) const HOLD_MS: u64 = 1_000;

impl Session {
    /// Starts to load the memory that [`Session::publish`] waits for, given the event's user, producer and id: called as soon as
    /// these are known, it is there when the rest has been checked.
    pub fn prefetch(&self, user: &str, producer: &str, id: &str) {
        self.window.prefetch(EventKey::new(self.seed, user, producer, id));
    }

    /// Takes an event of a participant.
    ///
    /// # Errors
    /// `not_a_participant`, `id_conflict`, `session_closed`.
    pub fn publish(&mut self, event: &Publish<'_>, now: u64) -> Result<Published, Refusal> {
        self.take::<true>(event, now)
    }

    /// Takes an event from somebody who need not be a participant (a request by HTTP).
    ///
    /// # Errors
    /// `id_conflict`, `session_closed`.
    pub fn publish_from_outside(&mut self, event: &Publish<'_>, now: u64) -> Result<Published, Refusal> {
        self.take::<false>(event, now)
    }

    /// One function for each of the two: participants' events are the hot path, and stay one straight piece of code.
    pub(super) fn take<const PARTICIPANT: bool>(
        &mut self,
        event: &Publish<'_>,
        now: u64,
    ) -> Result<Published, Refusal> {
        if PARTICIPANT
            && let Some(connection) = event.connection
            && self.participants.get(connection).is_none()
        {
            let detail =
                "join the session (join_session with follow: false is enough) before publishing to it";
            return Err(Refusal::new(ErrorCode::NotAParticipant, detail));
        }
        let key = EventKey::new(self.seed, event.user, event.producer, event.body.id);
        // For events that come from another thread, and so without a call of `prefetch`.
        self.window.prefetch(key);
        let digest = xxh3_64(event.body.data.as_bytes());
        let waiter = match event.connection {
            None => Waiter::Nobody,
            Some(connection) if event.requires_ack => Waiter::Ack(connection),
            Some(connection) => Waiter::Unacked(connection),
        };
        match self.window.find(key, digest) {
            Seen::New => {}
            Seen::Repeat(seq) => return Ok(self.take_repeat(event, seq, waiter)),
            Seen::Conflict(seq) if self.is_respelt(key, event.body.data) => {
                return Ok(self.take_repeat(event, seq, waiter));
            }
            Seen::Conflict(seq) => return Err(conflict("event", seq)),
        }
        if let Err(refusal) = self.refuse_if_ended() {
            self.wait_for(event, now, &refusal);
            return Err(refusal);
        }
        self.refuse_if_full()?;
        self.keep_order(event, now)?;
        self.touch(now);
        self.window.push(key, digest);
        let record = Record {
            kind: Kind::Event,
            received_at: now,
            ttl_ms: event.ttl_ms,
            digest,
            user: event.user,
            producer: event.producer,
            id: event.body.id,
            body: &[],
        };
        let size = event.body.data.len() + event.body.sender.len() + 256;
        let name = std::mem::take(&mut self.name);
        let draft = self.open_draft(size);
        let seq = draft.builder.next_seq();
        draft.builder.push_with(&record, |dst| write_event(dst, &name, seq, now, &event.body));
        draft.waiters.push(waiter);
        self.name = name;
        Ok(Published::Queued(seq))
    }

    /// A repeat may still be refused together with the event that it repeats, and then later ones wait for it.
    fn take_repeat(&mut self, event: &Publish<'_>, seq: Seq, waiter: Waiter) -> Published {
        if let Some(member) = event.connection.and_then(|key| self.participants.get_mut(key)) {
            member.in_order = event.in_order;
            member.end_hold(event.body.id);
        }
        self.repeat(seq, waiter, event.body.id)
    }

    /// Whether the event under this key is the same in one of the usual spellings. Only its digest is left, and a digest of content
    /// would cost every event a second reading of its text; so the repeat, which is rare, is written as the first may have been.
    #[cold]
    pub(super) fn is_respelt(&self, key: EventKey, data: &str) -> bool {
        let mut text = String::with_capacity(data.len());
        Spelling::USUAL.iter().any(|spelling| {
            text.clear();
            respell(data, *spelling, &mut text);
            matches!(self.window.find(key, xxh3_64(text.as_bytes())), Seen::Repeat(_))
        })
    }

    /// A new event behind one that was refused for now has to wait for it.
    fn keep_order(&mut self, event: &Publish<'_>, now: u64) -> Result<(), Refusal> {
        let Some(member) = event.connection.and_then(|key| self.participants.get_mut(key)) else {
            return Ok(());
        };
        member.in_order = event.in_order;
        match &member.held {
            Some((id, until)) if *until > now && id != event.body.id => Err(Refusal::out_of_turn()),
            _ => {
                member.held = None;
                Ok(())
            }
        }
    }

    fn refuse_if_full(&self) -> Result<(), Refusal> {
        if self.is_full {
            let detail = "the session has as many bytes as a session may have (MAX_SESSION_BYTES)";
            return Err(Refusal::new(ErrorCode::PayloadTooLarge, detail));
        }
        Ok(())
    }

    /// The end is final only when the log has it: until then whoever is refused is told to come again.
    pub(super) fn refuse_if_ended(&self) -> Result<(), Refusal> {
        if !self.accepted.status.has_ended() {
            return Ok(());
        }
        if !self.committed.status.has_ended() {
            return Err(under_way());
        }
        let detail = format!("the session has ended ({})", self.accepted.status.as_str());
        Err(Refusal::new(ErrorCode::SessionClosed, detail))
    }

    /// If an event was refused for now, later ones of its publisher wait for it.
    #[cold]
    fn wait_for(&mut self, event: &Publish<'_>, now: u64, refusal: &Refusal) {
        let Some(member) = event.connection.and_then(|key| self.participants.get_mut(key)) else { return };
        if event.in_order
            && let Some(wait) = refusal.retry_after_ms
        {
            member.in_order = true;
            member.hold(event.body.id, now + wait.max(HOLD_MS), now);
        }
    }

    pub(super) fn repeat(&mut self, seq: Seq, waiter: Waiter, id: &str) -> Published {
        if seq <= self.head.seq {
            return Published::Repeat(seq);
        }
        if matches!(waiter, Waiter::Ack(_) | Waiter::Command(_)) {
            let repeats = self.repeats_at(seq);
            debug_assert!(repeats.is_some(), "what the window has beyond the head waits somewhere");
            let Some(repeats) = repeats else { return Published::RepeatQueued(seq) };
            repeats.push(Answer { waiter, id: id.to_owned(), seq });
        }
        Published::RepeatQueued(seq)
    }

    /// The repeats that are answered together with the entry at `seq`, which waits for the log.
    fn repeats_at(&mut self, seq: Seq) -> Option<&mut Vec<Answer>> {
        let taken = self.in_flight.as_mut().or(self.returned.as_mut());
        if let Some(flight) = taken
            && seq <= flight.frame.last_seq()
        {
            return Some(&mut flight.repeats);
        }
        let draft = self.queue.iter_mut().find(|draft| seq < draft.builder.next_seq())?;
        Some(&mut draft.repeats)
    }
}

/// The refusal of what depends on a step of the lifecycle that the log does not have yet, and may refuse.
pub(super) fn under_way() -> Refusal {
    let detail = "another step of the session's lifecycle is under way";
    Refusal::new(ErrorCode::Overloaded, detail).retry_after(100)
}

/// Not every respelling of a repeat is recognised (docs/protocol.md), so the sender is given the place of the first one.
pub(super) fn conflict(what: &str, seq: Seq) -> Refusal {
    let detail = format!(
        "this producer used the id for another {what} before (seq {seq}); use a new id for new content, and send a \
         repeat as it was first sent (order of keys and digits of numbers count)"
    );
    Refusal::new(ErrorCode::IdConflict, detail)
}
