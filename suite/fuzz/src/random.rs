//! Numbers from a seed: the same on every machine and with every version of every crate.

/// A generator (splitmix64). Each input of a run has its own, so that one input does not depend on those before.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The generator of one input of the run with this seed.
    pub fn of_input(seed: u64, number: u64) -> Self {
        let mut random = Self(seed);
        let start = random.number() ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self(start)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Any byte.
    pub fn byte(&mut self) -> u8 {
        self.number() as u8
    }

    /// A number below `end`; 0 if there is none.
    pub fn below(&mut self, end: usize) -> usize {
        // The slight preference for small numbers does not matter here.
        (self.number() % (end.max(1) as u64)) as usize
    }

    /// A number below `end`, most often a small one.
    pub fn small(&mut self, end: usize) -> usize {
        let most = 1 + self.below(end);
        self.below(most)
    }

    /// One of these; `None` if there are none.
    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        all.get(self.below(all.len()))
    }
}
