//! The proxy itself: a listener, its faults, its links.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

use crate::fault::{Direction, Effect, Fault, InvalidFault};
use crate::link::{self, Link, reset};
use crate::pipe::End;
use crate::record::{FaultId, FaultStatus, LinkInfo, Strike};
use crate::table::{ActiveFault, Table};

/// Time limit for the upstream connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Pause after a failed accept, for example when file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Maximum number of strikes kept for [`Proxy::strikes`]; the oldest are dropped first.
const MOST_STRIKES: usize = 100_000;

/// A running proxy. Dropping it stops it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: JoinHandle<()>,
}

/// What the listener, the links and the owner share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) seed: u64,
    upstream: Mutex<SocketAddr>,
    table: Mutex<Arc<Table>>,
    links: Mutex<BTreeMap<u64, Arc<Link>>>,
    strikes: Mutex<VecDeque<Strike>>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
    enabled: AtomicBool,
    stopping: Notify,
    next_fault: AtomicU64,
    next_link: AtomicU64,
}

impl Proxy {
    /// Listens, and forwards each connection to `upstream`. Port 0 picks a free one. Its tasks run on the current Tokio
    /// runtime.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start(listen: SocketAddr, upstream: SocketAddr, seed: u64) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            seed,
            upstream: Mutex::new(upstream),
            table: Mutex::default(),
            links: Mutex::default(),
            strikes: Mutex::default(),
            counts: Mutex::default(),
            enabled: AtomicBool::new(true),
            stopping: Notify::new(),
            next_fault: AtomicU64::new(1),
            next_link: AtomicU64::new(0),
        });
        let listener = tokio::spawn(accept(listener, shared.clone()));
        Ok(Self { address, shared, listener })
    }

    /// Address that clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Address that new links connect to.
    pub fn upstream(&self) -> SocketAddr {
        *lock(&self.shared.upstream)
    }

    /// Redirects new links, for example to a restarted server. Live links are not affected.
    pub fn set_upstream(&self, upstream: SocketAddr) {
        *lock(&self.shared.upstream) = upstream;
    }

    /// Whether connections are accepted; see [`Proxy::set_enabled`].
    pub fn is_enabled(&self) -> bool {
        self.shared.enabled.load(Ordering::Acquire)
    }

    /// A disabled proxy simulates a server that is down: its links are reset, and so are new connections. Its address
    /// and its faults remain.
    pub fn set_enabled(&self, enabled: bool) {
        self.shared.enabled.store(enabled, Ordering::Release);
        if !enabled {
            self.shared.links().iter().for_each(|link| link.end(End::Reset));
        }
    }

    /// Adds a fault to live and new links.
    ///
    /// # Errors
    /// A field is out of its range.
    pub fn add(&self, fault: Fault) -> Result<FaultId, InvalidFault> {
        fault.check()?;
        // Serialized, so that the list stays in the order of the numbers.
        let mut table = lock(&self.shared.table);
        let id = FaultId(self.shared.next_fault.fetch_add(1, Ordering::Relaxed));
        let mut faults = Table::clone(&table);
        faults.push(Arc::new(ActiveFault::new(id, fault)));
        *table = Arc::new(faults);
        let faults = table.clone();
        drop(table);
        for link in self.shared.links() {
            link.admit(&faults);
        }
        Ok(id)
    }

    /// Removes a fault; its lasting effects end. Returns whether it existed.
    pub fn remove(&self, id: FaultId) -> bool {
        let mut table = lock(&self.shared.table);
        let mut faults = Table::clone(&table);
        faults.retain(|active| active.id != id);
        let was_there = faults.len() < table.len();
        *table = Arc::new(faults);
        drop(table);
        for link in self.shared.links() {
            link.lift(|active| active.id == id, false);
        }
        was_there
    }

    /// The faults in force, in the order they were added.
    pub fn faults(&self) -> Vec<FaultStatus> {
        self.shared.table().iter().map(|active| active.status()).collect()
    }

    /// Applies an effect once, now, to every live link, and returns their number. An effect that needs a message or bytes
    /// (corrupt, truncate, drop, duplicate, swap, delay) strikes the next that pass, in either direction. `half_close` ends the
    /// client's direction. An effect that needs messages skips links that are not WebSockets. One that [`Effect::check`] refuses applies to none.
    // By value: callers hold this interface.
    #[allow(clippy::needless_pass_by_value, reason = "callers build the effect for this call")]
    pub fn strike_now(&self, effect: Effect) -> usize {
        if effect.check().is_err() {
            return 0;
        }
        self.shared.links().iter().filter(|link| link.strike_now(&effect)).count()
    }

    /// Removes all faults and ends all effects; held messages are forwarded at once. A link that has lost anything in a black
    /// hole is reset.
    pub fn heal(&self) {
        *lock(&self.shared.table) = Arc::default();
        for link in self.shared.links() {
            link.lift(|_| true, true);
        }
    }

    /// The live links.
    pub fn links(&self) -> Vec<LinkInfo> {
        self.shared.links().iter().map(|link| link.info()).collect()
    }

    /// The strikes since the last call, oldest first; at most 100,000 are kept.
    pub fn strikes(&self) -> Vec<Strike> {
        lock(&self.shared.strikes).drain(..).collect()
    }

    /// Strikes by kind since the start, independent of [`Proxy::strikes`].
    pub fn strike_counts(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.shared.counts).clone()
    }

    /// Ends every link and releases the address.
    pub async fn stop(mut self) {
        self.shared.stopping.notify_one();
        // It fails only with the runtime, and then nothing runs any more.
        let _ = (&mut self.listener).await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Shared {
    /// The faults in force.
    pub(crate) fn table(&self) -> Arc<Table> {
        lock(&self.table).clone()
    }

    fn links(&self) -> Vec<Arc<Link>> {
        lock(&self.links).values().cloned().collect()
    }

    /// Records a strike.
    pub(crate) fn record(&self, strike: Strike) {
        *lock(&self.counts).entry(strike.kind).or_default() += 1;
        let mut strikes = lock(&self.strikes);
        if strikes.len() == MOST_STRIKES {
            strikes.pop_front();
        }
        strikes.push_back(strike);
    }
}

impl Strike {
    /// What a fault did.
    pub(crate) fn of(active: &ActiveFault, link: u64, direction: Direction, message: Option<u64>) -> Self {
        Self {
            fault: Some(active.id),
            name: active.fault.name.clone(),
            contains: active.fault.when.contains.clone(),
            ..Self::at_once(&active.fault.effect, link, direction, message)
        }
    }

    /// A strike that was requested directly.
    pub(crate) fn at_once(effect: &Effect, link: u64, direction: Direction, message: Option<u64>) -> Self {
        let kind = effect.kind();
        Self { at: Instant::now(), link, direction, kind, fault: None, name: None, contains: None, message }
    }
}

/// Accepts connections until the proxy stops; its links end with it.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut links = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, address)) => {
                    links.spawn(serve(client, address, shared.clone()));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = links.join_next() => {}
            () = shared.stopping.notified() => {
                drop(listener);
                return links.shutdown().await;
            }
        }
    }
}

