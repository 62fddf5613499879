//! `bandwidth`: limits bytes per second, by small writes with pauses.

use std::time::Duration;

/// Writes per second: enough to look steady, few enough for the timer's milliseconds.
const WRITES_PER_SECOND: u64 = 20;

/// Bytes per write.
pub(crate) fn piece(bytes_per_second: u64) -> usize {
    usize::try_from((bytes_per_second / WRITES_PER_SECOND).max(1)).unwrap_or(usize::MAX)
}

/// Pause after `bytes` bytes.
pub(crate) fn pause(bytes_per_second: u64, bytes: usize) -> Duration {
    Duration::from_secs_f64(bytes as f64 / bytes_per_second as f64)
}
