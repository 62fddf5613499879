//! The keys that verify tokens: the server's own, the issuer's, and their union.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use agentbench_auth::KeyRing;

/// The server's own keys, the issuer's, and both.
pub(super) struct Keys(RwLock<Rings>);

struct Rings {
    own: KeyRing,
    issuers: KeyRing,
    all: Arc<KeyRing>,
}

impl Keys {
    pub(super) fn new(own: KeyRing) -> Self {
        let issuers = KeyRing::from_secret(b"");
        let all = Arc::new(own.joined(&issuers));
        Self(RwLock::new(Rings { own, issuers, all }))
    }

    fn read(&self) -> RwLockReadGuard<'_, Rings> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Rings> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn all(&self) -> Arc<KeyRing> {
        Arc::clone(&self.read().all)
    }

    pub(super) fn set_own(&self, keys: KeyRing) {
        let mut rings = self.write();
        rings.all = Arc::new(keys.joined(&rings.issuers));
        rings.own = keys;
    }

    pub(super) fn set_issuers(&self, keys: KeyRing) {
        let mut rings = self.write();
        rings.all = Arc::new(rings.own.joined(&keys));
        rings.issuers = keys;
    }

    pub(super) fn has_no_issuers(&self) -> bool {
        self.read().issuers.is_empty()
    }

    /// Which of an issuer's keys the server's own stand in front of.
    pub(super) fn hidden_by_own(&self, issuers: &KeyRing) -> Vec<String> {
        let rings = self.read();
        let hidden = rings.own.hides(issuers);
        hidden.map(|(kid, alg)| format!("the server has its own {alg} key named {kid:?}")).collect()
    }
}
