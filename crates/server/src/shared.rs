//! What all workers share: settings, keys, the log, the catalog, the counts that bound the whole process.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use agentbench_auth::{AuthError, KeyRing};
use agentbench_event_log::{EventLog, Health};
use agentbench_protocol::{CloseCode, Priority, SessionId};
use agentbench_session::{ConnectionKey, Context};
use agentbench_tls::Acceptor;

use crate::config::Config;
use crate::issuer::Issuer;
use crate::ops::addresses::Addresses;
use crate::ops::audit::Auditor;
use crate::ops::limits::Bucket;
use crate::ops::metrics::Metrics;
use crate::sabotage::Sabotage;
use crate::session::catalog::Catalog;
use crate::worker::mailbox::{Letter, Mailbox};

/// Bits of a connection's key that name its worker; the rest are its place there and a serial number.
const WORKER_SHIFT: u32 = 58;
const SERIAL_SHIFT: u32 = 24;

pub(crate) struct Shared {
    pub(crate) config: Config,
    /// Puts TLS on what is accepted, if the port speaks it.
    pub(crate) tls: Option<Acceptor>,
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) sabotage: Sabotage,
    pub(crate) catalog: Catalog,
    pub(crate) metrics: Metrics,
    pub(crate) mailboxes: Vec<Mailbox>,
    /// Secret of this process's dedupe keys.
    pub(crate) seed: u64,
    /// Part of every client id, so that ids of different lives of a server differ.
    instance: u32,
    keys: RwLock<Keys>,
    /// Who publishes keys, if anybody does.
    pub(crate) issuer: Option<Issuer>,
    connections: AtomicUsize,
    backlog: AtomicUsize,
    receive_buffer: AtomicI64,
    draining: AtomicBool,
    producers: Mutex<HashMap<(String, String), ConnectionKey>>,
    users: Mutex<HashMap<String, Arc<User>>>,
    pub(crate) addresses: Addresses,
    pub(crate) auditor: Auditor,
}

/// Keys by where they come from, and all together.
struct Keys {
    own: KeyRing,
    issuers: KeyRing,
    all: Arc<KeyRing>,
}

impl Keys {
    fn new(own: KeyRing) -> Self {
        let issuers = KeyRing::from_secret(b"");
        let all = Arc::new(own.joined(&issuers));
        Self { own, issuers, all }
    }
}

/// What all connections of one user share.
pub(crate) struct User {
    connections: AtomicUsize,
    rate: Mutex<Bucket>,
}

impl Shared {
    pub(crate) fn new(
        config: Config,
        tls: Option<Acceptor>,
        auditor: Auditor,
        log: Arc<dyn EventLog>,
        keys: KeyRing,
        random: [u64; 2],
    ) -> Self {
        let sabotage = Sabotage::from_env();
        let log = sabotage.log(log);
        let mailboxes = (0..config.workers).map(|_| Mailbox::default()).collect();
        let security = &config.security;
        let issuer = security.jwks.clone().map(Issuer::new);
        let addresses = Addresses::new(security.address_connection_rate, security.address_rate);
        Self {
            config,
            tls,
            addresses,
            auditor,
            log,
            sabotage,
            catalog: Catalog::default(),
            metrics: Metrics::new(),
            mailboxes,
            seed: random[0],
            instance: random[1] as u32,
            keys: RwLock::new(Keys::new(keys)),
            issuer,
            connections: AtomicUsize::new(0),
            backlog: AtomicUsize::new(0),
            receive_buffer: AtomicI64::new(0),
            draining: AtomicBool::new(false),
            producers: Mutex::new(HashMap::new()),
            users: Mutex::new(HashMap::new()),
        }
    }

