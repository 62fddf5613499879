//! The events of one session that wait for their acks, in the order in which they were published.
//!
//! ```text
//!   front ─ sent, ack awaited ─┬─ to be sent ─ back
//!                              └ `in_flight` counts those before it
//! ```
//! A retryable refusal, or a new connection, moves the mark back, so that everything from there on is sent
//! again in order; what is in the log already is acked as a duplicate. Events without an ack stay until those before them
//! are acked, so that they keep their position.

use std::collections::VecDeque;
use std::time::Duration;

use agentbench_protocol::ErrorCode;
use agentbench_protocol::message::ErrorData;

use crate::event::Event;
use crate::outcome::{GaveUp, Outcome};

/// Number of breaks at the same event after which it is sent alone: a bad network can break at any event.
const ALONE_AFTER: u32 = 3;
/// Number of breaks after which it is given up, the later ones while it was sent alone.
const GIVE_UP_AFTER: u32 = 8;

/// One published event.
#[derive(Debug)]
pub(super) struct Entry<T> {
    pub(super) id: String,
    pub(super) event: Event,
    /// When it was published, ms since 1970.
    pub(super) timestamp: u64,
    deadline: Option<Duration>,
    /// Number of times it was handed to a connection.
    pub(super) sends: u32,
    /// A send was never answered, or answered in a way that leaves open whether it is stored.
    in_doubt: bool,
    refused: u32,
    last_refusal: Option<ErrorData>,
    /// Consecutive connections that broke while it was the first in flight.
    breaks: u32,
    /// It is a suspect: the server may be unable to read it, or the connection may break at it.
    is_suspect: bool,
    /// Receives the outcome; `None` without an ack.
    ticket: Option<T>,
}

impl<T> Entry<T> {
    pub(super) fn new(
        id: String,
        event: Event,
        timestamp: u64,
        deadline: Option<Duration>,
        ticket: Option<T>,
    ) -> Self {
        Self {
            id,
            event,
            timestamp,
            deadline,
            sends: 0,
            in_doubt: false,
            refused: 0,
            last_refusal: None,
            breaks: 0,
            is_suspect: false,
            ticket,
        }
    }

    pub(super) fn wants_ack(&self) -> bool {
        self.ticket.is_some()
    }

    /// The room that it takes.
    fn share(&self) -> Share {
        Share { bytes: self.event.data.bytes().len(), is_suspect: self.is_suspect }
    }
}

/// The room that one event takes in its outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) bytes: usize,
    pub(super) is_suspect: bool,
}

/// An event that left its outbox.
#[derive(Debug)]
pub(super) struct RemovedEvent<T> {
    pub(super) ticket: Option<T>,
    pub(super) outcome: Outcome,
    pub(super) share: Share,
}

/// The effect of a lost connection on an outbox.
#[derive(Debug)]
pub(super) struct LossEffect<T> {
    /// Number of new suspects.
    pub(super) suspected: usize,
    /// The event at which too many connections broke.
    pub(super) given_up: Option<RemovedEvent<T>>,
}

/// Whether a refusal of an event is final, as opposed to a reason to send it again.
pub(super) fn is_final(refusal: &ErrorData) -> bool {
    !refusal.retryable && refusal.code != ErrorCode::NotAParticipant
}

/// The consequence of a refusal.
#[derive(Debug)]
pub(super) enum RefusalEffect<T> {
    /// There is no such event (no ack was requested, or it was given up).
    NotFound,
    /// Its outcome is settled.
    Settled(RemovedEvent<T>),
    /// It must be sent again after a delay; the number of earlier refusals.
    Retry(u32),
    /// It is already waiting to be sent again.
    Waiting,
}

/// One session's events on their way to the log.
#[derive(Debug)]
pub(super) struct Outbox<T> {
    entries: VecDeque<Entry<T>>,
    in_flight: usize,
    /// Whether the server has answered an event of it on this connection.
    is_moving: bool,
    /// Earliest time to send.
    pub(super) hold_until: Option<Duration>,
}

impl<T> Default for Outbox<T> {
    fn default() -> Self {
        Self { entries: VecDeque::new(), in_flight: 0, is_moving: false, hold_until: None }
    }
}

