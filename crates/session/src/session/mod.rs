//! The state machine of one session: everything that is accepted gets its seq at once and waits for the log's word.
//!
//! ```text
//!   publish / control ──► queue of drafts ──take_batch──► in flight ──settle──► committed (head moves, answers go out)
//!                                                             ├── refused: it and all that queued behind it are taken back
//!                                                             ├── in doubt: the same frame once more
//!                                                             └── behind: another writer was first; all is sequenced anew
//! ```
//! One frame is in flight; what arrives meanwhile makes the next one, so batching needs no waiting. Seqs are assigned on
//! acceptance and stay gapless because a refused frame takes everything after it along.
//!
//! - `opening`: made new or recovered. `taking`, `stepping`: events and steps of the lifecycle. `framing`: frames and the
//!   log's word on them. `behind`: frames of other writers. `values`: what goes in and comes out.

mod behind;
mod framing;
mod opening;
mod stepping;
mod taking;
mod values;

use std::collections::VecDeque;
use std::sync::Arc;

use agentbench_event_log::{Frame, FrameBuilder};
use agentbench_protocol::message::{Sender, Transition};
use agentbench_protocol::{Head, Seq, SessionId, SessionInfo, Status};
use bytes::Bytes;

use crate::{ConnectionKey, DedupeWindow, Lifecycle, Participants, Summary};

pub use behind::Observed;
pub use values::{Advanced, Answer, Batch, Publish, Published, Settled, Waiter};

use behind::Lag;

/// Producer name under which commands are remembered; no client can have it, since it holds a control character.
const COMMANDS: &str = "\u{1}";

#[derive(Debug)]
struct Draft {
    builder: FrameBuilder,
    waiters: Vec<Waiter>,
    repeats: Vec<Answer>,
    transitions: Vec<Transition>,
    lifecycle: Option<Lifecycle>,
    /// What its entries added to `queued_bytes`.
    size: usize,
}

#[derive(Debug)]
struct InFlight {
    frame: Frame,
    summary: Option<Bytes>,
    waiters: Vec<Waiter>,
    repeats: Vec<Answer>,
    transitions: Vec<Transition>,
    lifecycle: Option<Lifecycle>,
    size: usize,
    /// The log has it and has not answered.
    is_submitted: bool,
    /// An answer was lost.
    is_in_doubt: bool,
}

/// One session.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    name: String,
    seed: u64,
    summary: Summary,
    committed: Lifecycle,
    accepted: Lifecycle,
    head: Head,
    window: DedupeWindow,
    in_flight: Option<InFlight>,
    /// A frame that the log refused since another writer was first; it is sequenced anew, before the queue.
    returned: Option<InFlight>,
    /// Frames of other writers that came while one was in flight, or before those that they follow; in order.
    held: VecDeque<Frame>,
    /// The last seq in a frame of another writer that was seen.
    seen: Seq,
    /// What is known of the log beyond the head.
    lag: Option<Lag>,
    queue: VecDeque<Draft>,
    queued_bytes: usize,
    /// Steps that can be answered again, oldest first: as many as the dedupe window remembers.
    transitions: Vec<Transition>,
    /// Who takes part.
    pub participants: Participants,
    last_used: u64,
    size_hint: usize,
    /// It has as many bytes as it may have.
    is_full: bool,
}

/// What the process knows and a session needs.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// Secret of the dedupe keys.
    pub seed: u64,
    /// Entries of the dedupe window.
    pub window: usize,
}

impl Session {
    /// Its name.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Its name as text.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its log ends.
    pub fn head(&self) -> Head {
        self.head
    }

    /// Its state, as far as the log has it.
    pub fn status(&self) -> Status {
        self.committed.status
    }

    /// What `create_session` fixed, with the lifecycle that the log has.
    pub fn summary(&self) -> Summary {
        self.summary.with(&self.committed)
    }

    /// Notes how far the test has come, in percent; the next summary says it.
    pub fn set_progress(&mut self, percent: Option<f64>) {
        self.summary.progress = percent;
    }

    /// How far the test has come, in percent, as far as it was said.
    pub fn progress(&self) -> Option<f64> {
        self.summary.progress
    }

    /// Bytes that wait for the log.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// The session as clients see it.
    pub fn describe(&self) -> SessionInfo {
        let mut info = self.summary().describe(self.id, self.head);
        info.participants = self.participants.list();
        info
    }

    /// Whether the session has as many bytes as it may have: new events are refused, repeats are answered and steps are taken.
    pub fn set_full(&mut self, is_full: bool) {
        self.is_full = is_full;
    }

    /// Notes that somebody uses the session.
    pub fn touch(&mut self, now: u64) {
        self.last_used = self.last_used.max(now);
    }

    /// The wall clock was set by `by_ms` and says `now`: what counts from an earlier moment counts on, so that nothing
    /// expires and nobody waits for the jump.
    pub fn clock_was_set(&mut self, by_ms: i64, now: u64) {
        self.last_used = self.last_used.saturating_add_signed(by_ms).min(now);
        self.participants.clock_was_set(by_ms);
    }

    /// When it was used last, ms since 1970.
    pub fn last_used(&self) -> u64 {
        self.last_used
    }

    /// Whether nothing is going on: no participant and nothing that waits for the log.
    pub fn is_quiet(&self) -> bool {
        self.participants.is_empty() && self.in_flight.is_none() && self.queue.is_empty() && !self.is_behind()
    }

    /// Whether nobody has used it for `timeout_ms`.
    pub fn is_unused(&self, now: u64, timeout_ms: u64) -> bool {
        self.is_quiet() && now.saturating_sub(self.last_used) >= timeout_ms
    }
}

/// Convenience for participants that are shared with connections.
impl Session {
    /// Adds a participant, or changes whether it follows. Tells whether it is new.
    pub fn join(&mut self, key: ConnectionKey, who: Arc<Sender>, following: bool, now: u64) -> bool {
        self.touch(now);
        self.participants.join(key, who, following)
    }

    /// Removes a participant. Tells whether it was one.
    pub fn leave(&mut self, key: ConnectionKey, now: u64) -> Option<crate::Member> {
        let member = self.participants.leave(key)?;
        self.touch(now);
        Some(member)
    }
}
