//! Other writers of the log: their frames are applied here, and what waits is sequenced anew behind them.
//!
//! A session is *behind* when it knows, or has to assume, that the log goes on beyond its head. It takes events meanwhile and
//! gives none to the log. What waits is put through the dedupe window and the lifecycle once more, since the frames of the
//! others may contain it, or may have ended the session.

use agentbench_event_log::{Frame, Kind, Record};
use agentbench_protocol::event::write_moved;
use agentbench_protocol::message::{Delivery, SystemMessage, Transition};
use agentbench_protocol::{Outcome, Refusal, Seq, StartAt, Status};

use super::opening::read_transition;
use super::taking::conflict;
use super::values::Advanced;
use super::{Answer, COMMANDS, InFlight, Published, Session, Waiter};
use crate::{EventKey, Lifecycle, Seen, Step};

/// Frames that are kept while another one is in flight. Beyond that they are read from the log when they are needed.
const HELD: usize = 64;

/// What is known of the log beyond the session's head.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lag {
    /// The log has come at least so far.
    to: Seq,
    /// The log has to be read, whatever the head is.
    must_read: bool,
}

/// What a frame of the log is to the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// Nothing new.
    Known,
    /// It comes later: a frame is in flight, or frames before it are not known yet.
    Held,
    /// It follows the session's head: [`Session::advance`] takes it.
    Next,
}

/// Entries that wait, and their frame.
struct Parked {
    frame: Frame,
    waiters: Vec<Waiter>,
    repeats: Vec<Answer>,
}

/// What became of a waiting entry.
enum Fate {
    Moved(Seq),
    Repeat(Seq),
    Refused(Refusal),
    /// It has no purpose any more.
    Dropped,
}

impl Session {
    /// Whether the log goes on beyond the session's head, as far as is known: it has to be read from
    /// [`Session::head`] on.
    pub fn is_behind(&self) -> bool {
        self.lag.is_some()
    }

    /// Whether a reader's position lies beyond what this session knows of its log, or in another log: only the log can tell.
    pub fn is_beyond(&self, from: &StartAt) -> bool {
        let head = self.head;
        matches!(from, StartAt::After(position) if position.epoch != head.epoch || position.seq > head.seq)
    }

    pub(super) fn fall_behind(&mut self, to: Seq) {
        let before = self.lag.map_or(0, |lag| lag.to);
        // A conflict at the very head that the session has tells nothing: only the log knows.
        let must_read = to <= self.head.seq || self.lag.is_some_and(|lag| lag.must_read);
        self.lag = Some(Lag { to: to.max(before), must_read });
    }

    /// Notes that the log may go on beyond the session's head.
    pub fn suspect(&mut self) {
        self.fall_behind(self.head.seq);
    }

    /// What a frame that another writer committed is to this session; it is kept if it may be needed.
    pub fn observe(&mut self, frame: &Frame) -> Observed {
        if frame.last_seq() <= self.head.seq {
            return Observed::Known;
        }
        if self.in_flight.is_none() && frame.first_seq() == self.head.seq + 1 {
            return Observed::Next;
        }
        self.seen = self.seen.max(frame.last_seq());
        let place = self.held.partition_point(|held| held.first_seq() < frame.first_seq());
        if self.held.len() < HELD {
            self.held.insert(place, frame.clone());
        }
        self.note_seen();
        Observed::Held
    }

    /// Frames that were seen and not applied make the session fall behind, as soon as none of its own is in flight: that may
    /// come before them, or be refused for them.
    pub(super) fn note_seen(&mut self) {
        if self.in_flight.is_none() && self.seen > self.head.seq {
            self.fall_behind(self.seen);
        }
    }

    /// The frames that were kept and follow the head, in order; empty while a frame is in flight.
    pub fn take_held(&mut self) -> Vec<Frame> {
        if self.in_flight.is_some() {
            return Vec::new();
        }
        let mut next = self.head.seq + 1;
        let mut frames = Vec::new();
        self.held.retain(|frame| {
            let is_next = frame.first_seq() == next;
            if is_next {
                next = frame.last_seq() + 1;
                frames.push(frame.clone());
            }
            frame.first_seq() > next
        });
        frames
    }

