//! Users: limits shared by all connections and requests of one user.
//!
//! Between the HTTP requests of a user no connection holds the account, so accounts with recent requests are kept.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agentbench_protocol::{ErrorCode, Refusal};

use crate::intake::Total;
use crate::limits::Bucket;

/// Idle time after which an account is dropped: by then the user's bucket is full again.
const IDLE_MS: u64 = 5_000;

/// The account of one user.
#[derive(Debug)]
pub(crate) struct User {
    connections: AtomicUsize,
    rate: Mutex<Bucket>,
    /// Bytes of events.
    bytes: Mutex<Bucket>,
    /// Bytes of messages that have not arrived whole.
    pub(crate) receiving: Arc<Total>,
}

/// The accounts of all connected and recent users.
#[derive(Debug)]
pub(crate) struct Users {
    /// Messages and bytes of events that one user may send in a second, and connections at once; 0 is no limit.
    rate: u64,
    byte_rate: u64,
    connections: usize,
    accounts: Mutex<HashMap<String, Arc<User>>>,
    /// Users with recent requests, and when the last one came.
    guests: Mutex<HashMap<String, (Arc<User>, u64)>>,
}

impl Users {
    pub(crate) fn new(rate: u64, byte_rate: u64, connections: usize) -> Self {
        let (accounts, guests) = (Mutex::default(), Mutex::default());
        Self { rate, byte_rate, connections, accounts, guests }
    }

    fn accounts(&self) -> MutexGuard<'_, HashMap<String, Arc<User>>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn guests(&self) -> MutexGuard<'_, HashMap<String, (Arc<User>, u64)>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn account(&self, user: &str, now: u64) -> Arc<User> {
        let new = || User {
            connections: AtomicUsize::new(0),
            rate: Mutex::new(Bucket::new(self.rate, now)),
            bytes: Mutex::new(Bucket::new(self.byte_rate, now)),
            receiving: Arc::default(),
        };
        Arc::clone(self.accounts().entry(user.to_owned()).or_insert_with(|| Arc::new(new())))
    }

    /// Counts a connection of the user; `None` if the user's limit is reached.
    pub(crate) fn enter(&self, user: &str, now: u64) -> Option<UserPlace> {
        let account = self.account(user, now);
        let take = |count| (self.connections == 0 || count < self.connections).then_some(count + 1);
        account.connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        Some(UserPlace(account))
    }

    /// Takes `count` messages from the user's rate, or returns the time in ms until they are available.
    pub(crate) fn take_rate(&self, user: &User, count: u64, now: u64) -> Result<(), u64> {
        if self.rate == 0 {
            return Ok(());
        }
        user.rate.lock().unwrap_or_else(PoisonError::into_inner).take_many(self.rate, count, now)
    }

    /// Takes an event's bytes, inflated and as JSON, from the user's rate of bytes.
    pub(crate) fn take_bytes(&self, user: &User, bytes: usize, now: u64) -> Result<(), Refusal> {
        if self.byte_rate == 0 {
            return Ok(());
        }
        let mut bucket = user.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.take_many(self.byte_rate, bytes as u64, now).map_err(|wait| {
            let detail = "the user sends more bytes than the limit allows (USER_BYTE_RATE)";
            Refusal::new(ErrorCode::RateLimited, detail).retry_after(wait)
        })
    }

    /// As [`Users::take_rate`], for a request by HTTP.
    pub(crate) fn take_guest_rate(&self, user: &str, count: u64, now: u64) -> Result<(), u64> {
        self.guest(user, now).map_or(Ok(()), |account| self.take_rate(&account, count, now))
    }

    /// As [`Users::take_bytes`], for an event that came by HTTP.
    pub(crate) fn take_guest_bytes(&self, user: &str, bytes: usize, now: u64) -> Result<(), Refusal> {
        self.guest(user, now).map_or(Ok(()), |account| self.take_bytes(&account, bytes, now))
    }

    /// The account of a user with an HTTP request, if any limit is set. Requests do not count as connections.
    fn guest(&self, user: &str, now: u64) -> Option<Arc<User>> {
        if self.rate == 0 && self.byte_rate == 0 {
            return None;
        }
        let mut guests = self.guests();
        if let Some((account, last)) = guests.get_mut(user) {
            *last = now;
            return Some(Arc::clone(account));
        }
        let account = self.account(user, now);
        guests.insert(user.to_owned(), (Arc::clone(&account), now));
        Some(account)
    }

    /// Drops idle guests and unused accounts. Called with every tick of one worker.
    pub(crate) fn drop_idle(&self, now: u64) {
        self.guests().retain(|_, (_, last)| now.saturating_sub(*last) < IDLE_MS);
        // Accounts are handed out only under the lock.
        self.accounts().retain(|_, account| Arc::strong_count(account) > 1);
    }
}

/// One connection of a user, released when dropped.
#[derive(Debug)]
pub(crate) struct UserPlace(Arc<User>);

impl UserPlace {
    /// The account, which may outlive the place.
    pub(crate) fn account(&self) -> Arc<User> {
        Arc::clone(&self.0)
    }
}

impl Drop for UserPlace {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_a_user_are_counted_until_they_are_dropped_and_the_account_is_forgotten() {
        let users = Users::new(0, 0, 2);
        let (first, second) = (users.enter("ann", 0), users.enter("ann", 0));
        assert!(first.is_some() && second.is_some() && users.enter("ann", 0).is_none());
        assert!(users.enter("ben", 0).is_some());
        drop(first);
        assert!(users.enter("ann", 0).is_some());
        drop(second);
        users.drop_idle(0);
        assert!(users.accounts().is_empty());
    }

    #[test]
    fn requests_and_connections_of_a_user_share_the_rate_until_the_user_is_forgotten() {
        let users = Users::new(2, 0, 0);
        let connection = users.enter("ann", 0).unwrap();
        assert!(users.take_guest_rate("ann", 2, 0).is_ok() && users.take_rate(&connection.0, 2, 0).is_ok());
        assert!(users.take_guest_rate("ann", 1, 0).is_err() && users.take_rate(&connection.0, 1, 0).is_err());
        drop(connection);
        users.drop_idle(IDLE_MS - 1);
        assert_eq!(users.accounts().len(), 1, "a guest has it in hand");
        users.drop_idle(IDLE_MS);
        assert!(users.accounts().is_empty());
    }
}
