//! The state machine of one session: everything that is accepted gets its seq at once and waits for the log's word.
//!
//! ```text
//!   publish / control ──► queue of drafts ──take_batch──► in flight ──settle──► committed (head moves, answers go out)
//!                                                             └── refused: it and all that queued behind it are taken back
//! ```
//! One frame is in flight; what arrives meanwhile makes the next one, so batching needs no waiting. Seqs are assigned on
//! acceptance and stay gapless because a refused frame takes everything after it along.

use std::collections::VecDeque;
use std::sync::Arc;

use agentbench_event_log::{Appended, Frame, FrameBuilder, Kind, MAX_FRAME_BYTES, Record};
use agentbench_protocol::event::{EventBody, write_event, write_lifecycle};
use agentbench_protocol::message::{Delivery, Sender, SystemMessage, Transition};
use agentbench_protocol::{ErrorCode, Head, Refusal, Seq, SessionId, SessionInfo, Status};
use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use crate::{ConnectionKey, DedupeWindow, EventKey, Lifecycle, Participants, Seen, Step, Summary};

/// Producer name under which commands are remembered; no client can have it, since it holds a control character.
const COMMANDS: &str = "\u{1}";

/// An event that somebody wants to have in the log.
#[derive(Debug, Clone, Copy)]
pub struct Publish<'a> {
    /// From whom; `None` for a publish that nobody waits for.
    pub connection: Option<ConnectionKey>,
    /// The user.
    pub user: &'a str,
    /// Which of the user's producers.
    pub producer: &'a str,
    /// What readers will get.
    pub body: EventBody<'a>,
    /// Time to live, ms; 0 for ever.
    pub ttl_ms: u32,
    /// Whether an ack is wanted.
    pub requires_ack: bool,
    /// The publisher sends an event that was refused for now again before later ones (clients of version 1 do): later ones
    /// are not taken before it, so that its order holds in the log, too.
    pub in_order: bool,
}

/// What became of a publish for the time being.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It has this seq and waits for the log. The ack comes out of [`Session::settle`].
    Queued(Seq),
    /// The log has it already, under this seq.
    Repeat(Seq),
    /// The same event waits for the log already; this repeat is acked together with it.
    RepeatQueued(Seq),
}

/// Who waits for the outcome of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiter {
    /// Nobody.
    Nobody,
    /// A publisher who wants an ack.
    Ack(ConnectionKey),
    /// A publisher who wants no ack; it is told only of a refusal.
    Unacked(ConnectionKey),
    /// The sender of a command.
    Command(ConnectionKey),
}

impl Waiter {
    /// The connection to be told, if any.
    pub fn connection(self) -> Option<ConnectionKey> {
        match self {
            Self::Nobody => None,
            Self::Ack(key) | Self::Unacked(key) | Self::Command(key) => Some(key),
        }
    }
}

/// A frame for the log.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The head that it follows.
    pub expected: Head,
    /// The entries.
    pub frame: Frame,
    /// The new summary, if the lifecycle moved.
    pub summary: Option<Bytes>,
}

/// An answer that is due to one connection.
#[derive(Debug, Clone)]
pub struct Answer {
    /// To whom.
    pub waiter: Waiter,
    /// Id of the message that is answered.
    pub id: String,
    /// The entry's seq.
    pub seq: Seq,
}

