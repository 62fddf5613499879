//! Which connection is a user's producer: the newest one that names it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use agentbench_session::ConnectionKey;

/// Connections by user and producer.
#[derive(Debug, Default)]
pub(crate) struct Producers(Mutex<HashMap<(String, String), ConnectionKey>>);

impl Producers {
    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), ConnectionKey>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `key` the connection of a producer. Returns the one before, which has to be closed.
    pub(crate) fn claim(&self, user: &str, producer: &str, key: ConnectionKey) -> Option<ConnectionKey> {
        self.lock().insert((user.to_owned(), producer.to_owned()), key)
    }

    /// The connection is the producer's no longer, if it still was.
    pub(crate) fn release(&self, user: &str, producer: &str, key: ConnectionKey) {
        let mut producers = self.lock();
        let name = (user.to_owned(), producer.to_owned());
        if producers.get(&name) == Some(&key) {
            producers.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_connection_is_the_producers_and_an_older_one_releases_nothing() {
        let (producers, [old, new]) = (Producers::default(), [1, 2].map(ConnectionKey));
        assert_eq!(producers.claim("ann", "p", old), None);
        assert_eq!(producers.claim("ben", "p", old), None, "another user's");
        assert_eq!(producers.claim("ann", "p", new), Some(old));
        producers.release("ann", "p", old);
        assert_eq!(producers.claim("ann", "p", new), Some(new));
        producers.release("ann", "p", new);
        assert_eq!(producers.claim("ann", "p", old), None);
    }
}
