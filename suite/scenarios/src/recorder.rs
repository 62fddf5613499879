//! Writes down what one client does and sees.

use std::sync::Arc;

use agentbench_client::{Delivered, GapCause, Item, Outcome, SessionId};
use agentbench_history::{ClientHistory, Content, Operation, Record};

use crate::meters::Meters;

/// One client's history in the making.
#[derive(Debug)]
pub(crate) struct Recorder {
    history: ClientHistory,
    session: SessionId,
    meters: Arc<Meters>,
}

impl Recorder {
    pub(crate) fn new(client: String, session: SessionId, meters: Arc<Meters>) -> Self {
        Self { history: ClientHistory { client, records: Vec::new() }, session, meters }
    }

    pub(crate) fn note(&mut self, operation: Operation) {
        let at = self.meters.now().as_micros() as u64;
        self.history.records.push(Record { at, session: self.session, operation });
    }

    pub(crate) fn outcome(&mut self, message: &str, outcome: &Outcome) {
        let message = message.into();
        self.note(match outcome {
            Outcome::Stored { seq, epoch, duplicate, .. } => {
                Operation::Ok { message, seq: *seq, epoch: *epoch, duplicate: *duplicate }
            }
            Outcome::Refused(refusal) => {
                Operation::Fail { message, why: format!("{}: {}", refusal.code, refusal.error).into() }
            }
            // What was never handed to a connection is not in the log: that is known.
            Outcome::Unknown { why, sent: false } => {
                Operation::Fail { message, why: format!("never sent: {why}").into() }
            }
            Outcome::Unknown { why, sent: true } => {
                Operation::Unknown { message, why: why.to_string().into() }
            }
        });
    }

    /// Notes what belongs to the history. The rest of what a follow gives is either not in the log
    /// (presence), or said by the records around it (a lost connection by the `Read` after it, a violation by
    /// the jump of the seq).
    pub(crate) fn item(&mut self, item: &Item) {
        match item {
            Item::Event(event) => {
                self.delivery(event, Content::Event(crc32c::crc32c(event.data().as_bytes())));
            }
            Item::Late(entry) => {
                self.delivery(entry, Content::Event(crc32c::crc32c(entry.data().as_bytes())));
            }
            Item::Lifecycle(lifecycle) => self.delivery(&lifecycle.entry, Content::Lifecycle),
            // These are about the history that the reader had; the `Read` says where it goes on.
            Item::Gap(gap) if matches!(gap.cause, GapCause::Epoch | GapCause::Diverged) => {}
            Item::Gap(gap) => self.note(Operation::Gap { from: gap.from, to: gap.to, cause: gap.cause }),
            Item::Resumed(resumed) => {
                self.note(Operation::Read { epoch: resumed.from.epoch, after: resumed.from.seq });
            }
            Item::NotRecovered { from, .. } => {
                self.note(Operation::Read { epoch: from.epoch, after: from.seq });
            }
            Item::Presence { .. } | Item::Disconnected(_) | Item::Violation(_) => {}
        }
    }

    fn delivery(&mut self, entry: &Delivered, content: Content) {
        self.note(Operation::Delivery { seq: entry.seq, message: (&*entry.id()).into(), content });
    }

    pub(crate) fn finish(self) -> ClientHistory {
        self.history
    }
}
