//! Restores a session's progress from the newest part of its log.

use agentbench_event_log::{Frame, Kind};
use agentbench_protocol::outline::progress_of_event;

/// Maximum number of events scanned, newest first. A session without progress in them shows none until its next `progress`
/// event.
const MAX_SCAN: usize = 4096;

/// The percentage of the newest `progress` event in `tail`.
pub(crate) fn newest_progress(tail: &[Frame]) -> Option<f64> {
    let mut scanned = 0;
    for frame in tail.iter().rev() {
        let mut found = None;
        for (_, record) in frame.records().filter(|(_, record)| record.kind == Kind::Event) {
            scanned += 1;
            found = progress_of_event(record.body).or(found);
        }
        if found.is_some() || scanned >= MAX_SCAN {
            return found;
        }
    }
    None
}
