//! Where in the ring the event with a given key stands: a hash table with one access to memory for each event.
//!
//! With many sessions the tables are in no cache of the processor, so what an event costs here is the number of lines that
//! it waits for. All slots that a key may have are one line of 64 bytes, which can be asked for before it is needed
//! ([`Places::prefetch`]); a slot has, besides the place, some bits of the hash, so that the ring is nearly always read
//! for the event that is sought. A line for 16 has 8 or 9 on average. What finds its line full, about one event in
//! a thousand, is kept in a table beside.
//!
//! ```text
//! slot = 1 (in use) · tag · place        line = slots in use, then zeros
//! ```

use agentbench_protocol::Seq;
use hashbrown::HashTable;

use super::EventKey;
use super::prefetch::prefetch;

/// Slots of a line.
const SLOTS: usize = 16;
/// Events for each line above which a growing table is doubled.
const GROWING: usize = 8;
/// Events for each line of a table for a full window.
const FULL: usize = 9;
const IN_USE: u32 = 1 << 31;

#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Line([u32; SLOTS]);

impl Line {
    fn is_full(&self) -> bool {
        self.0[SLOTS - 1] != 0
    }

    /// Number of slots in use. Without branches, like all that goes through a line: compilers make vector instructions of it.
    fn count(&self) -> usize {
        self.0.iter().map(|slot| u32::from(*slot != 0)).sum::<u32>() as usize
    }

    fn has(&self, mask: u32, wanted: u32) -> bool {
        self.0.iter().fold(0, |found, slot| found | u32::from(slot & mask == wanted)) != 0
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Places {
    lines: Vec<Line>,
    /// Lines of the table of a full window.
    most_lines: usize,
    /// Bits of a slot that are the place.
    place: u32,
    /// Slots for which there was no room in their line: the line's index, the slot. Those of a line are here only while it is
    /// full.
    beside: HashTable<(u32, u32)>,
}

impl Places {
    /// For places below `capacity`, at most 2²⁴.
    pub(super) fn new(capacity: usize) -> Self {
        let place = (capacity.next_power_of_two() as u32) - 1;
        Self { lines: Vec::new(), most_lines: capacity.div_ceil(FULL), place, beside: HashTable::new() }
    }

    /// How many events after the one at `first` the one in this place comes.
    pub(super) fn distance(&self, first: Seq, place: u32) -> usize {
        (place.wrapping_sub(first as u32) & self.place) as usize
    }

    /// Starts to load what [`Places::find`] and [`Places::insert`] read for this key.
    pub(super) fn prefetch(&self, key: EventKey) {
        if let Some(line) = self.lines.get(self.line_of(key)) {
            prefetch(line);
        }
    }

    /// The place under `key` that is the right one, of which there is at most one.
    pub(super) fn find(&self, key: EventKey, mut is_right: impl FnMut(u32) -> bool) -> Option<u32> {
        let index = self.line_of(key);
        let line = self.lines.get(index)?;
        let (mask, wanted) = (!self.place, self.slot(key, 0));
        if line.has(mask, wanted) {
            let alike = line.0.iter().filter(|slot| **slot & mask == wanted);
            let found = alike.map(|slot| slot & self.place).find(|place| is_right(*place));
            if found.is_some() {
                return found;
            }
        }
        if self.beside.is_empty() || !line.is_full() {
            return None;
        }
        let alike = |(other, slot): &(u32, u32)| *other == index as u32 && slot & mask == wanted;
        let found =
            self.beside.find(hash(index as u32), |entry| alike(entry) && is_right(entry.1 & self.place));
        found.map(|(_, slot)| slot & self.place)
    }

    /// Whether one more than `len` events need a larger table: [`Places::grow`].
    pub(super) fn is_small_for(&self, len: usize) -> bool {
        len >= self.lines.len() * GROWING && self.lines.len() < self.most_lines
    }

    /// Replaces the table by a larger one with these events.
    pub(super) fn grow(&mut self, events: impl Iterator<Item = (EventKey, Seq)>) {
        let lines = (self.lines.len() * 2).clamp(1, self.most_lines);
        self.lines = vec![Line([0; SLOTS]); lines];
        self.beside.clear();
        for (key, seq) in events {
            self.insert(key, seq);
        }
    }

    /// Inserts an event that is not in the table.
    pub(super) fn insert(&mut self, key: EventKey, seq: Seq) {
        let (index, slot) = (self.line_of(key), self.slot(key, seq));
        let line = &mut self.lines[index];
        let count = line.count();
        match line.0.get_mut(count) {
            Some(free) => *free = slot,
            None => {
                let entry = (index as u32, slot);
                self.beside.insert_unique(hash(entry.0), entry, |(line, _)| hash(*line));
            }
        }
    }

    /// Removes an event.
    pub(super) fn remove(&mut self, key: EventKey, seq: Seq) {
        let (index, slot) = (self.line_of(key), self.slot(key, seq));
        let Some(line) = self.lines.get_mut(index) else { return };
        let last = line.count().saturating_sub(1);
        match line.0.iter().position(|other| *other == slot) {
            Some(at) => {
                line.0[at] = line.0[last];
                let of_line = |(line, _): &(u32, u32)| *line == index as u32;
                // One from beside follows into a line that was full.
                line.0[last] = match self.beside.find_entry(hash(index as u32), of_line) {
                    Ok(entry) => entry.remove().0.1,
                    Err(_) => 0,
                };
            }
            None => {
                if let Ok(entry) = self.beside.find_entry(hash(index as u32), |(_, other)| *other == slot) {
                    entry.remove();
                }
            }
        }
    }

    /// By the upper half of the hash; the tag is from the lower one.
    fn line_of(&self, key: EventKey) -> usize {
        (((key.0 >> 32) * self.lines.len() as u64) >> 32) as usize
    }

    /// The place of an event is the end of its seq: different for all events of a window.
    fn slot(&self, key: EventKey, seq: Seq) -> u32 {
        IN_USE | (key.0 as u32 & !self.place) | (seq as u32 & self.place)
    }
}

fn hash(line: u32) -> u64 {
    u64::from(line).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// Few bits differ, so that lines get full and tags are alike.
    fn key(n: u64) -> EventKey {
        EventKey(n.rotate_right(2))
    }

    proptest! {
        #[test]
        fn what_was_inserted_and_not_removed_is_found(
            steps in proptest::collection::vec((any::<bool>(), 0..400_u64), 0..600),
        ) {
            let mut places = Places::new(512);
            let mut inserted: Vec<u64> = Vec::new();
            for (inserts, n) in steps {
                let known: HashSet<u64> = inserted.iter().copied().collect();
                let found = places.find(key(n), |place| u64::from(place) == n);
                prop_assert_eq!(found.is_some(), known.contains(&n));
                if inserts && found.is_none() {
                    if places.is_small_for(inserted.len()) {
                        places.grow(inserted.iter().map(|n| (key(*n), *n)));
                    }
                    places.insert(key(n), n);
                    inserted.push(n);
                } else if !inserts && found.is_some() {
                    places.remove(key(n), n);
                    inserted.retain(|other| *other != n);
                }
            }
            for n in 0..400 {
                let found = places.find(key(n), |place| u64::from(place) == n);
                prop_assert_eq!(found, inserted.contains(&n).then_some(n as u32));
            }
        }
    }
}
