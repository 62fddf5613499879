//! Records of an old segment that are to be written again, so that the segment can be freed.

use agentbench_event_log::Frame;
use agentbench_protocol::Seq;
use bytes::Bytes;

use crate::record::{Draft, LogIdentity};
use crate::state::EngineState;
use crate::table::Place;

/// One record that was needed when the old segment was read.
#[derive(Debug)]
pub(crate) enum Moving {
    /// A frame, with the summary that was stored with it.
    Frame { log: LogIdentity, from: Place, frame: Frame, summary: Option<Bytes> },
    /// The state of a log, in this segment.
    State { log: LogIdentity, segment: u32 },
    /// The removal of a log, in this segment.
    Removal { log: LogIdentity, segment: u32 },
}

/// What of it is needed now.
pub(crate) enum Needed<'a> {
    /// `at` is the index of its place.
    Frame {
        log: LogIdentity,
        at: usize,
        from: Place,
        frame: &'a Frame,
        summary: Option<&'a [u8]>,
    },
    State {
        log: LogIdentity,
        first_seq: Seq,
        head: Seq,
        summary: Bytes,
    },
    Removal {
        log: LogIdentity,
    },
}

impl Moving {
    /// `None` if the log was removed, trimmed or archived meanwhile.
    pub(crate) fn now(&self, shared: &EngineState) -> Option<Needed<'_>> {
        let logs = shared.live.read();
        let live = |log: &LogIdentity| logs.get(&log.session).filter(|live| live.number == log.number);
        match self {
            Self::Frame { log, from, frame, summary } => {
                let places = &live(log)?.places;
                let at = places.binary_search_by_key(&from.first_seq, |place| place.first_seq).ok()?;
                let summary = summary.as_deref();
                (places[at] == *from).then_some(Needed::Frame { log: *log, at, from: *from, frame, summary })
            }
            Self::State { log, segment } => {
                let live = live(log)?;
                let is_there = live.state.is_some_and(|(at, _)| at == *segment);
                is_there.then(|| Needed::State {
                    log: *log,
                    first_seq: live.first_seq,
                    head: live.head,
                    summary: live.summary.clone(),
                })
            }
            Self::Removal { log, segment } => {
                let removals = shared.tombstones.in_segment(*segment);
                let is_there = removals.iter().any(|tombstone| tombstone.log == *log);
                is_there.then_some(Needed::Removal { log: *log })
            }
        }
    }
}

impl Needed<'_> {
    pub(crate) fn log(&self) -> LogIdentity {
        match self {
            Self::Frame { log, .. } | Self::State { log, .. } | Self::Removal { log } => *log,
        }
    }

    pub(crate) fn draft(&self) -> Draft<'_> {
        match self {
            Self::Frame { frame, summary, .. } => Draft::Frame { frame, summary: *summary },
            Self::State { first_seq, head, summary, .. } => {
                Draft::State { first_seq: *first_seq, head: *head, summary }
            }
            Self::Removal { .. } => Draft::Removal,
        }
    }
}
