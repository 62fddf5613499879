//! The slowest readers. Each worker reports its ten with every tick; the ten slowest of all are shown, so that the number of
//! labels is bounded.

use std::cmp::Reverse;
use std::sync::{Mutex, PoisonError};

use agentbench_protocol::SessionId;
use serde::Serialize;

/// Number of readers reported by name.
pub(crate) const SHOWN: usize = 10;

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

    /// Replaces a worker's report.
    pub(crate) fn report(&self, worker: usize, readers: Vec<SlowReader>) {
        *self.0[worker].lock().unwrap_or_else(PoisonError::into_inner) = readers;
    }

    /// The slowest of all, slowest first.
    pub(crate) fn slowest(&self) -> Vec<SlowReader> {
        let of =
            |readers: &Mutex<Vec<SlowReader>>| readers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        slowest_of(self.0.iter().flat_map(of).collect())
    }

    pub(crate) fn furthest_behind(&self) -> u64 {
        self.slowest().first().map_or(0, |reader| reader.behind)
    }
}

/// The slowest of these, slowest first.
pub(crate) fn slowest_of(mut readers: Vec<SlowReader>) -> Vec<SlowReader> {
    readers.sort_by(|a, b| (Reverse(a.behind), &a.client_id).cmp(&(Reverse(b.behind), &b.client_id)));
    readers.truncate(SHOWN);
    readers
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
        readers.report(0, (1..=10).map(reader).collect());
        readers.report(1, (6..=15).map(reader).collect());
        let shown: Vec<u64> = readers.slowest().iter().map(|reader| reader.behind).collect();
        assert_eq!(shown, [15, 14, 13, 12, 11, 10, 10, 9, 9, 8]);
        assert_eq!(readers.furthest_behind(), 15);
        readers.report(1, Vec::new());
        assert_eq!(readers.furthest_behind(), 10);
    }
}