impl<T> Outbox<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Number of sent events without an answer.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn push(&mut self, entry: Entry<T>) {
        self.entries.push_back(entry);
    }

    /// Whether an event could be sent now, with at most `window` in flight.
    pub(super) fn is_ready(&self, window: usize) -> bool {
        self.hold_until.is_none() && self.in_flight < self.entries.len() && self.in_flight < window
    }

    /// The next event to send.
    pub(super) fn next(&self) -> Option<&Entry<T>> {
        self.entries.get(self.in_flight)
    }

    /// Records that [`Outbox::next`] was handed to the connection.
    pub(super) fn sent(&mut self) {
        if let Some(entry) = self.entries.get_mut(self.in_flight) {
            entry.sends += 1;
            self.in_flight += 1;
        }
    }

    /// Removes the next event: it cannot be sent.
    pub(super) fn refuse_next(&mut self, refusal: ErrorData) -> Option<RemovedEvent<T>> {
        let entry = self.entries.remove(self.in_flight)?;
        Some(settle_refused(entry, refusal))
    }

    /// Removes the front event if it is sent and wants no ack: it is done.
    pub(super) fn pop_unacked(&mut self) -> Option<Share> {
        if self.in_flight == 0 || self.entries.front()?.wants_ack() {
            return None;
        }
        self.in_flight -= 1;
        self.entries.pop_front().map(|entry| entry.share())
    }

    /// Removes an acked event. Acks arrive in order, so it is nearly always the first.
    pub(super) fn acked(&mut self, id: &str) -> Option<(Option<T>, Share)> {
        let index = self.find(id)?;
        let entry = self.remove(index)?;
        self.is_moving = true;
        let share = entry.share();
        Some((entry.ticket, share))
    }

    /// Handles a refusal.
    pub(super) fn refused(
        &mut self,
        id: &str,
        refusal: ErrorData,
        most_retries: Option<u32>,
    ) -> RefusalEffect<T> {
        let Some(index) = self.find(id) else { return RefusalEffect::NotFound };
        self.is_moving = true;
        if is_final(&refusal) {
            return self.remove(index).map_or(RefusalEffect::NotFound, |entry| {
                RefusalEffect::Settled(settle_refused(entry, refusal))
            });
        }
        if index >= self.in_flight {
            return RefusalEffect::Waiting;
        }
        // Despite these refusals, it may be in the log.
        let doubtful = matches!(refusal.code, ErrorCode::LogUnavailable | ErrorCode::Internal);
        let entry = &mut self.entries[index];
        entry.in_doubt |= doubtful;
        entry.refused += 1;
        if most_retries.is_some_and(|most| entry.refused > most) {
            return self.remove(index).map_or(RefusalEffect::NotFound, |entry| {
                RefusalEffect::Settled(settle_exhausted(entry, refusal))
            });
        }
        let retries = entry.refused - 1;
        entry.last_refusal = Some(refusal);
        // The answers to later events will not be awaited.
        for later in self.entries.range_mut(index + 1..self.in_flight) {
            later.in_doubt = true;
        }
        self.in_flight = index;
        RefusalEffect::Retry(retries)
    }

    /// The server could not read the first event in flight, which is the only one: removes it.
    pub(super) fn refuse_in_flight(&mut self, refusal: ErrorData) -> Option<RemovedEvent<T>> {
        if self.in_flight == 0 {
            return None;
        }
        self.is_moving = true;
        self.remove(0).map(|entry| settle_refused(entry, refusal))
    }

    /// The connection is lost: everything must be sent again. If it broke early, `break_detail` is the reason: an event at which
    /// every connection breaks before the server has answered is given up.
    pub(super) fn connection_lost(&mut self, break_detail: Option<&str>) -> LossEffect<T> {
        let mut cut = LossEffect { suspected: 0, given_up: None };
        if let Some(detail) = break_detail
            && self.in_flight > 0
            && !self.is_moving
            && let Some(first) = self.entries.front_mut()
        {
            first.breaks += 1;
            let breaks = first.breaks;
            if breaks >= ALONE_AFTER {
                cut.suspected = self.suspect();
            }
            if breaks >= GIVE_UP_AFTER {
                let why = GaveUp::Breaks { detail: detail.to_owned() };
                cut.given_up = self.remove(0).map(|entry| give_up(entry, true, why));
            }
        }
        for entry in self.entries.range_mut(..self.in_flight) {
            entry.in_doubt = true;
        }
        self.hold_until = None;
        self.is_moving = false;
        self.in_flight = 0;
        cut
    }

    /// Marks all events in flight as suspects. Returns the number of new ones.
    pub(super) fn suspect(&mut self) -> usize {
        let in_flight = self.entries.range_mut(..self.in_flight);
        in_flight.filter_map(|entry| (!std::mem::replace(&mut entry.is_suspect, true)).then_some(())).count()
    }

    /// When the first event is given up. All events wait equally long, so it is the oldest.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.entries.front()?.deadline
    }

    /// Removes the first event if its time is over.
    pub(super) fn pop_expired(&mut self, now: Duration) -> Option<RemovedEvent<T>> {
        if self.next_deadline()? > now {
            return None;
        }
        let in_flight = self.in_flight > 0;
        let entry = self.remove(0)?;
        Some(give_up(entry, in_flight, GaveUp::AckTimeout))
    }

    /// Removes the oldest event that was never sent.
    pub(super) fn drop_oldest_unsent(&mut self) -> Option<RemovedEvent<T>> {
        let index = self.entries.iter().position(|entry| entry.sends == 0)?;
        let entry = self.remove(index)?;
        Some(give_up(entry, false, GaveUp::Dropped))
    }

    /// Gives up and removes all events.
    pub(super) fn give_up_all(&mut self, why: &GaveUp) -> Vec<RemovedEvent<T>> {
        let in_flight = std::mem::take(&mut self.in_flight);
        let all = self.entries.drain(..).enumerate();
        all.map(|(index, entry)| give_up(entry, index < in_flight, why.clone())).collect()
    }

    /// Removes all events: the session accepts no events from us.
    pub(super) fn refuse_all(&mut self, refusal: &ErrorData) -> Vec<RemovedEvent<T>> {
        self.in_flight = 0;
        self.entries.drain(..).map(|entry| settle_refused(entry, refusal.clone())).collect()
    }

    fn find(&self, id: &str) -> Option<usize> {
        if self.entries.front()?.id == id {
            return Some(0);
        }
        self.entries.iter().position(|entry| entry.id == id)
    }

    fn remove(&mut self, index: usize) -> Option<Entry<T>> {
        if index < self.in_flight {
            self.in_flight -= 1;
        }
        if index == 0 { self.entries.pop_front() } else { self.entries.remove(index) }
    }
}

