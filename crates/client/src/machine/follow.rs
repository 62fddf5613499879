//! A reader's position in a session's log, and the effect of each message from the server on it.

use agentbench_protocol::message::Joined;
use agentbench_protocol::{Epoch, GapCause, Position, Seq, StartAt};

use crate::item::{Gap, Item, Resumed, Violation};

use super::FollowKey;

/// One follow.
#[derive(Debug)]
pub(super) struct ActiveFollow {
    pub(super) key: FollowKey,
    start: StartAt,
    /// Known from the first join on.
    place: Option<Place>,
    /// Entries that were skipped without a gap: they may still arrive, late.
    holes: Holes,
    /// Whether the current connection delivers to it.
    pub(super) is_live: bool,
}

/// The user has everything up to `seq`.
#[derive(Debug)]
struct Place {
    epoch: Epoch,
    seq: Seq,
    /// Id of the event at `seq`; empty if unknown. Its memory is reused for every event.
    last_id: String,
}

impl Place {
    fn position(&self) -> Position {
        let last_id = (!self.last_id.is_empty()).then(|| self.last_id.clone());
        Position { epoch: self.epoch, seq: self.seq, last_id }
    }

    fn at(position: Position) -> Self {
        Self { epoch: position.epoch, seq: position.seq, last_id: position.last_id.unwrap_or_default() }
    }
}

/// What to do with an entry of the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It is the next one.
    Next,
    /// The user already has it.
    Repeat,
    /// It is the next one after a hole that nothing explains.
    Hole(Violation),
    /// It was skipped before, and the user has later ones.
    Late,
}

/// Maximum number of skipped entries that are remembered. Beyond it, holes are reported, but not their late entries.
const MAX_MISSING: u64 = 1024;

/// Ranges of seqs that were skipped and have not arrived.
#[derive(Debug, Default)]
struct Holes {
    ranges: Vec<(Seq, Seq)>,
    /// Total number of seqs in all ranges.
    missing: u64,
}

impl Holes {
    /// Records the first entries of a hole, as many as fit.
    fn add(&mut self, violation: &Violation) {
        let room = MAX_MISSING - self.missing;
        let count = room.min(violation.got - violation.expected);
        if count > 0 {
            self.ranges.push((violation.expected, violation.expected + count - 1));
            self.missing += count;
        }
    }

    /// Whether it was missing; removes it.
    fn fill(&mut self, seq: Seq) -> bool {
        let Some(index) = self.ranges.iter().position(|(from, to)| (*from..=*to).contains(&seq)) else {
            return false;
        };
        let (from, to) = self.ranges.swap_remove(index);
        let left = [(from, seq - 1), (seq + 1, to)];
        self.ranges.extend(left.into_iter().filter(|(from, to)| from <= to));
        self.missing -= 1;
        true
    }
}

impl ActiveFollow {
    pub(super) fn new(key: FollowKey, start: StartAt) -> Self {
        Self { key, start, place: None, holes: Holes::default(), is_live: false }
    }

    /// Where the next join should start.
    pub(super) fn from(&self) -> StartAt {
        self.place.as_ref().map_or_else(|| self.start.clone(), |place| StartAt::After(place.position()))
    }

    /// The join was answered. Returns the item for the user, unless it is the first join.
    pub(super) fn joined(&mut self, joined: &Joined) -> Option<Item> {
        self.is_live = true;
        let Some(place) = &mut self.place else {
            let asked = std::mem::take(&mut self.start);
            self.place = Some(Place::at(joined.from.clone()));
            return match asked {
                StartAt::After(was) if !joined.recovered => Some(not_recovered(was, joined)),
                StartAt::After(was) => {
                    // The server need not repeat the id that it has verified.
                    self.place = Some(Place::at(was.clone()));
                    Some(Item::Resumed(Resumed { from: was, head_seq: joined.head_seq }))
                }
                _ => None,
            };
        };
        let was = place.position();
        if joined.recovered {
            return Some(Item::Resumed(Resumed { from: was, head_seq: joined.head_seq }));
        }
        *place = Place::at(joined.from.clone());
        self.holes = Holes::default();
        Some(not_recovered(was, joined))
    }

