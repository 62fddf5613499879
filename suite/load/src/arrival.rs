//! When each message is due: scheduled before the run, independent of the server (open loop).

use std::time::Duration;

/// The due times of one client's messages: evenly spread, starting at a moment of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrivals {
    first: Duration,
    spread: Duration,
    count: u32,
}

impl Arrivals {
    /// `count` messages over `spread`. `seed` and the client's number determine the first moment within the
    /// first interval, so that the clients do not all send at once.
    pub fn new(count: u32, spread: Duration, seed: u64, client: u64) -> Self {
        let interval = spread / count.max(1);
        let share = mix(seed ^ mix(client)) as f64 / u64::MAX as f64;
        Self { first: interval.mul_f64(share), spread, count }
    }

    /// The same schedule, delayed by `by`.
    #[must_use]
    pub fn delayed(self, by: Duration) -> Self {
        Self { first: self.first + by, ..self }
    }

    /// Number of messages.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// When message `index` is due, counted from 0, since the start of the run.
    pub fn due(&self, index: u32) -> Duration {
        let whole = self.spread.as_nanos() * u128::from(index) / u128::from(self.count.max(1));
        self.first + Duration::from_nanos(u64::try_from(whole).unwrap_or(u64::MAX))
    }
}

/// SplitMix64: spreads the bits of a number.
pub fn mix(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_spread_evenly_and_clients_begin_at_different_moments() {
        let arrivals = Arrivals::new(100, Duration::from_secs(10), 1, 0);
        let interval = Duration::from_millis(100);
        assert!(arrivals.due(0) <= interval);
        for index in 1..100 {
            assert_eq!(arrivals.due(index) - arrivals.due(index - 1), interval);
        }
        assert_eq!(Arrivals::new(100, Duration::from_secs(10), 1, 0), arrivals);
        assert_ne!(Arrivals::new(100, Duration::from_secs(10), 1, 1), arrivals);
        assert_ne!(Arrivals::new(100, Duration::from_secs(10), 2, 0), arrivals);
    }
}
