//! What a client has promised its user: an outcome for everything, and every entry in order.

use std::collections::BTreeSet;

use agentbench_client::machine::Output;
use agentbench_client::{Gap, GapCause, Item, SystemMessage};

use super::{FOLLOW, REPLAY};

#[derive(Default)]
pub(super) struct Model {
    /// Everything that was told, in words.
    pub(super) told: Vec<String>,
    publishes: BTreeSet<u64>,
    commands: BTreeSet<u64>,
    follow: Option<Place>,
    /// Who waits for the start of the follow, and of the replay.
    follow_key: u64,
    replay_key: u64,
}

/// Where a follow stands.
#[derive(Default)]
struct Place {
    /// The next seq, once it is known.
    next: Option<u64>,
    /// The seq that comes behind a hole that was said.
    behind_hole: Option<u64>,
    /// The entries that it has.
    had: BTreeSet<u64>,
}

impl Model {
    pub(super) fn published(&mut self, ticket: u64) {
        self.publishes.insert(ticket);
    }

    pub(super) fn asked(&mut self, key: u64) {
        self.commands.insert(key);
    }

    pub(super) fn follows(&mut self, key: u64) {
        self.asked(key);
        self.follow_key = key;
        self.follow = Some(Place::default());
    }

    /// Nothing more may be told about the follow, not even to who waited for its start.
    pub(super) fn unfollowed(&mut self) {
        if self.follow.take().is_some() {
            self.commands.remove(&self.follow_key);
        }
    }

    pub(super) fn replays(&mut self, key: u64) {
        self.asked(key);
        self.replay_key = key;
    }

    /// Nothing more may be told about the replay, not even to who waited for its start.
    pub(super) fn replay_stopped(&mut self) {
        self.commands.remove(&self.replay_key);
    }

    /// Number of publishes without an outcome.
    pub(super) fn unsettled(&self) -> usize {
        self.publishes.len()
    }

    pub(super) fn take(&mut self, output: Output<u64>) {
        self.told.push(format!("{output:?}"));
        match output {
            Output::Published { ticket, .. } => {
                assert!(self.publishes.remove(&ticket), "two outcomes of {ticket}");
            }
            Output::Reply { key, reply } => {
                assert!(self.commands.remove(&key), "two replies to {key}");
                if let (Some(place), Ok(reply)) =
                    (self.follow.as_mut().filter(|_| key == self.follow_key), reply)
                    && let SystemMessage::SessionJoined(joined) = *reply
                {
                    place.next = joined.from.seq.checked_add(1);
                }
            }
            Output::FollowEnded { follow, .. } if follow == FOLLOW => {
                assert!(self.follow.take().is_some(), "a follow ends twice");
            }
            Output::Item { follow, item } if follow == FOLLOW => {
                let place = self.follow.as_mut().expect("an item of a follow that has ended");
                place.take(&item);
            }
            Output::Item { follow, .. } => assert_eq!(follow, REPLAY, "an item of no follow"),
            _ => {}
        }
    }

    pub(super) fn check_end(&self) {
        assert!(self.publishes.is_empty(), "no outcome of {:?}", self.publishes);
        assert!(self.commands.is_empty(), "no reply to {:?}", self.commands);
        assert!(self.follow.is_none(), "a follow that does not end");
    }
}

impl Place {
    fn take(&mut self, item: &Item) {
        match item {
            Item::Event(_) | Item::Lifecycle(_) => {
                let seq = item.seq().expect("an entry has a seq");
                self.reach(seq, "entry");
                self.next = seq.checked_add(1);
                assert!(self.had.insert(seq), "entry {seq} twice");
            }
            Item::Late(entry) => {
                assert!(self.had.insert(entry.seq), "entry {} twice, the second time late", entry.seq);
            }
            Item::Violation(hole) => {
                assert!(hole.got > hole.expected, "a hole of nothing: {hole:?}");
                assert!(
                    self.next.is_none_or(|next| next == hole.expected),
                    "a hole in the wrong place: {hole:?}"
                );
                self.behind_hole = Some(hole.got);
            }
            Item::Gap(gap) if self.is_new(gap) => {
                if self.next.is_none_or(|next| gap.from > next) {
                    self.reach(gap.from, "gap");
                }
                self.behind_hole = None;
                self.next = gap.to.checked_add(1);
            }
            Item::NotRecovered { from, .. } => {
                *self = Self { next: from.seq.checked_add(1), ..Self::default() }
            }
            Item::Resumed(resumed) => {
                let next = resumed.from.seq.checked_add(1);
                assert!(self.next.is_none() || self.next == next, "resumed elsewhere: {resumed:?}");
                self.next = next;
            }
            _ => {}
        }
    }

    /// Whether a gap moves the place: it is of the log that is there, and not about what the user has.
    fn is_new(&self, gap: &Gap) -> bool {
        let is_of_another = matches!(gap.cause, GapCause::Epoch | GapCause::Diverged);
        !is_of_another && self.next.is_none_or(|next| gap.to >= next)
    }

    /// Something stands at this seq: the next one, or the one behind a hole that was said.
    fn reach(&mut self, seq: u64, what: &str) {
        let expected = self.behind_hole.take().or(self.next);
        assert!(
            expected.is_none_or(|expected| expected == seq),
            "an {what} at {seq}, and not at {expected:?}"
        );
    }
}
