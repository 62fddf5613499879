//! The security settings: TLS, proxies, limits by address and user, an issuer's keys, the audit log.

use std::path::PathBuf;
use std::time::Duration;

use agentbench_audit::faults::Faults;

use super::texts::{ConfigError, DAY_MS, Texts};
pub use crate::networks::Networks;

/// Connections a second of one address in production: enough for an office behind one address to reconnect after a restart.
const PRODUCTION_CONNECTION_RATE: u64 = 500;
/// Lines of the audit log that may wait for its disk: some seconds of a busy server, and a few megabytes.
const AUDIT_QUEUE: usize = 8192;

/// Certificate and key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and its chain, PEM.
    pub certificate: PathBuf,
    /// The certificate's key, PEM.
    pub key: PathBuf,
    /// The file that sessions' secrets are appended to; development only.
    pub key_log: Option<PathBuf>,
}

/// Where an issuer's keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jwks {
    /// `http://` or `https://`.
    pub url: String,
    /// The authority of the issuer's certificate; the machine's own if `None`.
    pub authority: Option<PathBuf>,
    /// Longest time between two fetches.
    pub max_age: Duration,
    /// Shortest time between two fetches.
    pub min_interval: Duration,
}

/// The audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// The file that is written.
    pub file: PathBuf,
    /// Size at which a new one is begun.
    pub max_bytes: u64,
    /// Age at which a new one is begun.
    pub max_age: Option<Duration>,
    /// Whether decisions wait for a slow disk; if not, lost lines are counted and reported.
    pub wait_when_full: bool,
    /// Lines that may wait for the disk; no setting.
    pub queue: usize,
    /// Disk faults injected by a test; no setting.
    pub faults: Faults,
}

impl Default for Audit {
    /// As the settings' defaults are, in this folder.
    fn default() -> Self {
        Self {
            file: "audit.jsonl".into(),
            max_bytes: 1 << 30,
            max_age: None,
            wait_when_full: true,
            queue: AUDIT_QUEUE,
            faults: Faults::default(),
        }
    }
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Security {
    /// TLS on the port, if any.
    pub tls: Option<TlsFiles>,
    /// Networks that are trusted to report a client's address.
    pub trusted_proxies: Networks,
    /// Connections from there begin with a PROXY header.
    pub proxy_protocol: bool,
    /// Messages a second of one address; 0 is no limit.
    pub address_rate: u64,
    /// New connections a second of one address; 0 is no limit.
    pub address_connection_rate: u64,
    /// Refused tokens a second of one address that are answered at once; 0 is no limit.
    pub failed_token_rate: u64,
    /// Connections of one user at once; 0 is no limit.
    pub user_connections: usize,
    /// Live sessions of one user; 0 is no limit.
    pub user_sessions: usize,
    /// Keys of an issuer, if any.
    pub jwks: Option<Jwks>,
    /// The audit log, if any.
    pub audit: Option<Audit>,
}

impl Security {
    pub(super) fn from_texts(texts: &Texts, production: bool) -> Result<Self, ConfigError> {
        let tls = tls(texts, production)?;
        let trusted_proxies: Networks = texts.read("trusted-proxies", str::parse)?;
        let proxy_protocol = texts.flag("proxy-protocol")?;
        if proxy_protocol && trusted_proxies.is_empty() {
            return texts.read("proxy-protocol", |_| {
                Err("needs trusted-proxies: nobody's header would be believed".to_owned())
            });
        }
        let address_connection_rate = match (texts.get("address-connection-rate").0, production) {
            ("", true) => PRODUCTION_CONNECTION_RATE,
            ("", false) => 0,
            _ => texts.number("address-connection-rate", 0..=1_000_000_000)?,
        };
        Ok(Self {
            tls,
            trusted_proxies,
            proxy_protocol,
            address_rate: texts.number("address-rate", 0..=1_000_000_000)?,
            address_connection_rate,
            failed_token_rate: texts.number("failed-token-rate", 0..=1_000_000_000)?,
            user_connections: texts.size("user-connections", 0..=10_000_000)?,
            user_sessions: texts.size("user-sessions", 0..=100_000_000)?,
            jwks: jwks(texts)?,
            audit: audit(texts, production)?,
        })
    }
}

fn tls(texts: &Texts, production: bool) -> Result<Option<TlsFiles>, ConfigError> {
    let path = |name: &str| Some(texts.get(name).0).filter(|text| !text.is_empty()).map(PathBuf::from);
    let refuse = |name: &str, why: &str| texts.read(name, |_| Err(why.to_owned()));
    let key_log = path("tls-key-log");
    if key_log.is_some() && production {
        return refuse("tls-key-log", "is for development: its file decrypts all traffic");
    }
    match (path("tls-cert"), path("tls-key")) {
        (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate, key, key_log })),
        (None, None) if key_log.is_some() => refuse("tls-key-log", "needs tls-cert and tls-key"),
        (None, None) => Ok(None),
        (Some(_), None) => refuse("tls-key", "is needed beside tls-cert"),
        (None, Some(_)) => refuse("tls-cert", "is needed beside tls-key"),
    }
}

