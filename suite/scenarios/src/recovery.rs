//! How long it took until a client went on after something was done to its connection or to the server: from the
//! histories alone.

use std::collections::HashMap;
use std::time::Duration;

use agentbench_history::{ClientHistory, Operation};
use agentbench_load::latency::DurationRecorder;

use crate::faults::Side;
use crate::publisher::client_name;

/// The moments at which each connection showed that it works, µs since the run began, in order.
#[derive(Debug, Default)]
pub(crate) struct SignsOfLife {
    /// Acks and deliveries of each client's connections, by the client's name in the histories.
    moments: HashMap<String, Vec<u64>>,
    /// Moments at which each follower began to read or went on after a reconnect.
    reads: HashMap<String, Vec<u64>>,
    /// Acks of everybody.
    acks: Vec<u64>,
}

impl SignsOfLife {
    pub(crate) fn of(histories: &[ClientHistory]) -> Self {
        let mut signs = Self::default();
        for history in histories {
            let at = |wanted: fn(&Operation) -> bool| -> Vec<u64> {
                let records = history.records.iter().filter(|record| wanted(&record.operation));
                records.map(|record| record.at).collect()
            };
            signs.acks.extend(at(|operation| matches!(operation, Operation::Ok { .. })));
            let moments =
                at(|operation| matches!(operation, Operation::Ok { .. } | Operation::Delivery { .. }));
            signs.moments.insert(history.client.clone(), moments);
            let reads = at(|operation| matches!(operation, Operation::Read { .. }));
            signs.reads.insert(history.client.clone(), reads);
        }
        signs.acks.sort_unstable();
        signs
    }

    /// From this moment to the next sign of life of this connection; none, if it had nothing to say any more.
    pub(crate) fn after(&self, client: u32, side: Side, moment: Duration) -> Option<Duration> {
        next(self.moments.get(&name(client, side))?, moment)
    }

    /// From this moment to when the follower went on reading.
    pub(crate) fn read_after(&self, client: u32, moment: Duration) -> Option<Duration> {
        next(self.reads.get(&name(client, Side::Follower))?, moment)
    }

    /// From this moment to the next ack of anybody.
    pub(crate) fn ack_after(&self, moment: Duration) -> Option<Duration> {
        next(&self.acks, moment)
    }
}

fn name(client: u32, side: Side) -> String {
    client_name(if side == Side::Publisher { "publisher" } else { "follower" }, client)
}

/// `moments` are in order.
fn next(moments: &[u64], moment: Duration) -> Option<Duration> {
    let micros = moment.as_micros() as u64;
    let index = moments.partition_point(|at| *at <= micros);
    moments.get(index).map(|at| Duration::from_micros(at - micros))
}

/// A histogram of those that there are.
pub(crate) fn histogram(times: impl Iterator<Item = Duration>) -> DurationRecorder {
    let mut recorder = DurationRecorder::default();
    times.for_each(|time| recorder.record(time));
    recorder
}

#[cfg(test)]
mod tests {
    use agentbench_history::{Record, StoppedBecause};
    use agentbench_protocol::SessionId;

    use super::*;

    #[test]
    fn the_next_sign_after_a_moment_counts() {
        let session: SessionId = "00000000-0000-4000-8000-000000000001".parse().unwrap();
        let ok = |at| Record {
            at,
            session,
            operation: Operation::Ok { message: "m".into(), seq: 1, epoch: None, duplicate: false },
        };
        let stop = Record { at: 25, session, operation: Operation::Stop { why: StoppedBecause::Left } };
        let history =
            ClientHistory { client: "publisher-00003".into(), records: vec![ok(10), ok(20), stop, ok(50)] };
        let signs = SignsOfLife::of(&[history]);
        let after = |micros| signs.after(3, Side::Publisher, Duration::from_micros(micros));
        assert_eq!(after(0), Some(Duration::from_micros(10)));
        assert_eq!(after(20), Some(Duration::from_micros(30)));
        assert_eq!(after(50), None);
        assert_eq!(signs.after(3, Side::Follower, Duration::ZERO), None);
        assert_eq!(signs.ack_after(Duration::from_micros(30)), Some(Duration::from_micros(20)));
    }
}
