//! Several proxies by name, as a plan or the control API has them.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Proxy;
use crate::plan::{PlanError, ProxyPlan};

/// Named proxies of one seed.
#[derive(Debug)]
pub struct ProxySet {
    seed: u64,
    proxies: Mutex<BTreeMap<String, Arc<Proxy>>>,
    /// Strikes of proxies that were removed.
    gone: Mutex<BTreeMap<&'static str, u64>>,
}

/// Why a proxy was not made.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The name is taken.
    #[error("there is a proxy {0:?} already; delete it first or take another name")]
    Exists(String),
    /// It cannot be meant.
    #[error(transparent)]
    Invalid(#[from] PlanError),
    /// The address cannot be bound.
    #[error("cannot listen on {0}: {1}")]
    Listen(std::net::SocketAddr, io::Error),
}

impl ProxySet {
    /// No proxies yet.
    pub fn new(seed: u64) -> Self {
        Self { seed, proxies: Mutex::default(), gone: Mutex::default() }
    }

    /// Starts one. Its faults are in force before its first link.
    ///
    /// # Errors
    /// If the name is taken, something cannot be meant, or the address cannot be bound; then nothing runs.
    pub async fn start(&self, plan: ProxyPlan) -> Result<Arc<Proxy>, Refused> {
        plan.check()?;
        if self.get(&plan.name).is_some() {
            return Err(Refused::Exists(plan.name));
        }
        let proxy = Proxy::start(plan.listen, plan.upstream, self.seed)
            .await
            .map_err(|error| Refused::Listen(plan.listen, error))?;
        for fault in plan.faults {
            proxy.add(fault).expect("the plan was checked");
        }
        let proxy = Arc::new(proxy);
        let mut proxies = lock(&self.proxies);
        // Another request may have been quicker.
        if proxies.contains_key(&plan.name) {
            return Err(Refused::Exists(plan.name));
        }
        proxies.insert(plan.name, proxy.clone());
        Ok(proxy)
    }

    /// One of them.
    pub fn get(&self, name: &str) -> Option<Arc<Proxy>> {
        lock(&self.proxies).get(name).cloned()
    }

    /// All of them, by name.
    pub fn all(&self) -> Vec<(String, Arc<Proxy>)> {
        lock(&self.proxies).iter().map(|(name, proxy)| (name.clone(), proxy.clone())).collect()
    }

    /// Ends one and its links. Whether it was there.
    pub fn remove(&self, name: &str) -> bool {
        let Some(proxy) = lock(&self.proxies).remove(name) else { return false };
        let mut gone = lock(&self.gone);
        for (kind, count) in proxy.strike_counts() {
            *gone.entry(kind).or_default() += count;
        }
        true
    }

    /// Strikes by kind since the beginning, of all proxies that are and were.
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
    // Nothing that holds these locks can panic halfway.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
