//! `stall`: the link's pipe is not emptied for a while. Its contents wait, too; the sender's socket is full once the
//! pipe is. A stall of direction `both` stops both pipes, whichever message was struck.

use std::time::{Duration, Instant};

use crate::fault::Direction;
use crate::fault::Way;
use crate::pipe::Pipe;

/// Stops the pipes that `direction` covers.
pub(crate) fn strike(pipes: &[Pipe; 2], direction: Direction, ms: u64, now: Instant) {
    let until = now + Duration::from_millis(ms);
    for way in Way::BOTH.into_iter().filter(|way| direction.covers(*way)) {
        pipes[way.index()].hold_until(until);
    }
}