    /// Handles an entry of the log with this id.
    pub(super) fn arrived(&mut self, seq: Seq, id: &str) -> Arrival {
        let Some(place) = &mut self.place else { return Arrival::Repeat };
        if seq <= place.seq {
            return if self.holes.fill(seq) { Arrival::Late } else { Arrival::Repeat };
        }
        let expected = place.seq.saturating_add(1);
        place.seq = seq;
        place.last_id.clear();
        place.last_id.push_str(id);
        if seq == expected {
            return Arrival::Next;
        }
        let violation = Violation { expected, got: seq };
        self.holes.add(&violation);
        Arrival::Hole(violation)
    }

    /// Whether the user has everything up to this seq.
    pub(super) fn has(&self, seq: Seq) -> bool {
        self.place.as_ref().is_some_and(|place| place.seq >= seq)
    }

    /// Handles a gap. Returns the hole before it, if there is one.
    pub(super) fn skipped(&mut self, gap: &Gap) -> Option<Violation> {
        // These are about the reader's earlier history; the join has set the new position.
        if matches!(gap.cause, GapCause::Epoch | GapCause::Diverged) {
            return None;
        }
        let place = self.place.as_mut()?;
        if gap.to <= place.seq {
            return None;
        }
        let expected = place.seq.saturating_add(1);
        place.seq = gap.to;
        place.last_id.clear();
        let violation = (gap.from > expected).then_some(Violation { expected, got: gap.from })?;
        self.holes.add(&violation);
        Some(violation)
    }
}

fn not_recovered(was: Position, joined: &Joined) -> Item {
    Item::NotRecovered { reason: joined.reason, was, from: joined.from.clone() }
}

#[cfg(test)]
mod tests {
    use agentbench_protocol::{NotRecovered, SessionId, SessionInfo, Status};

    use super::*;

    fn position(epoch: u64, seq: Seq, last_id: Option<&str>) -> Position {
        Position { epoch: Epoch::from_u64(epoch), seq, last_id: last_id.map(Into::into) }
    }

    fn joined(epoch: u64, from: Seq, reason: Option<NotRecovered>) -> Joined {
        let session_id = SessionId::from_u128(1);
        let session = SessionInfo {
            session_id,
            project_id: "p".into(),
            test_id: "t".into(),
            agent_name: "a".into(),
            status: Status::Idle,
            epoch: Epoch::from_u64(epoch),
            head_seq: 100,
            created_by: "u".into(),
            created_at: 0,
            started_at: None,
            ended_at: None,
            reason: None,
            progress: None,
            last_event_at: None,
            pace_ms: None,
            stalled: None,
            metadata: None,
            participants: vec![],
        };
        Joined {
            original_message_id: "c".into(),
            session_id,
            epoch: Epoch::from_u64(epoch),
            head_seq: 100,
            from: position(epoch, from, None),
            recovered: reason.is_none(),
            reason,
            session,
        }
    }

    fn following(from: Seq) -> ActiveFollow {
        let mut follow = ActiveFollow::new(FollowKey(1), StartAt::Start);
        assert!(follow.joined(&joined(7, from, None)).is_none());
        follow
    }

    #[test]
    fn next_repeat_and_hole() {
        let mut follow = following(0);
        assert_eq!(follow.arrived(1, "a"), Arrival::Next);
        assert_eq!(follow.arrived(1, "a"), Arrival::Repeat);
        assert_eq!(follow.arrived(3, "c"), Arrival::Hole(Violation { expected: 2, got: 3 }));
        assert_eq!(follow.arrived(4, "d"), Arrival::Next);
        assert_eq!(follow.from(), StartAt::After(position(7, 4, Some("d"))));
    }

    #[test]
    fn what_was_left_out_and_comes_later_is_late_once() {
        let mut follow = following(0);
        assert_eq!(follow.arrived(5, "e"), Arrival::Hole(Violation { expected: 1, got: 5 }));
        assert_eq!(follow.arrived(3, "c"), Arrival::Late);
        assert_eq!(follow.arrived(3, "c"), Arrival::Repeat);
        assert_eq!(follow.arrived(1, "a"), Arrival::Late);
        assert_eq!(follow.arrived(5, "e"), Arrival::Repeat);
        assert_eq!(follow.arrived(4, "d"), Arrival::Late);
        assert_eq!(follow.arrived(6, "f"), Arrival::Next);
        assert_eq!(follow.from(), StartAt::After(position(7, 6, Some("f"))));
    }

