//! Several proxies by name, for plans and the control API.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Proxy;
use crate::plan::{PlanError, ProxyPlan};

/// Named proxies with a common seed.
#[derive(Debug)]
pub struct ProxySet {
    seed: u64,
    proxies: Mutex<BTreeMap<String, Arc<Proxy>>>,
    /// Strikes of proxies that were removed.
    gone: Mutex<BTreeMap<&'static str, u64>>,
}

/// Why a proxy was not created.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The name is taken.
    #[error("proxy {0:?} already exists; delete it first or use another name")]
    Exists(String),
    /// A field is invalid.
    #[error(transparent)]
    Invalid(#[from] PlanError),
    /// The address cannot be bound.
    #[error("cannot listen on {0}: {1}")]
    Listen(std::net::SocketAddr, io::Error),
}

impl ProxySet {
    /// An empty set.
    pub fn new(seed: u64) -> Self {
        Self { seed, proxies: Mutex::default(), gone: Mutex::default() }
    }

    /// Starts a proxy. Its faults are in force before its first link.
    ///
    /// # Errors
    /// The name is taken, a field is invalid, or the address cannot be bound; nothing was started.
    pub async fn start(&self, plan: ProxyPlan) -> Result<Arc<Proxy>, StartError> {
        plan.check()?;
        if self.get(&plan.name).is_some() {
            return Err(StartError::Exists(plan.name));
        }
        let proxy = Proxy::start(plan.listen, plan.upstream, self.seed)
            .await
            .map_err(|error| StartError::Listen(plan.listen, error))?;
        for fault in plan.faults {
            proxy.add(fault).expect("the plan was checked");
        }
        let proxy = Arc::new(proxy);
        let mut proxies = lock(&self.proxies);
        // A concurrent request may have been faster.
        if proxies.contains_key(&plan.name) {
            return Err(StartError::Exists(plan.name));
        }
        proxies.insert(plan.name, proxy.clone());
        Ok(proxy)
    }

    /// The proxy with this name.
    pub fn get(&self, name: &str) -> Option<Arc<Proxy>> {
        lock(&self.proxies).get(name).cloned()
    }

    /// All proxies, by name.
    pub fn all(&self) -> Vec<(String, Arc<Proxy>)> {
        lock(&self.proxies).iter().map(|(name, proxy)| (name.clone(), proxy.clone())).collect()
    }

    /// Stops a proxy and its links. Returns whether it existed.
    pub fn remove(&self, name: &str) -> bool {
        let Some(proxy) = lock(&self.proxies).remove(name) else { return false };
        let mut gone = lock(&self.gone);
        for (kind, count) in proxy.strike_counts() {
            *gone.entry(kind).or_default() += count;
        }
        true
    }

    /// Strikes by kind since the start, of all proxies including removed ones.
    pub fn strike_counts(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = lock(&self.gone).clone();
        for (_, proxy) in self.all() {
            for (kind, count) in proxy.strike_counts() {
                *counts.entry(kind).or_default() += count;
            }
        }
        counts
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code that holds these locks can panic halfway.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
