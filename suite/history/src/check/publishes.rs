//! What was published in a session, and what came of it.

use std::collections::HashMap;

use agentbench_protocol::{Epoch, Seq};

use super::{Seen, Sessions};
use crate::finding::{Kind, Verdict};
use crate::record::{ClientHistory, Content, Operation};

/// The publishes of one session, by the message's id.
#[derive(Debug, Default)]
pub(super) struct Publishes<'a> {
    by_message: HashMap<&'a str, Publish<'a>>,
    /// Ids in the order in which they turned up: reports do not depend on the map's order.
    order: Vec<&'a str>,
}

/// One message, however often it was published.
#[derive(Debug)]
pub(super) struct Publish<'a> {
    pub(super) client: &'a str,
    /// Place among all publishes of its client.
    pub(super) order: u64,
    /// When it was published.
    pub(super) at: u64,
    pub(super) acks: Vec<Acked>,
    digests: Vec<u32>,
    /// Publishes of it without an outcome so far.
    open: u32,
    refused: bool,
    unknown: bool,
}

/// One ack.
#[derive(Debug, Clone, Copy)]
pub(super) struct Acked {
    pub(super) epoch: Option<Epoch>,
    pub(super) seq: Seq,
    pub(super) at: u64,
}

impl<'a> Publishes<'a> {
    pub(super) fn get(&self, message: &str) -> Option<&Publish<'a>> {
        self.by_message.get(message)
    }

    /// In the order in which they turned up.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'a str, &Publish<'a>)> {
        self.order.iter().filter_map(|message| Some((*message, self.by_message.get(message)?)))
    }

    /// Whether a delivered event is one that was published, and as it was published.
    pub(super) fn see(
        &self,
        seen: Seen<'_>,
        seq: Seq,
        message: &str,
        content: Content,
        verdict: &mut Verdict,
    ) {
        let Content::Event(digest) = content else { return };
        let Some(publish) = self.get(message) else {
            let detail = "nobody published it in this session".to_owned();
            return verdict.add(seen.finding(Kind::Invented, Some(message), Some(seq), detail));
        };
        if !publish.digests.contains(&digest) {
            let detail =
                format!("{} published digest {:?}, here is {digest}", publish.client, publish.digests);
            verdict.add(seen.finding(Kind::Altered, Some(message), Some(seq), detail));
        }
    }
}

impl Publish<'_> {
    /// Whether every outcome that it had says that the log does not have it.
    pub(super) fn must_be_absent(&self) -> bool {
        self.refused && self.acks.is_empty() && !self.unknown && self.open == 0
    }

    pub(super) fn is_open(&self) -> bool {
        self.open > 0
    }
}

/// Takes what one client published.
pub(super) fn gather<'a>(history: &'a ClientHistory, sessions: &mut Sessions<'a>, verdict: &mut Verdict) {
    let mut order = 0;
    for record in &history.records {
        let seen = Seen { client: &history.client, record };
        match &record.operation {
            Operation::Invoke { message, digest } => {
                order += 1;
                verdict.summary.published += 1;
                invoke(seen, message, *digest, order, sessions, verdict);
            }
            Operation::Ok { message, seq, epoch, duplicate } => {
                verdict.summary.stored += 1;
                verdict.summary.duplicates += u64::from(*duplicate);
                let ack = Acked { epoch: *epoch, seq: *seq, at: record.at };
                settle(seen, message, sessions, verdict, |publish| publish.acks.push(ack));
            }
            Operation::Fail { message, .. } => {
                verdict.summary.refused += 1;
                settle(seen, message, sessions, verdict, |publish| publish.refused = true);
            }
            Operation::Unknown { message, .. } => {
                verdict.summary.unknown += 1;
                settle(seen, message, sessions, verdict, |publish| publish.unknown = true);
            }
            _ => {}
        }
    }
}

fn invoke<'a>(
    seen: Seen<'a>,
    message: &'a str,
    digest: u32,
    order: u64,
    sessions: &mut Sessions<'a>,
    verdict: &mut Verdict,
) {
    let publishes = &mut sessions.get(seen.record.session).publishes;
    let Some(publish) = publishes.by_message.get_mut(message) else {
        publishes.order.push(message);
        let publish = Publish {
            client: seen.client,
            order,
            at: seen.record.at,
            acks: Vec::new(),
            digests: vec![digest],
            open: 1,
            refused: false,
            unknown: false,
        };
        publishes.by_message.insert(message, publish);
        return;
    };
    if publish.client != seen.client {
        let detail = format!("{} uses the same id", publish.client);
        return verdict.add(seen.finding(Kind::Unusable, Some(message), None, detail));
    }
    if publish.must_be_absent() {
        // Nothing of the earlier attempts is left: this is the one whose place in the order counts.
        publish.order = order;
    }
    publish.open += 1;
    if !publish.digests.contains(&digest) {
        publish.digests.push(digest);
    }
}

fn settle<'a>(
    seen: Seen<'a>,
    message: &str,
    sessions: &mut Sessions<'a>,
    verdict: &mut Verdict,
    note: impl FnOnce(&mut Publish<'a>),
) {
    let publishes = &mut sessions.get(seen.record.session).publishes;
    match publishes.by_message.get_mut(message).filter(|p| p.open > 0 && p.client == seen.client) {
        Some(publish) => {
            publish.open -= 1;
            note(publish);
        }
        None => {
            let detail = "an outcome of a publish that this client had not begun".to_owned();
            verdict.add(seen.finding(Kind::Unusable, Some(message), None, detail));
        }
    }
}
