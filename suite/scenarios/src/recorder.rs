//! Writes down what one client does and sees.

use std::sync::Arc;

use agentbench_client::{GapCause, Outcome, SessionId};
use agentbench_history::{ClientHistory, Content, Operation, Record};

use crate::meters::Meters;
use crate::sdk::Step;

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
    pub(crate) fn step(&mut self, step: Step) {
        self.note(match step {
            Step::Event { seq, id, digest } | Step::Late { seq, id, digest } => {
                Operation::Delivery { seq, message: id.into(), content: Content::Event(digest) }
            }
            Step::Lifecycle { seq, id } => {
                Operation::Delivery { seq, message: id.into(), content: Content::Lifecycle }
            }
            // These are about the history that the reader had; the `Read` says where it goes on.
            Step::Gap { cause: GapCause::Epoch | GapCause::Diverged, .. } | Step::Other => return,
            Step::Gap { from, to, cause } => Operation::Gap { from, to, cause },
            Step::Read { epoch, after } => Operation::Read { epoch, after },
        });
    }

    pub(crate) fn finish(self) -> ClientHistory {
        self.history
    }
}
