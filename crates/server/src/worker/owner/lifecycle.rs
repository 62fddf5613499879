//! Steps of a session's lifecycle, and who hears of them.

use std::cell::RefCell;
use std::rc::Rc;

use agentbench_audit::Record;
use agentbench_event_log::{Frame, Kind};
use agentbench_protocol::message::Transition;
use agentbench_protocol::{ErrorCode, Refusal, Status, SystemMessage};
use agentbench_session::{ConnectionKey, Published, Session, Step, Waiter};
use bytes::Bytes;

use crate::letters::Asker;
use crate::session::owned::Owned;
use crate::worker::Worker;

impl Worker {
    pub(super) fn control(
        self: &Rc<Self>,
        owned: &Rc<RefCell<Owned>>,
        asker: &Asker,
        command: String,
        step: &Step,
        now: u64,
    ) {
        let mut guard = owned.borrow_mut();
        let taken = guard.session.control(step, &command, &asker.who, Some(asker.connection), now);
        match taken {
            Ok(Published::Queued(_)) => {
                let id = guard.session.id();
                drop(guard);
                self.shared.audit(|| asker.record(id, Record::allowed(now, step_name(step))));
                self.mark_dirty(id);
            }
            Ok(Published::RepeatQueued(_)) => {}
            Ok(Published::Repeat(seq)) => {
                let again = guard.session.transition_at(seq).cloned();
                drop(guard);
                match again {
                    Some(transition) => self.answer_transition(asker.connection, &command, &transition, true),
                    None => {
                        let detail = "the id belongs to another command";
                        self.answer_refusal(
                            asker.connection,
                            Refusal::new(ErrorCode::IdConflict, detail).of(command),
                            true,
                        );
                    }
                }
            }
            Err(refusal) => {
                let id = guard.session.id();
                drop(guard);
                self.audit_refusal(asker, id, step_name(step), &refusal);
                self.answer_refusal(asker.connection, refusal.of(command), true);
            }
        }
    }

    pub(super) fn answer_transition(
        self: &Rc<Self>,
        connection: ConnectionKey,
        command: &str,
        transition: &Transition,
        duplicate: bool,
    ) {
        let transition =
            Transition { original_message_id: Some(command.to_owned()), duplicate, ..transition.clone() };
        self.answer(connection, &lifecycle_message(transition));
    }

    /// Participants that do not follow hear of lifecycle entries all the same; whoever asked for it has the reply.
    pub(super) fn broadcast_lifecycle(self: &Rc<Self>, session: &Session, frame: &Frame, waiters: &[Waiter]) {
        for ((seq, record), waiter) in frame.records().zip(waiters) {
            if record.kind != Kind::Lifecycle || seq == 1 {
                continue;
            }
            let json = Bytes::copy_from_slice(record.body);
            for (key, member) in session.participants.iter() {
                if !member.following && waiter.connection() != Some(key) {
                    self.reply(key, json.clone(), false);
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
