//! Which events of a frame a reader gets: those past its cursor that have not outlived their time.

use agentbench_event_log::Frame;
use agentbench_protocol::Seq;

/// A run of events of one frame, as a reader meets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owed {
    /// To be sent.
    Deliver {
        /// First seq.
        from: Seq,
        /// Last seq.
        to: Seq,
    },
    /// Not to be sent, and to be said as a gap with cause `expired`.
    Expired {
        /// First seq.
        from: Seq,
        /// Last seq.
        to: Seq,
    },
}

/// Splits what is left of `frame` from `next` on into runs, at the time `now` (ms since 1970).
pub fn owed(frame: &Frame, next: Seq, now: u64) -> Vec<Owed> {
    let mut runs: Vec<Owed> = Vec::new();
    for (seq, record) in frame.records().filter(|(seq, _)| *seq >= next) {
        let expired = record.ttl_ms > 0 && now > record.received_at.saturating_add(u64::from(record.ttl_ms));
        match (runs.last_mut(), expired) {
            (Some(Owed::Deliver { to, .. }), false) | (Some(Owed::Expired { to, .. }), true) => *to = seq,
            (_, false) => runs.push(Owed::Deliver { from: seq, to: seq }),
            (_, true) => runs.push(Owed::Expired { from: seq, to: seq }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use agentbench_event_log::{FrameBuilder, Kind, Record};

    use super::*;

    #[test]
    fn runs_of_live_and_expired_events() {
        let mut builder = FrameBuilder::new(10, 0);
        for ttl_ms in [0, 5, 5, 0, 100, 5] {
            builder.push(&Record {
                kind: Kind::Event,
                received_at: 1000,
                ttl_ms,
                digest: 0,
                user: "u",
                producer: "",
                id: "e",
                body: b"{}",
            });
        }
        let frame = builder.finish();
        let (deliver, expired) =
            (|from, to| Owed::Deliver { from, to }, |from, to| Owed::Expired { from, to });
        assert_eq!(owed(&frame, 1, 1000), [deliver(10, 15)]);
        assert_eq!(owed(&frame, 1, 1005), [deliver(10, 15)], "at the last moment it still counts");
        assert_eq!(
            owed(&frame, 1, 1050),
            [deliver(10, 10), expired(11, 12), deliver(13, 14), expired(15, 15)]
        );
        assert_eq!(owed(&frame, 12, 9999), [expired(12, 12), deliver(13, 13), expired(14, 15)]);
        assert_eq!(owed(&frame, 16, 0), []);
    }
}
