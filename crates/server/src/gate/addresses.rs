//! Rate limits by address, for very many addresses in little memory.
//!
//! Entries live in two generations, a current and a previous one. An address in use moves to the current one; when that is
//! full, it becomes the previous one and the old previous one is dropped, so there are never more than twice [`GENERATION`]
//! entries. An attacker needs that many addresses to evict his own entry, and then no longer needs to.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use crate::limits::Bucket;
use crate::networks::counted;

/// Entries of one generation; both together are about 13 MB.
const GENERATION: usize = 65_536;

/// The counters of one address.
#[derive(Debug, Clone, Copy)]
struct Entry {
    connections: Bucket,
    messages: Bucket,
    failures: Bucket,
}

#[derive(Debug, Default)]
struct Generations {
    new: HashMap<IpAddr, Entry>,
    old: HashMap<IpAddr, Entry>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Addresses {
    connection_rate: u64,
    message_rate: u64,
    failure_rate: u64,
    generations: Mutex<Generations>,
}

impl Addresses {
    /// A rate of 0 is no limit.
    pub(crate) fn new(connection_rate: u64, message_rate: u64, failure_rate: u64) -> Self {
        Self { connection_rate, message_rate, failure_rate, generations: Mutex::default() }
    }

    /// Takes a new connection from the address's rate, or returns the time in ms until one is available.
    pub(crate) fn take_connection(&self, address: IpAddr, now: u64) -> Result<(), u64> {
        if self.connection_rate == 0 {
            return Ok(());
        }
        self.with(address, now, |entry| entry.connections.take(self.connection_rate, now))
    }

    /// The same for a message.
    pub(crate) fn take_message(&self, address: IpAddr, now: u64) -> Result<(), u64> {
        if self.message_rate == 0 {
            return Ok(());
        }
        self.with(address, now, |entry| entry.messages.take(self.message_rate, now))
    }

    /// The same for a refused token.
    pub(crate) fn take_failure(&self, address: IpAddr, now: u64) -> Result<(), u64> {
        if self.failure_rate == 0 {
            return Ok(());
        }
        self.with(address, now, |entry| entry.failures.take(self.failure_rate, now))
    }

    fn with<T>(&self, address: IpAddr, now: u64, act: impl FnOnce(&mut Entry) -> T) -> T {
        let address = counted(address);
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = generations.new.get_mut(&address) {
            return act(entry);
        }
        if generations.new.len() >= GENERATION {
            generations.old = std::mem::take(&mut generations.new);
        }
        let fresh = || Entry {
            connections: Bucket::new(self.connection_rate, now),
            messages: Bucket::new(self.message_rate, now),
            failures: Bucket::new(self.failure_rate, now),
        };
        let entry = generations.old.remove(&address).unwrap_or_else(fresh);
        act(generations.new.entry(address).or_insert(entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_rate_and_a_slash_64_is_one() {
        let addresses = Addresses::new(1, 0, 0);
        let take = |text: &str| addresses.take_connection(text.parse().unwrap(), 0).is_ok();
        assert_eq!(["192.0.2.1"; 3].map(take), [true, true, false]);
        assert!(take("192.0.2.2"));
        assert_eq!(["2001:db8::1", "2001:db8::2", "2001:db8::3"].map(take), [true, true, false]);
        assert!(take("2001:db8:0:1::1"));
        assert!((0..1_000).all(|_| addresses.take_message([192, 0, 2, 1].into(), 0).is_ok()), "no limit");
    }

    #[test]
    fn many_addresses_take_bounded_memory_and_a_busy_one_is_not_forgotten() {
        let addresses = Addresses::new(1, 1, 1);
        let busy = IpAddr::from([203, 0, 113, 1]);
        while addresses.take_connection(busy, 0).is_ok() {}
        for n in 0..300_000_u32 {
            let _ = addresses.take_connection(IpAddr::from(n.to_be_bytes()), 0);
            if n % 10_000 == 0 {
                assert!(addresses.take_connection(busy, 0).is_err(), "it was forgotten after {n}");
            }
        }
        let generations = addresses.generations.lock().unwrap();
        assert!(generations.new.len() + generations.old.len() <= 2 * GENERATION);
    }
}