/// What follows from the log's word on the frame in flight.
#[derive(Debug)]
pub enum Settled {
    /// The frame is in the log.
    Committed {
        /// The frame, for readers.
        frame: Frame,
        /// Who waits for each of its entries, in order.
        waiters: Vec<Waiter>,
        /// Repeats of its entries that arrived meanwhile.
        repeats: Vec<Answer>,
        /// Steps of the lifecycle in it.
        transitions: Vec<Transition>,
    },
    /// The frame and all that queued behind it are not in the log, as far as can be told.
    Refused {
        /// Everybody who has to be told.
        answers: Vec<Answer>,
        /// What they are told.
        refusal: Refusal,
    },
}

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
    waiters: Vec<Waiter>,
    repeats: Vec<Answer>,
    transitions: Vec<Transition>,
    lifecycle: Option<Lifecycle>,
    size: usize,
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
    queue: VecDeque<Draft>,
    queued_bytes: usize,
    /// Steps that can be answered again, oldest first: as many as the dedupe window remembers.
    transitions: Vec<Transition>,
    /// Who takes part.
    pub participants: Participants,
    last_used: u64,
    size_hint: usize,
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
                // The log could not read these: their ids are not known, their places are.
                let place = EventKey::new(context.seed, "\u{2}", "", &session.window.next_seq().to_string());
                session.window.push(place, 0);
            }
            for (seq, record) in frame.records() {
                let producer = if record.kind == Kind::Lifecycle { COMMANDS } else { record.producer };
                let key = EventKey::new(context.seed, record.user, producer, record.id);
                session.window.push(key, record.digest);
                if record.kind == Kind::Lifecycle {
                    session.transitions.extend(read_transition(seq, record.body));
                }
            }
        }
        while session.window.next_seq() <= head.seq {
            let place = EventKey::new(context.seed, "\u{2}", "", &session.window.next_seq().to_string());
            session.window.push(place, 0);
        }
        session
    }

    fn at(
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
            queue: VecDeque::new(),
            queued_bytes: 0,
            transitions: Vec::new(),
            participants: Participants::default(),
            last_used: now,
            size_hint: 0,
        }
    }

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

    /// Notes that somebody uses the session.
    pub fn touch(&mut self, now: u64) {
        self.last_used = self.last_used.max(now);
    }

    /// When it was used last, ms since 1970.
    pub fn last_used(&self) -> u64 {
        self.last_used
    }

    /// Whether nothing is going on: no participant and nothing that waits for the log.
    pub fn is_quiet(&self) -> bool {
        self.participants.is_empty() && self.in_flight.is_none() && self.queue.is_empty()
    }

    /// Whether nobody has used it for `timeout_ms`.
    pub fn is_unused(&self, now: u64, timeout_ms: u64) -> bool {
        self.is_quiet() && now.saturating_sub(self.last_used) >= timeout_ms
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
    fn take<const PARTICIPANT: bool>(&mut self, event: &Publish<'_>, now: u64) -> Result<Published, Refusal> {
        if PARTICIPANT
            && let Some(connection) = event.connection
            && self.participants.get(connection).is_none()
        {
            let detail =
                "join the session (join_session with follow: false is enough) before publishing to it";
            return Err(Refusal::new(ErrorCode::NotAParticipant, detail));
        }
        let digest = xxh3_64(event.body.data.as_bytes());
        let key = EventKey::new(self.seed, event.user, event.producer, event.body.id);
        let waiter = match event.connection {
            None => Waiter::Nobody,
            Some(connection) if event.requires_ack => Waiter::Ack(connection),
            Some(connection) => Waiter::Unacked(connection),
        };
        match self.window.find(key, digest) {
            Seen::New => {}
            Seen::Repeat(seq) => return Ok(self.repeat(seq, waiter, event.body.id)),
            Seen::Conflict => return Err(conflict("event")),
        }
        self.refuse_if_ended()?;
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
            Seen::Conflict => return Err(conflict("command")),
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

    fn step(
        &mut self,
        step: &Step,
        key: EventKey,
        command: &str,
        sender: Option<&Sender>,
        waiter: Waiter,
        now: u64,
    ) -> Result<Published, Refusal> {
        let next = self.accepted.after(step, now)?;
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
    fn push_lifecycle(
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

    fn refuse_if_ended(&self) -> Result<(), Refusal> {
        if self.accepted.status.has_ended() {
            let detail = format!("the session has ended ({})", self.accepted.status.as_str());
            return Err(Refusal::new(ErrorCode::SessionClosed, detail));
        }
        Ok(())
    }

    /// The draft that the next entry of about `size` bytes goes into. The window has recorded that entry already, or it
    /// is the draft of the last entry (`size` 0).
    fn open_draft(&mut self, size: usize) -> &mut Draft {
        let fits = self.queue.back().is_some_and(|draft| size == 0 || draft.builder.has_room(size));
        if !fits {
            let first = self.queue.back().map_or_else(
                || self.in_flight.as_ref().map_or(self.head.seq, |flight| flight.frame.last_seq()) + 1,
                |draft| draft.builder.next_seq(),
            );
            let capacity = self.size_hint.max(size).min(MAX_FRAME_BYTES);
            self.queue.push_back(Draft {
                builder: FrameBuilder::new(first, capacity),
                waiters: Vec::new(),
                repeats: Vec::new(),
                transitions: Vec::new(),
                lifecycle: None,
                size: 0,
            });
        }
        self.queued_bytes += size;
        let draft = self.queue.back_mut().expect("a draft was just pushed");
        draft.size += size;
        draft
    }

    /// `create_session` once more while the log has not answered the first one.
    pub fn repeat_create(&mut self, waiter: Waiter, command: &str) {
        self.repeat(1, waiter, command);
    }

    fn repeat(&mut self, seq: Seq, waiter: Waiter, id: &str) -> Published {
        if seq <= self.head.seq {
            return Published::Repeat(seq);
        }
        if matches!(waiter, Waiter::Ack(_) | Waiter::Command(_)) {
            let answer = Answer { waiter, id: id.to_owned(), seq };
            match &mut self.in_flight {
                Some(flight) if seq <= flight.frame.last_seq() => flight.repeats.push(answer),
                _ => {
                    let draft = self.queue.iter_mut().find(|draft| seq < draft.builder.next_seq());
                    draft.expect("an uncommitted entry is in flight or queued").repeats.push(answer);
                }
            }
        }
        Published::RepeatQueued(seq)
    }

    /// The step of the lifecycle that the log has at `seq`, for the answer to a repeated command.
    pub fn transition_at(&self, seq: Seq) -> Option<&Transition> {
        self.transitions.iter().find(|transition| transition.seq == Some(seq))
    }

    /// Whether `other` is what this session was created with, but for its times.
    pub fn was_created_as(&self, other: &Summary) -> bool {
        self.summary.created_by == other.created_by && create_digest(&self.summary) == create_digest(other)
    }

    /// The next frame for the log, unless one is in flight or nothing waits.
    pub fn take_batch(&mut self) -> Option<Batch> {
        if self.in_flight.is_some() {
            return None;
        }
        let draft = self.queue.pop_front()?;
        let frame = draft.builder.finish();
        self.size_hint = frame.bytes().len();
        let summary = draft.lifecycle.as_ref().map(|lifecycle| self.summary.with(lifecycle).to_bytes());
        self.in_flight = Some(InFlight {
            frame: frame.clone(),
            waiters: draft.waiters,
            repeats: draft.repeats,
            transitions: draft.transitions,
            lifecycle: draft.lifecycle,
            size: draft.size,
        });
        Some(Batch { expected: self.head, frame, summary })
    }

    /// Whether [`Session::take_batch`] would give a frame.
    pub fn has_batch(&self) -> bool {
        self.in_flight.is_none() && !self.queue.is_empty()
    }

    /// Takes the log's word on the frame in flight.
    ///
    /// # Panics
    /// If none is.
    pub fn settle(&mut self, appended: &Appended) -> Settled {
        let flight = self.in_flight.take().expect("the log answers what it was given");
        match appended {
            Appended::Committed(head) => self.commit(flight, *head),
            refused => self.take_back(flight, refusal_of(refused)),
        }
    }

    fn commit(&mut self, flight: InFlight, head: Head) -> Settled {
        assert_eq!(head.seq, flight.frame.last_seq(), "the log commits whole frames");
        self.head = head;
        if let Some(lifecycle) = flight.lifecycle {
            self.committed = lifecycle;
        }
        self.transitions.extend(flight.transitions.iter().cloned());
        self.queued_bytes -= flight.size;
        Settled::Committed {
            frame: flight.frame,
            waiters: flight.waiters,
            repeats: flight.repeats,
            transitions: flight.transitions,
        }
    }

    fn take_back(&mut self, flight: InFlight, refusal: Refusal) -> Settled {
        let mut answers: Vec<Answer> = answers_of(&flight.frame, &flight.waiters);
        answers.extend(flight.repeats);
        for draft in self.queue.drain(..) {
            answers.extend(answers_of(&draft.builder.finish(), &draft.waiters));
            answers.extend(draft.repeats);
        }
        for answer in &answers {
            let held = (answer.id.clone(), self.last_used + refusal.retry_after_ms.unwrap_or(0));
            if let Waiter::Ack(key) | Waiter::Unacked(key) = answer.waiter
                && let Some(member) = self.participants.get_mut(key)
                && member.in_order
            {
                member.held.get_or_insert(held);
            }
        }
        self.window.truncate(self.head.seq + 1);
        self.accepted = self.committed.clone();
        self.queued_bytes = 0;
        Settled::Refused { answers, refusal }
    }
}

fn answers_of(frame: &Frame, waiters: &[Waiter]) -> Vec<Answer> {
    let answer = |((seq, record), waiter): ((Seq, Record<'_>), &Waiter)| {
        waiter.connection().map(|_| Answer { waiter: *waiter, id: record.id.to_owned(), seq })
    };
    frame.records().zip(waiters).filter_map(answer).collect()
}

fn refusal_of(appended: &Appended) -> Refusal {
    let code = ErrorCode::LogUnavailable;
    match appended {
        Appended::Full => {
            Refusal::new(code, "the disk of the server is full; what is published is not stored")
                .retry_after(1_000)
        }
        Appended::Unknown(_) => Refusal::new(
            code,
            "the log failed; whether the event is stored is found out when the server restarts",
        ),
        Appended::Conflict(_) => {
            Refusal::new(code, "another writer has extended this session's log").retry_after(100)
        }
        Appended::Unavailable(_) | Appended::Committed(_) => {
            Refusal::new(code, "the log takes no appends now").retry_after(1_000)
        }
    }
}

fn conflict(what: &str) -> Refusal {
    let detail = format!("this producer used the id for another {what} before; use a new id for new content");
    Refusal::new(ErrorCode::IdConflict, detail)
}

fn step_digest(step: &Step) -> u64 {
    match step {
        Step::Stop { outcome, .. } => xxh3_64(format!("{} {outcome:?}", step.name()).as_bytes()),
        _ => xxh3_64(step.name().as_bytes()),
    }
}

fn create_digest(summary: &Summary) -> u64 {
    let metadata = summary.metadata.as_ref().map_or("", |metadata| metadata.get());
    let parts = [&*summary.project_id, &*summary.test_id, &*summary.agent_name, metadata];
    xxh3_64(parts.join("\u{0}").as_bytes())
}

/// Reads a step back from its entry in the log.
fn read_transition(seq: Seq, body: &[u8]) -> Option<Transition> {
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