    /// Applies frames of other writers, the first of which follows the head, and sequences what waits anew.
    ///
    /// # Panics
    /// If a frame does not follow the one before, or while a frame is in flight.
    pub fn advance(&mut self, frames: &[Frame], now: u64) -> Advanced {
        let mut advanced = Advanced::default();
        let parked = self.park();
        for frame in frames {
            assert_eq!(frame.first_seq(), self.head.seq + 1, "frames come in order");
            self.apply(frame, &mut advanced.transitions);
        }
        self.touch(now);
        self.accepted = self.committed.clone();
        self.take_anew(parked, now, &mut advanced);
        self.end_lag(false);
        advanced
    }

    /// Goes on after events that the log has lost, up to `to`: their places are taken, their ids are not known.
    pub fn skip(&mut self, to: Seq, now: u64) -> Advanced {
        let mut advanced = Advanced::default();
        let parked = self.park();
        while self.window.next_seq() <= to {
            self.push_unknown();
        }
        self.head.seq = self.head.seq.max(to);
        self.take_anew(parked, now, &mut advanced);
        self.end_lag(false);
        advanced
    }

    /// The log was read up to its end, which is the session's head.
    pub fn finish_reading(&mut self) {
        self.end_lag(true);
    }

    fn end_lag(&mut self, was_read: bool) {
        let Some(lag) = &mut self.lag else { return };
        lag.must_read &= !was_read;
        if !lag.must_read && self.head.seq >= lag.to {
            self.lag = None;
        }
    }

    /// Records the next place of the window without knowing what is there.
    pub(super) fn push_unknown(&mut self) {
        let place = EventKey::new(self.seed, "\u{2}", "", &self.window.next_seq().to_string());
        self.window.push(place, 0);
    }

    /// Takes everything out that waits, and forgets its seqs.
    fn park(&mut self) -> Vec<Parked> {
        assert!(self.in_flight.is_none(), "the log's word on a frame comes first");
        let returned = self.returned.take().map(|flight| {
            let InFlight { frame, waiters, repeats, .. } = flight;
            Parked { frame, waiters, repeats }
        });
        let queued = self.queue.drain(..).map(|draft| Parked {
            frame: draft.builder.finish(),
            waiters: draft.waiters,
            repeats: draft.repeats,
        });
        let parked = returned.into_iter().chain(queued).collect();
        self.window.truncate(self.head.seq + 1);
        self.queued_bytes = 0;
        parked
    }

    fn apply(&mut self, frame: &Frame, transitions: &mut Vec<Transition>) {
        for (seq, record) in frame.records() {
            let producer = if record.kind == Kind::Lifecycle { COMMANDS } else { record.producer };
            self.window.push(EventKey::new(self.seed, record.user, producer, record.id), record.digest);
            if record.kind == Kind::Lifecycle
                && let Some(transition) = read_transition(seq, record.body)
            {
                self.committed = lifecycle_after(&self.committed, &transition, record.received_at);
                self.transitions.push(transition.clone());
                transitions.push(transition);
            }
        }
        self.head.seq = frame.last_seq();
    }

    fn take_anew(&mut self, parked: Vec<Parked>, now: u64, advanced: &mut Advanced) {
        for Parked { frame, waiters, mut repeats } in parked {
            repeats.sort_by_key(|repeat| repeat.seq);
            let mut repeats = repeats.into_iter().peekable();
            for ((old, record), waiter) in frame.records().zip(waiters) {
                let fate = match record.kind {
                    Kind::Event => self.take_event_anew(&record, waiter),
                    Kind::Lifecycle => self.take_step_anew(&record, waiter, now),
                };
                if let Fate::Moved(seq) = fate {
                    advanced.moved.push((old, seq));
                }
                let answer =
                    waiter.connection().map(|_| Answer { waiter, id: record.id.to_owned(), seq: old });
                // The entry itself is answered when it is committed, its repeats with it.
                let first = answer.filter(|_| !matches!(fate, Fate::Moved(_)));
                let of_entry = std::iter::from_fn(|| repeats.next_if(|repeat| repeat.seq == old));
                for answer in first.into_iter().chain(of_entry) {
                    self.answer_anew(old, answer, &fate, advanced);
                }
            }
        }
    }

