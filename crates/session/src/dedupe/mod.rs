//! The window of ids that a session remembers, so that a publish repeated after a lost ack is stored once.
//!
//! One entry for each of the last N events of the log, in the log's order: an entry's place in the ring is its seq, so
//! the table beside it only holds seqs. About 24 bytes an event. Keys are 64-bit hashes under a secret seed: two different
//! ids meet with a chance of 2⁻⁴⁸ an event in a full window, and then the later one is refused out loud
//! (`id_conflict`), never swallowed, since the content's digest differs too.

mod places;
mod prefetch;
mod ring;

use agentbench_protocol::Seq;
use places::Places;
use ring::Ring;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Keys up to this many bytes are put together on the stack.
const SHORT_KEY: usize = 256;
/// Events that a window remembers at most.
pub const MAX_CAPACITY: usize = 1 << 24;
/// Bytes of a length before the texts of a key; the last text's follows from the whole.
const LENGTHS: usize = 4;

/// Hash of (user, producer, id) under the window's seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventKey(u64);

impl EventKey {
    /// The key of an event. `seed` is the process's secret.
    pub fn new(seed: u64, user: &str, producer: &str, id: &str) -> Self {
        // Copied together, since hashing one short run costs a tenth of what setting up a hash over several does.
        let mut short = [0_u8; SHORT_KEY];
        let size = user.len() + producer.len() + id.len() + 2 * LENGTHS;
        let mut long = Vec::new();
        let bytes = if size <= SHORT_KEY {
            &mut short[..size]
        } else {
            long.resize(size, 0);
            &mut long[..]
        };
        let (lengths, texts) = bytes.split_at_mut(2 * LENGTHS);
        lengths[..LENGTHS].copy_from_slice(&(user.len() as u32).to_le_bytes());
        lengths[LENGTHS..].copy_from_slice(&(producer.len() as u32).to_le_bytes());
        let (first, rest) = texts.split_at_mut(user.len());
        let (second, third) = rest.split_at_mut(producer.len());
        first.copy_from_slice(user.as_bytes());
        second.copy_from_slice(producer.as_bytes());
        third.copy_from_slice(id.as_bytes());
        Self(xxh3_64_with_seed(bytes, seed))
    }
}

/// What the window knows of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Nothing.
    New,
    /// The same content came before and got this seq.
    Repeat(Seq),
    /// Other content, or the same in another spelling, came before under this key and got this seq.
    Conflict(Seq),
}

/// The last events of one session, by key.
#[derive(Debug)]
pub struct DedupeWindow {
    capacity: usize,
    /// Seq of the ring's first entry.
    first: Seq,
    ring: Ring,
    places: Places,
}

impl DedupeWindow {
    /// A window of `capacity` events, at most [`MAX_CAPACITY`], whose next entry is the event at `next`.
    pub fn new(capacity: usize, next: Seq) -> Self {
        let capacity = capacity.clamp(1, MAX_CAPACITY);
        Self { capacity, first: next, ring: Ring::default(), places: Places::new(capacity) }
    }

    /// The seq that the next [`DedupeWindow::push`] records.
    pub fn next_seq(&self) -> Seq {
        self.first + self.ring.len() as u64
    }

    /// Starts to load the memory that [`DedupeWindow::find`] and [`DedupeWindow::push`] need for this key.
    pub fn prefetch(&self, key: EventKey) {
        self.places.prefetch(key);
        if self.ring.len() == self.capacity
            && let Some((oldest, _)) = self.ring.get(0)
        {
            self.places.prefetch(*oldest);
        }
    }

    /// Whether the key was seen, with this content or another.
    pub fn find(&self, key: EventKey, digest: u64) -> Seen {
        let at = |place| self.ring.get(self.index_of(place));
        let place = self.places.find(key, |place| at(place).is_some_and(|(other, _)| *other == key));
        let Some(place) = place else { return Seen::New };
        let seq = self.first + self.index_of(place) as u64;
        match at(place) {
            Some((_, known)) if *known == digest => Seen::Repeat(seq),
            _ => Seen::Conflict(seq),
        }
    }

