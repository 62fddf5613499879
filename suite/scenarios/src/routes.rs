//! How each connection reaches the server: directly, or through its own proxy, in which its faults wait.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use agentbench_fault_proxy::{Proxy, Strike};
use agentbench_protocol::limits::DEFAULT_PORT;
use anyhow::Context;

use crate::faults::{PlannedFault, Side};
use crate::publisher::message_id;
use crate::target::Endpoint;

/// The routes of all connections of a run.
#[derive(Debug)]
pub struct Routes {
    direct: Endpoint,
    /// Token of connections without faults, if it differs.
    straight_token: Option<String>,
    /// Two for each client, the publisher's first; empty if the scenario has no faults of connections.
    proxies: Vec<Arc<Proxy>>,
    /// A proxy without faults, which only follows the server's current address.
    clean: Option<Proxy>,
}

/// A connection's route.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) endpoint: Endpoint,
    pub(crate) proxy: Option<Arc<Proxy>>,
}

impl Routes {
    /// Routes all connections directly to the server.
    pub fn direct(endpoint: Endpoint) -> Self {
        Self { direct: endpoint, straight_token: None, proxies: Vec::new(), clean: None }
    }

    /// Sets a token for late followers and final reads, for runs whose main token expires earlier.
    #[must_use]
    pub fn with_straight_token(self, token: String) -> Self {
        Self { straight_token: Some(token), ..self }
    }

    /// Routes each connection of `clients` clients through its own proxy.
    ///
    /// # Errors
    /// The server's address cannot be resolved, or there are no free ports.
    pub async fn through_proxies(endpoint: Endpoint, clients: u32, seed: u64) -> anyhow::Result<Self> {
        let upstream = address_of(&endpoint.url).await?;
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut proxies = Vec::new();
        for number in 0..u64::from(clients) * 2 {
            let proxy = Proxy::start(listen, upstream, seed ^ number).await;
            proxies.push(Arc::new(proxy.context("cannot start a proxy for a client")?));
        }
        let clean = Proxy::start(listen, upstream, seed).await.context("cannot start a proxy")?;
        Ok(Self { direct: endpoint, straight_token: None, proxies, clean: Some(clean) })
    }

    /// Places each fault in its proxy, to wait for its message.
    ///
    /// # Errors
    /// A proxy refuses a fault.
    pub fn plan(&self, faults: &[PlannedFault]) -> anyhow::Result<()> {
        for fault in faults {
            let route = self.of(fault.client, fault.side);
            let proxy = route.proxy.context("a fault is planned for a client without a proxy")?;
            let id = message_id(fault.client, fault.message);
            proxy.add(fault.fault(&id)).with_context(|| format!("the proxy refused {fault:?}"))?;
        }
        Ok(())
    }

    /// The endpoint of connections without faults.
    pub(crate) fn straight(&self) -> Endpoint {
        let token = self.straight_token.as_ref().unwrap_or(&self.direct.token).clone();
        Endpoint { token, through: self.clean.as_ref().map(Proxy::address), ..self.direct.clone() }
    }

    pub(crate) fn of(&self, client: u32, side: Side) -> Route {
        let index = client as usize * 2 + usize::from(side == Side::Follower);
        let proxy = self.proxies.get(index).cloned();
        let through = proxy.as_ref().map(|proxy| proxy.address());
        Route { endpoint: Endpoint { through, ..self.direct.clone() }, proxy }
    }

    /// Sets the server's current address.
    pub(crate) fn set_upstream(&self, upstream: SocketAddr) {
        let proxies = self.proxies.iter().map(Arc::as_ref).chain(&self.clean);
        proxies.for_each(|proxy| proxy.set_upstream(upstream));
    }

    /// The strikes so far, with the connection that each hit.
    pub(crate) fn strikes(&self) -> Vec<(u32, Side, Strike)> {
        let sides = [Side::Publisher, Side::Follower];
        let of = |(index, proxy): (usize, &Arc<Proxy>)| {
            let (client, side) = ((index / 2) as u32, sides[index % 2]);
            proxy.strikes().into_iter().map(move |strike| (client, side, strike))
        };
        self.proxies.iter().enumerate().flat_map(of).collect()
    }
}

/// Default port of `wss://` (RFC 6455 §3).
const TLS_PORT: u16 = 443;

/// Resolves the address of a URL.
pub(crate) async fn address_of(url: &str) -> anyhow::Result<SocketAddr> {
    /// Time limit for name resolution.
    const PATIENCE: Duration = Duration::from_secs(5);
    let (rest, port) = match url.strip_prefix("wss://") {
        Some(rest) => (rest, TLS_PORT),
        None => (url.strip_prefix("ws://").unwrap_or(url), DEFAULT_PORT),
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let host = if has_port { host.to_owned() } else { format!("{host}:{port}") };
    let found = tokio::time::timeout(PATIENCE, tokio::net::lookup_host(&host)).await;
    let mut found = found.context("name resolution timed out")?.context("no such host")?;
    found.next().with_context(|| format!("{host} has no address"))
}
