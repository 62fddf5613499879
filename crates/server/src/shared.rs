//! What all workers share: settings, keys, the log, the catalog, the counts that bound the whole process.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use agentbench_auth::{AuthError, Grant, KeyRing};
use agentbench_event_log::{EventLog, Health};
use agentbench_evidence::{Limits, Store};
use agentbench_protocol::{CloseCode, ErrorCode, Priority, Refusal};
use agentbench_session::{ConnectionKey, Context};
use agentbench_tls::Acceptor;

use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::config::Config;
use crate::control::Control;
use crate::http::guests::Guests;
use crate::http::streams::Streams;
use crate::issuer::Issuer;
use crate::letters::Letter;
use crate::letters::exchange::Exchanges;
use crate::letters::mailbox::Mailbox;
use crate::memory::{Memory, default_budget};
use crate::names::{self, Names};
use crate::opening::LogCondition;
use crate::ops::addresses::Addresses;
use crate::ops::alerts::Alerts;
use crate::ops::audit::Auditor;
use crate::ops::farewell::Farewells;
use crate::ops::folder::DataFolder;
use crate::ops::inspection::Inspections;
use crate::ops::limits::Bucket;
use crate::ops::liveness::Liveness;
use crate::ops::meters::AllMeters;
use crate::ops::metrics::Metrics;
use crate::ops::readers::Readers;
use crate::ops::stats::Stats;
use crate::revocation::{Revocation, Revocations, Revoked};
use crate::rules;
use crate::sabotage::Sabotage;
use crate::session::catalog::Catalog;
use crate::session::reading::ReadBudget;
use crate::trace::Tracer;
use crate::transport::penalty::Penalties;

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
    pub(crate) names: Names,
    keys: RwLock<Keys>,
    /// Who publishes keys, if anybody does.
    pub(crate) issuer: Option<Issuer>,
    connections: AtomicUsize,
    backlog: AtomicUsize,
    pub(crate) memory: Memory,
    /// What readers that are behind may hold.
    pub(crate) reading: ReadBudget,
    receive_buffer: AtomicI64,
    draining: AtomicBool,
    /// Asked to drain over HTTP: not ready, nobody new, but not stopping before its host says so.
    retiring: AtomicBool,
    /// HTTP requests that have not been answered.
    requests: AtomicI64,
    pub(crate) exchanges: Arc<Exchanges>,
    pub(crate) streams: Streams,
    pub(crate) guests: Guests,
    pub(crate) revocations: Revocations,
    pub(crate) farewells: Farewells,
    pub(crate) inspections: Inspections,
    /// Makes spans, if they are wanted.
    pub(crate) tracer: Option<Tracer>,
    pub(crate) stats: Stats,
    pub(crate) meters: AllMeters,
    pub(crate) readers: Readers,
    pub(crate) liveness: Liveness,
    pub(crate) alerts: Alerts,
    host: Mutex<Option<mpsc::Sender<Control>>>,
    producers: Mutex<HashMap<(String, String), ConnectionKey>>,
    users: Mutex<HashMap<String, Arc<User>>>,
    pub(crate) addresses: Addresses,
    pub(crate) penalties: Penalties,
    pub(crate) auditor: Auditor,
    pub(crate) evidence: Arc<Store>,
    /// What the log found at its start was not all as it should be.
    pub(crate) log_damaged: AtomicBool,
    /// What opening the log found.
    pub(crate) log_condition: LogCondition,
    pub(crate) clock: Clock,
    pub(crate) folder: DataFolder,
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
    /// Bytes of events.
    bytes: Mutex<Bucket>,
    /// Bytes of messages that have not arrived whole.
    pub(crate) receiving: AtomicUsize,
}