/// A refusal settles an event, unless an earlier send may have succeeded. If the server checks for a
/// repeat first, its refusal means that there was none.
fn settle_refused<T>(entry: Entry<T>, refusal: ErrorData) -> RemovedEvent<T> {
    let certain = matches!(
        refusal.code,
        ErrorCode::SessionClosed
            | ErrorCode::IdConflict
            | ErrorCode::PayloadTooLarge
            | ErrorCode::MalformedJson
    );
    let share = entry.share();
    let outcome = if entry.in_doubt && !certain {
        Outcome::Unknown { why: GaveUp::RefusedAgain(refusal), sent: true }
    } else {
        Outcome::Refused(refusal)
    };
    RemovedEvent { ticket: entry.ticket, outcome, share }
}

fn settle_exhausted<T>(entry: Entry<T>, refusal: ErrorData) -> RemovedEvent<T> {
    let share = entry.share();
    let outcome = if entry.in_doubt {
        Outcome::Unknown { why: GaveUp::Retries(refusal), sent: true }
    } else {
        Outcome::Refused(refusal)
    };
    RemovedEvent { ticket: entry.ticket, outcome, share }
}

fn give_up<T>(entry: Entry<T>, in_flight: bool, why: GaveUp) -> RemovedEvent<T> {
    let share = entry.share();
    let outcome = match entry.last_refusal {
        // Every send was answered with a refusal.
        Some(refusal) if !in_flight && !entry.in_doubt => Outcome::Refused(refusal),
        _ => Outcome::Unknown { why, sent: entry.sends > 0 },
    };
    RemovedEvent { ticket: entry.ticket, outcome, share }
}

#[cfg(test)]
mod tests {
    use agentbench_protocol::Refusal;

    use super::*;
    use crate::event::Data;

    fn outbox(count: u64, sent: usize) -> Outbox<u64> {
        let mut outbox = Outbox::default();
        for number in 1..=count {
            let event = Event::new(Data::raw("{}").unwrap());
            let deadline = Some(Duration::from_secs(number));
            outbox.push(Entry::new(format!("e{number}"), event, 0, deadline, Some(number)));
        }
        for _ in 0..sent {
            outbox.sent();
        }
        outbox
    }

    fn refusal(code: ErrorCode) -> ErrorData {
        Refusal::new(code, "no").into()
    }

    fn next(outbox: &Outbox<u64>) -> &str {
        outbox.next().map_or("-", |entry| &entry.id)
    }

    #[test]
    fn acks_take_out_what_they_name_and_keep_the_mark() {
        let mut outbox = outbox(4, 3);
        let share = Share { bytes: 2, is_suspect: false };
        assert_eq!(outbox.acked("e2"), Some((Some(2), share)));
        assert_eq!((next(&outbox), outbox.len()), ("e4", 3));
        assert_eq!(outbox.acked("e2"), None);
        assert_eq!(outbox.acked("e1"), Some((Some(1), share)));
        assert_eq!(outbox.acked("e3"), Some((Some(3), share)));
        assert_eq!((next(&outbox), outbox.len(), outbox.in_flight), ("e4", 1, 0));
    }

