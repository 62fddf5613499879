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
use crate::table::{Armed, Table};

/// An upstream that has not answered by then is not there.
const CONNECT: Duration = Duration::from_secs(10);
/// After a failed accept, as when file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Most strikes that are kept for [`Proxy::strikes`]; the oldest go first.
const MOST_STRIKES: usize = 100_000;

/// A running proxy. Ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: JoinHandle<()>,
}

/// What listener, links and owner share.
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
    /// Listens, and passes each connection on to `upstream`. Port 0 takes a free one. Its tasks run on the current Tokio
    /// runtime.
    ///
    /// # Errors
    /// If the address cannot be bound.
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

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where new links go.
    pub fn upstream(&self) -> SocketAddr {
        *lock(&self.shared.upstream)
    }

    /// Sends new links elsewhere, as to a server that was started again. Live links stay where they are.
    pub fn set_upstream(&self, upstream: SocketAddr) {
        *lock(&self.shared.upstream) = upstream;
    }

    /// Whether connections are taken; see [`Proxy::set_enabled`].
    pub fn is_enabled(&self) -> bool {
        self.shared.enabled.load(Ordering::Acquire)
    }

    /// A proxy that is not enabled plays a server that is down: its links are reset, and so is whoever connects. Its address
    /// and its faults stay.
    pub fn set_enabled(&self, enabled: bool) {
        self.shared.enabled.store(enabled, Ordering::Release);
        if !enabled {
            self.shared.links().iter().for_each(|link| link.end(End::Reset));
        }
    }

    /// Adds a fault, for live links and new ones.
    ///
    /// # Errors
    /// If it cannot be meant: a field is out of its range.
    pub fn add(&self, fault: Fault) -> Result<FaultId, InvalidFault> {
        fault.check()?;
        // One after the other, so that the list stays in the order of the numbers.
        let mut table = lock(&self.shared.table);
        let id = FaultId(self.shared.next_fault.fetch_add(1, Ordering::Relaxed));
        let mut faults = Table::clone(&table);
        faults.push(Arc::new(Armed::new(id, fault)));
        *table = Arc::new(faults);
        let faults = table.clone();
        drop(table);
        for link in self.shared.links() {
            link.admit(&faults);
        }
        Ok(id)
    }

    /// Removes a fault; its lasting effects end. Whether it was there.
    pub fn remove(&self, id: FaultId) -> bool {
        let mut table = lock(&self.shared.table);
        let mut faults = Table::clone(&table);
        faults.retain(|armed| armed.id != id);
        let was_there = faults.len() < table.len();
        *table = Arc::new(faults);
        drop(table);
        for link in self.shared.links() {
            link.lift(|armed| armed.id == id, false);
        }
        was_there
    }

    /// The faults in force, in the order they were added.
    pub fn faults(&self) -> Vec<FaultStatus> {
        self.shared.table().iter().map(|armed| armed.status()).collect()
    }

    /// Does something once, at once, to every live link, and tells to how many. What needs a message or bytes to strike
    /// (corrupt, truncate, drop, duplicate, swap, delay) strikes the next that pass, either way. `half_close` ends the way up.
    /// What needs messages leaves out links that are no WebSocket. An effect that [`Effect::check`] refuses is done to none.
    // By value: the list of arguments is an interface that callers hold.
    #[allow(clippy::needless_pass_by_value, reason = "callers build the effect for this call")]
    pub fn strike_now(&self, effect: Effect) -> usize {
        if effect.check().is_err() {
            return 0;
        }
        self.shared.links().iter().filter(|link| link.strike_now(&effect)).count()
    }

    /// Removes all faults and ends all effects; what was held back goes on at once. A link out of which a black hole has taken
    /// anything is reset.
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

    /// What has struck since this was last asked, oldest first; 100,000 at most are kept.
    pub fn strikes(&self) -> Vec<Strike> {
        lock(&self.shared.strikes).drain(..).collect()
    }

    /// Strikes by kind since the beginning, whoever has asked for [`Proxy::strikes`].
    pub fn strike_counts(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.shared.counts).clone()
    }

    /// Ends every link and frees the address.
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

    /// Keeps a strike for whoever asks.
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
    pub(crate) fn of(armed: &Armed, link: u64, direction: Direction, message: Option<u64>) -> Self {
        Self {
            fault: Some(armed.id),
            name: armed.fault.name.clone(),
            contains: armed.fault.when.contains.clone(),
            ..Self::at_once(&armed.fault.effect, link, direction, message)
        }
    }

    /// What was called for at once.
    pub(crate) fn at_once(effect: &Effect, link: u64, direction: Direction, message: Option<u64>) -> Self {
        let kind = effect.kind();
        Self { at: Instant::now(), link, direction, kind, fault: None, name: None, contains: None, message }
    }
}

/// Takes connections until the proxy ends; its links end with it.
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

/// One client, from its connection to its end.
async fn serve(client: TcpStream, address: SocketAddr, shared: Arc<Shared>) {
    if !shared.enabled.load(Ordering::Acquire) {
        return reset(&client);
    }
    let upstream = *lock(&shared.upstream);
    let Ok(Ok(server)) = tokio::time::timeout(CONNECT, TcpStream::connect(upstream)).await else {
        // As the client would have seen it without a proxy, or nearly.
        return reset(&client);
    };
    for stream in [&client, &server] {
        // Only timing hangs on it.
        let _ = stream.set_nodelay(true);
    }
    let registered = Registered::new(address, upstream, shared);
    // It may have been switched off while the upstream connection was made.
    if registered.shared.enabled.load(Ordering::Acquire) {
        link::run(&registered.link, client, server).await;
    } else {
        reset(&client);
    }
}

/// A link in the proxy's list, for as long as it lives.
struct Registered {
    link: Arc<Link>,
    shared: Arc<Shared>,
}

impl Registered {
    fn new(client: SocketAddr, upstream: SocketAddr, shared: Arc<Shared>) -> Self {
        let id = shared.next_link.fetch_add(1, Ordering::Relaxed);
        let link = Link::new(id, client, upstream, shared.clone());
        lock(&shared.links).insert(id, link.clone());
        // After it is listed: a fault that is added meanwhile finds it in one of the two ways, and begins once.
        link.admit(&shared.table());
        Self { link, shared }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        lock(&self.shared.links).remove(&self.link.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds these locks can panic halfway.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