    pub(crate) fn keys(&self) -> Arc<KeyRing> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner).all)
    }

    /// Replaces the keys; open connections keep the grants that they have.
    pub(crate) fn set_keys(&self, keys: KeyRing) {
        let mut known = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        known.all = Arc::new(keys.joined(&known.issuers));
        known.own = keys;
    }

    /// Replaces the keys that the issuer publishes.
    pub(crate) fn set_issuer_keys(&self, keys: KeyRing) {
        let mut known = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        known.all = Arc::new(known.own.joined(&keys));
        known.issuers = keys;
    }

    /// Whether asking the issuer could change that a token was refused.
    pub(crate) fn issuer_may_know(&self, error: AuthError) -> Option<&Issuer> {
        let issuer = self.issuer.as_ref()?;
        let knows_nothing = self.keys.read().unwrap_or_else(PoisonError::into_inner).issuers.is_empty();
        let of_a_key =
            matches!(error, AuthError::UnknownKey | AuthError::WrongAlgorithm | AuthError::BadSignature);
        (error == AuthError::UnknownKey || (knows_nothing && of_a_key)).then_some(issuer)
    }

    pub(crate) fn context(&self) -> Context {
        Context { seed: self.seed, window: self.config.dedupe_window }
    }

    /// The worker that owns a session.
    pub(crate) fn owner_of(&self, session: SessionId) -> usize {
        let bits = session.as_u128();
        let folded = (bits as u64) ^ ((bits >> 64) as u64);
        (folded % self.config.workers as u64) as usize
    }

    pub(crate) fn send(&self, worker: usize, letter: Letter) {
        self.mailboxes[worker].send(letter);
    }

    /// Takes a place under `MAX_CONNECTIONS`.
    pub(crate) fn reserve_connection(&self) -> bool {
        let limit = self.config.max_connections;
        let take = |count| (count < limit).then_some(count + 1);
        self.connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    pub(crate) fn give_back_connection(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Changes one connection's part of the receive budget; returns the whole.
    pub(crate) fn count_receive_buffer(&self, before: usize, after: usize) -> usize {
        let change = after as i64 - before as i64;
        let total = self.receive_buffer.fetch_add(change, Ordering::Relaxed) + change;
        self.metrics.receive_buffer_bytes.set(total);
        usize::try_from(total).unwrap_or(0)
    }

    /// Takes room in the commit backlog for an event of `bytes`. The lower the priority, the earlier it is refused.
    pub(crate) fn reserve_backlog(&self, bytes: usize, priority: Priority) -> bool {
        let share = match priority {
            Priority::Low => 50,
            Priority::Normal => 75,
            Priority::High => 90,
            Priority::Critical => 100,
        };
        let limit = self.config.commit_backlog / 100 * share;
        let before = self.backlog.fetch_add(bytes, Ordering::Relaxed);
        // A single event larger than the whole backlog is let through when nothing else waits.
        if before == 0 || before + bytes <= limit {
            return true;
        }
        self.give_back_backlog(bytes);
        false
    }

    pub(crate) fn give_back_backlog(&self, bytes: usize) {
        self.backlog.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn backlog(&self) -> usize {
        self.backlog.load(Ordering::Relaxed)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(crate) fn start_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Why the server should get no new work, if so.
    pub(crate) fn not_ready(&self) -> Option<String> {
        if self.is_draining() {
            return Some("draining".to_owned());
        }
        match self.log.health() {
            Health::Writable => None,
            Health::Full => Some("log_full: the disk has no room".to_owned()),
            Health::Failed(why) => Some(format!("log_failed: {why}; restart the server to recover the log")),
        }
    }

    /// The name of a connection.
    pub(crate) fn client_id(&self, key: ConnectionKey) -> String {
        format!("c{:08x}{:x}", self.instance, key.0)
    }

    pub(crate) fn connection_key(worker: usize, place: usize, serial: u64) -> ConnectionKey {
        let serial = serial & ((1 << (WORKER_SHIFT - SERIAL_SHIFT)) - 1);
        ConnectionKey((worker as u64) << WORKER_SHIFT | serial << SERIAL_SHIFT | place as u64)
    }

    pub(crate) fn worker_of(key: ConnectionKey) -> usize {
        (key.0 >> WORKER_SHIFT) as usize
    }

    pub(crate) fn place_of(key: ConnectionKey) -> usize {
        (key.0 & ((1 << SERIAL_SHIFT) - 1)) as usize
    }

    /// Makes `key` the connection of a producer; the one before is told to go.
    pub(crate) fn claim_producer(&self, user: &str, producer: &str, key: ConnectionKey) {
        let mut producers = self.producers.lock().unwrap_or_else(PoisonError::into_inner);
        let replaced = producers.insert((user.to_owned(), producer.to_owned()), key);
        drop(producers);
        if let Some(connection) = replaced {
            let detail = "a newer connection of the same producer took over";
            let letter = Letter::Close { connection, code: CloseCode::Replaced, detail };
            self.send(Self::worker_of(connection), letter);
        }
    }

    pub(crate) fn release_producer(&self, user: &str, producer: &str, key: ConnectionKey) {
        let mut producers = self.producers.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (user.to_owned(), producer.to_owned());
        if producers.get(&name) == Some(&key) {
            producers.remove(&name);
        }
    }

    /// A connection of the user begins, unless there are as many as one user may have.
    pub(crate) fn user_came(&self, user: &str, now: u64) -> Option<Arc<User>> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || User {
            connections: AtomicUsize::new(0),
            rate: Mutex::new(Bucket::new(self.config.user_rate, now)),
        };
        let limit = self.config.security.user_connections;
        let user = users.entry(user.to_owned()).or_insert_with(|| Arc::new(new()));
        if limit > 0 && user.connections.load(Ordering::Relaxed) >= limit {
            return None;
        }
        user.connections.fetch_add(1, Ordering::Relaxed);
        Some(Arc::clone(user))
    }

    pub(crate) fn user_left(&self, user: &str) {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        // Counted under the lock, so nobody comes between the last one's leaving and the removal.
        if users.get(user).is_some_and(|known| known.connections.fetch_sub(1, Ordering::Relaxed) == 1) {
            users.remove(user);
        }
    }

    /// Takes one message's worth from the user's rate, or tells after how many ms there will be one.
    pub(crate) fn take_user_rate(&self, user: &User, now: u64) -> Result<(), u64> {
        if self.config.user_rate == 0 {
            return Ok(());
        }
        user.rate.lock().unwrap_or_else(PoisonError::into_inner).take(self.config.user_rate, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_keys_name_worker_and_place() {
        let key = Shared::connection_key(63, 9_999_999, u64::MAX);
        assert_eq!((Shared::worker_of(key), Shared::place_of(key)), (63, 9_999_999));
        assert_ne!(Shared::connection_key(1, 2, 3), Shared::connection_key(1, 2, 4));
    }
}
