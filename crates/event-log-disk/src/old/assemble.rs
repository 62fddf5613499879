//! From found entries and records to logs: which frames a log has, where it begins and ends, and what is lost.

use std::collections::HashMap;

use agentbench_protocol::Seq;
use bytes::Bytes;

use super::logs::{FoundFrame, FoundLog, Logs};
use super::record::LogRecord;
use super::{Hole, OldFrame, OldLog};
use crate::config::Damage;

/// The logs in order of their numbers. `may_have_gaps` says whether files or batches are lost.
pub(crate) fn assemble(found: Logs, may_have_gaps: bool, damage: &mut Vec<Damage>) -> Vec<OldLog> {
    let Logs { logs, records } = found;
    let mut found = Vec::with_capacity(logs.len());
    for (number, log) in logs {
        if !log.entries.is_empty() {
            let begin = if may_have_gaps { None } else { after_last_gap(&log) };
            found.extend(assemble_log(number, &log, records.get(&number), begin, damage));
        }
    }
    // A session's later log has the higher number and replaces one whose removal was lost.
    let latest: HashMap<_, _, foldhash::fast::RandomState> =
        found.iter().map(|log| (log.session, log.number)).collect();
    found.retain(|log| latest.get(&log.session) == Some(&log.number));
    found
}

fn assemble_log(
    number: u64,
    found: &FoundLog,
    record: Option<&Bytes>,
    begin: Option<Seq>,
    damage: &mut Vec<Damage>,
) -> Option<OldLog> {
    let last = found.entries.iter().rev().find_map(|(ordinal, entry)| Some((*ordinal, (*entry)?)));
    let (Some((last_ordinal, last)), Some(session)) = (last, found.session()) else {
        damage.push(Damage {
            place: format!("log {number}"),
            what: "none of its frames can be read, so its session is unknown".into(),
        });
        return None;
    };
    let mut report = |what| damage.push(Damage { place: format!("the log of session {session}"), what });
    let stored = record.and_then(LogRecord::decode);
    if record.is_some() && stored.is_none() {
        report("its record is invalid; its summary is lost".into());
    }
    let head = last.last_seq();
    let recorded = stored.as_ref().map(|stored| stored.first_seq);
    let stored_from = begin.unwrap_or_else(|| first_stored(found));
    let first_seq =
        recorded.map_or(stored_from, |recorded| begin.map_or(recorded, |begin| begin.max(recorded)));
    if first_seq > 1 && recorded != Some(first_seq) {
        let what = "what was recorded of its trims is lost, and with it its frames before seq";
        report(format!("{what} {first_seq} if there were any"));
    }
    if first_seq > head.saturating_add(1) {
        report(format!("it was trimmed up to seq {first_seq}, but its frames after seq {head} are lost"));
    }
    let lost_at_end = found.entries.range(last_ordinal + 1..).count() as u64;
    if lost_at_end > 0 {
        report(format!("its last {lost_at_end} frames, after seq {head}, cannot be read"));
    }
    let first_seq = first_seq.min(head.saturating_add(1));
    let (frames, holes) = frames(found, &last, first_seq);
    let summary = stored.map(|record| record.summary).unwrap_or_default();
    Some(OldLog { session, epoch: last.epoch, number, first_seq, head, summary, frames, holes, lost_at_end })
}

/// The first seq after the last gap between stored ordinals, if there is one. In files that lack nothing, the frames before it
/// are copies that were to be removed: the log was trimmed, and the trim itself may be lost.
fn after_last_gap(found: &FoundLog) -> Option<Seq> {
    let mut later = None;
    for (ordinal, frame) in found.entries.iter().rev() {
        match later {
            Some((next, first_seq)) if ordinal + 1 < next => return first_seq,
            _ => later = Some((*ordinal, frame.map(|frame| frame.first_seq))),
        }
    }
    None
}

/// A log without a record was never trimmed, or its record is lost.
fn first_stored(found: &FoundLog) -> Seq {
    match found.entries.first_key_value() {
        Some((ordinal, Some(frame))) if *ordinal > 1 => frame.first_seq,
        _ => 1,
    }
}

