//! Who is furthest behind. Each worker tells of its own ten with every tick; ten of all are shown, so that no label grows
//! with the number of readers.

use std::cmp::Reverse;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};

use agentbench_protocol::SessionId;
use serde::Serialize;

use crate::transport::Connection;
use crate::worker::Worker;

/// Readers that are told of by name.
const SHOWN: usize = 10;

/// A reader that is behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct SlowReader {
    /// Its connection.
    pub(crate) client_id: String,
    /// Whose it is.
    pub(crate) user_id: String,
    /// What it reads.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub(crate) session_id: SessionId,
    /// Events between the log's end and its place.
    pub(crate) behind: u64,
}

/// The slowest readers of each worker.
pub(crate) struct Readers(Vec<Mutex<Vec<SlowReader>>>);

impl Readers {
    pub(crate) fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| Mutex::default()).collect())
    }

    /// Takes a worker's word.
    pub(crate) fn tell(&self, worker: usize, readers: Vec<SlowReader>) {
        *self.0[worker].lock().unwrap_or_else(PoisonError::into_inner) = readers;
    }

    /// The slowest of all, slowest first.
    pub(crate) fn slowest(&self) -> Vec<SlowReader> {
        let of =
            |readers: &Mutex<Vec<SlowReader>>| readers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        first_of(self.0.iter().flat_map(of).collect())
    }

    pub(crate) fn furthest_behind(&self) -> u64 {
        self.slowest().first().map_or(0, |reader| reader.behind)
    }
}

fn first_of(mut readers: Vec<SlowReader>) -> Vec<SlowReader> {
    readers.sort_by(|a, b| (Reverse(a.behind), &a.client_id).cmp(&(Reverse(b.behind), &b.client_id)));
    readers.truncate(SHOWN);
    readers
}

impl Worker {
    /// The slowest of this worker's readers, each with the session in which it is furthest behind.
    pub(crate) fn slow_readers(&self, connections: &[Rc<Connection>]) -> Vec<SlowReader> {
        let mut behind: Vec<(u64, SessionId, &Rc<Connection>)> = connections
            .iter()
            .filter_map(|connection| {
                connection.furthest_behind().map(|(session, lag)| (lag, session, connection))
            })
            .collect();
        behind.sort_by_key(|(lag, _, connection)| (Reverse(*lag), connection.key));
        let name = |(behind, session_id, connection): &(u64, SessionId, &Rc<Connection>)| SlowReader {
            client_id: connection.who.client_id.clone(),
            user_id: connection.who.user_id.clone(),
            session_id: *session_id,
            behind: *behind,
        };
        let mut slowest: Vec<_> = behind.iter().take(SHOWN).map(name).collect();
        let streams = self.shared.streams.of_worker(self.index);
        slowest.extend(streams.iter().filter(|stream| stream.lag() > 0).map(|stream| SlowReader {
            client_id: stream.who.client_id.clone(),
            user_id: stream.who.user_id.clone(),
            session_id: stream.session,
            behind: stream.lag(),
        }));
        first_of(slowest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_of_all_are_shown() {
        let readers = Readers::new(2);
        let reader = |n: u64| SlowReader {
            client_id: format!("c{n}"),
            user_id: "u".into(),
            session_id: SessionId::from_u128(1),
            behind: n,
        };
        readers.tell(0, (1..=10).map(reader).collect());
        readers.tell(1, (6..=15).map(reader).collect());
        let shown: Vec<u64> = readers.slowest().iter().map(|reader| reader.behind).collect();
        assert_eq!(shown, [15, 14, 13, 12, 11, 10, 10, 9, 9, 8]);
        assert_eq!(readers.furthest_behind(), 15);
        readers.tell(1, Vec::new());
        assert_eq!(readers.furthest_behind(), 10);
    }
}
