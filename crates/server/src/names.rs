//! Keys and ids of connections and exchanges, and the assignment to workers.
//!
//! A [`ConnectionKey`] holds, from its highest bits down, the worker, the exchange bit, a serial number and the place in
//! the worker's table. Keys live as long as the process; client ids add a random part, so that ids of different processes differ.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use agentbench_protocol::SessionId;
use agentbench_session::ConnectionKey;

/// Bits of a connection's key that name its worker; the rest are its place there and a serial number.
const WORKER_SHIFT: u32 = 58;
const SERIAL_SHIFT: u32 = 24;
/// The bit of an exchange's key (see [`crate::letters::exchange`]); serial numbers of connections stay below it.
const EXCHANGE: u64 = 1 << (WORKER_SHIFT - 1);

/// The key of a connection at a place of a worker's table.
pub(crate) fn connection_key(worker: usize, place: usize, serial: u64) -> ConnectionKey {
    let serial = serial & ((1 << (WORKER_SHIFT - 1 - SERIAL_SHIFT)) - 1);
    ConnectionKey((worker as u64) << WORKER_SHIFT | serial << SERIAL_SHIFT | place as u64)
}

/// The key of an exchange that came in on a worker.
pub(crate) fn exchange_key(worker: usize, serial: u64) -> ConnectionKey {
    ConnectionKey((worker as u64) << WORKER_SHIFT | EXCHANGE | serial & (EXCHANGE - 1))
}

/// Whether the key is an exchange's, not a connection's.
pub(crate) const fn is_exchange(key: ConnectionKey) -> bool {
    key.0 & EXCHANGE != 0
}

/// The worker that serves the connection or exchange.
pub(crate) fn worker_of(key: ConnectionKey) -> usize {
    (key.0 >> WORKER_SHIFT) as usize
}

/// The connection's place in its worker's table.
pub(crate) fn place_of(key: ConnectionKey) -> usize {
    (key.0 & ((1 << SERIAL_SHIFT) - 1)) as usize
}

/// Numbers for the ids of messages that one worker writes: unique in the process, whichever connection they go to.
#[derive(Debug)]
pub(crate) struct MessageNumbers {
    worker: usize,
    workers: usize,
    written: Cell<u64>,
}

impl MessageNumbers {
    /// For worker number `worker` of `workers`.
    pub(crate) fn new(worker: usize, workers: usize) -> Self {
        Self { worker, workers, written: Cell::new(0) }
    }

    /// The next number.
    pub(crate) fn next(&self) -> u64 {
        let count = self.written.get() + 1;
        self.written.set(count);
        count * self.workers as u64 + self.worker as u64
    }
}

/// Client ids, message numbers and session owners of this process.
#[derive(Debug)]
pub(crate) struct Names {
    /// Part of every client id, so that ids of different processes differ.
    instance: u32,
    workers: usize,
    /// Number of messages written outside of workers.
    written: AtomicU64,
}

impl Names {
    pub(crate) fn new(instance: u32, workers: usize) -> Self {
        Self { instance, workers, written: AtomicU64::new(0) }
    }

    /// The worker that owns a session.
    pub(crate) fn owner_of(&self, session: SessionId) -> usize {
        let bits = session.as_u128();
        let folded = (bits as u64) ^ ((bits >> 64) as u64);
        (folded % self.workers as u64) as usize
    }

    /// A number for the id of a message written outside of workers; workers' own numbers are far below.
    pub(crate) fn next_number(&self) -> u64 {
        (1 << 62) + self.written.fetch_add(1, Ordering::Relaxed)
    }

    /// The client id of a connection.
    pub(crate) fn client_id(&self, key: ConnectionKey) -> String {
        format!("c{:08x}{:x}", self.instance, key.0)
    }

    /// The connection with this client id, if it is one of this process.
    pub(crate) fn connection_named(&self, name: &str) -> Option<ConnectionKey> {
        let key = name.strip_prefix('c')?.strip_prefix(&format!("{:08x}", self.instance))?;
        let plain = !key.is_empty() && key.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let key = ConnectionKey(u64::from_str_radix(key, 16).ok().filter(|_| plain)?);
        (worker_of(key) < self.workers && self.client_id(key) == name).then_some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_keys_name_worker_and_place() {
        let key = connection_key(63, 9_999_999, u64::MAX);
        assert_eq!((worker_of(key), place_of(key)), (63, 9_999_999));
        assert_ne!(connection_key(1, 2, 3), connection_key(1, 2, 4));
        assert!(!is_exchange(key));
        let key = exchange_key(63, 7);
        assert!(is_exchange(key) && worker_of(key) == 63);
    }
}
