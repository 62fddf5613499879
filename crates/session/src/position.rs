//! Where a reader's position lies in this log, and what it is told if the log cannot honour it.
//!
//! A position is honoured only if the log still lives in the same epoch, has come at least so far, has the same event
//! there, and still has everything after it. Everything else is said: never a silent continuation on another history.

use agentbench_protocol::{GapCause, Head, NotRecovered, Position, Seq, StartAt};

/// Where delivery begins, and what is said first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// The reader gets everything after this seq.
    pub after: Seq,
    /// Why the position that was asked for is not honoured.
    pub reason: Option<NotRecovered>,
    /// A range of seqs to be said as a gap before anything else: for `retention` what is no more, for `epoch` and
    /// `diverged` what the reader has (or believes to have) and this log does not vouch for.
    pub gap: Option<(Seq, Seq, GapCause)>,
}

impl Resolution {
    fn plain(after: Seq) -> Self {
        Self { after, reason: None, gap: None }
    }
}

/// Finds a reader's place.
///
/// `first` is the oldest seq that the log still has; `id_at_position` is the id of the log's event at the position's seq, if
/// the position names an id and the log has that seq (`None` leaves the id unchecked).
pub fn resolve(from: &StartAt, head: Head, first: Seq, id_at_position: Option<&str>) -> Resolution {
    match from {
        StartAt::Live => Resolution::plain(head.seq),
        StartAt::Start => {
            let gap = (first > 1).then(|| (1, first - 1, GapCause::Retention));
            Resolution { after: first - 1, reason: None, gap }
        }
        StartAt::After(position) => resolve_position(position, head, first, id_at_position),
    }
}

fn resolve_position(position: &Position, head: Head, first: Seq, id: Option<&str>) -> Resolution {
    // The reader's whole history is in doubt: it gets the log from its beginning.
    let restart = |reason, cause| Resolution {
        after: first - 1,
        reason: Some(reason),
        gap: Some((1, position.seq.max(1), cause)),
    };
    if position.epoch != head.epoch {
        return restart(NotRecovered::UnknownEpoch, GapCause::Epoch);
    }
    if position.seq > head.seq {
        // The log lost its tail; what it has is a prefix of what the reader has.
        return Resolution {
            after: head.seq,
            reason: Some(NotRecovered::AheadOfLog),
            gap: Some((head.seq + 1, position.seq, GapCause::Diverged)),
        };
    }
    if let (Some(expected), Some(found)) = (position.last_id.as_deref(), id)
        && expected != found
    {
        return restart(NotRecovered::Diverged, GapCause::Diverged);
    }
    if position.seq + 1 < first {
        return Resolution {
            after: first - 1,
            reason: Some(NotRecovered::Trimmed),
            gap: Some((position.seq + 1, first - 1, GapCause::Retention)),
        };
    }
    Resolution::plain(position.seq)
}

#[cfg(test)]
mod tests {
    use agentbench_protocol::Epoch;

    use super::*;

    const HEAD: Head = Head { epoch: Epoch::from_u64(7), seq: 100 };

    fn after(epoch: u64, seq: Seq, last_id: Option<&str>) -> StartAt {
        StartAt::After(Position { epoch: Epoch::from_u64(epoch), seq, last_id: last_id.map(Into::into) })
    }

    #[test]
    fn every_kind_of_position() {
        use GapCause::{Diverged, Epoch, Retention};
        type Case =
            (StartAt, Seq, Option<&'static str>, Seq, Option<NotRecovered>, Option<(Seq, Seq, GapCause)>);
        let cases: [Case; 14] = [
            (StartAt::Live, 1, None, 100, None, None),
            (StartAt::Start, 1, None, 0, None, None),
            (StartAt::Start, 11, None, 10, None, Some((1, 10, Retention))),
            (after(7, 40, None), 1, None, 40, None, None),
            (after(7, 0, None), 1, None, 0, None, None),
            (after(7, 100, None), 1, None, 100, None, None),
            (after(7, 40, Some("e40")), 1, Some("e40"), 40, None, None),
            (
                after(7, 40, Some("e40")),
                1,
                Some("x"),
                0,
                Some(NotRecovered::Diverged),
                Some((1, 40, Diverged)),
            ),
            (after(7, 101, None), 1, None, 100, Some(NotRecovered::AheadOfLog), Some((101, 101, Diverged))),
            (
                after(7, 900, Some("e900")),
                1,
                None,
                100,
                Some(NotRecovered::AheadOfLog),
                Some((101, 900, Diverged)),
            ),
            (after(8, 40, None), 1, None, 0, Some(NotRecovered::UnknownEpoch), Some((1, 40, Epoch))),
            (after(8, 0, None), 1, None, 0, Some(NotRecovered::UnknownEpoch), Some((1, 1, Epoch))),
            (after(7, 5, None), 11, None, 10, Some(NotRecovered::Trimmed), Some((6, 10, Retention))),
            (after(7, 10, None), 11, None, 10, None, None),
        ];
        for (from, first, id, after, reason, gap) in cases {
            assert_eq!(
                resolve(&from, HEAD, first, id),
                Resolution { after, reason, gap },
                "{from:?} first {first}"
            );
        }
    }
}
