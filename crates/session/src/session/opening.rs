//! How a session comes to be: made new, or recovered from its log.

use std::collections::VecDeque;

use agentbench_event_log::{Frame, Kind};
use agentbench_protocol::json::{Spelling, respell};
use agentbench_protocol::message::{Delivery, Sender, SystemMessage, Transition};
use agentbench_protocol::{Head, Seq, SessionId, SessionInfo};
use xxhash_rust::xxh3::xxh3_64;

use super::behind::lifecycle_after;
use super::{COMMANDS, Context, Session, Waiter};
use crate::{DedupeWindow, EventKey, Participants, Summary};

impl Session {
    /// A new session whose first entry, `session_created`, waits for the log. `command` is the id of `create_session`.
    pub fn create(
        id: SessionId,
        head: Head,
        context: Context,
        summary: Summary,
        command: (&str, Waiter),
        sender: &Sender,
    ) -> Self {
        let now = summary.created_at;
        let mut session =
            Self::at(id, head, context, summary, DedupeWindow::new(context.window, head.seq + 1), now);
        let described = session.describe();
        let message = SystemMessage::SessionCreated {
            original_message_id: None,
            session_id: id,
            epoch: head.epoch,
            session: SessionInfo { head_seq: head.seq + 1, ..described },
        };
        let digest = create_digest(&session.summary);
        let key = EventKey::new(context.seed, &sender.user_id, COMMANDS, command.0);
        session.push_lifecycle(key, digest, command.0, Some(sender), command.1, now, &message);
        let first = session.accepted.clone();
        session.open_draft(0).lifecycle = Some(first);
        session
    }

    /// A session as the log has it. `tail` are the last frames, at least as many as the dedupe window remembers, oldest first.
    pub fn recover(
        id: SessionId,
        head: Head,
        context: Context,
        summary: Summary,
        tail: &[Frame],
        now: u64,
    ) -> Self {
        let first = tail.first().map_or(head.seq + 1, Frame::first_seq);
        let window = DedupeWindow::new(context.window, first);
        let mut session = Self::at(id, head, context, summary, window, now);
        for frame in tail {
            while session.window.next_seq() < frame.first_seq() {
                // The log could not read these.
                session.push_unknown();
            }
            for (seq, record) in frame.records() {
                let producer = if record.kind == Kind::Lifecycle { COMMANDS } else { record.producer };
                let key = EventKey::new(context.seed, record.user, producer, record.id);
                session.window.push(key, record.digest);
                if record.kind == Kind::Lifecycle
                    && let Some(transition) = read_transition(seq, record.body)
                {
                    // The summary may be older than the frames.
                    session.committed = lifecycle_after(&session.committed, &transition, record.received_at);
                    session.transitions.push(transition);
                }
            }
        }
        session.accepted = session.committed.clone();
        while session.window.next_seq() <= head.seq {
            session.push_unknown();
        }
        // A read of the tail may have come further than the head that was asked for before.
        session.head.seq = session.window.next_seq() - 1;
        session
    }

    pub(super) fn at(
        id: SessionId,
        head: Head,
        context: Context,
        summary: Summary,
        window: DedupeWindow,
        now: u64,
    ) -> Self {
        let lifecycle = summary.lifecycle();
        Self {
            id,
            name: id.to_string(),
            seed: context.seed,
            summary,
            committed: lifecycle.clone(),
            accepted: lifecycle,
            head,
            window,
            in_flight: None,
            returned: None,
            held: VecDeque::new(),
            seen: 0,
            lag: None,
            queue: VecDeque::new(),
            queued_bytes: 0,
            transitions: Vec::new(),
            participants: Participants::default(),
            last_used: now,
            size_hint: 0,
            is_full: false,
        }
    }

    /// `create_session` once more while the log has not answered the first one.
    pub fn repeat_create(&mut self, waiter: Waiter, command: &str) {
        self.repeat(1, waiter, command);
    }

    /// Whether `other` is what this session was created with, but for its times.
    pub fn was_created_as(&self, other: &Summary) -> bool {
        let own = &self.summary;
        own.created_by == other.created_by
            && own.project_id == other.project_id
            && own.test_id == other.test_id
            && own.agent_name == other.agent_name
            && compact_metadata(own) == compact_metadata(other)
    }
}

pub(super) fn create_digest(summary: &Summary) -> u64 {
    let metadata = summary.metadata.as_ref().map_or("", |metadata| metadata.get());
    let parts = [&*summary.project_id, &*summary.test_id, &*summary.agent_name, metadata];
    xxh3_64(parts.join("\u{0}").as_bytes())
}

/// The metadata in one spelling, so that a repeat in another one is still a repeat.
fn compact_metadata(summary: &Summary) -> String {
    let mut compact = String::new();
    if let Some(metadata) = &summary.metadata {
        respell(metadata.get(), Spelling::COMPACT, &mut compact);
    }
    compact
}

/// Reads a step back from its entry in the log.
pub(super) fn read_transition(seq: Seq, body: &[u8]) -> Option<Transition> {
    let delivery: Delivery<'_> = serde_json::from_slice(body).ok()?;
    let transition = match serde_json::from_str(delivery.data.get()).ok()? {
        SystemMessage::SessionStarted(transition)
        | SystemMessage::SessionPaused(transition)
        | SystemMessage::SessionResumed(transition)
        | SystemMessage::SessionStopped(transition)
        | SystemMessage::SessionExpired(transition) => transition,
        _ => return None,
    };
    Some(Transition { seq: Some(seq), ..transition })
}
