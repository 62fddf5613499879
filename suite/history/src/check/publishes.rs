//! What was published in a session, and the outcomes.

use std::collections::HashMap;

use agentbench_protocol::{Epoch, Seq};

use super::{Observation, Sessions};
use crate::finding::{Kind, Verdict};
use crate::record::{ClientHistory, Content, Operation};

/// The publishes of one session, by the message's id.
#[derive(Debug, Default)]
pub(super) struct Publishes<'a> {
    by_message: HashMap<&'a str, Publish<'a>>,
    /// Ids in order of appearance, so that reports do not depend on the map's order.
    order: Vec<&'a str>,
}

/// One message, with all its publishes.
#[derive(Debug)]
pub(super) struct Publish<'a> {
    pub(super) client: &'a str,
    /// Position among all publishes of its client.
    pub(super) order: u64,
    /// When it was published.
    pub(super) at: u64,
    pub(super) acks: Vec<Ack>,
    digests: Vec<u32>,
    /// Its publishes without an outcome so far.
    open: u32,
    refused: bool,
    unknown: bool,
}

/// One ack.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ack {
    pub(super) epoch: Option<Epoch>,
    pub(super) seq: Seq,
    pub(super) at: u64,
}

impl<'a> Publishes<'a> {
    pub(super) fn get(&self, message: &str) -> Option<&Publish<'a>> {
        self.by_message.get(message)
    }

    /// All messages, in order of appearance.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'a str, &Publish<'a>)> {
        self.order.iter().filter_map(|message| Some((*message, self.by_message.get(message)?)))
    }

    /// Checks that a delivered event was published, with the same content.
    pub(super) fn observe(
        &self,
        observed: Observation<'_>,
        seq: Seq,
        message: &str,
        content: Content,
        verdict: &mut Verdict,
    ) {
        let Content::Event(digest) = content else { return };
        let Some(publish) = self.get(message) else {
            let detail = "no client published it in this session".to_owned();
            return verdict.add(observed.finding(Kind::Invented, Some(message), Some(seq), detail));
        };
        if !publish.digests.contains(&digest) {
            let detail =
                format!("{} published digest {:?}, but received {digest}", publish.client, publish.digests);
            verdict.add(observed.finding(Kind::Altered, Some(message), Some(seq), detail));
        }
    }
}

impl Publish<'_> {
    /// Whether all its outcomes say that it is not in the log.
    pub(super) fn must_be_absent(&self) -> bool {
        self.refused && self.acks.is_empty() && !self.unknown && self.open == 0
    }

    pub(super) fn is_open(&self) -> bool {
        self.open > 0
    }
}

/// Collects what one client published.
pub(super) fn gather<'a>(history: &'a ClientHistory, sessions: &mut Sessions<'a>, verdict: &mut Verdict) {
    let mut order = 0;
    for record in &history.records {
        let observed = Observation { client: &history.client, record };
        match &record.operation {
            Operation::Invoke { message, digest } => {
                order += 1;
                verdict.summary.published += 1;
                invoke(observed, message, *digest, order, sessions, verdict);
            }
            Operation::Ok { message, seq, epoch, duplicate } => {
                verdict.summary.stored += 1;
                verdict.summary.duplicates += u64::from(*duplicate);
                let ack = Ack { epoch: *epoch, seq: *seq, at: record.at };
                settle(observed, message, sessions, verdict, |publish| publish.acks.push(ack));
            }
            Operation::Fail { message, .. } => {
                verdict.summary.refused += 1;
                settle(observed, message, sessions, verdict, |publish| publish.refused = true);
            }
            Operation::Unknown { message, .. } => {
                verdict.summary.unknown += 1;
                settle(observed, message, sessions, verdict, |publish| publish.unknown = true);
            }
            _ => {}
        }
    }
}

fn invoke<'a>(
    observed: Observation<'a>,
    message: &'a str,
    digest: u32,
    order: u64,
    sessions: &mut Sessions<'a>,
    verdict: &mut Verdict,
) {
    let publishes = &mut sessions.get(observed.record.session).publishes;
    let Some(publish) = publishes.by_message.get_mut(message) else {
        publishes.order.push(message);
        let publish = Publish {
            client: observed.client,
            order,
            at: observed.record.at,
            acks: Vec::new(),
            digests: vec![digest],
            open: 1,
            refused: false,
            unknown: false,
        };
        publishes.by_message.insert(message, publish);
        return;
    };
    if publish.client != observed.client {
        let detail = format!("{} uses the same id", publish.client);
        return verdict.add(observed.finding(Kind::Unusable, Some(message), None, detail));
    }
    if publish.must_be_absent() {
        // Earlier attempts left nothing behind: this one determines the position in the order.
        publish.order = order;
    }
    publish.open += 1;
    if !publish.digests.contains(&digest) {
        publish.digests.push(digest);
    }
}

fn settle<'a>(
    observed: Observation<'a>,
    message: &str,
    sessions: &mut Sessions<'a>,
    verdict: &mut Verdict,
    note: impl FnOnce(&mut Publish<'a>),
) {
    let publishes = &mut sessions.get(observed.record.session).publishes;
    match publishes.by_message.get_mut(message).filter(|p| p.open > 0 && p.client == observed.client) {
        Some(publish) => {
            publish.open -= 1;
            note(publish);
        }
        None => {
            let detail = "an outcome of a publish that this client did not start".to_owned();
            verdict.add(observed.finding(Kind::Unusable, Some(message), None, detail));
        }
    }
}
