//! `delay`: one message arrives later, and what follows it waits behind it, since TCP keeps the order. Unlike `stall` it
//! holds nothing that came before, and no other direction.

use std::time::Duration;

use super::blow::Blow;

pub(crate) fn strike(blow: &mut Blow, ms: u64) {
    blow.held += Duration::from_millis(ms);
}