/// The frames from `first_seq` up to the last one with an intact header, and the seqs in between that are lost.
fn frames(found: &FoundLog, last: &FoundFrame, first_seq: Seq) -> (Vec<OldFrame>, Vec<Hole>) {
    let (mut frames, mut holes) = (Vec::new(), Vec::new());
    let mut next = first_seq;
    for frame in found.entries.values().flatten() {
        let is_first = next == first_seq;
        // Only contradictory headers, which damage does not make, have frames that overlap.
        let overlaps = frame.first_seq < next && !is_first;
        if frame.last_seq() < next || frame.last_seq() > last.last_seq() || overlaps {
            continue;
        }
        if frame.first_seq > next {
            let what = "the frames are missing, or the headers of their entries are damaged";
            holes.push(Hole { first_seq: next, last_seq: frame.first_seq - 1, what });
        }
        if frame.epoch != last.epoch {
            let what = "the frame belongs to another log";
            holes.push(Hole { first_seq: frame.first_seq.max(next), last_seq: frame.last_seq(), what });
        } else if frame.is_intact {
            frames.push(OldFrame {
                first_seq: frame.first_seq,
                last_seq: frame.last_seq(),
                file: frame.file,
                offset: frame.offset,
                len: frame.len,
            });
        } else {
            let what = "the frame fails its checksum";
            holes.push(Hole { first_seq: frame.first_seq.max(next), last_seq: frame.last_seq(), what });
        }
        next = frame.last_seq() + 1;
    }
    (frames, holes)
}

#[cfg(test)]
mod tests {
    use super::super::entry::EntryHeader;
    use super::super::items::Item;
    use super::super::logs::Place;
    use super::*;

    /// A log of frames with two events each, of which those with these ordinals are stored.
    fn stored(ordinals: &[u64]) -> Logs {
        let mut logs = Logs::default();
        for ordinal in ordinals {
            let bytes = EntryHeader::example(1024, *ordinal, ordinal * 2 - 1, 2);
            let item = Item::Entry { group: 1024, ordinal: *ordinal, begin: 0, end: bytes.len() };
            assert_eq!(logs.apply(&[item], &bytes, Place { file: 0, offset: 0 }), 0);
        }
        logs
    }

    #[test]
    fn a_gap_is_a_trim_in_whole_files_and_a_hole_in_damaged_ones() {
        for (may_have_gaps, first_seq, frames, holes) in [(true, 1, 4, 1), (false, 9, 2, 0)] {
            let mut damage = Vec::new();
            let log = assemble(stored(&[1, 2, 5, 6]), may_have_gaps, &mut damage).remove(0);
            assert_eq!((log.first_seq, log.head), (first_seq, 12));
            assert_eq!((log.frames.len(), log.holes.len()), (frames, holes));
            assert_eq!(damage.len(), usize::from(!may_have_gaps), "{damage:?}");
        }
        let (log, mut damage) = (stored(&[1, 2, 3]), Vec::new());
        assert_eq!(assemble(log, false, &mut damage)[0].first_seq, 1);
        assert_eq!(damage, []);
    }

    #[test]
    fn a_record_says_where_a_log_begins() {
        let with = |record: Vec<u8>| {
            let mut logs = stored(&[1, 2, 3]);
            logs.records.insert(1024, record.into());
            logs
        };
        for (recorded, frames) in [(1, 3), (3, 2), (7, 0)] {
            let record = [&[1, 0, 0, 0, 0, 0, 0, 0, recorded, 0, 0, 0, 0, 0, 0, 0], &b"sum"[..]].concat();
            let mut damage = Vec::new();
            let log = assemble(with(record), false, &mut damage).remove(0);
            assert_eq!((log.first_seq, log.head, log.frames.len()), (u64::from(recorded), 6, frames));
            assert_eq!((&log.summary[..], damage), (&b"sum"[..], vec![]));
        }
        let mut damage = Vec::new();
        assert_eq!(assemble(with(vec![2]), false, &mut damage)[0].frames.len(), 3);
        assert!(damage[0].what.contains("record is invalid"), "{damage:?}");
    }
}
