//! What the streams of one session share: the newest steps of the log as all of them send it, read and written once.
//!
//! A stream that is at the head takes the step from here, or makes it while the others wait for it. Who is far behind reads
//! by itself, so that it holds up nobody. A step holds memory of all readers' budget, so it goes when every stream has taken
//! it, and soon in any case: who is too slow for it reads by itself, too.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use agentbench_protocol::Seq;
use bytes::Bytes;

/// Steps that are kept: the newest, and the one before for who is a little slower.
const KEPT: usize = 2;
/// How long a step is kept.
const LONGEST: Duration = Duration::from_secs(1);
/// The largest step that is kept, in bytes. A larger one is catch-up, which few streams do at the same place.
const LARGEST: usize = 64 * 1024;

/// A part of the log as streams send it.
#[derive(Debug, Clone)]
pub(crate) struct StreamStep {
    /// Its first seq.
    pub(crate) next: Seq,
    /// The seq after it.
    pub(crate) reached: Seq,
    pub(crate) bytes: Bytes,
}

#[derive(Debug)]
struct KeptStep {
    step: StreamStep,
    /// Streams that have not taken it.
    others: usize,
    made: Instant,
}

/// See the module. It is there for as long as a stream of the session is.
#[derive(Debug, Default)]
pub(crate) struct StreamRoom {
    steps: Mutex<VecDeque<KeptStep>>,
    /// Held by the stream that makes the next step.
    pub(crate) making: tokio::sync::Mutex<()>,
    /// Where the last step was that is not kept, so that nobody waits for it to be made.
    unshared: AtomicU64,
}

impl StreamRoom {
    /// Takes the step at `next`, if another stream has made it.
    pub(crate) fn take(&self, next: Seq) -> Option<StreamStep> {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let at = steps.iter().position(|kept| kept.step.next == next)?;
        steps[at].others -= 1;
        if steps[at].others == 0 {
            return steps.remove(at).map(|kept| kept.step);
        }
        Some(steps[at].step.clone())
    }

    /// Whether every stream makes the step at `next` by itself.
    pub(crate) fn is_unshared(&self, next: Seq) -> bool {
        self.unshared.load(Ordering::Relaxed) == next
    }

    /// The step at `next` is not for others.
    pub(crate) fn leave(&self, next: Seq) {
        self.unshared.store(next, Ordering::Relaxed);
    }

    /// Keeps a step for as many other streams, if it is not too large.
    pub(crate) fn keep(&self, step: &StreamStep, others: usize, now: Instant) {
        if step.bytes.len() > LARGEST {
            return self.leave(step.next);
        }
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        if steps.len() == KEPT {
            steps.pop_front();
        }
        if others > 0 {
            steps.push_back(KeptStep { step: step.clone(), others, made: now });
        }
    }

    /// Lets go of what was not taken for too long. Called by the worker's tick, since all streams of the room may be blocked.
    pub(crate) fn forget_old(&self, now: Instant) {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.retain(|kept| now.saturating_duration_since(kept.made) < LONGEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(next: Seq) -> StreamStep {
        StreamStep { next, reached: next + 1, bytes: Bytes::from_static(b"event") }
    }

    #[test]
    fn a_step_is_there_until_every_other_stream_has_taken_it() {
        let (room, now) = (StreamRoom::default(), Instant::now());
        room.keep(&step(1), 2, now);
        room.keep(&step(2), 0, now);
        let taken: Vec<_> = [1, 2, 1, 1].map(|next| room.take(next).is_some()).to_vec();
        assert_eq!(taken, [true, false, true, false]);
    }

    #[test]
    fn a_large_step_is_left_to_each_stream() {
        let room = StreamRoom::default();
        room.keep(&StreamStep { bytes: vec![0; LARGEST + 1].into(), ..step(7) }, 3, Instant::now());
        assert!(room.take(7).is_none() && room.is_unshared(7) && !room.is_unshared(8));
    }

    #[test]
    fn the_newest_steps_are_kept_and_not_for_long() {
        let (room, now) = (StreamRoom::default(), Instant::now());
        for next in 1..=3 {
            room.keep(&step(next), 9, now + LONGEST / 4 * next as u32);
        }
        assert!(room.take(1).is_none());
        room.forget_old(now + LONGEST * 3 / 2);
        assert!(room.take(2).is_none() && room.take(3).is_some());
    }
}
