//! Settings: text first, meaning second. Flags go over environment over file over defaults; each value knows its origin.

mod operations;
mod origins;
mod security;
mod settings;
mod texts;
mod watch;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use agentbench_auth::without_line_end;
use agentbench_pages::Pages;
use agentbench_protocol::AckLevel;

pub use operations::Operations;
pub use origins::Origins;
pub use security::{Audit, Jwks, Networks, Security, TlsFiles};
pub use settings::{SETTINGS, Setting, find};
use texts::DAY_MS;
pub use texts::{ConfigError, Origin, Texts};
pub use watch::{Limit, Watch, Webhook};

/// Every setting with its meaning.
#[derive(Debug, Clone)]
pub struct Config {
    /// Insists on a proper secret.
    pub production: bool,
    /// Address to listen on.
    pub host: IpAddr,
    /// Port to listen on; 0 lets the system choose.
    pub port: u16,
    /// Folder of the log and the archive.
    pub data_dir: PathBuf,
    /// Threads that serve connections, at least 1.
    pub workers: usize,
    /// Name of this node.
    pub node_name: String,
    /// Secret of HS256 tokens; empty if keys come from a file or are to be made.
    pub jwt_secret: String,
    /// File of keys.
    pub jwt_keys_file: Option<PathBuf>,
    /// See the table, as for all that follow.
    pub max_connections: usize,
    /// Sessions that have not ended at most.
    pub max_sessions: usize,
    /// Time after which an unused session expires.
    pub session_timeout: Duration,
    /// Bytes of the largest message.
    pub max_payload: usize,
    /// Bytes held for incomplete messages.
    pub receive_budget: usize,
    /// Bytes that may wait for the log.
    pub commit_backlog: usize,
    /// Bytes of resident memory from which events are refused; 0 is no limit, `None` is three quarters of what there is.
    pub memory_budget: Option<u64>,
    /// Gives the calling thread's free memory back to the kernel, if the program's allocator can. Called by every worker while
    /// memory is short; no setting.
    pub release_memory: Option<fn()>,
    /// Messages a second of a connection; 0 is no limit.
    pub connection_rate: u64,
    /// Messages a second of a user; 0 is no limit.
    pub user_rate: u64,
    /// Bytes of events a second of a user; 0 is no limit.
    pub user_byte_rate: u64,
    /// Bytes that a session may get from one life of the server.
    pub max_session_bytes: Option<u64>,
    /// Malformed messages in a row that end a connection.
    pub malformed_limit: u32,
    /// Time that a socket may stay full.
    pub slow_consumer_timeout: Duration,
    /// Time for the request head.
    pub auth_timeout: Duration,
    /// Time that an HTTP connection is kept for its next request.
    pub http_keep_alive: Duration,
    /// Time between pings.
    pub heartbeat_interval: Duration,
    /// Time that a stop may take.
    pub shutdown_timeout: Duration,
    /// Time over which clients come back after a stop.
    pub reconnect_spread: Duration,
    /// `Logged` or `Synced`.
    pub ack_level: AckLevel,
    /// Events whose ids are remembered.
    pub dedupe_window: usize,
    /// Bytes of newest events in memory, for each session.
    pub tail_bytes: usize,
    /// Bytes of newest events in memory, for all sessions together.
    pub tail_budget: usize,
    /// Bytes held for readers of what is past.
    pub read_budget: usize,
    /// Pages whose scripts may connect.
    pub allowed_origins: Origins,
    /// Accept permessage-deflate.
    pub compression: bool,
    /// Bytes from which messages are compressed.
    pub compression_threshold: usize,
    /// 0 to 9.
    pub compression_level: u8,
    /// Bytes of a socket's send buffer; 0 leaves it to the kernel.
    pub send_buffer: usize,
    /// Bytes of a socket's receive buffer; 0 leaves it to the kernel.
    pub receive_buffer: usize,
    /// Bytes of the live sessions' log from which old files are cleaned up.
    pub hot_log_bytes: u64,
    /// Age at which archived sessions are removed.
    pub retention_age: Option<Duration>,
    /// Bytes of the archive at most.
    pub retention_bytes: Option<u64>,
    /// Time after a jump of the wall clock for which nothing is removed for its age.
    pub retention_hold: Duration,
    /// ms that tests add to the wall clock; no setting.
    pub clock_skew: Arc<AtomicI64>,
    /// Bytes of the largest piece of evidence.
    pub max_evidence_bytes: u64,
    /// Bytes of a session's evidence.
    pub max_session_evidence_bytes: u64,
    /// Bytes of an export as one HTML file.
    pub max_export_bytes: u64,
    /// Serve `/metrics`.
    pub enable_metrics: bool,
    /// Write log lines.
    pub enable_logging: bool,
    /// Filter of log lines.
    pub log_level: String,
    /// JSON log lines.
    pub log_json: bool,
    /// The dashboard's pages, served at `/`.
    pub pages: Pages,
    /// TLS, proxies, limits by address and user, keys from an issuer, the audit log.
    pub security: Security,
    /// Log lines, profiles, traces.
    pub operations: Operations,
    /// Exemplars, stalled sessions, alerts.
    pub watch: Watch,
}

