//! `stall`: the link's pipe is not emptied for a while. What was in it waits too; the sender sees a full socket when the
//! pipe is full. A stall of direction `both` holds both pipes, whoever's message was struck.

use std::time::{Duration, Instant};

use crate::fault::Direction;
use crate::fault::Way;
use crate::pipe::Pipe;

/// Holds the pipes that `direction` covers.
pub(crate) fn strike(pipes: &[Pipe; 2], direction: Direction, ms: u64, now: Instant) {
    let until = now + Duration::from_millis(ms);
    for way in Way::BOTH.into_iter().filter(|way| direction.covers(*way)) {
        pipes[way.index()].hold_until(until);
    }
}
