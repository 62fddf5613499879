//! Frames: what was accepted is collected, handed to the log, and settled by its word.

use agentbench_event_log::{Appended, Frame, FrameBuilder, MAX_FRAME_BYTES, Record};
use agentbench_protocol::{ErrorCode, Head, Refusal, Seq};

use super::{Answer, Batch, Draft, InFlight, Session, Settled, Waiter};

impl Session {
    /// The draft that the next entry of about `size` bytes goes into. The window has recorded that entry already, or it
    /// is the draft of the last entry (`size` 0).
    pub(super) fn open_draft(&mut self, size: usize) -> &mut Draft {
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
