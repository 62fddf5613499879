//! Chance that depends on a seed and on what it decides, not on what was decided before: more work on one file changes nothing
//! about the others.

/// Decisions drawn from one seed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chance {
    seed: u64,
}

/// What is decided.
#[derive(Debug, Clone, Copy)]
pub(super) enum About {
    /// Which content of a sector a power cut leaves.
    Sector,
    /// Which length of a file a power cut leaves.
    Length,
    /// Whether a power cut leaves a change of names.
    Name,
    /// What a failed sync does to a sector.
    FailedSync,
    /// How much of a write is done.
    Write,
}

impl Chance {
    pub(super) const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// A number below `below`, which is at least 1: the same for the same decision. `moment` is a power cut or a failure, `node`
    /// a file or folder, `part` something in it.
    pub(super) fn below(self, about: About, [moment, node, part]: [u64; 3], below: u64) -> u64 {
        let mixed = [about as u64, moment, node, part]
            .into_iter()
            .fold(mix(self.seed), |so_far, number| mix(so_far ^ mix(number)));
        mixed % below.max(1)
    }
}

/// SplitMix64's step: every bit of the input changes half of the output's.
const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
