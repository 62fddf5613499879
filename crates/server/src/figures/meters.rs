//! Times and sizes, measured by each worker in cells of its own and put together when somebody asks.

use std::sync::{Mutex, PoisonError};

use agentbench_event_log::{Frame, Kind};

use super::histogram::{BYTES, COUNT, Cells, SECONDS, Scale, Snapshot};
use super::registry::{Exemplar, Figure};
use crate::clock::Moment;
use crate::traceparent::TraceParent;

/// Makes the types of a table: each histogram stands once, with its scale, its name, unit and help on `/metrics`.
macro_rules! meters {
    ($($field:ident: $scale:ident, $name:literal, $unit:expr, $help:literal;)*) => {
        /// What one worker measures.
        #[derive(Debug)]
        pub(crate) struct Meters {
            $(pub(crate) $field: Cells,)*
        }

        impl Meters {
            pub(crate) fn new() -> Self {
                Self { $($field: Cells::new(&$scale),)* }
            }
        }

        impl AllMeters {
            /// The sums of all workers.
            pub(crate) fn gather(&self) -> Vec<Figure> {
                vec![$(Figure::histogram(
                    $name,
                    $help,
                    $unit,
                    self.sum(&$scale, |it| &it.$field),
                    if $name == PUBLISH { self.exemplars.get() } else { Vec::new() },
                ),)*]
            }
        }
    };
}

const IN_SECONDS: Option<&str> = Some("seconds");
const IN_BYTES: Option<&str> = Some("bytes");
/// The figure that has exemplars.
const PUBLISH: &str = "publish";

meters! {
    connect: SECONDS, "connect", IN_SECONDS, "Time from an accepted socket to the greeting";
    published: SECONDS, "publish", IN_SECONDS, "Time from receiving an event to its outcome from the log";
    delivered: SECONDS, "delivery", IN_SECONDS, "Delivery lag: time from receiving an event to writing it to a follower's socket, without catch-up";
    commit_time: SECONDS, "log_commit", IN_SECONDS, "Time from passing a batch to the log to its outcome";
    commit_events: COUNT, "log_commit_events", None, "Entries per batch";
    commit_bytes: BYTES, "log_commit_size", IN_BYTES, "Bytes per batch";
    fan_out: COUNT, "fan_out_width", None, "Followers per frame on one worker";
    catch_up: SECONDS, "catch_up", IN_SECONDS, "Time of log reads for readers that were behind";
}

/// Seconds from when an event was taken until now, `elapsed` seconds after `opened`. Events of that moment's own millisecond are
/// measured exactly, others to the millisecond, since that is how they are stamped.
fn seconds_since(opened: Moment, elapsed: f64, received_at: u64) -> f64 {
    let earlier = opened.millis as i64 - received_at as i64;
    (elapsed + earlier as f64 / 1_000.0).max(0.0)
}

fn elapsed(opened: Moment, now: Moment) -> f64 {
    now.instant.saturating_duration_since(opened.instant).as_secs_f64()
}

impl Meters {
    /// The log has a frame whose first event was taken at about `opened`. Gives how many events are in it, lifecycle apart,
    /// and when the newest was taken.
    pub(crate) fn frame_logged(&self, frame: &Frame, opened: Moment, now: Moment) -> (u64, u64) {
        let elapsed = elapsed(opened, now);
        let mut run = (0, 0);
        let (mut events, mut newest) = (0, 0);
        for (_, record) in frame.records() {
            if record.kind == Kind::Event {
                (events, newest) = (events + 1, record.received_at);
            }
            if run.0 != record.received_at && run.1 > 0 {
                self.published.add(seconds_since(opened, elapsed, run.0), run.1);
                run.1 = 0;
            }
            run = (record.received_at, run.1 + 1);
        }
        self.published.add(seconds_since(opened, elapsed, run.0), run.1);
        (events, newest)
    }
}

/// Exemplars that are kept: the newest of each power of two, which is more than there are classic buckets.
const MAX_EXEMPLARS: usize = 32;

/// The newest traces by the time that they took. Kept only with `METRICS_EXEMPLARS`.
#[derive(Debug, Default)]
pub(crate) struct Exemplars(Mutex<Vec<Exemplar>>);

impl Exemplars {
    /// Takes the first event of a frame, if its sender named a trace.
    pub(crate) fn take(&self, frame: &Frame, opened: Moment, now: Moment) {
        let Some((_, record)) = frame.records().next() else { return };
        let Some(parent) = TraceParent::of_event(record.body) else { return };
        let trace = parent.trace.iter().map(|byte| format!("{byte:02x}")).collect();
        let value = seconds_since(opened, elapsed(opened, now), record.received_at);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let octave = |value: f64| value.max(f64::MIN_POSITIVE).log2().ceil();
        kept.retain(|it| octave(it.value) != octave(value));
        if kept.len() == MAX_EXEMPLARS {
            kept.remove(0);
        }
        kept.push(Exemplar { trace, value, at: now.millis });
    }

    fn get(&self) -> Vec<Exemplar> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        kept.reverse();
        kept
    }
}

/// The cells of all workers.
#[derive(Debug)]
pub(crate) struct AllMeters {
    workers: Vec<Meters>,
    pub(crate) exemplars: Exemplars,
}

/// What rates and percentiles of the last ten seconds are made of.
#[derive(Debug, Clone)]
pub(crate) struct Delays {
    pub(crate) published: Snapshot,
    pub(crate) delivered: Snapshot,
    pub(crate) commit: Snapshot,
}

impl AllMeters {
    pub(crate) fn new(workers: usize) -> Self {
        Self { workers: (0..workers).map(|_| Meters::new()).collect(), exemplars: Exemplars::default() }
    }

    /// The cells that one worker writes.
    pub(crate) fn of(&self, worker: usize) -> &Meters {
        &self.workers[worker]
    }

    fn sum(&self, scale: &'static Scale, which: impl Fn(&Meters) -> &Cells) -> Snapshot {
        Snapshot::of(scale, self.workers.iter().map(which))
    }

    pub(crate) fn delays(&self) -> Delays {
        Delays {
            published: self.sum(&SECONDS, |it| &it.published),
            delivered: self.sum(&SECONDS, |it| &it.delivered),
            commit: self.sum(&SECONDS, |it| &it.commit_time),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_measured_from_when_it_was_taken() {
        let moment = Moment { instant: crate::clock::instant(), millis: 1_000 };
        assert!((seconds_since(moment, 0.25, 1_000) - 0.25).abs() < 1e-9);
        assert!((seconds_since(moment, 0.25, 900) - 0.35).abs() < 1e-9);
        assert!((seconds_since(moment, 0.25, 1_100) - 0.15).abs() < 1e-9);
        assert_eq!(seconds_since(moment, 0.25, 2_000), 0.0);
    }
}
