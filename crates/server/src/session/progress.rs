//! How far a session has come, read again from the newest part of its log.

use agentbench_event_log::{Frame, Kind};
use agentbench_protocol::outline::progress_of_event;

/// Events that are looked at, newest first. A session whose last thousands of events tell of no progress shows none until
/// the next one does.
const LOOKS: usize = 4096;

/// What the newest `progress` event among the last ones says, in percent.
pub(crate) fn newest_progress(tail: &[Frame]) -> Option<f64> {
    let mut looks = 0;
    for frame in tail.iter().rev() {
        let mut found = None;
        for (_, record) in frame.records().filter(|(_, record)| record.kind == Kind::Event) {
            looks += 1;
            found = progress_of_event(record.body).or(found);
        }
        if found.is_some() || looks >= LOOKS {
            return found;
        }
    }
    None
}
