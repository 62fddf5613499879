//! Settings of a client. Every limit has a name, a reason and a default here.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// The future that a token provider returns.
pub type TokenFuture = Pin<Box<dyn Future<Output = Result<String, String>> + Send>>;

/// Provides a new token when the server requires one.
pub(crate) type TokenProvider = Arc<dyn Fn() -> TokenFuture + Send + Sync>;

/// Encoding of messages on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Text frames; readers receive an event's `data` byte for byte.
    #[default]
    Json,
    /// Binary frames; smaller for data with many numbers, converted at both ends.
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
    /// Gives up the session's oldest event that was never sent; if there is none, fails like `Refuse`.
    DropOldestUnsent,
}

/// Exponential backoff with full jitter: before attempt *n* the client waits a random time between 0 and
/// `base` · 2ⁿ, at most `max`, so that a crowd of clients does not return at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Maximum delay before the first retry.
    pub base: Duration,
    /// Maximum delay.
    pub max: Duration,
    /// Consecutive attempts without progress after which the client gives up; `None` for never.
    pub attempts: Option<u32>,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_millis(100), max: Duration::from_secs(10), attempts: None }
    }
}

impl Backoff {
    /// The delay before retry `attempt` (0 for the first). `random` is uniformly distributed over all numbers.
    pub(crate) fn delay(&self, attempt: u32, random: u32) -> Duration {
        let ceiling = self.base.saturating_mul(1_u32.checked_shl(attempt).unwrap_or(u32::MAX)).min(self.max);
        ceiling.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

/// The settings of the connection machine; the rest of [`Config`] concerns the driver.
#[derive(Clone)]
pub struct Settings {
    /// `Host` header.
    pub host: String,
    /// Path and query of the request; the producer's name and `strict` are added to the query.
    pub target: String,
    /// The initial token.
    pub token: Option<String>,
    /// Whether [`Action::FetchToken`](crate::machine::Action::FetchToken) can be answered.
    pub has_token_provider: bool,
    /// Name of this producer, kept over reconnects.
    pub producer_id: String,
    /// Whether events are refused that would be stored with warnings.
    pub strict: bool,
    /// Encoding of messages.
    pub format: Format,
    /// Whether permessage-deflate is offered.
    pub compression: bool,
    /// For one attempt: from the TCP connect to the server's first message.
    pub connect_timeout: Duration,
    /// How long a command waits for its reply, across reconnects and retries.
    pub command_timeout: Duration,
    /// How long a publish waits for its ack, across reconnects and retries; `None` for no limit.
    pub ack_timeout: Option<Duration>,
    /// Maximum number of retries of an event after retryable refusals; `None` for as many as `ack_timeout` allows.
    pub publish_retries: Option<u32>,
    /// Maximum number of events in the outbox, all sessions together.
    pub outbox_messages: usize,
    /// Maximum bytes of `data` in the outbox, all sessions together.
    pub outbox_bytes: usize,
    /// What happens when the outbox is full.
    pub outbox_policy: OutboxPolicy,
    /// Maximum number of sent but unacked events per session.
    pub in_flight: usize,
    /// Delays between attempts, to connect and to publish.
    pub backoff: Backoff,
    /// Time between the client's heartbeats, which measure the latency; `None` sends none.
    pub heartbeat_interval: Option<Duration>,
    /// Silence of the server after which the connection counts as dead; `None`: 2.5 times the interval that
    /// the server announces.
    pub silence_timeout: Option<Duration>,
    /// Largest message that the client accepts, bytes.
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

/// How to connect and behave; created by [`Config::new`], refined by its methods.
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
    /// For a server at `ws://host[:port][/path]`, or `wss://` for TLS. [`Client::connect`](crate::Client::connect) parses the URL.
    pub fn new(url: impl Into<String>) -> Self {
        let settings = Settings {
            host: String::new(),
            target: String::new(),
            token: None,
            has_token_provider: false,
            producer_id: String::new(),
            strict: false,
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

    /// The initial token. It is sent in the `Authorization` header.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.settings.token = Some(token.into());
        self
    }

    /// Called when there is no token, when the server refuses the current one or reports it as expired,
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

    /// Name of this producer: a producer that keeps it across restarts can send an event again, with the
    /// same id, and it is stored once. Random by default. At most 128 visible characters, of any script.
    #[must_use]
    pub fn producer_id(mut self, id: impl Into<String>) -> Self {
        self.settings.producer_id = id.into();
        self
    }

    /// Has the server refuse events with fields that readers will not understand (`invalid_message` with the `field`), by
    /// `strict=1` in the address. By default they are stored, and their outcome has
    /// [warnings](crate::Outcome::Stored::warnings). With `false`, the URL's own `strict` applies.
    #[must_use]
    pub fn strict(mut self, on: bool) -> Self {
        self.settings.strict = on;
        self
    }

    /// Time limit of one attempt to connect: from TCP to the server's first message. 10 s by default.
    #[must_use]
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.settings.connect_timeout = limit;
        self
    }

    /// How long [`Client::connect`](crate::Client::connect) keeps trying. Zero, the default: the first failed
    /// attempt is the last.
    #[must_use]
    pub fn connect_patience(mut self, limit: Duration) -> Self {
        self.connect_patience = limit;
        self
    }

    /// How long a command waits for its reply, across reconnects and retries. 30 s by default.
    #[must_use]
    pub fn command_timeout(mut self, limit: Duration) -> Self {
        self.settings.command_timeout = limit;
        self
    }

    /// How long a publish waits for its ack, across reconnects and retries, before its outcome is `Unknown`. 60 s
    /// by default; `None` for no limit.
    #[must_use]
    pub fn ack_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.ack_timeout = limit.into();
        self
    }

    /// Maximum number of retries of an event after retryable refusals. Limited only by `ack_timeout` by default.
    #[must_use]
    pub fn publish_retries(mut self, most: impl Into<Option<u32>>) -> Self {
        self.settings.publish_retries = most.into();
        self
    }

    /// Maximum number of events, and of bytes of their `data`, that wait for an ack. 10,000 and 64 MiB by default. A single
    /// event larger than the limit is accepted when the outbox is empty.
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

    /// Maximum number of sent but unacked events per session, 1024 by default. With 1, not even a server that
    /// refuses one event and accepts the next (a rate limit) can change their order.
    #[must_use]
    pub fn in_flight(mut self, most: usize) -> Self {
        self.settings.in_flight = most.max(1);
        self
    }

    /// Delays between attempts, to connect and to publish.
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
    /// interval that the server announces.
    #[must_use]
    pub fn silence_timeout(mut self, limit: Duration) -> Self {
        self.settings.silence_timeout = Some(limit);
        self
    }

    /// Offers permessage-deflate. Off by default: it pays off on slow links only.
    #[must_use]
    pub fn compression(mut self, on: bool) -> Self {
        self.settings.compression = on;
        self
    }

    /// Encoding of messages. JSON by default.
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        self.settings.format = format;
        self
    }

    /// Connects to this address instead of the URL's host: through a proxy, or without name resolution.
    #[must_use]
    pub fn connect_to(mut self, address: SocketAddr) -> Self {
        self.connect_to = Some(address);
        self
    }

    /// Trusts only the CAs in this PEM text for `wss://`: for a company's own CA, or to pin one. By default
    /// the system's CAs are trusted, or those of the file in `SSL_CERT_FILE`.
    #[must_use]
    pub fn authority(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.authority = Some(pem.into());
        self
    }

    /// How long [`Client::close`](crate::Client::close) waits for the outbox. 5 s by default.
    #[must_use]
    pub fn close_timeout(mut self, limit: Duration) -> Self {
        self.close_timeout = limit;
        self
    }

    /// Number of items that a follow buffers for its reader; when it is full, the client stops reading its connection, which
    /// delays everything on it. 1024 by default.
    #[must_use]
    pub fn follow_buffer(mut self, items: usize) -> Self {
        self.follow_buffer = items.max(1);
        self
    }

    /// The settings of a [`Machine`](crate::machine::Machine); host and target are still to be filled in.
    pub fn into_settings(self) -> Settings {
        self.settings
    }

    /// Largest message that the client accepts, bytes; 64 MiB by default.
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
