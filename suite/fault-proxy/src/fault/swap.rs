//! `swap`: the message waits for the next one of its direction and goes after it.

use std::time::Duration;

use super::blow::Blow;

/// How long it waits for the next message. A client that waits for the answer to this one sends no next one.
pub(crate) const WAIT: Duration = Duration::from_millis(500);

pub(crate) fn strike(blow: &mut Blow) {
    blow.swapped = true;
}