fn jwks(texts: &Texts) -> Result<Option<Jwks>, ConfigError> {
    let url = texts.read("jwks-url", |text| match text {
        "" => Ok(None),
        _ if text.starts_with("https://") || text.starts_with("http://") => Ok(Some(text.to_owned())),
        _ => Err(format!("must begin with https:// or http://, not {text:?}")),
    })?;
    let max_age = texts.millis("jwks-max-age", 1..=30 * DAY_MS)?;
    let min_interval = texts.millis("jwks-min-interval", 1..=DAY_MS)?;
    let authority = Some(texts.get("jwks-ca-file").0).filter(|text| !text.is_empty()).map(PathBuf::from);
    Ok(url.map(|url| Jwks { url, authority, max_age, min_interval }))
}

fn audit(texts: &Texts, production: bool) -> Result<Option<Audit>, ConfigError> {
    let file = match (texts.get("audit-file").0, production) {
        ("none", _) | ("", false) => None,
        ("", true) => Some(PathBuf::from(texts.get("data-dir").0).join("audit.jsonl")),
        (path, _) => Some(path.into()),
    };
    let max_bytes = texts.number("audit-max-bytes", 4096..=1 << 50)?;
    let max_age = Some(texts.millis("audit-max-age", 0..=3650 * DAY_MS)?).filter(|age| !age.is_zero());
    let wait_when_full = texts.read("audit-when-full", |text| match text {
        "wait" => Ok(true),
        "count" => Ok(false),
        _ => Err(format!("must be wait or count, not {text:?}")),
    })?;
    Ok(file.map(|file| Audit { file, max_bytes, max_age, wait_when_full, ..Audit::default() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn config(flags: &[(&str, &str)]) -> Result<Security, ConfigError> {
        let flags: Vec<_> =
            flags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let texts = Texts::gather(None, |_| None, &flags)?;
        Config::from_texts(&texts, "h", 1).map(|config| config.security)
    }

    #[test]
    fn production_writes_an_audit_log_and_counts_callers() {
        let production = config(&[("env", "production"), ("data-dir", "/d")]).unwrap();
        assert_eq!(production.audit.unwrap().file, PathBuf::from("/d/audit.jsonl"));
        assert_eq!(production.address_connection_rate, PRODUCTION_CONNECTION_RATE);
        let off = config(&[("env", "production"), ("audit-file", "none"), ("address-connection-rate", "0")]);
        let off = off.unwrap();
        assert_eq!((off.audit, off.address_connection_rate), (None, 0));
        let development = config(&[]).unwrap();
        assert_eq!((development.audit, development.address_connection_rate), (None, 0));
        assert_eq!(config(&[("audit-file", "x")]).unwrap().audit.unwrap().file, PathBuf::from("x"));
    }

    #[test]
    fn halves_and_nonsense_are_refused_by_name() {
        for flags in [
            &[("tls-cert", "a")][..],
            &[("tls-key", "a")],
            &[("tls-key-log", "k")],
            &[("tls-cert", "a"), ("tls-key", "b"), ("tls-key-log", "k"), ("env", "production")],
            &[("proxy-protocol", "true")],
            &[("trusted-proxies", "everybody")],
            &[("jwks-url", "ftp://x")],
            &[("audit-when-full", "panic")],
            &[("address-rate", "-1")],
        ] {
            let error = config(flags).unwrap_err();
            assert!(matches!(error, ConfigError::Invalid { .. }), "{error}");
        }
        assert!(config(&[("tls-cert", "a"), ("tls-key", "b")]).unwrap().tls.is_some());
        let logging = config(&[("tls-cert", "a"), ("tls-key", "b"), ("tls-key-log", "k")]).unwrap().tls;
        assert_eq!(logging.unwrap().key_log, Some(PathBuf::from("k")));
        assert!(config(&[("jwks-url", "https://x/keys")]).unwrap().jwks.is_some());
    }
}
