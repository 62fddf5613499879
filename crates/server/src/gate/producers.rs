//! Claims to producer names: the newest connection of a user that names a producer holds it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agentbench_session::ConnectionKey;

/// Connections by user and producer.
#[derive(Debug, Default)]
pub(crate) struct Producers(Mutex<HashMap<(String, String), ConnectionKey>>);

impl Producers {
    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), ConnectionKey>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `key` the connection of a producer until the claim is dropped. Also returns the previous connection, which has
    /// to be closed.
    pub(crate) fn claim(
        self: &Arc<Self>,
        user: &str,
        producer: &str,
        key: ConnectionKey,
    ) -> (ProducerClaim, Option<ConnectionKey>) {
        let name = (user.to_owned(), producer.to_owned());
        let before = self.lock().insert(name.clone(), key);
        (ProducerClaim { producers: Arc::clone(self), name, key }, before)
    }
}

/// A connection's claim to a producer name; dropping it releases the name, unless a newer connection holds it.
#[derive(Debug)]
pub(crate) struct ProducerClaim {
    producers: Arc<Producers>,
    name: (String, String),
    key: ConnectionKey,
}

impl Drop for ProducerClaim {
    fn drop(&mut self) {
        let mut producers = self.producers.lock();
        if producers.get(&self.name) == Some(&self.key) {
            producers.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_connection_is_the_producers_and_an_older_one_releases_nothing() {
        let (producers, [old, new]) = (Arc::new(Producers::default()), [1, 2].map(ConnectionKey));
        let (of_old, before) = producers.claim("ann", "p", old);
        assert_eq!(before, None);
        assert_eq!(producers.claim("ben", "p", old).1, None, "another user's");
        let (of_new, before) = producers.claim("ann", "p", new);
        assert_eq!(before, Some(old));
        drop(of_old);
        let (again, before) = producers.claim("ann", "p", new);
        assert_eq!(before, Some(new));
        drop((of_new, again));
        assert_eq!(producers.claim("ann", "p", old).1, None);
    }
}
