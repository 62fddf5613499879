//! Reads a live log: finds the frame that contains a seq, and continues from there.
//!
//! There is no index by seq per log. Frames are ordered by their ordinals, so the one that contains a seq is
//! searched for, starting with a guess from the log's ends; a reader that continues where it stopped is found in [`Hints`].

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use agentbench_event_log::{Frame, LogError, ReadLimit};
use agentbench_protocol::Seq;

use crate::config::unavailable;
use crate::entry::Entry;
use crate::hot::{Hot, ReadError};
use crate::table::LiveLog;

/// Maximum number of entries per step.
const STEP_ENTRIES: u64 = 256;
/// Maximum bytes per step.
const STEP_BYTES: usize = 4 << 20;
/// Number of readers that are remembered; beyond it, all are forgotten.
const MAX_HINTS: usize = 4096;

/// Where readers will continue: (log, seq) → ordinal.
#[derive(Default)]
pub(crate) struct Hints(Mutex<HashMap<(u64, Seq), u64>>);

impl Hints {
    fn take(&self, log: u64, seq: Seq) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&(log, seq))
    }

    fn insert(&self, log: u64, seq: Seq, ordinal: u64) {
        let mut hints = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if hints.len() >= MAX_HINTS {
            hints.clear();
        }
        hints.insert((log, seq), ordinal);
    }
}

/// A log was trimmed, archived or deleted during a read: look it up again.
pub(crate) struct LogChanged;

type ReadResult<T> = Result<Result<T, LogError>, LogChanged>;

/// Frames of `log`, starting with the one that contains `from` (between the log's ends).
pub(crate) fn read(
    hot: &Hot,
    hints: &Hints,
    log: &LiveLog,
    from: Seq,
    limit: ReadLimit,
) -> ReadResult<Vec<Frame>> {
    let mut ordinal = match hints.take(log.number, from) {
        Some(ordinal) => ordinal,
        None => match find(hot, log, from)? {
            Ok(ordinal) => ordinal,
            Err(error) => return Ok(Err(error)),
        },
    };
    let mut frames = Vec::new();
    let (mut bytes, mut events) = (0, 0);
    while ordinal <= log.head_ordinal {
        let to = (log.head_ordinal + 1).min(ordinal + STEP_ENTRIES);
        let room = limit.bytes.saturating_sub(bytes).clamp(1, STEP_BYTES);
        let entries = match hot.read(log.number, ordinal, to, room) {
            Ok(entries) => entries,
            Err(_) if !frames.is_empty() => break,
            Err(ReadError::Gone) => return Err(LogChanged),
            Err(ReadError::Io(error)) => return Ok(Err(unavailable(error))),
            Err(ReadError::Damaged(detail)) => return Ok(Err(damaged(hot, log, ordinal, detail))),
        };
        for entry in entries {
            let frame = match checked(log, ordinal, &entry) {
                Ok(frame) => frame,
                Err(_) if !frames.is_empty() => return Ok(Ok(frames)),
                Err(detail) => return Ok(Err(damaged(hot, log, ordinal, detail.into()))),
            };
            bytes += frame.bytes().len();
            if !frames.is_empty() && bytes > limit.bytes {
                return Ok(Ok(remember(hints, log, ordinal, frames)));
            }
            ordinal += 1;
            events += frame.count();
            frames.push(frame);
            if events >= limit.events {
                return Ok(Ok(remember(hints, log, ordinal, frames)));
            }
        }
    }
    Ok(Ok(remember(hints, log, ordinal, frames)))
}

fn remember(hints: &Hints, log: &LiveLog, next: u64, frames: Vec<Frame>) -> Vec<Frame> {
    if let Some(last) = frames.last()
        && next <= log.head_ordinal
    {
        hints.insert(log.number, last.last_seq() + 1, next);
    }
    frames
}

fn checked(log: &LiveLog, ordinal: u64, entry: &Entry) -> Result<Frame, &'static str> {
    let header = &entry.header;
    if (header.log, header.ordinal, header.epoch) != (log.number, ordinal, log.epoch) {
        return Err("the entry belongs to another log");
    }
    entry.frame()
}

/// The ordinal of the frame that contains `seq`.
pub(crate) fn find(hot: &Hot, log: &LiveLog, seq: Seq) -> ReadResult<u64> {
    // The frame's ordinal is in low..=high, and the seqs there are within first..=last.
    let (mut low, mut high) = (log.first_ordinal, log.head_ordinal);
    let (mut first, mut last) = (log.first_seq.min(seq), log.head);
    let mut even = true;
    while low < high {
        // Alternates between interpolation, which is often exact, and bisection, which always makes progress.
        let share = u128::from(seq - first) * u128::from(high - low) / u128::from((last - first).max(1));
        let guess = if even { low + share as u64 } else { low + (high - low) / 2 };
        let guess = guess.min(high);
        even = !even;
        match hot.entry(log.number, guess) {
            Ok(entry) if seq < entry.header.first_seq => {
                high = guess - 1;
                last = entry.header.first_seq - 1;
            }
            Ok(entry) if seq > entry.header.last_seq() => {
                low = guess + 1;
                first = entry.header.last_seq() + 1;
            }
            Ok(_) => return Ok(Ok(guess)),
            Err(ReadError::Gone) => return Err(LogChanged),
            Err(ReadError::Io(error)) => return Ok(Err(unavailable(error))),
            // Its own seqs are unknown: its neighbours give them.
            Err(ReadError::Damaged(detail)) => {
                let hole = hole(hot, log, guess);
                if seq < hole.from {
                    high = guess - 1;
                    last = hole.from - 1;
                } else if seq > hole.to {
                    low = guess + 1;
                    first = hole.to + 1;
                } else {
                    return Ok(Err(LogError::Damaged { from: hole.from, to: hole.to, detail }));
                }
            }
        }
        if low > high {
            // Only contradictory headers lead here.
            let detail = "the frames around it are not contiguous".into();
            return Ok(Err(LogError::Damaged { from: seq, to: seq, detail }));
        }
    }
    Ok(Ok(low))
}

/// Events that cannot be read.
struct Hole {
    from: Seq,
    to: Seq,
}

/// The error for a damaged frame, with the events that it makes unreadable.
fn damaged(hot: &Hot, log: &LiveLog, ordinal: u64, detail: String) -> LogError {
    let Hole { from, to } = hole(hot, log, ordinal);
    LogError::Damaged { from, to, detail }
}

fn hole(hot: &Hot, log: &LiveLog, ordinal: u64) -> Hole {
    let header = |ordinal| hot.entry(log.number, ordinal).ok().map(|entry| entry.header);
    if let Some(header) = header(ordinal) {
        return Hole { from: header.first_seq, to: header.last_seq() };
    }
    let before = (log.first_ordinal..ordinal).rev().find_map(header);
    let after = (ordinal + 1..=log.head_ordinal).find_map(header);
    Hole {
        from: before.map_or(log.first_seq, |header| header.last_seq() + 1),
        to: after.map_or(log.head, |header| header.first_seq - 1),
    }
}
