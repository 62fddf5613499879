//! The rates of users that publish by HTTP: a request is over before the next one comes, so somebody else has to remember.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use agentbench_protocol::Refusal;

use crate::shared::{Shared, User};

/// Time without a request after which a user is forgotten: by then the user's bucket is full again.
const FORGET_MS: u64 = 5_000;

/// Users with recent requests.
#[derive(Default)]
pub(crate) struct Guests {
    known: Mutex<HashMap<String, (Arc<User>, u64)>>,
}

impl Guests {
    /// Takes `count` messages' worth from the user's rate, which all connections of the user share.
    pub(crate) fn take_rate(&self, shared: &Shared, user: &str, count: u64, now: u64) -> Result<(), u64> {
        let account = self.account(shared, user, now);
        account.map_or(Ok(()), |account| shared.take_user_rate(&account, count, now))
    }

    /// Takes an event's bytes from the user's rate of bytes.
    pub(crate) fn take_bytes(
        &self,
        shared: &Shared,
        user: &str,
        bytes: usize,
        now: u64,
    ) -> Result<(), Refusal> {
        let account = self.account(shared, user, now);
        account.map_or(Ok(()), |account| shared.take_user_bytes(&account, bytes, now))
    }

    fn account(&self, shared: &Shared, user: &str, now: u64) -> Option<Arc<User>> {
        if shared.config.user_rate == 0 && shared.config.user_byte_rate == 0 {
            return None;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((account, last)) = known.get_mut(user) {
            *last = now;
            return Some(Arc::clone(account));
        }
        // Requests are no connections, and take no place among them.
        let account = shared.account(user, now);
        known.insert(user.to_owned(), (Arc::clone(&account), now));
        Some(account)
    }

    /// Forgets who has not come for a while. Called with every tick of one worker.
    pub(crate) fn forget(&self, shared: &Shared, now: u64) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (_, last)| now.saturating_sub(*last) < FORGET_MS);
        drop(known);
        shared.forget_users();
    }
}
