//! Shrinks a failing plan to the parts that it needs to fail.
//!
//! Delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", IEEE TSE 2002),
//! with control inverted: the caller runs each candidate and reports whether it failed.

/// Searches for a smaller list of parts that still fails.
///
/// ```
/// use agentbench_history::Shrinker;
///
/// // Fails whenever 3 and 8 are both present.
/// let mut shrinker = Shrinker::new((0..20).collect());
/// while let Some(candidate) = shrinker.candidate() {
///     let fails = candidate.contains(&3) && candidate.contains(&8);
///     shrinker.report(fails);
/// }
/// assert_eq!(shrinker.smallest(), [3, 8]);
/// ```
#[derive(Debug, Clone)]
pub struct Shrinker<T> {
    /// The smallest list known to fail.
    smallest: Vec<T>,
    /// Number of chunks.
    chunks: usize,
    /// The next candidate leaves out (or keeps alone) this chunk.
    next: usize,
    /// Whether chunks are tried alone, before they are left out.
    alone: bool,
    is_done: bool,
}

impl<T: Clone> Shrinker<T> {
    /// Starts with parts that fail together.
    pub fn new(parts: Vec<T>) -> Self {
        let mut shrinker = Self { smallest: parts, chunks: 2, next: 0, alone: true, is_done: false };
        shrinker.begin();
        shrinker
    }

    /// The next list to try; `None` once every single part is needed.
    pub fn candidate(&self) -> Option<Vec<T>> {
        if self.is_done {
            return None;
        }
        let (from, to) = self.chunk(self.next);
        Some(if self.alone {
            self.smallest[from..to].to_vec()
        } else {
            [&self.smallest[..from], &self.smallest[to..]].concat()
        })
    }

    /// Reports whether the candidate failed.
    pub fn report(&mut self, fails: bool) {
        let Some(candidate) = self.candidate() else { return };
        if fails {
            // What was left out is not needed. After a single chunk, start over; after a complement, keep the granularity.
            self.chunks = if self.alone { 2 } else { (self.chunks - 1).max(2) };
            self.smallest = candidate;
            self.begin();
            return;
        }
        self.next += 1;
        if self.next < self.chunks {
            return;
        }
        self.next = 0;
        if self.alone {
            self.alone = false;
        } else if self.chunks >= self.smallest.len() {
            self.is_done = true;
        } else {
            self.chunks = (self.chunks * 2).min(self.smallest.len());
            self.begin();
        }
    }

    /// The smallest list known to fail.
    pub fn smallest(&self) -> &[T] {
        &self.smallest
    }

    fn begin(&mut self) {
        let length = self.smallest.len();
        (self.next, self.alone) = (0, true);
        self.chunks = self.chunks.min(length);
        self.is_done = length == 0;
        if length == 1 {
            // Only the empty list is smaller.
            (self.chunks, self.alone) = (1, false);
        }
    }

    fn chunk(&self, number: usize) -> (usize, usize) {
        let length = self.smallest.len();
        (number * length / self.chunks, (number + 1) * length / self.chunks)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Shrinks, and counts the candidates.
    fn shrink(parts: Vec<u32>, fails: impl Fn(&[u32]) -> bool) -> (Vec<u32>, usize) {
        let (mut shrinker, mut tries) = (Shrinker::new(parts), 0);
        while let Some(candidate) = shrinker.candidate() {
            tries += 1;
            assert!(tries < 100_000, "it does not end");
            assert!(candidate.len() < shrinker.smallest().len(), "a candidate is smaller");
            shrinker.report(fails(&candidate));
        }
        (shrinker.smallest().to_vec(), tries)
    }

    #[test]
    fn one_culprit_is_found_in_a_few_steps() {
        let (found, tries) = shrink((0..1000).collect(), |parts| parts.contains(&617));
        assert_eq!(found, [617]);
        assert!(tries < 60, "{tries}");
    }

    #[test]
    fn what_always_fails_shrinks_to_nothing_and_nothing_stays_nothing() {
        assert!(shrink((0..9).collect(), |_| true).0.is_empty());
        assert_eq!(shrink(vec![], |_| true), (vec![], 0));
        assert_eq!(shrink(vec![1], |parts| !parts.is_empty()).0, [1]);
    }

    proptest! {
        #[test]
        fn what_is_left_fails_and_every_part_of_it_is_needed(
            length in 1_u32..60,
            needed in proptest::collection::btree_set(0_u32..60, 0..6),
        ) {
            let needed: Vec<u32> = needed.into_iter().filter(|part| *part < length).collect();
            let fails = |parts: &[u32]| needed.iter().all(|part| parts.contains(part));
            let (found, _) = shrink((0..length).collect(), fails);
            prop_assert_eq!(found, needed);
        }
    }
}
