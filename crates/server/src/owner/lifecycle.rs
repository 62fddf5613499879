//! Steps of a session's lifecycle, and their announcement.

use agentbench_audit::Record;
use agentbench_event_log::{Frame, Kind};
use agentbench_protocol::message::Transition;
use agentbench_protocol::{ErrorCode, Refusal, Status, SystemMessage};
use agentbench_session::{ConnectionKey, Published, Session, Step, Waiter};
use bytes::Bytes;

use super::context::OwnerContext;
use super::loaded::LoadedSession;
use crate::letters::Requester;

impl OwnerContext {
    pub(super) fn control(
        &mut self,
        now: u64,
        loaded: &mut LoadedSession,
        requester: &Requester,
        command: String,
        step: &Step,
    ) {
        let (id, connection) = (loaded.session.id(), requester.connection);
        match loaded.session.control(step, &command, &requester.who, Some(connection), now) {
            Ok(Published::Queued(_)) => {
                self.audit(|| requester.record(id, Record::allowed(now, step_name(step))));
                self.dirty.mark(id);
            }
            Ok(Published::RepeatQueued(_)) => {}
            Ok(Published::Repeat(seq)) => match loaded.session.transition_at(seq) {
                Some(transition) => self.answer_transition(now, connection, &command, transition, true),
                None => {
                    let detail = "the id belongs to another command";
                    let refusal = Refusal::new(ErrorCode::IdConflict, detail).of(command);
                    self.refuse(connection, refusal, true, now);
                }
            },
            Err(refusal) => {
                self.audit_refusal(now, requester, id, step_name(step), &refusal);
                self.refuse(connection, refusal.of(command), true, now);
            }
        }
    }

    pub(super) fn answer_transition(
        &mut self,
        now: u64,
        connection: ConnectionKey,
        command: &str,
        transition: &Transition,
        duplicate: bool,
    ) {
        let transition =
            Transition { original_message_id: Some(command.to_owned()), duplicate, ..transition.clone() };
        self.answer(connection, &lifecycle_message(transition), now);
    }

    /// Sends lifecycle entries to participants that do not follow; the sender of the command has the reply.
    pub(super) fn broadcast_lifecycle(&mut self, session: &Session, frame: &Frame, waiters: &[Waiter]) {
        for ((seq, record), waiter) in frame.records().zip(waiters) {
            if record.kind != Kind::Lifecycle || seq == 1 {
                continue;
            }
            let json = Bytes::copy_from_slice(record.body);
            for (key, member) in session.participants.iter() {
                if !member.following && waiter.connection() != Some(key) {
                    self.send_json(key, json.clone(), false);
                }
            }
        }
    }
}

pub(super) fn step_name(step: &Step) -> &'static str {
    match step {
        Step::Start => "start_test",
        Step::Pause => "pause_test",
        Step::Resume => "resume_test",
        Step::Stop { .. } => "stop_test",
        Step::Expire => "expire_session",
    }
}

fn lifecycle_message(transition: Transition) -> SystemMessage {
    match (transition.from, transition.status) {
        (Status::Idle, Status::Running) => SystemMessage::SessionStarted(transition),
        (_, Status::Running) => SystemMessage::SessionResumed(transition),
        (_, Status::Paused) => SystemMessage::SessionPaused(transition),
        (_, Status::Expired) => SystemMessage::SessionExpired(transition),
        _ => SystemMessage::SessionStopped(transition),
    }
}