const GIB: u64 = 1 << 30;

impl Config {
    /// Reads the meaning of all texts. `host_name` and `cores` are what the machine says.
    ///
    /// # Errors
    /// Names the setting, where its value came from and what it has to be.
    pub fn from_texts(texts: &Texts, host_name: &str, cores: usize) -> Result<Self, ConfigError> {
        let production = texts.read("env", |text| match text {
            "production" => Ok(true),
            "development" | "test" => Ok(false),
            _ => Err(format!("must be development or production, not {text:?}")),
        })?;
        let optional = |number: u64| (number > 0).then_some(number);
        let config = Self {
            production,
            pages: Pages::built(),
            security: Security::from_texts(texts, production)?,
            operations: Operations::from_texts(texts)?,
            watch: Watch::from_texts(texts)?,
            host: texts.read("host", |text| match (text, production) {
                ("", true) => Ok([0, 0, 0, 0].into()),
                ("" | "localhost", _) => Ok([127, 0, 0, 1].into()),
                _ => text.parse().map_err(|_| format!("must be an IP address, not {text:?}")),
            })?,
            port: texts.number("port", 0..=65_535)? as u16,
            data_dir: texts.get("data-dir").0.into(),
            workers: match texts.size("workers", 0..=64)? {
                0 => cores.clamp(1, 64),
                workers => workers,
            },
            node_name: match texts.get("node-name").0 {
                "" => host_name.to_owned(),
                name => name.to_owned(),
            },
            jwt_secret: without_line_end(texts.get("jwt-secret").0).to_owned(),
            jwt_keys_file: Some(texts.get("jwt-keys-file").0).filter(|path| !path.is_empty()).map(Into::into),
            max_connections: texts.size("max-connections", 1..=10_000_000)?,
            max_sessions: texts.size("max-sessions", 1..=100_000_000)?,
            session_timeout: texts.millis("session-timeout", 1..=365 * DAY_MS)?,
            max_payload: texts.size("max-payload", 1024..=GIB)?,
            receive_budget: texts.size("receive-budget", 1024..=1024 * GIB)?,
            commit_backlog: texts.size("commit-backlog", 1024..=1024 * GIB)?,
            release_memory: None,
            memory_budget: match texts.get("memory-budget").0 {
                "" => None,
                _ => Some(texts.number("memory-budget", 0..=u64::MAX)?),
            },
            connection_rate: texts.number("connection-rate", 0..=1_000_000_000)?,
            user_rate: texts.number("user-rate", 0..=1_000_000_000)?,
            user_byte_rate: match (texts.get("user-byte-rate").0, production) {
                ("", true) => 32 << 20,
                ("", false) => 0,
                _ => texts.number("user-byte-rate", 0..=1 << 50)?,
            },
            max_session_bytes: match (texts.get("max-session-bytes").0, production) {
                ("", true) => Some(16 * GIB),
                ("", false) => None,
                _ => optional(texts.number("max-session-bytes", 0..=1 << 50)?),
            },
            malformed_limit: texts.number("malformed-limit", 1..=1_000_000)? as u32,
            slow_consumer_timeout: texts.millis("slow-consumer-timeout", 1..=DAY_MS)?,
            auth_timeout: texts.millis("auth-timeout", 1..=DAY_MS)?,
            http_keep_alive: texts.millis("http-keep-alive", 1..=DAY_MS)?,
            heartbeat_interval: texts.millis("heartbeat-interval", 10..=DAY_MS)?,
            shutdown_timeout: texts.millis("shutdown-timeout", 1..=DAY_MS)?,
            reconnect_spread: texts.millis("reconnect-spread", 0..=DAY_MS)?,
            ack_level: texts.read("ack-level", |text| match text {
                "logged" => Ok(AckLevel::Logged),
                "synced" => Ok(AckLevel::Synced),
                _ => Err(format!("must be logged or synced, not {text:?}")),
            })?,
            dedupe_window: texts.size("dedupe-window", 1..=1 << 24)?,
            tail_bytes: texts.size("tail-bytes", 0..=GIB)?,
            read_budget: texts.size("read-budget", 262_144..=1024 * GIB)?,
            tail_budget: texts.size("tail-budget", 0..=1024 * GIB)?,
            allowed_origins: texts.read("allowed-origins", |text| Origins::parse(text, production))?,
            compression: texts.flag("compression")?,
            compression_threshold: texts.size("compression-threshold", 0..=GIB)?,
            compression_level: texts.number("compression-level", 0..=9)? as u8,
            send_buffer: texts.size("send-buffer", 0..=GIB)?,
            receive_buffer: texts.size("receive-buffer", 0..=GIB)?,
            hot_log_bytes: texts.number("hot-log-bytes", 64 << 20..=1 << 50)?,
            retention_age: optional(texts.number("retention-age", 0..=100 * 365 * DAY_MS)?)
                .map(Duration::from_millis),
            retention_hold: texts.millis("retention-hold", 0..=30 * DAY_MS)?,
            clock_skew: Arc::default(),
            retention_bytes: optional(texts.number("retention-bytes", 0..=u64::MAX)?),
            max_evidence_bytes: texts.number("max-evidence-bytes", 1024..=GIB)?,
            max_session_evidence_bytes: texts.number("max-session-evidence-bytes", 4096..=1024 * GIB)?,
            max_export_bytes: texts.number("max-export-bytes", 65_536..=16 * GIB)?,
            enable_metrics: texts.flag("enable-metrics")?,
            enable_logging: texts.flag("enable-logging")?,
            log_level: texts.get("log-level").0.to_owned(),
            log_json: texts.read("log-format", |text| match text {
                "pretty" => Ok(false),
                "json" => Ok(true),
                _ => Err(format!("must be pretty or json, not {text:?}")),
            })?,
        };
        Ok(config)
    }

