//! What a client can be told before it connects. Every limit has a name, a reason and a default here.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// What a token provider gives back.
pub type TokenFuture = Pin<Box<dyn Future<Output = Result<String, String>> + Send>>;

/// Where the client gets a new token from when the server asks for one.
pub(crate) type TokenProvider = Arc<dyn Fn() -> TokenFuture + Send + Sync>;

/// How messages are written on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Text frames; an event's `data` reaches readers byte for byte.
    #[default]
    Json,
    /// Binary frames; smaller for data with many numbers, translated at both ends.
    Msgpack,
}

/// What `publish` does when the outbox is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutboxPolicy {
    /// Waits until there is room.
    #[default]
    Wait,
    /// Fails at once with [`Error::OutboxFull`](crate::Error::OutboxFull).
    Refuse,
    /// Gives up the session's oldest event that was never sent; fails as `Refuse` does if there is none.
    DropOldestUnsent,
}

/// Exponential backoff with full jitter: before attempt *n* the client waits a random time between 0 and
/// `base` · 2ⁿ, at most `max`, so that a crowd of clients does not come back all at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Longest wait before the first retry.
    pub base: Duration,
    /// Longest wait at all.
    pub max: Duration,
    /// Attempts in a row without any progress after which the client gives up; `None` for never.
    pub attempts: Option<u32>,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_millis(100), max: Duration::from_secs(10), attempts: None }
    }
}

impl Backoff {
    /// The wait before retry number `attempt` (0 for the first). `random` is spread evenly over all numbers.
    pub(crate) fn delay(&self, attempt: u32, random: u32) -> Duration {
        let ceiling = self.base.saturating_mul(1_u32.checked_shl(attempt).unwrap_or(u32::MAX)).min(self.max);
        ceiling.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

/// Everything that the connection machine is told; the rest of [`Config`] concerns the driver.
#[derive(Clone)]
pub struct Settings {
    /// `Host` header.
    pub host: String,
    /// Path and query of the request; the producer's name is added to the query.
    pub target: String,
    /// The token to begin with.
    pub token: Option<String>,
    /// Whether [`Action::FetchToken`](crate::machine::Action::FetchToken) can be answered.
    pub has_token_provider: bool,
    /// Name of this producer, kept over reconnects.
    pub producer_id: String,
    /// How messages are written.
    pub format: Format,
    /// Whether permessage-deflate is offered.
    pub compression: bool,
    /// For one attempt: from the TCP connect to the server's first message.
    pub connect_timeout: Duration,
    /// How long a command waits for its reply, over reconnects and retries.
    pub command_timeout: Duration,
    /// How long a publish waits for its ack, over reconnects and retries; `None` for ever.
    pub ack_timeout: Option<Duration>,
    /// How often an event is sent again after retryable refusals; `None` for as long as `ack_timeout` allows.
    pub publish_retries: Option<u32>,
    /// Most events in the outbox, all sessions together.
    pub outbox_messages: usize,
    /// Most bytes of `data` in the outbox, all sessions together.
    pub outbox_bytes: usize,
    /// What happens when the outbox is full.
    pub outbox_policy: OutboxPolicy,
    /// Most events of one session that are sent and not yet acked.
    pub in_flight: usize,
    /// Waits between attempts, to connect and to publish.
    pub backoff: Backoff,
    /// Time between the client's heartbeats, which measure the latency; `None` sends none.
    pub heartbeat_interval: Option<Duration>,
    /// Silence of the server after which the connection counts as dead; `None`: 2.5 times the interval that
    /// the server names.
    pub silence_timeout: Option<Duration>,
    /// Largest message that the client takes, bytes.
    pub max_message: usize,
}

impl fmt::Debug for Settings {
    /// Without the token, and without the target, whose query may carry one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("host", &self.host)
            .field("producer_id", &self.producer_id)
            .finish_non_exhaustive()
    }
}

/// How to connect and behave; made by [`Config::new`], refined by its methods.
#[derive(Clone)]
pub struct Config {
    pub(crate) url: String,
    pub(crate) settings: Settings,
    pub(crate) token_provider: Option<TokenProvider>,
    pub(crate) connect_to: Option<SocketAddr>,
    pub(crate) authority: Option<Vec<u8>>,
    pub(crate) connect_patience: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) follow_buffer: usize,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Config {
    /// For a server at `ws://host[:port][/path]`, or `wss://` for TLS. The URL is read by [`Client::connect`](crate::Client::connect).
    pub fn new(url: impl Into<String>) -> Self {
        let settings = Settings {
            host: String::new(),
            target: String::new(),
            token: None,
            has_token_provider: false,
            producer_id: String::new(),
            format: Format::Json,
            compression: false,
            connect_timeout: Duration::from_secs(10),
            command_timeout: Duration::from_secs(30),
            ack_timeout: Some(Duration::from_secs(60)),
            publish_retries: None,
            outbox_messages: 10_000,
            outbox_bytes: 64 * 1024 * 1024,
            outbox_policy: OutboxPolicy::Wait,
            in_flight: 1024,
            backoff: Backoff::default(),
            heartbeat_interval: Some(Duration::from_secs(15)),
            silence_timeout: None,
            max_message: 64 * 1024 * 1024,
        };
        Self {
            url: url.into(),
            settings,
            token_provider: None,
            connect_to: None,
            authority: None,
            connect_patience: Duration::ZERO,
            close_timeout: Duration::from_secs(5),
            follow_buffer: 1024,
        }
    }

    /// The token to begin with. It is sent in the `Authorization` header.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.settings.token = Some(token.into());
        self
    }

