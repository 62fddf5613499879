//! The window of ids that a session remembers, so that a publish repeated after a lost ack is stored once.
//!
//! One entry for each of the last N events of the log, in the log's order: an entry's place in the ring is its seq, so
//! the table beside it only holds seqs. About 24 bytes an event. Keys are 64-bit hashes under a secret seed: two different
//! ids meet with a chance of 2⁻⁴⁸ an event in a full window, and then the later one is refused out loud
//! (`id_conflict`), never swallowed, since the content's digest differs too.

use std::collections::VecDeque;

use agentbench_protocol::Seq;
use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Keys up to this many bytes are put together on the stack.
const SHORT_KEY: usize = 256;
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
    ring: VecDeque<(EventKey, u64)>,
    /// Seqs, truncated to 32 bits: the ring is far shorter than 2³² entries, so the place is unambiguous.
    table: HashTable<u32>,
}

impl DedupeWindow {
    /// A window of `capacity` events whose next entry is the event at `next`.
    pub fn new(capacity: usize, next: Seq) -> Self {
        Self { capacity: capacity.max(1), first: next, ring: VecDeque::new(), table: HashTable::new() }
    }

    /// The seq that the next [`DedupeWindow::push`] records.
    pub fn next_seq(&self) -> Seq {
        self.first + self.ring.len() as u64
    }

    /// Whether the key was seen, with this content or another.
    pub fn find(&self, key: EventKey, digest: u64) -> Seen {
        let place = self.table.find(key.0, |low| self.ring[self.index(*low)].0 == key);
        match place {
            None => Seen::New,
            Some(low) => {
                let index = self.index(*low);
                let seq = self.first + index as u64;
                if self.ring[index].1 == digest { Seen::Repeat(seq) } else { Seen::Conflict(seq) }
            }
        }
    }

    /// Records the event at [`DedupeWindow::next_seq`]; the oldest entry leaves a full window.
    pub fn push(&mut self, key: EventKey, digest: u64) {
        if self.ring.len() == self.capacity {
            self.forget_oldest();
        }
        let low = self.next_seq() as u32;
        self.ring.push_back((key, digest));
        let (first, ring) = (self.first, &self.ring);
        self.table.insert_unique(key.0, low, |low| ring[index_of(first, *low)].0.0);
    }

    /// Forgets every entry from `next` on: the log did not take them.
    pub fn truncate(&mut self, next: Seq) {
        while self.next_seq() > next.max(self.first) {
            let low = (self.next_seq() - 1) as u32;
            let Some((key, _)) = self.ring.back().copied() else { return };
            self.remove(key, low);
            self.ring.pop_back();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((key, _)) = self.ring.front().copied() else { return };
        self.remove(key, self.first as u32);
        self.ring.pop_front();
        self.first += 1;
    }

    fn remove(&mut self, key: EventKey, low: u32) {
        if let Ok(entry) = self.table.find_entry(key.0, |other| *other == low) {
            entry.remove();
        }
    }

    fn index(&self, low: u32) -> usize {
        index_of(self.first, low)
    }
}

fn index_of(first: Seq, low: u32) -> usize {
    low.wrapping_sub(first as u32) as usize
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
