//! The rates of users that publish by HTTP: a request is over before the next one comes, so somebody else has to remember.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::shared::{Shared, User};

/// Time without a request after which a user is forgotten: by then the user's bucket is full again.
const FORGET_MS: u64 = 5_000;

/// Users with recent requests.
#[derive(Default)]
pub(crate) struct Guests {
    known: Mutex<HashMap<String, (Arc<User>, u64)>>,
}

impl Guests {
    /// Takes one message's worth from the user's rate, which all connections of the user share.
    pub(crate) fn take_rate(&self, shared: &Shared, user: &str, now: u64) -> Result<(), u64> {
        if shared.config.user_rate == 0 {
            return Ok(());
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains_key(user) {
            // Whoever has as many connections as one may have is counted with those.
            let Some(account) = shared.user_came(user, now) else { return Ok(()) };
            known.insert(user.to_owned(), (account, now));
        }
        let Some((account, last)) = known.get_mut(user) else { return Ok(()) };
        *last = now;
        let account = Arc::clone(account);
        drop(known);
        shared.take_user_rate(&account, now)
    }

    /// Forgets who has not come for a while. Called with every tick of one worker.
    pub(crate) fn forget(&self, shared: &Shared, now: u64) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|user, (_, last)| {
            let stays = now.saturating_sub(*last) < FORGET_MS;
            if !stays {
                shared.user_left(user);
            }
            stays
        });
    }
}
