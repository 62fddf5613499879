//! What the streams of one session share: the newest steps of the log as all of them send it, read and written once.
//!
//! A stream that is at the head takes the step from here, or makes it while the others wait for it. Who is far behind reads
//! by itself, so that it holds up nobody.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use agentbench_protocol::Seq;
use bytes::Bytes;

/// Steps that are kept: the newest, and the one before for who is a little slower.
const KEPT: usize = 2;
/// Longest step that is kept, in bytes. Longer ones are catch-up, which few streams do at the same place.
const LONGEST: usize = 64 * 1024;

/// A part of the log as streams send it.
#[derive(Debug, Clone)]
pub(crate) struct StreamStep {
    /// Its first seq.
    pub(crate) next: Seq,
    /// The seq after it.
    pub(crate) reached: Seq,
    pub(crate) bytes: Bytes,
}

/// See the module. It is there for as long as a stream of the session is.
#[derive(Debug, Default)]
pub(crate) struct StreamRoom {
    steps: Mutex<VecDeque<StreamStep>>,
    /// Held by the stream that makes the next step.
    pub(crate) making: tokio::sync::Mutex<()>,
}

impl StreamRoom {
    /// The step at `next`, if another stream has made it.
    pub(crate) fn find(&self, next: Seq) -> Option<StreamStep> {
        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.iter().find(|step| step.next == next).cloned()
    }

    /// Keeps a step for the other streams, unless it is long.
    pub(crate) fn keep(&self, step: StreamStep) {
        if step.bytes.len() > LONGEST {
            return;
        }
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        if steps.len() == KEPT {
            steps.pop_front();
        }
        steps.push_back(step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(next: Seq, bytes: usize) -> StreamStep {
        StreamStep { next, reached: next + 1, bytes: Bytes::from(vec![0; bytes]) }
    }

    #[test]
    fn the_newest_steps_are_found_and_long_ones_are_not_kept() {
        let room = StreamRoom::default();
        for next in 1..=3 {
            room.keep(step(next, 10));
        }
        room.keep(step(4, LONGEST + 1));
        let found: Vec<_> = (1..=4).map(|next| room.find(next).is_some()).collect();
        assert_eq!(found, [false, true, true, false]);
    }
}
