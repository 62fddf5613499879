//! The judge: every promise, checked over the records of all clients.
//!
//! 1. `publishes`: what was published, and the outcomes.
//! 2. `reader`: each reader's path through a log, step by step: repeats, order, holes.
//! 3. `log`: the contents of the log, from final reads first and from followers second; disagreements of readers.
//! 4. `owed`: checks across the three: lost, undelivered, wrong seqs, stored twice, a producer's order.
//!
//! The work is linear in the records, except for sorting each session's positions.

mod log;
mod owed;
mod publishes;
mod reader;

use std::collections::{HashMap, HashSet};

use agentbench_protocol::SessionId;

use crate::finding::{Finding, Kind, Summary, Verdict};
use crate::record::{ClientHistory, Content, Operation, Record, StopReason};
use log::Log;
use publishes::Publishes;
use reader::Reader;

/// One session of the run.
#[derive(Debug)]
struct Session<'a> {
    id: SessionId,
    publishes: Publishes<'a>,
    log: Log<'a>,
    readers: Vec<Reader<'a>>,
}

/// All sessions, in order of appearance.
#[derive(Debug, Default)]
struct Sessions<'a> {
    by_id: HashMap<SessionId, usize>,
    all: Vec<Session<'a>>,
}

impl<'a> Sessions<'a> {
    fn get(&mut self, id: SessionId) -> &mut Session<'a> {
        let index = *self.by_id.entry(id).or_insert_with(|| {
            self.all.push(Session {
                id,
                publishes: Publishes::default(),
                log: Log::default(),
                readers: Vec::new(),
            });
            self.all.len() - 1
        });
        &mut self.all[index]
    }
}

/// A record with its client.
#[derive(Clone, Copy)]
struct Observation<'a> {
    client: &'a str,
    record: &'a Record,
}

impl Observation<'_> {
    fn finding(&self, kind: Kind, message: Option<&str>, seq: Option<u64>, detail: String) -> Finding {
        Finding {
            kind,
            client: self.client.to_owned(),
            session: self.record.session,
            message: message.map(str::to_owned),
            seq,
            at: self.record.at,
            detail,
        }
    }
}

/// Checks the histories of all clients of one run.
pub fn check(histories: &[ClientHistory]) -> Verdict {
    let mut verdict = Verdict::default();
    let mut sessions = Sessions::default();
    for history in histories {
        publishes::gather(history, &mut sessions, &mut verdict);
    }
    // Final reads first: where readers disagree, the final read is the reference for the
    // others.
    for final_reads in [true, false] {
        for history in histories {
            follow(history, final_reads, &mut sessions, &mut verdict);
        }
    }
    for session in &sessions.all {
        session.readers.iter().for_each(|reader| reader.report_holes(session.id, &mut verdict));
        owed::check(session, &mut verdict);
        verdict.summary.final_reads += u64::from(session.has_final_read());
    }
    verdict.summary.sessions = sessions.all.len() as u64;
    verdict
}

/// Follows the path of one client's readers, either its final reads or its followers.
fn follow<'a>(
    history: &'a ClientHistory,
    final_reads: bool,
    sessions: &mut Sessions<'a>,
    verdict: &mut Verdict,
) {
    let mut open: HashMap<SessionId, Reader<'a>> = HashMap::new();
    let mut in_final_read = HashSet::new();
    for record in &history.records {
        let observed = Observation { client: &history.client, record };
        match &record.operation {
            Operation::FinalRead { .. } => {
                in_final_read.insert(record.session);
            }
            Operation::Read { .. } => {
                in_final_read.remove(&record.session);
            }
            _ => {}
        }
        if in_final_read.contains(&record.session) == final_reads {
            step(observed, final_reads, &mut open, sessions, verdict);
        }
        if matches!(record.operation, Operation::Stop { .. }) {
            in_final_read.remove(&record.session);
        }
    }
    // A reader without a stop record stayed to the end. In the order of the sessions, so that a
    // history always gets the same verdict.
    let mut rest: Vec<_> = open.into_iter().collect();
    rest.sort_by_key(|(session, _)| *session);
    for (session, reader) in rest {
        sessions.get(session).readers.push(reader);
    }
}