    /// Records the event at [`DedupeWindow::next_seq`]; the oldest entry leaves a full window.
    pub fn push(&mut self, key: EventKey, digest: u64) {
        if self.ring.len() == self.capacity {
            self.forget_oldest();
        }
        if self.places.is_small_for(self.ring.len()) {
            self.enlarge();
        }
        self.places.insert(key, self.next_seq());
        self.ring.push_back((key, digest));
    }

    /// Forgets every entry from `next` on: the log did not take them.
    pub fn truncate(&mut self, next: Seq) {
        while self.next_seq() > next.max(self.first) {
            let Some((key, _)) = self.ring.pop_back() else { return };
            self.places.remove(key, self.next_seq());
        }
    }

    fn forget_oldest(&mut self) {
        let Some((key, _)) = self.ring.pop_front() else { return };
        self.places.remove(key, self.first);
        self.first += 1;
    }

    #[cold]
    fn enlarge(&mut self) {
        let seqs = self.first..;
        self.places.grow(self.ring.iter().map(|(key, _)| *key).zip(seqs));
    }

    fn index_of(&self, place: u32) -> usize {
        self.places.distance(self.first, place)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn key(n: u64) -> EventKey {
        EventKey::new(1, "u", "p", &n.to_string())
    }

    #[test]
    fn the_parts_of_a_key_do_not_run_together() {
        assert_ne!(EventKey::new(1, "ab", "c", "d"), EventKey::new(1, "a", "bc", "d"));
        assert_ne!(EventKey::new(1, "a", "b", "c"), EventKey::new(2, "a", "b", "c"));
    }

    #[test]
    fn seqs_beyond_32_bits_keep_their_place() {
        let start = u64::from(u32::MAX) - 2;
        let mut window = DedupeWindow::new(10, start);
        for n in 0..6 {
            window.push(key(n), n);
        }
        for n in 0..6 {
            assert_eq!(window.find(key(n), n), Seen::Repeat(start + n));
        }
    }

    #[test]
    fn a_full_window_remembers_exactly_its_last_events() {
        let (capacity, start) = (5_000, 3);
        let mut window = DedupeWindow::new(capacity, start);
        for n in 0..20_000 {
            window.prefetch(key(n));
            window.push(key(n), n);
            let oldest = (n + 1).saturating_sub(capacity as u64);
            assert_eq!(window.find(key(oldest), oldest), Seen::Repeat(start + oldest));
            if oldest > 0 {
                assert_eq!(window.find(key(oldest - 1), oldest - 1), Seen::New);
            }
        }
        for n in 15_000..20_000 {
            assert_eq!(window.find(key(n), 0), Seen::Conflict(start + n));
        }
    }

    proptest! {
        /// Beside the window runs a plain list of all that was pushed.
        #[test]
        fn behaves_like_a_list_of_the_last_events(
            capacity in 1..20_usize,
            steps in proptest::collection::vec((0..40_u64, 0..3_u64, 0..12_u64), 0..200),
        ) {
            let mut window = DedupeWindow::new(capacity, 1);
            let mut list: Vec<(u64, u64)> = Vec::new();
            let mut forgotten = 0;
            for (id, digest, cut) in steps {
                let kept: HashMap<u64, (u64, u64)> = (forgotten..list.len())
                    .map(|at| (list[at].0, (list[at].1, at as u64 + 1)))
                    .collect();
                let expected = match kept.get(&id) {
                    None => Seen::New,
                    Some((known, seq)) if *known == digest => Seen::Repeat(*seq),
                    Some((_, seq)) => Seen::Conflict(*seq),
                };
                prop_assert_eq!(window.find(key(id), digest), expected);
                if expected == Seen::New {
                    window.push(key(id), digest);
                    list.push((id, digest));
                    forgotten = forgotten.max(list.len().saturating_sub(capacity));
                }
                if cut == 0 {
                    let next = (list.len() as u64).max(forgotten as u64 + 1);
                    window.truncate(next);
                    list.truncate(next as usize - 1);
                }
                prop_assert_eq!(window.next_seq(), list.len() as u64 + 1);
            }
        }
    }
}