impl Shared {
    pub(crate) fn new(
        config: Config,
        tls: Option<Acceptor>,
        auditor: Auditor,
        log: Arc<dyn EventLog>,
        keys: KeyRing,
        revocations: Revocations,
        random: [u64; 2],
    ) -> Self {
        let sabotage = Sabotage::from_env();
        let log = sabotage.log(log);
        let workers = config.workers;
        let mailboxes = (0..workers).map(|_| Mailbox::default()).collect();
        let security = &config.security;
        let issuer = security.jwks.clone().map(Issuer::new);
        let liveness = Liveness::new(config.workers);
        let (meters, readers) = (AllMeters::new(config.workers), Readers::new(config.workers));
        let alerts = Alerts::new(&config.watch, &config.node_name);
        let stall_after = config.watch.stall_after.as_millis() as u64;
        let tracer = config.operations.otlp_endpoint.clone().map(Tracer::new);
        let addresses = Addresses::new(
            security.address_connection_rate,
            security.address_rate,
            security.failed_token_rate,
        );
        let memory = Memory::new(config.memory_budget.unwrap_or_else(default_budget));
        let reading = ReadBudget::new(config.read_budget);
        let limits = Limits { file: config.max_evidence_bytes, session: config.max_session_evidence_bytes };
        let evidence = Store::new(config.data_dir.join("evidence"), limits);
        Self {
            evidence,
            log_damaged: AtomicBool::new(false),
            log_condition: LogCondition::default(),
            folder: DataFolder::new(&config.data_dir),
            clock: Clock::new(Arc::clone(&config.clock_skew)),
            config,
            tls,
            addresses,
            penalties: Penalties::default(),
            auditor,
            log,
            sabotage,
            catalog: Catalog::new(stall_after),
            metrics: Metrics::new(),
            mailboxes,
            seed: random[0],
            names: Names::new(random[1] as u32, workers),
            keys: RwLock::new(Keys::new(keys)),
            issuer,
            connections: AtomicUsize::new(0),
            backlog: AtomicUsize::new(0),
            memory,
            reading,
            receive_buffer: AtomicI64::new(0),
            draining: AtomicBool::new(false),
            retiring: AtomicBool::new(false),
            requests: AtomicI64::new(0),
            exchanges: Arc::default(),
            streams: Streams::default(),
            guests: Guests::default(),
            revocations,
            farewells: Farewells::default(),
            stats: Stats::new(),
            meters,
            readers,
            liveness,
            alerts,
            inspections: Inspections::default(),
            tracer,
            host: Mutex::new(None),
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

    /// Which of an issuer's keys the server's own stand in front of.
    pub(crate) fn hidden_by_own_keys(&self, issuers: &KeyRing) -> Vec<String> {
        let known = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let hidden = known.own.hides(issuers);
        hidden.map(|(kid, alg)| format!("the server has its own {alg} key named {kid:?}")).collect()
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

    /// What a token gives to its holder now, unless it was revoked.
    pub(crate) fn authenticate(&self, token: &str, now: u64) -> Result<Grant, AuthError> {
        let grant = self.keys().verify(token, now)?;
        if self.revocations.holds(&grant) { Err(AuthError::Revoked) } else { Ok(grant) }
    }

    /// Revokes tokens: at once for whoever comes, within a tick for whoever is connected. Waits for the disk; gives the
    /// time from which it holds.
    ///
    /// # Errors
    /// If it holds but is not stored: it would end with the process.
    pub(crate) fn revoke(&self, what: Revocation) -> io::Result<u64> {
        let at = crate::clock::now_ms();
        self.revocations.add(&Revoked { at, what }).map(|()| at)
    }

    /// Names the program around the server, which is told what administrators ask for.
    pub(crate) fn set_host(&self, host: mpsc::Sender<Control>) {
        *self.host.lock().unwrap_or_else(PoisonError::into_inner) = Some(host);
    }

    /// Passes a request on to the program around the server. Tells whether it takes it.
    pub(crate) fn tell_host(&self, control: Control) -> bool {
        let host = self.host.lock().unwrap_or_else(PoisonError::into_inner);
        host.as_ref().is_some_and(|host| host.try_send(control).is_ok())
    }

    /// Begins to drain, if the program around the server takes it.
    pub(crate) fn retire(&self) -> bool {
        if self.not_taking_work() {
            return true;
        }
        let told = self.tell_host(Control::Drain);
        self.retiring.store(told, Ordering::Relaxed);
        told
    }

    /// Whether nobody new is let in.
    pub(crate) fn not_taking_work(&self) -> bool {
        self.is_draining() || self.retiring.load(Ordering::Relaxed)
    }

    pub(crate) fn count_request(&self, change: i64) {
        self.requests.fetch_add(change, Ordering::Relaxed);
    }

    /// Whether HTTP requests wait for their answers.
    pub(crate) fn has_requests(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn context(&self) -> Context {
        Context { seed: self.seed, window: self.config.dedupe_window }
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

    /// Whether a session that has got so many bytes takes no more events.
    pub(crate) fn is_full(&self, bytes: u64) -> bool {
        self.config.max_session_bytes.is_some_and(|limit| bytes >= limit)
    }

    /// Whether somebody may begin to read a log now. Readers are refused before publishers are.
    pub(crate) fn may_read_more(&self) -> Result<(), Refusal> {
        if !self.memory.refuses_reads() {
            return Ok(());
        }
        self.metrics.reads_refused.inc();
        let detail = "the server is short of memory: readers of what is past have to wait";
        Err(Refusal::new(ErrorCode::Overloaded, detail).retry_after(2_000))
    }

    /// Takes room in the commit backlog for an event of `bytes`. The lower the priority, the earlier it is refused, for want of
    /// room there or of memory.
    pub(crate) fn reserve_backlog(&self, bytes: usize, priority: Priority) -> Result<(), Refusal> {
        if self.memory.refuses(priority) {
            let detail = "the server is short of memory and takes the more important events only";
            return Err(Refusal::new(ErrorCode::Overloaded, detail).retry_after(1_000));
        }
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
            return Ok(());
        }
        self.give_back_backlog(bytes);
        let detail = "the server has more events than its log can take now";
        Err(Refusal::new(ErrorCode::Overloaded, detail).retry_after(250))
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
        if self.not_taking_work() {
            return Some("draining".to_owned());
        }
        let stuck = self.liveness.stuck();
        if stuck > 0 {
            let of = self.config.workers;
            return Some(format!("worker_stuck: {stuck} of {of} workers do not turn; restart the server"));
        }
        if self.memory.refuses(Priority::Normal) {
            return Some("memory_short: publishes are refused for want of memory (MEMORY_BUDGET)".to_owned());
        }
        if let LogCondition::ArchiveOnly(why) = &self.log_condition {
            return Some(format!(
                "log_unavailable: only ended sessions are served, read only, since the log of live sessions cannot be opened: {why}; \
                 restore the data folder from a backup, or move hot/ and hot.witness away to go on without those sessions, then restart"
            ));
        }
        if let Some(why) = self.folder.not_ready().or_else(|| self.auditor.not_ready()) {
            return Some(why);
        }
        match self.log.health() {
            Health::Writable => None,
            Health::Full => Some("log_full: the disk has no room".to_owned()),
            Health::Failed(why) => Some(format!("log_failed: {why}; restart the server to recover the log")),
        }
    }

    /// The refusal of a name that no session has. Where live sessions cannot be read, their absence proves nothing.
    pub(crate) fn no_such_session(&self) -> Refusal {
        if matches!(self.log_condition, LogCondition::ArchiveOnly(_)) {
            let detail =
                "the log of live sessions cannot be opened; only ended sessions are served, see /readyz";
            return Refusal::new(ErrorCode::LogUnavailable, detail).retry_after(30_000);
        }
        rules::no_such_session()
    }

    /// Makes `key` the connection of a producer; the one before is told to go.
    pub(crate) fn claim_producer(&self, user: &str, producer: &str, key: ConnectionKey) {
        let mut producers = self.producers.lock().unwrap_or_else(PoisonError::into_inner);
        let replaced = producers.insert((user.to_owned(), producer.to_owned()), key);
        drop(producers);
        if let Some(connection) = replaced {
            let detail = "a newer connection of the same producer took over";
            let letter = Letter::Close { connection, code: CloseCode::Replaced, detail };
            self.send(names::worker_of(connection), letter);
        }
    }

    pub(crate) fn release_producer(&self, user: &str, producer: &str, key: ConnectionKey) {
        let mut producers = self.producers.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (user.to_owned(), producer.to_owned());
        if producers.get(&name) == Some(&key) {
            producers.remove(&name);
        }
    }

    /// What all connections and requests of the user share.
    pub(crate) fn account(&self, user: &str, now: u64) -> Arc<User> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || User {
            connections: AtomicUsize::new(0),
            rate: Mutex::new(Bucket::new(self.config.user_rate, now)),
            bytes: Mutex::new(Bucket::new(self.config.user_byte_rate, now)),
            receiving: AtomicUsize::new(0),
        };
        Arc::clone(users.entry(user.to_owned()).or_insert_with(|| Arc::new(new())))
    }

    /// A connection of the user begins, unless there are as many as one user may have.
    pub(crate) fn user_came(&self, user: &str, now: u64) -> Option<Arc<User>> {
        let limit = self.config.security.user_connections;
        let account = self.account(user, now);
        let take = |count| (limit == 0 || count < limit).then_some(count + 1);
        let taken = account.connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.is_ok().then_some(account)
    }

    /// A connection of the user has ended; its account is still in its hands.
    pub(crate) fn user_left(&self, user: &User) {
        user.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Forgets the accounts that nobody has in hand.
    pub(crate) fn forget_users(&self) {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        // Accounts are given out under the lock only.
        users.retain(|_, account| Arc::strong_count(account) > 1);
    }

    /// Takes `count` messages' worth from the user's rate, or tells after how many ms there will be so many.
    pub(crate) fn take_user_rate(&self, user: &User, count: u64, now: u64) -> Result<(), u64> {
        let rate = self.config.user_rate;
        if rate == 0 {
            return Ok(());
        }
        user.rate.lock().unwrap_or_else(PoisonError::into_inner).take_many(rate, count, now)
    }

    /// Takes an event's bytes, inflated and as JSON, from the user's rate of bytes.
    pub(crate) fn take_user_bytes(&self, user: &User, bytes: usize, now: u64) -> Result<(), Refusal> {
        let rate = self.config.user_byte_rate;
        if rate == 0 {
            return Ok(());
        }
        let taken =
            user.bytes.lock().unwrap_or_else(PoisonError::into_inner).take_many(rate, bytes as u64, now);
        taken.map_err(|wait| {
            let detail = "the user sends more bytes than the limit allows (USER_BYTE_RATE)";
            Refusal::new(ErrorCode::RateLimited, detail).retry_after(wait)
        })
    }
}