/// Serves one client, from its connection to its end.
async fn serve(client: TcpStream, address: SocketAddr, shared: Arc<Shared>) {
    if !shared.enabled.load(Ordering::Acquire) {
        return reset(&client);
    }
    let upstream = *lock(&shared.upstream);
    let Ok(Ok(server)) = tokio::time::timeout(CONNECT, TcpStream::connect(upstream)).await else {
        // Nearly what the client would have seen without a proxy.
        return reset(&client);
    };
    for stream in [&client, &server] {
        // This affects only timing.
        let _ = stream.set_nodelay(true);
    }
    let registered = LinkRegistration::new(address, upstream, shared);
    // The proxy may have been disabled while the upstream connection was opened.
    if registered.shared.enabled.load(Ordering::Acquire) {
        link::run(&registered.link, client, server).await;
    } else {
        reset(&client);
    }
}

/// An entry in the proxy's list of links, removed on drop.
struct LinkRegistration {
    link: Arc<Link>,
    shared: Arc<Shared>,
}

impl LinkRegistration {
    fn new(client: SocketAddr, upstream: SocketAddr, shared: Arc<Shared>) -> Self {
        let id = shared.next_link.fetch_add(1, Ordering::Relaxed);
        let link = Link::new(id, client, upstream, shared.clone());
        lock(&shared.links).insert(id, link.clone());
        // After it is listed, so that a fault added meanwhile finds it in one of the two ways, and starts once.
        link.admit(&shared.table());
        Self { link, shared }
    }
}

impl Drop for LinkRegistration {
    fn drop(&mut self) {
        lock(&self.shared.links).remove(&self.link.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code that holds these locks can panic halfway.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
