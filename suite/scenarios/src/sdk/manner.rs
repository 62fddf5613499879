//! The behaviour of a fleet's clients, in the options of each SDK.

use std::time::Duration;

use agentbench_client::{Backoff, Config, Error};
use serde_json::{Value, json};

use crate::target::Endpoint;

/// Under faults: the interval of the client's own heartbeats, and the silence after which it treats a
/// connection as dead. A black hole costs this much time.
const HEARTBEAT: Duration = Duration::from_millis(300);
const SILENCE: Duration = Duration::from_millis(1200);
/// Under faults: time limit of an attempt to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Delays between attempts.
const BACKOFF: Backoff =
    Backoff { base: Duration::from_millis(20), max: Duration::from_secs(1), attempts: None };

/// The behaviour of a fleet's clients.
#[derive(Debug, Clone)]
pub(crate) struct Manner {
    /// Capacity of the outbox: all events, so that each is sent when due.
    pub(crate) outbox: usize,
    /// Timeout of commands and acks.
    pub(crate) limit: Duration,
    /// How long a close waits for outcomes.
    pub(crate) close_timeout: Duration,
    /// Whether connections have faults.
    pub(crate) is_disturbed: bool,
    /// Queue length for items before their reader, if not the default.
    pub(crate) follow_buffer: Option<usize>,
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Manner {
    /// Options of the Rust SDK.
    pub(crate) fn config(&self, endpoint: &Endpoint) -> Config {
        let mut config = endpoint
            .config()
            .outbox(self.outbox, usize::MAX)
            .ack_timeout(self.limit)
            .command_timeout(self.limit)
            .backoff(BACKOFF)
            .close_timeout(self.close_timeout);
        if let Some(items) = self.follow_buffer {
            config = config.follow_buffer(items);
        }
        if !self.is_disturbed {
            return config;
        }
        config
            .heartbeat_interval(HEARTBEAT)
            .silence_timeout(SILENCE)
            .connect_timeout(CONNECT_TIMEOUT)
            .connect_patience(self.limit / 4)
    }

    /// Options of the TypeScript SDK: `ConnectOptions`.
    ///
    /// # Errors
    /// The route differs from the URL, and the URL uses TLS.
    pub(crate) fn options(&self, endpoint: &Endpoint) -> Result<Value, Error> {
        let mut options = json!({
            "url": address(endpoint)?, "token": endpoint.token, "outboxMessages": self.outbox,
            "outboxBytes": 9_007_199_254_740_991_u64, "ackTimeout": ms(self.limit), "commandTimeout": ms(self.limit),
            "backoff": {"base": ms(BACKOFF.base), "max": ms(BACKOFF.max)}, "closeTimeout": ms(self.close_timeout),
            // The test is about the socket: where it is cut repeatedly, no other transport may bypass it.
            "transport": "websocket",
        });
        let mut add = |name: &str, value: u64| options[name] = value.into();
        if let Some(items) = self.follow_buffer {
            add("followBuffer", items as u64);
        }
        if self.is_disturbed {
            add("heartbeatInterval", ms(HEARTBEAT));
            add("silenceTimeout", ms(SILENCE));
            add("connectTimeout", ms(CONNECT_TIMEOUT));
            add("connectPatience", ms(self.limit / 4));
        }
        Ok(options)
    }
}

/// The URL, with the proxy's address if there is one: Node always connects to the URL.
fn address(endpoint: &Endpoint) -> Result<String, Error> {
    let Some(proxy) = endpoint.through else { return Ok(endpoint.url.clone()) };
    let Some(rest) = endpoint.url.strip_prefix("ws://") else {
        let detail = "the TypeScript SDK cannot reach a wss:// address through a proxy: give a ws:// one";
        return Err(Error::Invalid(detail.to_owned()));
    };
    let path = rest.find(['/', '?']).map_or("", |at| &rest[at..]);
    Ok(format!("ws://{proxy}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_takes_the_place_of_the_host_and_nothing_else() {
        let endpoint = |url: &str, through: Option<&str>| Endpoint {
            through: through.map(|address| address.parse().unwrap()),
            ..Endpoint::new(url, "t")
        };
        let at = |url: &str| address(&endpoint(url, Some("127.0.0.1:9"))).unwrap();
        assert_eq!(address(&endpoint("ws://a:1/x", None)).unwrap(), "ws://a:1/x");
        assert_eq!(at("ws://a:1"), "ws://127.0.0.1:9");
        assert_eq!(at("ws://a/ws?b=1"), "ws://127.0.0.1:9/ws?b=1");
        assert!(address(&endpoint("wss://a", Some("127.0.0.1:9"))).is_err());
    }
}
