//! The settings of operations: log lines, profiles, traces.

use std::time::Duration;

use super::texts::{ConfigError, DAY_MS, Texts};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operations {
    /// Lines a second of the same message; 0 is no limit.
    pub log_burst: u64,
    /// Administrators may take CPU profiles.
    pub enable_profiling: bool,
    /// The address that spans are sent to, if any.
    pub otlp_endpoint: Option<String>,
    /// The port for probes, served by a separate thread.
    pub health_port: Option<u16>,
    /// Time after which a worker that does not turn ends the process.
    pub worker_timeout: Option<Duration>,
}

impl Operations {
    pub(super) fn from_texts(texts: &Texts) -> Result<Self, ConfigError> {
        let worker_timeout = texts.millis("worker-timeout", 0..=DAY_MS)?;
        Ok(Self {
            health_port: match texts.number("health-port", 0..=65_535)? {
                0 => None,
                port => Some(port as u16),
            },
            worker_timeout: Some(worker_timeout).filter(|timeout| !timeout.is_zero()),
            log_burst: texts.number("log-burst", 0..=1_000_000)?,
            enable_profiling: texts.flag("enable-profiling")?,
            otlp_endpoint: texts.read("otlp-endpoint", |text| match text {
                "" => Ok(None),
                _ if text.starts_with("https://") || text.starts_with("http://") => Ok(Some(text.to_owned())),
                _ => Err("must begin with https:// or http://".to_owned()),
            })?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, value: &str) -> Result<Operations, ConfigError> {
        Operations::from_texts(&Texts::gather(None, |_| None, &[(name.to_owned(), value.to_owned())])?)
    }

    #[test]
    fn everything_that_costs_is_off_by_default() {
        let operations = read("port", "1").unwrap();
        let expected = Operations {
            log_burst: 50,
            enable_profiling: false,
            otlp_endpoint: None,
            health_port: None,
            worker_timeout: Some(Duration::from_secs(30)),
        };
        assert_eq!(operations, expected);
        assert_eq!(read("health-port", "3002").unwrap().health_port, Some(3002));
        assert_eq!(read("worker-timeout", "0").unwrap().worker_timeout, None);
        assert!(read("enable-profiling", "true").unwrap().enable_profiling);
        assert!(read("otlp-endpoint", "http://collector:4318").unwrap().otlp_endpoint.is_some());
        for (name, value) in
            [("otlp-endpoint", "collector:4318"), ("log-burst", "-1"), ("enable-profiling", "x")]
        {
            assert!(read(name, value).is_err(), "{name}");
        }
    }
}
