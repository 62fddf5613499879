//! How long a client took to recover after a fault of its connection or of the server, derived from the
//! histories alone.

use std::collections::HashMap;
use std::time::Duration;

use agentbench_history::{ClientHistory, Operation};
use agentbench_load::latency::DurationRecorder;

use crate::faults::Side;
use crate::publisher::client_name;

/// Name of the followers that are present from the start.
const FOLLOWER: &str = "follower";

/// The moments at which connections proved to work, µs since the start of the run.
#[derive(Debug, Default)]
pub(crate) struct SignsOfLife<'a> {
    /// When each message was acked.
    acked: HashMap<&'a str, u64>,
    /// When each message was first delivered to its session's follower.
    delivered: HashMap<&'a str, u64>,
    /// Moments at which each follower started reading or continued after a reconnect.
    reads: HashMap<String, Vec<u64>>,
    /// Acks of all clients.
    acks: Vec<u64>,
}

impl<'a> SignsOfLife<'a> {
    pub(crate) fn of(histories: &'a [ClientHistory]) -> Self {
        let mut signs = Self::default();
        for history in histories {
            let is_follower = history.client.starts_with(FOLLOWER);
            let mut reads = Vec::new();
            for record in &history.records {
                match &record.operation {
                    Operation::Ok { message, .. } => {
                        signs.acked.insert(message, record.at);
                        signs.acks.push(record.at);
                    }
                    Operation::Delivery { message, .. } if is_follower => {
                        signs.delivered.entry(message).or_insert(record.at);
                    }
                    Operation::Read { .. } => reads.push(record.at),
                    _ => {}
                }
            }
            signs.reads.insert(history.client.clone(), reads);
        }
        signs.acks.sort_unstable();
        signs
    }

    /// From `moment`, at which a fault hit this message, to its ack or its delivery; `None` if that came
    /// before the fault.
    pub(crate) fn after(&self, side: Side, message: &str, moment: Duration) -> Option<Duration> {
        let passed = match side {
            Side::Publisher => &self.acked,
            Side::Follower => &self.delivered,
        };
        Duration::from_micros(*passed.get(message)?).checked_sub(moment)
    }

    /// From `moment` to when the follower continued reading.
    pub(crate) fn read_after(&self, client: u32, moment: Duration) -> Option<Duration> {
        next(self.reads.get(&client_name(FOLLOWER, client))?, moment)
    }

    /// From `moment` to the next ack of any client.
    pub(crate) fn ack_after(&self, moment: Duration) -> Option<Duration> {
        next(&self.acks, moment)
    }
}

/// `moments` is sorted.
fn next(moments: &[u64], moment: Duration) -> Option<Duration> {
    let micros = moment.as_micros() as u64;
    let index = moments.partition_point(|at| *at <= micros);
    moments.get(index).map(|at| Duration::from_micros(at - micros))
}

/// A histogram of `times`.
pub(crate) fn histogram(times: impl Iterator<Item = Duration>) -> DurationRecorder {
    let mut recorder = DurationRecorder::default();
    times.for_each(|time| recorder.record(time));
    recorder
}

#[cfg(test)]
mod tests {
    use agentbench_history::{Content, Record};
    use agentbench_protocol::{Epoch, SessionId};

    use super::*;

    #[test]
    fn what_was_struck_is_over_with_its_own_ack_or_delivery() {
        let session: SessionId = "00000000-0000-4000-8000-000000000001".parse().unwrap();
        let record = |at, operation| Record { at, session, operation };
        let ok =
            |message: &str| Operation::Ok { message: message.into(), seq: 1, epoch: None, duplicate: false };
        let delivery = |message: &str| Operation::Delivery {
            message: message.into(),
            seq: 1,
            content: Content::Event(1),
        };
        let read = Operation::Read { epoch: Epoch::from_u64(1), after: 0 };
        let histories = [
            ClientHistory {
                client: "publisher-00003".into(),
                records: vec![record(10, ok("a")), record(50, ok("b"))],
            },
            ClientHistory {
                client: "follower-00003".into(),
                records: vec![record(5, read.clone()), record(12, delivery("a")), record(70, read)],
            },
            ClientHistory { client: "reader-00003".into(), records: vec![record(90, delivery("b"))] },
        ];
        let signs = SignsOfLife::of(&histories);
        let micros = Duration::from_micros;
        assert_eq!(signs.after(Side::Publisher, "b", micros(20)), Some(micros(30)));
        assert_eq!(signs.after(Side::Publisher, "a", micros(20)), None, "it had passed before");
        assert_eq!(signs.after(Side::Follower, "a", micros(2)), Some(micros(10)));
        assert_eq!(signs.after(Side::Follower, "b", micros(0)), None, "the final read is no delivery");
        assert_eq!(signs.read_after(3, micros(5)), Some(micros(65)));
        assert_eq!(signs.read_after(3, micros(70)), None);
        assert_eq!(signs.ack_after(micros(30)), Some(micros(20)));
    }
}