fn step<'a>(
    observed: Observation<'a>,
    is_final: bool,
    open: &mut HashMap<SessionId, Reader<'a>>,
    sessions: &mut Sessions<'a>,
    verdict: &mut Verdict,
) {
    let session = observed.record.session;
    match &observed.record.operation {
        Operation::FinalRead { epoch } => {
            open.insert(session, Reader::new(observed.client, *epoch, 0, true));
        }
        Operation::Read { epoch, after } => match open.get_mut(&session) {
            Some(reader) => {
                verdict.summary.resumed += 1;
                reader.resume(*epoch, *after, observed.record.at);
            }
            None => {
                open.insert(session, Reader::new(observed.client, *epoch, *after, false));
            }
        },
        Operation::Delivery { seq, message, content } => {
            let Some(reader) = open.get_mut(&session) else {
                let detail = "a delivery before any read started".to_owned();
                return verdict.add(observed.finding(Kind::Unusable, Some(message), Some(*seq), detail));
            };
            count(*content, is_final, &mut verdict.summary);
            let (epoch, session) = (reader.epoch(), sessions.get(session));
            reader.deliver(observed, *seq, message, verdict);
            session.log.observe(observed, epoch, *seq, message, *content, is_final, verdict);
            session.publishes.observe(observed, *seq, message, *content, verdict);
        }
        Operation::Gap { from, to, cause } => {
            let Some(reader) = open.get_mut(&session).filter(|_| from <= to) else {
                let detail = format!("an impossible gap from {from} to {to}");
                return verdict.add(observed.finding(Kind::Unusable, None, Some(*from), detail));
            };
            reader.gap(*from, *to, observed.record.at);
            if !is_final {
                // What a server says about its gaps may be any number.
                let count = verdict.summary.gaps.entry(cause.as_str().to_owned()).or_default();
                *count = count.saturating_add((to - from).saturating_add(1));
            }
        }
        Operation::Dropped { count } => {
            let detail = format!("the client dropped {count} entries that were repeated or late");
            verdict.add(observed.finding(Kind::DeliveredTwice, None, None, detail));
        }
        Operation::Stop { why } => {
            if let Some(mut reader) = open.remove(&session) {
                reader.stop(*why);
                sessions.get(session).readers.push(reader);
            }
        }
        Operation::Invoke { .. }
        | Operation::Ok { .. }
        | Operation::Fail { .. }
        | Operation::Unknown { .. } => {}
    }
}

fn count(content: Content, is_final: bool, summary: &mut Summary) {
    if is_final {
        summary.finally_read += 1;
        return;
    }
    summary.delivered += 1;
    summary.events_delivered += u64::from(matches!(content, Content::Event(_)));
}

impl Session<'_> {
    /// Whether a client read the whole log after everything else.
    fn has_final_read(&self) -> bool {
        self.readers.iter().any(|reader| reader.is_final() && reader.stopped() == StopReason::CaughtUp)
    }
}

#[cfg(test)]
mod tests {
    use agentbench_protocol::{Epoch, GapCause};

    use super::*;

    #[test]
    fn gaps_over_everything_are_counted_as_far_as_one_can_count() {
        let gap = |from| Operation::Gap { from, to: u64::MAX, cause: GapCause::Overflow };
        let operations = [Operation::Read { epoch: Epoch::from_u64(7), after: 0 }, gap(1), gap(0), gap(5)];
        let session = SessionId::from_u128(1);
        let records = operations.into_iter().map(|operation| Record { at: 1, session, operation }).collect();
        let verdict = check(&[ClientHistory { client: "c".into(), records }]);
        assert_eq!(verdict.summary.gaps["overflow"], u64::MAX);
    }
}