    /// Asked for a token when there is none, when the server refuses the one it got or says that it has expired,
    /// and shortly before it expires.
    #[must_use]
    pub fn token_provider<F, R>(mut self, provider: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<String, String>> + Send + 'static,
    {
        self.token_provider = Some(Arc::new(move || Box::pin(provider())));
        self.settings.has_token_provider = true;
        self
    }

    /// Name of this producer: one that keeps it over restarts of its process can send an event again, with the
    /// same id, and have it stored once. Random by default. At most 128 visible characters, of any script.
    #[must_use]
    pub fn producer_id(mut self, id: impl Into<String>) -> Self {
        self.settings.producer_id = id.into();
        self
    }

    /// For one attempt to connect: from TCP to the server's first message. 10 s by default.
    #[must_use]
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.settings.connect_timeout = limit;
        self
    }

    /// How long [`Client::connect`](crate::Client::connect) goes on trying. Zero, the default: the first attempt
    /// that fails is the last.
    #[must_use]
    pub fn connect_patience(mut self, limit: Duration) -> Self {
        self.connect_patience = limit;
        self
    }

    /// How long a command waits for its reply, over reconnects and retries. 30 s by default.
    #[must_use]
    pub fn command_timeout(mut self, limit: Duration) -> Self {
        self.settings.command_timeout = limit;
        self
    }

    /// How long a publish waits for its ack, over reconnects and retries, before its outcome is `Unknown`. 60 s
    /// by default; `None` for ever.
    #[must_use]
    pub fn ack_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.ack_timeout = limit.into();
        self
    }

    /// How often an event is sent again after retryable refusals. No limit but `ack_timeout` by default.
    #[must_use]
    pub fn publish_retries(mut self, most: impl Into<Option<u32>>) -> Self {
        self.settings.publish_retries = most.into();
        self
    }

    /// Most events, and most bytes of their `data`, that wait for an ack. 10,000 and 64 MiB by default. One event
    /// larger than the limit is taken when the outbox is empty.
    #[must_use]
    pub fn outbox(mut self, messages: usize, bytes: usize) -> Self {
        self.settings.outbox_messages = messages.max(1);
        self.settings.outbox_bytes = bytes;
        self
    }

    /// What `publish` does when the outbox is full. Waits by default.
    #[must_use]
    pub fn outbox_policy(mut self, policy: OutboxPolicy) -> Self {
        self.settings.outbox_policy = policy;
        self
    }

    /// Most events of one session that are sent and not yet acked, 1024 by default. With 1, not even a server that
    /// refuses one event and takes the next (a rate limit) can change their order.
    #[must_use]
    pub fn in_flight(mut self, most: usize) -> Self {
        self.settings.in_flight = most.max(1);
        self
    }

    /// Waits between attempts, to connect and to publish.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.settings.backoff = backoff;
        self
    }

    /// Time between the client's own heartbeats, which measure the latency. 15 s by default; `None` sends none.
    #[must_use]
    pub fn heartbeat_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.settings.heartbeat_interval = interval.into();
        self
    }

    /// Silence of the server after which the connection counts as dead. By default 2.5 times the heartbeat
    /// interval that the server names.
    #[must_use]
    pub fn silence_timeout(mut self, limit: Duration) -> Self {
        self.settings.silence_timeout = Some(limit);
        self
    }

    /// Offers permessage-deflate. Off by default: it is worth its time on slow links only.
    #[must_use]
    pub fn compression(mut self, on: bool) -> Self {
        self.settings.compression = on;
        self
    }

    /// How messages are written. JSON by default.
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        self.settings.format = format;
        self
    }

    /// Connects to this address, whatever the URL's host is: through a proxy, or without a name service.
    #[must_use]
    pub fn connect_to(mut self, address: SocketAddr) -> Self {
        self.connect_to = Some(address);
        self
    }

    /// Trusts the authorities of this PEM text for `wss://`, and no others: for a company's own, or to pin one. Without it
    /// the machine's authorities are trusted, or those of the file that `SSL_CERT_FILE` names.
    #[must_use]
    pub fn authority(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.authority = Some(pem.into());
        self
    }

    /// How long [`Client::close`](crate::Client::close) waits for what is in the outbox. 5 s by default.
    #[must_use]
    pub fn close_timeout(mut self, limit: Duration) -> Self {
        self.close_timeout = limit;
        self
    }

    /// Items that a follow holds for its reader; when it is full, the client stops reading its connection, which
    /// holds back everything on it. 1024 by default.
    #[must_use]
    pub fn follow_buffer(mut self, items: usize) -> Self {
        self.follow_buffer = items.max(1);
        self
    }

    /// The part that a [`Machine`](crate::machine::Machine) needs; host and target are still to be filled in.
    pub fn into_settings(self) -> Settings {
        self.settings
    }

    /// Largest message that the client takes, bytes; 64 MiB by default.
    #[must_use]
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.settings.max_message = bytes;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_are_spread_from_zero() {
        let backoff =
            Backoff { base: Duration::from_millis(100), max: Duration::from_secs(1), attempts: None };
        let longest: Vec<u128> = (0..6).map(|n| backoff.delay(n, u32::MAX).as_millis()).collect();
        assert_eq!(longest, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(backoff.delay(40, u32::MAX), Duration::from_secs(1));
        assert_eq!(backoff.delay(3, 0), Duration::ZERO);
        assert_eq!(backoff.delay(0, u32::MAX / 2).as_millis(), 50);
    }
}
