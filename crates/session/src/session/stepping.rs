//! Taking steps of the lifecycle, each an entry of the log.

use agentbench_event_log::{Kind, Record};
use agentbench_protocol::event::write_lifecycle;
use agentbench_protocol::message::{Sender, SystemMessage, Transition};
use agentbench_protocol::{Refusal, Seq};
use xxhash_rust::xxh3::xxh3_64;

use super::taking::{conflict, under_way};
use super::{COMMANDS, Published, Session, Waiter};
use crate::{ConnectionKey, EventKey, Seen, Step};

impl Session {
    /// Takes a step of the lifecycle; `command` is the id of the command, which a repeat is known by.
    ///
    /// # Errors
    /// `invalid_transition`, `id_conflict`.
    pub fn control(
        &mut self,
        step: &Step,
        command: &str,
        sender: &Sender,
        connection: Option<ConnectionKey>,
        now: u64,
    ) -> Result<Published, Refusal> {
        let digest = step_digest(step);
        let key = EventKey::new(self.seed, &sender.user_id, COMMANDS, command);
        let waiter = connection.map_or(Waiter::Nobody, Waiter::Command);
        match self.window.find(key, digest) {
            Seen::New => {}
            Seen::Repeat(seq) => return Ok(self.repeat(seq, waiter, command)),
            Seen::Conflict(seq) => return Err(conflict("command", seq)),
        }
        self.step(step, key, command, Some(sender), waiter, now)
    }

    /// Ends a session that nobody uses.
    ///
    /// # Errors
    /// `invalid_transition` if it has ended already.
    pub fn expire(&mut self, now: u64) -> Result<Published, Refusal> {
        let id = format!("expired-{}", self.window.next_seq());
        let key = EventKey::new(self.seed, "", COMMANDS, &id);
        self.step(&Step::Expire, key, &id, None, Waiter::Nobody, now)
    }

    pub(super) fn step(
        &mut self,
        step: &Step,
        key: EventKey,
        command: &str,
        sender: Option<&Sender>,
        waiter: Waiter,
        now: u64,
    ) -> Result<Published, Refusal> {
        let next = self.accepted.after(step, now).map_err(|refusal| {
            // What the log does not have yet may still fail, and the step be allowed.
            let is_final = self.committed.after(step, now).is_err();
            if is_final { refusal } else { under_way() }
        })?;
        let transition = Transition {
            original_message_id: None,
            session_id: self.id,
            from: self.accepted.status,
            status: next.status,
            seq: None,
            reason: next.reason.clone(),
            duplicate: false,
        };
        let message = match step {
            Step::Start => SystemMessage::SessionStarted(transition.clone()),
            Step::Pause => SystemMessage::SessionPaused(transition.clone()),
            Step::Resume => SystemMessage::SessionResumed(transition.clone()),
            Step::Stop { .. } => SystemMessage::SessionStopped(transition.clone()),
            Step::Expire => SystemMessage::SessionExpired(transition.clone()),
        };
        let seq = self.push_lifecycle(key, step_digest(step), command, sender, waiter, now, &message);
        self.accepted = next;
        let lifecycle = self.accepted.clone();
        let draft = self.open_draft(0);
        draft.lifecycle = Some(lifecycle);
        draft.transitions.push(Transition { seq: Some(seq), ..transition });
        if !matches!(step, Step::Expire) {
            self.touch(now);
        }
        Ok(Published::Queued(seq))
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one entry, used by two callers")]
    pub(super) fn push_lifecycle(
        &mut self,
        key: EventKey,
        digest: u64,
        id: &str,
        sender: Option<&Sender>,
        waiter: Waiter,
        now: u64,
        message: &SystemMessage,
    ) -> Seq {
        self.window.push(key, digest);
        let record = Record {
            kind: Kind::Lifecycle,
            received_at: now,
            ttl_ms: 0,
            digest,
            user: sender.map_or("", |sender| &sender.user_id),
            producer: "",
            id,
            body: &[],
        };
        let sender = sender.map(agentbench_protocol::event::sender_json);
        let name = std::mem::take(&mut self.name);
        let draft = self.open_draft(512);
        let seq = draft.builder.next_seq();
        draft.builder.push_with(&record, |dst| {
            write_lifecycle(dst, &name, seq, now, id, message, sender.as_deref());
        });
        draft.waiters.push(waiter);
        self.name = name;
        seq
    }

    /// The step of the lifecycle that the log has at `seq`, for the answer to a repeated command.
    pub fn transition_at(&self, seq: Seq) -> Option<&Transition> {
        self.transitions.iter().find(|transition| transition.seq == Some(seq))
    }
}

fn step_digest(step: &Step) -> u64 {
    match step {
        Step::Stop { outcome, .. } => xxh3_64(format!("{} {outcome:?}", step.name()).as_bytes()),
        _ => xxh3_64(step.name().as_bytes()),
    }
}
