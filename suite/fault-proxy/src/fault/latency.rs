//! `latency`: everything arrives later. Bytes wait in the link's pipe, which holds a megabyte; a higher throughput per
//! latency makes the sender wait, like a path with a small window.

use std::time::Duration;

/// The delay. `luck` chooses a value between `ms - jitter_ms` and `ms + jitter_ms`.
pub(crate) fn wait(ms: u64, jitter_ms: u64, luck: u64) -> Duration {
    let least = ms.saturating_sub(jitter_ms);
    let span = ms + jitter_ms - least;
    Duration::from_millis(least + luck % (span + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_within_the_jitter_and_uses_all_of_it() {
        let waits: std::collections::BTreeSet<u128> =
            (0..1000).map(|luck| wait(10, 3, luck).as_millis()).collect();
        assert_eq!(waits.into_iter().collect::<Vec<_>>(), [7, 8, 9, 10, 11, 12, 13]);
        assert_eq!(wait(2, 5, 0).as_millis(), 0);
        assert_eq!(wait(40, 0, 12345).as_millis(), 40);
    }
}
