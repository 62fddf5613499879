//! Records what one client does and observes.

use std::sync::Arc;

use agentbench_client::{GapCause, Outcome, SessionId};
use agentbench_history::{ClientHistory, Content, Operation, Record};

use crate::meters::Meters;
use crate::sdk::Step;

/// The history of one client while it is recorded.
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
            // An event that never reached a connection is certainly not in the log.
            Outcome::Unknown { why, sent: false } => {
                Operation::Fail { message, why: format!("never sent: {why}").into() }
            }
            Outcome::Unknown { why, sent: true } => {
                Operation::Unknown { message, why: why.to_string().into() }
            }
        });
    }

    /// Records what belongs to the history. The other items of a follow are either not in the log (presence),
    /// or implied by the records around them (a lost connection by the `Read` after it, a violation by the jump
    /// of the seq).
    pub(crate) fn step(&mut self, step: Step) {
        self.note(match step {
            Step::Event { seq, id, digest } | Step::Late { seq, id, digest } => {
                Operation::Delivery { seq, message: id.into(), content: Content::Event(digest) }
            }
            Step::Lifecycle { seq, id } => {
                Operation::Delivery { seq, message: id.into(), content: Content::Lifecycle }
            }
            // These refer to the reader's previous history; the `Read` gives the new position.
            Step::Gap { cause: GapCause::Epoch | GapCause::Diverged, .. } | Step::Other => return,
            Step::Gap { from, to, cause } => Operation::Gap { from, to, cause },
            Step::Read { epoch, after } => Operation::Read { epoch, after },
        });
    }

    pub(crate) fn finish(self) -> ClientHistory {
        self.history
    }
}
