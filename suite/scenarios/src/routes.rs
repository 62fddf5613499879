//! How each connection gets to the server: straight, or through a proxy of its own, in which its faults wait.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use agentbench_fault_proxy::{Proxy, Strike};
use agentbench_protocol::limits::DEFAULT_PORT;
use anyhow::Context;

use crate::faults::{PlannedFault, Side};
use crate::publisher::message_id;
use crate::target::Endpoint;

/// The ways of all connections of a run.
#[derive(Debug)]
pub struct Routes {
    direct: Endpoint,
    /// Token of connections that nothing is done to, if it is another one.
    straight_token: Option<String>,
    /// Two for each client, the publisher's first; none, if the scenario does nothing to connections.
    proxies: Vec<Arc<Proxy>>,
    /// A proxy that does nothing but know where the server is at the moment.
    clean: Option<Proxy>,
}

/// A connection's way.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) endpoint: Endpoint,
    pub(crate) proxy: Option<Arc<Proxy>>,
}

impl Routes {
    /// Everybody straight to the server.
    pub fn direct(endpoint: Endpoint) -> Self {
        Self { direct: endpoint, straight_token: None, proxies: Vec::new(), clean: None }
    }

    /// Late followers and final reads come with this token, where the others' does not hold for as long.
    #[must_use]
    pub fn with_straight_token(self, token: String) -> Self {
        Self { straight_token: Some(token), ..self }
    }

    /// A proxy for each connection of so many clients.
    ///
    /// # Errors
    /// If the server's address cannot be found, or there are no ports.
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

    /// Lets each fault wait for its message.
    ///
    /// # Errors
    /// If a proxy does not take it.
    pub fn plan(&self, faults: &[PlannedFault]) -> anyhow::Result<()> {
        for fault in faults {
            let route = self.of(fault.client, fault.side);
            let proxy = route.proxy.context("a fault is planned for a client without a proxy")?;
            let id = message_id(fault.client, fault.message);
            proxy.add(fault.fault(&id)).with_context(|| format!("the proxy refuses {fault:?}"))?;
        }
        Ok(())
    }

    /// For connections that nothing is done to.
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

    /// The server is somewhere else now.
    pub(crate) fn set_upstream(&self, upstream: SocketAddr) {
        let proxies = self.proxies.iter().map(Arc::as_ref).chain(&self.clean);
        proxies.for_each(|proxy| proxy.set_upstream(upstream));
    }

    /// What struck so far, with the connection that it hit.
    pub(crate) fn strikes(&self) -> Vec<(u32, Side, Strike)> {
        let sides = [Side::Publisher, Side::Follower];
        let of = |(index, proxy): (usize, &Arc<Proxy>)| {
            let (client, side) = ((index / 2) as u32, sides[index % 2]);
            proxy.strikes().into_iter().map(move |strike| (client, side, strike))
        };
        self.proxies.iter().enumerate().flat_map(of).collect()
    }
}

/// Port of `wss://` where none is named (RFC 6455 §3).
const TLS_PORT: u16 = 443;

/// The address that a URL names.
pub(crate) async fn address_of(url: &str) -> anyhow::Result<SocketAddr> {
    /// How long a name service may take.
    const PATIENCE: Duration = Duration::from_secs(5);
    let (rest, port) = match url.strip_prefix("wss://") {
        Some(rest) => (rest, TLS_PORT),
        None => (url.strip_prefix("ws://").unwrap_or(url), DEFAULT_PORT),
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let host = if has_port { host.to_owned() } else { format!("{host}:{port}") };
    let found = tokio::time::timeout(PATIENCE, tokio::net::lookup_host(&host)).await;
    let mut found = found.context("the name service does not answer")?.context("no such host")?;
    found.next().with_context(|| format!("{host} has no address"))
}
