//! Rates: token buckets that fill with time.

/// One bucket: `rate` tokens a second, at most two seconds' worth at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    /// Thousandths of a token.
    level: u64,
    filled_at: u64,
}

impl Bucket {
    /// A full bucket.
    pub(crate) fn new(rate: u64, now: u64) -> Self {
        Self { level: rate.saturating_mul(2_000), filled_at: now }
    }

    /// Whether the bucket has been unused for as long as it takes to fill.
    pub(crate) fn is_full(&self, rate: u64, now: u64) -> bool {
        let elapsed = now.saturating_sub(self.filled_at);
        self.level.saturating_add(elapsed.saturating_mul(rate)) >= rate.saturating_mul(2_000)
    }

    /// Takes one token, or returns the time in ms until one is available. `rate` 0 is no limit.
    pub(crate) fn take(&mut self, rate: u64, now: u64) -> Result<(), u64> {
        self.take_many(rate, 1, now)
    }

    /// Takes `count` tokens, or returns the time in ms until they are available. More than a second's worth is charged as a
    /// second's worth, so that such a request is possible at all.
    pub(crate) fn take_many(&mut self, rate: u64, count: u64, now: u64) -> Result<(), u64> {
        if rate == 0 {
            return Ok(());
        }
        let cost = count.min(rate).saturating_mul(1_000);
        let elapsed = now.saturating_sub(self.filled_at);
        self.level = self.level.saturating_add(elapsed.saturating_mul(rate)).min(rate.saturating_mul(2_000));
        self.filled_at = now;
        match self.level.checked_sub(cost) {
            Some(level) => {
                self.level = level;
                Ok(())
            }
            None => Err((cost - self.level).div_ceil(rate).max(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_rate_and_says_when_to_come_back() {
        let mut bucket = Bucket::new(10, 0);
        for _ in 0..20 {
            assert_eq!(bucket.take(10, 0), Ok(()));
        }
        assert_eq!(bucket.take(10, 0), Err(100));
        assert_eq!(bucket.take(10, 99), Err(1));
        assert_eq!(bucket.take(10, 100), Ok(()));
        assert_eq!(bucket.take(10, 100), Err(100));
        let mut bucket = Bucket::new(10, 0);
        assert_eq!((bucket.take_many(10, 15, 0), bucket.take_many(10, 8, 0)), (Ok(()), Ok(())));
        assert_eq!((bucket.take_many(10, 8, 0), bucket.take(10, 0)), (Err(600), Ok(())));
        let mut unlimited = Bucket::new(0, 0);
        assert!((0..1_000).all(|_| unlimited.take(0, 0).is_ok()));
    }
}
