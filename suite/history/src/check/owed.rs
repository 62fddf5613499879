//! Checks across publishes, readers and the log.

use std::collections::HashMap;

use agentbench_protocol::{Epoch, Seq};

use super::Session;
use super::log::Entry;
use super::publishes::{Ack, Publish};
use super::reader::Reader;
use crate::finding::{Finding, Kind, Verdict};
use crate::record::{Content, StopReason};

/// Positions of a message, and whether a final read has it there.
type Places = [(Epoch, Seq, bool)];

pub(super) fn check(session: &Session<'_>, verdict: &mut Verdict) {
    let places = session.log.by_message();
    let has_final_read = session.has_final_read();
    for (message, publish) in session.publishes.iter() {
        let places = places.get(message).map_or(&[][..], Vec::as_slice);
        check_outcomes(session, message, publish, places, verdict);
        for ack in &publish.acks {
            check_ack(session, message, publish, *ack, places, has_final_read, verdict);
        }
    }
    check_log(session, verdict);
    for reader in &session.readers {
        check_reader(session, reader, verdict);
    }
}

fn finding(
    session: &Session<'_>,
    kind: Kind,
    client: &str,
    message: &str,
    seq: Option<Seq>,
    at: u64,
    detail: String,
) -> Finding {
    let (client, message) = (client.to_owned(), Some(message.to_owned()));
    Finding { kind, client, session: session.id, message, seq, at, detail }
}

/// Every publish has an outcome, the log agrees with it, and each message has one position.
fn check_outcomes(
    session: &Session<'_>,
    message: &str,
    publish: &Publish<'_>,
    places: &Places,
    verdict: &mut Verdict,
) {
    let mut found = |kind, seq, detail| {
        verdict.add(finding(session, kind, publish.client, message, seq, publish.at, detail));
    };
    if publish.is_open() {
        found(Kind::Unaccounted, None, "neither stored, refused nor unknown".to_owned());
    }
    if let Some((_, seq, _)) = places.first().filter(|_| publish.must_be_absent()) {
        found(Kind::RefusedButStored, Some(*seq), "every publish of it was refused".to_owned());
    }
    for pair in places.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
        found(Kind::StoredTwice, Some(pair[1].1), format!("also at seq {}", pair[0].1));
    }
}

/// An acked message is in the log, at the position in the ack.
fn check_ack(
    session: &Session<'_>,
    message: &str,
    publish: &Publish<'_>,
    ack: Ack,
    places: &Places,
    has_final_read: bool,
    verdict: &mut Verdict,
) {
    let client = publish.client;
    let is_there = |(epoch, seq, _): &(Epoch, Seq, bool)| {
        *seq == ack.seq && ack.epoch.is_none_or(|acked| acked == *epoch)
    };
    let witnesses: &Places = places;
    if witnesses.iter().any(|place| place.2) || (!has_final_read && !witnesses.is_empty()) {
        if !witnesses.iter().any(is_there) {
            let seqs: Vec<Seq> = witnesses.iter().map(|place| place.1).collect();
            let detail = format!("acked with seq {}, but found at {seqs:?}", ack.seq);
            verdict.add(finding(session, Kind::WrongSeq, client, message, Some(ack.seq), ack.at, detail));
        }
        return;
    }
    let vouching = session
        .readers
        .iter()
        .find(|reader| (reader.is_final() || !has_final_read) && would_have(reader, ack));
    match vouching {
        Some(reader) => {
            let how = if reader.is_final() { "the final read of" } else { "the reader" };
            let detail = format!("{how} {} does not have it", reader.client());
            verdict.add(finding(session, Kind::Lost, client, message, Some(ack.seq), ack.at, detail));
        }
        None => verdict.summary.unverified += 1,
    }
}

/// Whether a reader would have received this message, were it in the log.
fn would_have(reader: &Reader<'_>, ack: Ack) -> bool {
    let last = reader.stretches().len() - 1;
    reader.stretches().iter().enumerate().any(|(index, stretch)| {
        let is_complete = reader.stopped() == StopReason::CaughtUp && index == last;
        let same_life = ack.epoch.is_none_or(|epoch| epoch == stretch.epoch);
        // A complete log of another epoch without it has lost it, too.
        let is_authority = reader.is_final() && is_complete;
        (same_life || is_authority)
            && !stretch.is_excused(ack.seq)
            && (stretch.cursor >= ack.seq || is_complete)
    })
}

/// A producer's events are in the order in which it published them.
fn check_log(session: &Session<'_>, verdict: &mut Verdict) {
    let mut latest: HashMap<(Epoch, &str), (u64, &str)> = HashMap::new();
    for (epoch, seq, entry) in session.log.iter() {
        let Some(publish) = session.publishes.get(entry.message).filter(|_| is_event(entry)) else {
            continue;
        };
        let last = latest.entry((epoch, publish.client)).or_insert((publish.order, entry.message));
        if publish.order < last.0 {
            let detail =
                format!("published before {}, but stored after it; observed by {}", last.1, entry.client);
            let at = publish.at;
            let client = publish.client;
            verdict.add(finding(session, Kind::ProducerOrder, client, entry.message, Some(seq), at, detail));
        } else {
            *last = (publish.order, entry.message);
        }
    }
}

fn is_event(entry: &Entry<'_>) -> bool {
    matches!(entry.content, Content::Event(_))
}

/// Everything known to be in the log reached the reader, if it was owed to it.
fn check_reader(session: &Session<'_>, reader: &Reader<'_>, verdict: &mut Verdict) {
    let last = reader.stretches().len() - 1;
    for (index, stretch) in reader.stretches().iter().enumerate() {
        let owed_to_end = index == last && reader.stopped() == StopReason::CaughtUp;
        let rest = owed_to_end.then_some(stretch.cursor.saturating_add(1)..=Seq::MAX);
        for range in stretch.holes().cloned().chain(rest) {
            for (seq, entry) in session.log.range(stretch.epoch, *range.start(), *range.end()) {
                let detail = format!("{} received it at {:.3} s", entry.client, entry.at as f64 / 1e6);
                let kind = Kind::Unseen;
                let at = entry.at;
                verdict.add(finding(session, kind, reader.client(), entry.message, Some(seq), at, detail));
            }
        }
    }
}
