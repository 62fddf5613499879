//! What must hold when everything has come to its end, whatever happened before.
//!
//! The histories of the clients go to the suite's judge, with a final read of every log. Beside it stand the promises that no
//! client can see broken: nothing is held for nothing, participants are those that are connected, catalogs list what the log
//! has, and what was removed stays removed.

use std::collections::BTreeSet;
use std::fmt;

use agentbench_event_log::{EventLog, Frame, Kind, ReadLimit};
use agentbench_history::{ClientHistory, Content, Finding as Found, Operation, Record, StopReason, check};
use agentbench_protocol::SessionId;
use agentbench_protocol::message::Delivery;

use crate::client::digest_of;
use crate::world::World;

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which one: the name of a finding of the judge, or of the simulation.
    pub name: String,
    /// What was seen.
    pub sentence: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.sentence)
    }
}

fn finding(name: &str, sentence: impl Into<String>) -> Finding {
    Finding { name: name.to_owned(), sentence: sentence.into() }
}

/// Judges a world that was brought to its end; `is_idle` if every client has its answers.
pub(crate) fn judge(world: &World, is_idle: bool) -> Vec<Finding> {
    let mut findings: Vec<_> =
        world.early_acks.iter().map(|sentence| finding("acked before the commit", &**sentence)).collect();
    if !is_idle {
        let stuck = world.clients.iter().filter(|client| !client.is_idle());
        findings.extend(stuck.map(|client| finding("stuck", format!("{} gets no answer", client.state()))));
    }
    findings.extend(removed_sessions(world));
    for (index, node) in world.nodes.iter().enumerate() {
        let wrong = |name: &str, checked: Result<(), String>| {
            checked.err().map(|why| finding(name, format!("server {index}: {why}")))
        };
        findings.extend(wrong("held for nothing", node.check_nothing_is_held()));
        findings.extend(wrong("ghost in a session", node.check_participants()));
        findings.extend(wrong("catalog differs from the log", node.check_catalog()));
    }
    let removed: BTreeSet<SessionId> = world.removed.iter().map(|(session, _)| *session).collect();
    for (session, lie) in world.clients.iter().flat_map(|client| &client.lies) {
        if !removed.contains(session) {
            findings.push(finding("position not honoured", format!("session {session}: {lie}")));
        }
    }
    findings.extend(histories(world, &removed));
    findings
}

fn removed_sessions(world: &World) -> Vec<Finding> {
    let back = world
        .removed
        .iter()
        .filter(|(session, epoch)| world.log.head(*session).is_some_and(|head| head.epoch == *epoch));
    back.map(|(session, epoch)| {
        finding("removed session is back", format!("session {session}, epoch {epoch}, was removed"))
    })
    .collect()
}

fn histories(world: &World, removed: &BTreeSet<SessionId>) -> Vec<Finding> {
    let mut histories: Vec<ClientHistory> = Vec::new();
    for client in &world.clients {
        let mut history = client.history.clone();
        history.records.retain(|record| !removed.contains(&record.session));
        histories.push(history);
    }
    histories.push(final_reads(world, removed));
    let verdict = check(&histories);
    let findings = verdict.findings.iter();
    let sentence = |found: &Found| {
        let (name, text) = (found.kind.text(), found.to_string());
        text.strip_prefix(name).map_or(text.clone(), |rest| rest.trim_start_matches(": ").to_owned())
    };
    findings.map(|found| finding(found.kind.text(), sentence(found))).collect()
}

/// The whole log of every session.
fn final_reads(world: &World, removed: &BTreeSet<SessionId>) -> ClientHistory {
    let mut records = Vec::new();
    let at = world.at() * 1_000;
    let limit = ReadLimit { bytes: usize::MAX, events: usize::MAX };
    for listed in world.log.list().expect("a log in memory lists") {
        let session = listed.session;
        if removed.contains(&session) {
            continue;
        }
        let mut note = |operation| records.push(Record { at, session, operation });
        note(Operation::FinalRead { epoch: listed.head.epoch });
        let reading = world.log.read(session, 1, limit).expect("a log in memory is read");
        for (seq, record) in reading.frames.iter().flat_map(Frame::records) {
            let content = match record.kind {
                Kind::Lifecycle => Content::Lifecycle,
                Kind::Event => {
                    let delivery: Delivery<'_> = serde_json::from_slice(record.body).expect("JSON");
                    Content::Event(digest_of(delivery.data.get()))
                }
            };
            note(Operation::Delivery { seq, message: record.id.into(), content });
        }
        note(Operation::Stop { why: StopReason::CaughtUp });
    }
    ClientHistory { client: "log".to_owned(), records }
}