    #[test]
    fn the_first_1024_missing_entries_are_remembered_in_whatever_holes() {
        let mut follow = following(0);
        // 1,000 holes of one entry (1, 3, … 1999), then one with far more than there is room for.
        for n in 1..=1000 {
            assert!(matches!(follow.arrived(2 * n, "x"), Arrival::Hole(_)));
        }
        assert!(matches!(follow.arrived(Seq::MAX, "y"), Arrival::Hole(_)));
        for (seq, arrival) in [
            (1, Arrival::Late),
            (1999, Arrival::Late),
            (2001, Arrival::Late),
            (2024, Arrival::Late),
            (2025, Arrival::Repeat),
            (2024, Arrival::Repeat),
        ] {
            assert_eq!(follow.arrived(seq, "z"), arrival, "{seq}");
        }
    }

    #[test]
    fn what_came_late_makes_room_for_other_missing_entries() {
        let mut follow = following(0);
        follow.arrived(1026, "x");
        assert_eq!(follow.arrived(1025, "y"), Arrival::Repeat, "the hole is cut behind 1024 entries");
        assert_eq!(follow.arrived(7, "z"), Arrival::Late);
        follow.arrived(1030, "x");
        assert_eq!(follow.arrived(1028, "y"), Arrival::Repeat, "there was room for one");
        assert_eq!(follow.arrived(1027, "z"), Arrival::Late);
    }

    #[test]
    fn gaps_move_the_place_and_forget_the_id() {
        let mut follow = following(0);
        follow.arrived(1, "a");
        let gap = |from, to, cause| Gap { from, to, cause, history: true };
        assert_eq!(follow.skipped(&gap(2, 3, GapCause::Expired)), None);
        assert_eq!(follow.from(), StartAt::After(position(7, 3, None)));
        assert_eq!(follow.skipped(&gap(1, 2, GapCause::Expired)), None);
        assert_eq!(follow.skipped(&gap(1, 9, GapCause::Diverged)), None);
        assert_eq!(follow.arrived(4, "d"), Arrival::Next);
        assert_eq!(follow.skipped(&gap(7, 8, GapCause::Overflow)), Some(Violation { expected: 5, got: 7 }));
        assert_eq!(follow.arrived(9, "i"), Arrival::Next);
    }

    #[test]
    fn a_position_that_is_not_honoured_is_left_behind() {
        let mut follow = following(0);
        follow.arrived(1, "a");
        assert!(matches!(follow.joined(&joined(7, 1, None)), Some(Item::Resumed(_))));
        assert_eq!(follow.from(), StartAt::After(position(7, 1, Some("a"))));
        let item = follow.joined(&joined(8, 0, Some(NotRecovered::UnknownEpoch)));
        assert!(matches!(item, Some(Item::NotRecovered { reason: Some(NotRecovered::UnknownEpoch), .. })));
        assert_eq!(follow.from(), StartAt::After(position(8, 0, None)));
        assert_eq!(follow.arrived(1, "z"), Arrival::Next);
    }

    #[test]
    fn a_position_of_the_users_own() {
        let mut follow = ActiveFollow::new(FollowKey(1), StartAt::After(position(7, 5, Some("e"))));
        assert!(matches!(follow.joined(&joined(7, 5, None)), Some(Item::Resumed(_))));
        assert_eq!(follow.from(), StartAt::After(position(7, 5, Some("e"))));
        let mut follow = ActiveFollow::new(FollowKey(1), StartAt::After(position(6, 5, None)));
        assert!(matches!(
            follow.joined(&joined(7, 0, Some(NotRecovered::UnknownEpoch))),
            Some(Item::NotRecovered { .. })
        ));
        assert_eq!(follow.arrived(1, "a"), Arrival::Next);
    }
}
