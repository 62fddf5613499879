//! `delay`: one message arrives later, and so does what follows it, since TCP keeps the order. Unlike `stall`, it
//! affects neither earlier messages nor the other direction.

use std::time::Duration;

use super::impact::Impact;

pub(crate) fn strike(impact: &mut Impact, ms: u64) {
    impact.held += Duration::from_millis(ms);
}
