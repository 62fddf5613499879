//! Frames: what was accepted is collected, handed to the log, and settled by its word.

use agentbench_event_log::{Appended, Frame, FrameBuilder, MAX_FRAME_BYTES, Record};
use agentbench_protocol::{ErrorCode, Head, Refusal, Seq};

use super::taking::HOLD_MS;
use super::{Answer, Batch, Draft, InFlight, Session, Settled, Waiter};
use crate::ConnectionKey;

impl Session {
    /// The draft that the next entry of about `size` bytes goes into. The window has recorded that entry already, or it
    /// is the draft of the last entry (`size` 0).
    pub(super) fn open_draft(&mut self, size: usize) -> &mut Draft {
        let fits = self.queue.back().is_some_and(|draft| size == 0 || draft.builder.has_room(size));
        if !fits {
            let first = self.queue.back().map_or_else(
                || self.last_taken().map_or(self.head.seq, |flight| flight.frame.last_seq()) + 1,
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

    /// The last frame that was given to the log and is not settled.
    fn last_taken(&self) -> Option<&InFlight> {
        self.in_flight.as_ref().or(self.returned.as_ref())
    }

    /// The next frame for the log: one in doubt again, or what has queued. `None` while one is in flight, while the session is
    /// behind, or if nothing waits.
    pub fn take_batch(&mut self) -> Option<Batch> {
        if let Some(flight) = &mut self.in_flight {
            if flight.is_submitted {
                return None;
            }
            flight.is_submitted = true;
            let (frame, summary) = (flight.frame.clone(), flight.summary.clone());
            return Some(Batch { expected: self.head, frame, summary });
        }
        if self.is_behind() {
            return None;
        }
        let draft = self.queue.pop_front()?;
        let frame = draft.builder.finish();
        self.size_hint = frame.bytes().len();
        let summary = draft.lifecycle.as_ref().map(|lifecycle| self.summary.with(lifecycle).to_bytes());
        self.in_flight = Some(InFlight {
            frame: frame.clone(),
            summary: summary.clone(),
            waiters: draft.waiters,
            repeats: draft.repeats,
            transitions: draft.transitions,
            lifecycle: draft.lifecycle,
            size: draft.size,
            is_submitted: true,
            is_in_doubt: false,
        });
        Some(Batch { expected: self.head, frame, summary })
    }

    /// Whether [`Session::take_batch`] would give a new frame.
    pub fn has_batch(&self) -> bool {
        !self.is_behind() && self.in_flight.is_none() && !self.queue.is_empty()
    }

    /// Whether a frame was given to the log whose outcome is not known.
    pub fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Where the log ends if it takes the frame in flight.
    pub fn in_flight_to(&self) -> Option<Head> {
        self.in_flight.as_ref().map(|flight| Head { seq: flight.frame.last_seq(), ..self.head })
    }

    /// Whether the log will tell the outcome of a frame.
    pub fn is_submitted(&self) -> bool {
        self.in_flight.as_ref().is_some_and(|flight| flight.is_submitted)
    }

    /// Whether a frame has to be given to the log once more, since its outcome is not known.
    pub fn is_in_doubt(&self) -> bool {
        self.in_flight.as_ref().is_some_and(|flight| flight.is_in_doubt && !flight.is_submitted)
    }

    /// Takes the log's word on the frame in flight; `now` in ms since 1970.
    ///
    /// # Panics
    /// If none is.
    pub fn settle(&mut self, appended: &Appended, now: u64) -> Settled {
        let flight = self.in_flight.take().expect("the log answers what it was given");
        let settled = self.settle_flight(flight, appended, now);
        self.note_seen();
        settled
    }

    fn settle_flight(&mut self, mut flight: InFlight, appended: &Appended, now: u64) -> Settled {
        match appended {
            Appended::Committed(head) => self.commit(flight, *head),
            Appended::Unknown(_) => {
                (flight.is_submitted, flight.is_in_doubt) = (false, true);
                self.in_flight = Some(flight);
                Settled::InDoubt
            }
            Appended::Conflict(Some(head)) if head.epoch == self.head.epoch && head.seq >= self.head.seq => {
                self.returned = Some(flight);
                self.fall_behind(head.seq);
                Settled::Behind
            }
            Appended::Conflict(head) => {
                let refusal = refusal_of(appended);
                Settled::Lost { answers: self.take_back(Some(flight), &refusal, now), refusal, head: *head }
            }
            _ if flight.is_in_doubt => {
                self.in_flight = Some(flight);
                self.give_up(now)
            }
            refused => {
                let refusal = refusal_of(refused);
                Settled::Refused { answers: self.take_back(Some(flight), &refusal, now), refusal }
            }
        }
    }

    /// Stops waiting for the outcome of a frame in doubt: whoever waits is told that it is not known. The log says later what
    /// it has, and nothing is given to it before that.
    pub fn give_up(&mut self, now: u64) -> Settled {
        let refusal = refusal_of(&Appended::Unknown(String::new()));
        let flight = self.in_flight.take();
        let answers = self.take_back(flight, &refusal, now);
        self.fall_behind(self.head.seq);
        Settled::Refused { answers, refusal }
    }

    /// Ends the session, since its log is gone: everybody who waits is told.
    pub fn end(&mut self, now: u64) -> (Vec<Answer>, Refusal) {
        let refusal = refusal_of(&Appended::Conflict(None));
        let flight = self.in_flight.take();
        (self.take_back(flight, &refusal, now), refusal)
    }

    fn commit(&mut self, flight: InFlight, head: Head) -> Settled {
        let last = flight.frame.last_seq();
        assert!(head.epoch == self.head.epoch && head.seq >= last, "the log commits whole frames");
        self.head.seq = last;
        if head.seq > last {
            self.fall_behind(head.seq);
        }
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

    /// Makes each publisher's later events wait for its first of these, which were accepted before whatever it waits for now.
    fn hold_for(&mut self, answers: &[Answer], until: u64) {
        let mut in_order: Vec<&Answer> = answers.iter().collect();
        in_order.sort_by_key(|answer| answer.seq);
        let mut known: Vec<ConnectionKey> = Vec::new();
        for answer in in_order {
            if let Waiter::Ack(key) | Waiter::Unacked(key) = answer.waiter
                && !known.contains(&key)
                && let Some(member) = self.participants.get_mut(key)
                && member.in_order
            {
                member.held = Some((answer.id.clone(), until));
                known.push(key);
            }
        }
    }

    /// Empties the queue. Returns whom to tell. Later events of a publisher wait from now on: the log may have taken long.
    fn take_back(&mut self, flight: Option<InFlight>, refusal: &Refusal, now: u64) -> Vec<Answer> {
        let mut answers = Vec::new();
        for flight in flight.into_iter().chain(self.returned.take()) {
            answers.extend(answers_of(&flight.frame, &flight.waiters));
            answers.extend(flight.repeats);
        }
        for draft in self.queue.drain(..) {
            answers.extend(answers_of(&draft.builder.finish(), &draft.waiters));
            answers.extend(draft.repeats);
        }
        self.hold_for(&answers, now + refusal.retry_after_ms.map_or(0, |wait| wait.max(HOLD_MS)));
        self.window.truncate(self.head.seq + 1);
        self.accepted = self.committed.clone();
        self.queued_bytes = 0;
        answers
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
            "the log failed; whether the event is stored is not known yet: send it again with the same id",
        )
        .retry_after(1_000),
        Appended::Conflict(_) => {
            Refusal::new(code, "the session's log was removed or replaced").retry_after(100)
        }
        Appended::Unavailable(_) | Appended::Committed(_) => {
            Refusal::new(code, "the log takes no appends now").retry_after(1_000)
        }
    }
}