    #[test]
    fn after_a_refusal_everything_behind_it_is_sent_again() {
        let mut outbox = outbox(4, 4);
        assert!(matches!(
            outbox.refused("e2", refusal(ErrorCode::Overloaded), None),
            RefusalEffect::Retry(0)
        ));
        assert!(matches!(outbox.refused("e3", refusal(ErrorCode::Overloaded), None), RefusalEffect::Waiting));
        assert_eq!(next(&outbox), "e2");
        assert!(outbox.acked("e4").is_some(), "an answer that came late is an answer");
        assert_eq!(next(&outbox), "e2");
        outbox.sent();
        outbox.sent();
        assert!(matches!(
            outbox.refused("e2", refusal(ErrorCode::Overloaded), Some(1)),
            RefusalEffect::Settled(_)
        ));
        assert!(matches!(
            outbox.refused("e9", refusal(ErrorCode::Overloaded), None),
            RefusalEffect::NotFound
        ));
    }

    #[test]
    fn a_refusal_is_certain_only_if_no_earlier_send_is_open() {
        let settled = |outbox: &mut Outbox<u64>, code| match outbox.refused("e1", refusal(code), None) {
            RefusalEffect::Settled(left) => left.outcome,
            other => panic!("{other:?}"),
        };
        assert!(matches!(settled(&mut outbox(1, 1), ErrorCode::Forbidden), Outcome::Refused(_)));
        let codes = [
            (ErrorCode::Forbidden, false),
            (ErrorCode::SessionClosed, true),
            (ErrorCode::MalformedJson, true),
        ];
        for (code, certain) in codes {
            let mut outbox = outbox(1, 1);
            outbox.connection_lost(None);
            assert_eq!(next(&outbox), "e1");
            outbox.sent();
            assert_eq!(matches!(settled(&mut outbox, code), Outcome::Refused(_)), certain, "{code}");
        }
    }

    #[test]
    fn giving_up_says_whether_it_was_sent() {
        let mut outbox = outbox(3, 1);
        assert!(outbox.pop_expired(Duration::ZERO).is_none());
        let left = outbox.pop_expired(Duration::from_secs(1)).unwrap();
        assert_eq!(left.outcome, Outcome::Unknown { why: GaveUp::AckTimeout, sent: true });
        let left = outbox.drop_oldest_unsent().unwrap();
        assert_eq!(
            (left.ticket, left.outcome),
            (Some(2), Outcome::Unknown { why: GaveUp::Dropped, sent: false })
        );
        outbox.sent();
        assert!(matches!(
            outbox.refused("e3", refusal(ErrorCode::RateLimited), None),
            RefusalEffect::Retry(0)
        ));
        let left = outbox.give_up_all(&GaveUp::Left).pop().unwrap();
        assert!(matches!(left.outcome, Outcome::Refused(_)), "its only send was answered: {left:?}");
    }

    #[test]
    fn events_without_an_ack_keep_their_place() {
        let mut outbox = outbox(1, 0);
        let event = Event::new(Data::raw("{}").unwrap());
        outbox.push(Entry::new("u".into(), event, 0, None, None));
        outbox.sent();
        outbox.sent();
        assert_eq!(outbox.pop_unacked(), None);
        assert!(outbox.acked("e1").is_some());
        assert_eq!(outbox.pop_unacked(), Some(Share { bytes: 2, is_suspect: false }));
        assert!(outbox.is_empty());
    }

    #[test]
    fn the_first_in_flight_is_suspected_after_three_breaks_and_given_up_after_eight() {
        let mut outbox = outbox(3, 0);
        let suspected: Vec<_> = (1..=7)
            .map(|_| {
                outbox.sent();
                outbox.sent();
                let cut = outbox.connection_lost(Some("cut"));
                assert!(cut.given_up.is_none());
                cut.suspected
            })
            .collect();
        assert_eq!(suspected, [0, 0, 2, 0, 0, 0, 0]);
        outbox.sent();
        let left = outbox.connection_lost(Some("cut")).given_up.unwrap();
        let why = GaveUp::Breaks { detail: "cut".into() };
        assert_eq!((left.ticket, left.outcome), (Some(1), Outcome::Unknown { why, sent: true }));
        assert!(left.share.is_suspect);
        assert_eq!(next(&outbox), "e2");
    }

    #[test]
    fn a_loss_is_no_break_where_nothing_is_in_flight_or_the_server_has_answered() {
        let mut outbox = outbox(3, 0);
        for _ in 0..20 {
            let cut = outbox.connection_lost(Some("cut"));
            assert!(cut.given_up.is_none() && cut.suspected == 0, "nothing in flight: {cut:?}");
        }
        for _ in 0..20 {
            outbox.sent();
            assert!(matches!(
                outbox.refused("e1", refusal(ErrorCode::Overloaded), None),
                RefusalEffect::Retry(_)
            ));
            let cut = outbox.connection_lost(Some("cut"));
            assert!(cut.given_up.is_none() && cut.suspected == 0, "answered: {cut:?}");
        }
    }
}
