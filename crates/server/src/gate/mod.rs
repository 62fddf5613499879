//! The gate: admission of clients. Keys and their issuer, revocations, users and their rates, producers, places, addresses,
//! TLS, and the drain state.

pub(crate) mod addresses;
pub(crate) mod doors;
pub(crate) mod issuer;
mod keys;
pub(crate) mod penalties;
pub(crate) mod places;
pub(crate) mod producers;
pub(crate) mod users;

use std::io;
use std::sync::Arc;

use agentbench_auth::{AuthError, Grant, KeyRing};
use agentbench_protocol::{ErrorCode, Refusal};
use agentbench_tls::Acceptor;

use crate::clock;
use crate::config::Config;
use crate::revocation::{Revocation, Revocations, Revoked};
use addresses::Addresses;
use doors::Doors;
use issuer::Issuer;
use keys::Keys;
use penalties::Penalties;
use places::Places;
use producers::Producers;
use users::Users;

/// See the module.
pub(crate) struct Gate {
    keys: Keys,
    /// Publishes keys, if there is one.
    pub(crate) issuer: Option<Issuer>,
    pub(crate) revocations: Revocations,
    pub(crate) users: Users,
    pub(crate) producers: Arc<Producers>,
    /// Places under `MAX_CONNECTIONS`.
    pub(crate) places: Arc<Places>,
    pub(crate) addresses: Addresses,
    pub(crate) penalties: Penalties,
    /// Accepts TLS, if the port uses it.
    pub(crate) tls: Option<Acceptor>,
    pub(crate) doors: Doors,
}

impl Gate {
    pub(crate) fn new(
        config: &Config,
        tls: Option<Acceptor>,
        keys: KeyRing,
        revocations: Revocations,
    ) -> Self {
        let security = &config.security;
        Self {
            keys: Keys::new(keys),
            issuer: security.jwks.clone().map(Issuer::new),
            revocations,
            users: Users::new(config.user_rate, config.user_byte_rate, security.user_connections),
            producers: Arc::default(),
            places: Arc::new(Places::new(config.max_connections)),
            addresses: Addresses::new(
                security.address_connection_rate,
                security.address_rate,
                security.failed_token_rate,
            ),
            penalties: Penalties::default(),
            tls,
            doors: Doors::default(),
        }
    }

    /// The keys that verify tokens.
    pub(crate) fn keys(&self) -> Arc<KeyRing> {
        self.keys.all()
    }

    /// Replaces the server's own keys; open connections keep their grants.
    pub(crate) fn set_keys(&self, keys: KeyRing) {
        self.keys.set_own(keys);
    }

    /// Replaces the keys that the issuer publishes.
    pub(crate) fn set_issuer_keys(&self, keys: KeyRing) {
        self.keys.set_issuers(keys);
    }

    /// Which of an issuer's keys the server's own stand in front of.
    pub(crate) fn hidden_by_own_keys(&self, issuers: &KeyRing) -> Vec<String> {
        self.keys.hidden_by_own(issuers)
    }

    /// The issuer, if fetching its keys could make a refused token valid.
    pub(crate) fn issuer_may_know(&self, error: AuthError) -> Option<&Issuer> {
        let issuer = self.issuer.as_ref()?;
        let of_a_key =
            matches!(error, AuthError::UnknownKey | AuthError::WrongAlgorithm | AuthError::BadSignature);
        let may_know = error == AuthError::UnknownKey || (of_a_key && self.keys.has_no_issuers());
        may_know.then_some(issuer)
    }

    /// The grant of a token, unless it was revoked.
    pub(crate) fn authenticate(&self, token: &str, now: u64) -> Result<Grant, AuthError> {
        let grant = self.keys().verify(token, now)?;
        if self.revocations.holds(&grant) { Err(AuthError::Revoked) } else { Ok(grant) }
    }

    /// Whether the server accepts work: events, commands, evidence.
    ///
    /// # Errors
    /// The refusal of a server that is stopping.
    pub(crate) fn accepts_work(&self) -> Result<(), Refusal> {
        if self.doors.are_closed() {
            let refusal = Refusal::new(ErrorCode::Overloaded, "the server is restarting");
            return Err(refusal.retry_after(2_000));
        }
        Ok(())
    }

    /// Takes one message's worth from a user's rate, for what came by HTTP.
    ///
    /// # Errors
    /// The refusal beyond the rate, with the time to wait.
    pub(crate) fn charge_message(&self, user: &str, now: u64) -> Result<(), Refusal> {
        self.users.take_guest_rate(user, 1, now).map_err(|wait| {
            Refusal::new(ErrorCode::RateLimited, "sent faster than the limit allows").retry_after(wait)
        })
    }

    /// Revokes tokens: at once for new connections, within a tick for open ones. Blocks on the disk; returns the time from
    /// which the revocation applies.
    ///
    /// # Errors
    /// The revocation applies but is not stored: it would end with the process.
    pub(crate) fn revoke(&self, what: Revocation) -> io::Result<u64> {
        let at = clock::now_ms();
        self.revocations.add(&Revoked { at, what }).map(|()| at)
    }
}
