//! `swap`: the message waits for the next one in its direction and follows it.

use std::time::Duration;

use super::impact::Impact;

/// How long it waits for the next message. A client that waits for the answer to this one sends no next one.
pub(crate) const WAIT: Duration = Duration::from_millis(500);

pub(crate) fn strike(impact: &mut Impact) {
    impact.swapped = true;
}