    fn answer_anew(&mut self, old: Seq, answer: Answer, fate: &Fate, advanced: &mut Advanced) {
        match fate {
            Fate::Moved(seq) => drop(self.repeat(*seq, answer.waiter, &answer.id)),
            Fate::Repeat(seq) => advanced.repeats.push((old, Answer { seq: *seq, ..answer })),
            Fate::Refused(refusal) => advanced.refused.push((answer, refusal.clone())),
            Fate::Dropped => {}
        }
    }

    fn take_event_anew(&mut self, record: &Record<'_>, waiter: Waiter) -> Fate {
        let key = EventKey::new(self.seed, record.user, record.producer, record.id);
        match self.window.find(key, record.digest) {
            Seen::New => {}
            Seen::Repeat(seq) => return Fate::Repeat(seq),
            Seen::Conflict(seq) => {
                let is_same = serde_json::from_slice::<Delivery<'_>>(record.body)
                    .is_ok_and(|delivery| self.is_respelt(key, delivery.data.get()));
                return if is_same { Fate::Repeat(seq) } else { Fate::Refused(conflict("event", seq)) };
            }
        }
        if let Err(refusal) = self.refuse_if_ended() {
            return Fate::Refused(refusal);
        }
        self.window.push(key, record.digest);
        let draft = self.open_draft(record.body.len() + 256);
        let seq = draft.builder.next_seq();
        let entry = Record { body: &[], ..*record };
        draft.builder.push_with(&entry, |dst| write_moved(dst, record.body, seq));
        draft.waiters.push(waiter);
        Fate::Moved(seq)
    }

    fn take_step_anew(&mut self, record: &Record<'_>, waiter: Waiter, now: u64) -> Fate {
        let delivery: Option<Delivery<'_>> = serde_json::from_slice(record.body).ok();
        let Some((step, delivery)) = delivery.and_then(|delivery| Some((step_of(&delivery)?, delivery)))
        else {
            // The first entry: a session is created once, and then has a head.
            return Fate::Dropped;
        };
        if step == Step::Expire {
            // Another writer uses the session.
            return Fate::Dropped;
        }
        let Some(sender) = delivery.sender else { return Fate::Dropped };
        let key = EventKey::new(self.seed, record.user, COMMANDS, record.id);
        match self.window.find(key, record.digest) {
            Seen::New => {}
            Seen::Repeat(seq) => return Fate::Repeat(seq),
            Seen::Conflict(seq) => return Fate::Refused(conflict("command", seq)),
        }
        match self.step(&step, key, record.id, Some(&sender), waiter, now) {
            Ok(Published::Queued(seq) | Published::Repeat(seq) | Published::RepeatQueued(seq)) => {
                Fate::Moved(seq)
            }
            Err(refusal) => Fate::Refused(refusal),
        }
    }
}

/// The lifecycle after a step that another writer took: the log has it, so it is not judged.
pub(super) fn lifecycle_after(before: &Lifecycle, transition: &Transition, at: u64) -> Lifecycle {
    let is_start = transition.from == Status::Idle && transition.status == Status::Running;
    Lifecycle {
        status: transition.status,
        started_at: before.started_at.or(is_start.then_some(at)),
        ended_at: transition.status.has_ended().then_some(at),
        reason: transition.reason.clone(),
    }
}

/// The step that an entry of the log is.
fn step_of(entry: &Delivery<'_>) -> Option<Step> {
    Some(match serde_json::from_str(entry.data.get()).ok()? {
        SystemMessage::SessionStarted(_) => Step::Start,
        SystemMessage::SessionPaused(_) => Step::Pause,
        SystemMessage::SessionResumed(_) => Step::Resume,
        SystemMessage::SessionExpired(_) => Step::Expire,
        SystemMessage::SessionStopped(transition) => {
            let outcome =
                if transition.status == Status::Error { Outcome::Error } else { Outcome::Completed };
            Step::Stop { outcome, reason: transition.reason }
        }
        _ => return None,
    })
}