    /// Defaults on a port that the system chooses, for tests and embedding.
    pub fn embedded(data_dir: impl Into<PathBuf>, secret: &str) -> Self {
        let texts = Texts::gather(None, |_| None, &[]).expect("defaults gather");
        let config = Self::from_texts(&texts, "embedded", 1).expect("defaults are valid");
        Self {
            port: 0,
            data_dir: data_dir.into(),
            jwt_secret: secret.to_owned(),
            enable_logging: false,
            ..config
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gather(
        file: Option<&str>,
        env: &[(&str, &str)],
        flags: &[(&str, &str)],
    ) -> Result<Texts, ConfigError> {
        let flags: Vec<_> =
            flags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let find =
            |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Texts::gather(file, find, &flags)
    }

    #[test]
    fn later_layers_win_and_are_named() {
        let file = Some("port = 1\nmax_sessions = 7\nack_level = \"synced\"");
        let texts = gather(file, &[("WS_PORT", "2"), ("MAX_SESSIONS", "8")], &[("port", "3")]).unwrap();
        assert_eq!(texts.get("port"), ("3", Origin::Flag));
        assert_eq!(texts.get("max-sessions"), ("8", Origin::Environment));
        assert_eq!(texts.get("ack-level"), ("synced", Origin::File));
        assert_eq!(texts.get("workers"), ("0", Origin::Default));
        let config = Config::from_texts(&texts, "h", 2).unwrap();
        assert_eq!((config.port, config.max_sessions, config.workers), (3, 8, 2));
        assert_eq!(config.ack_level, AckLevel::Synced);
    }

    #[test]
    fn node_env_is_read_where_agentbench_env_is_not_set() {
        let texts = gather(None, &[("NODE_ENV", "production")], &[]).unwrap();
        assert!(Config::from_texts(&texts, "h", 1).unwrap().production);
        let texts =
            gather(None, &[("NODE_ENV", "production"), ("AGENTBENCH_ENV", "development")], &[]).unwrap();
        assert!(!Config::from_texts(&texts, "h", 1).unwrap().production);
    }

    #[test]
    fn wrong_values_are_refused_by_name() {
        for (name, value) in [
            ("port", "70000"),
            ("port", "many"),
            ("env", "staging"),
            ("ack-level", "received"),
            ("compression", "maybe"),
            ("host", "example"),
            ("log-format", "xml"),
            ("max-payload", "1"),
            ("alert-memory", "90"),
            ("alert-disk-free", "ten,1,1"),
            ("alert-webhook-url", "example.org"),
            ("metrics-exemplars", "some"),
        ] {
            let error =
                Config::from_texts(&gather(None, &[], &[(name, value)]).unwrap(), "h", 1).unwrap_err();
            assert!(error.to_string().starts_with(&format!("{name} (from the flag)")), "{error}");
        }
        assert!(gather(Some("colour = 1"), &[], &[]).unwrap_err().to_string().contains("colour"));
        assert!(gather(Some("port = "), &[], &[]).is_err());
        assert!(gather(Some("[port]\nx = 1"), &[], &[]).is_err());
    }

    #[test]
    fn alerts_may_stand_in_a_table() {
        let file = "port = 1\n[alerts]\nmemory = \"80.5, 10, 20\"\ndisk_free = \"off\"";
        let config = Config::from_texts(&gather(Some(file), &[], &[]).unwrap(), "h", 1).unwrap();
        let limit = Limit { threshold: 80.5, for_ms: 10, clear_ms: 20 };
        assert_eq!((config.watch.limit("memory"), config.watch.limit("disk_free")), (Some(limit), None));
        assert!(config.watch.limit("commit_time").is_some());
        let unknown = gather(Some("[alerts]\ncolour = \"1,1,1\""), &[], &[]).unwrap_err();
        assert!(unknown.to_string().contains("alert_colour"), "{unknown}");
    }

    #[test]
    fn a_webhook_needs_a_secret_and_keeps_it() {
        let url = ("ALERT_WEBHOOK_URL", "https://hooks.example/secret-path");
        let read = |env: &[(&str, &str)]| Config::from_texts(&gather(None, env, &[]).unwrap(), "h", 1);
        let error = read(&[url, ("ALERT_WEBHOOK_SECRET", "short")]).unwrap_err().to_string();
        assert!(error.contains("alert-webhook-secret") && !error.contains("short"), "{error}");
        let config = read(&[url, ("ALERT_WEBHOOK_SECRET", "long enough to be one")]).unwrap();
        let shown = format!("{config:?}");
        assert!(!shown.contains("secret-path") && !shown.contains("long enough"), "{shown}");
        assert!(read(&[]).unwrap().watch.webhook.is_none());
    }

    #[test]
    fn secrets_are_not_shown() {
        let texts = gather(None, &[("JWT_SECRET", "hush")], &[]).unwrap();
        assert!(texts.iter().all(|(_, value, _)| value != "hush"));
    }
}
