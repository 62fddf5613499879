//! The settings of what operators look through: log lines, profiles, traces.

use super::{ConfigError, Texts};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operations {
    /// Lines a second of the same message; 0 is no limit.
    pub log_burst: u64,
    /// Administrators may take CPU profiles.
    pub enable_profiling: bool,
    /// Where spans go, if anywhere.
    pub otlp_endpoint: Option<String>,
}

impl Operations {
    pub(super) fn from_texts(texts: &Texts) -> Result<Self, ConfigError> {
        Ok(Self {
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
        assert_eq!(operations, Operations { log_burst: 50, enable_profiling: false, otlp_endpoint: None });
        assert!(read("enable-profiling", "true").unwrap().enable_profiling);
        assert!(read("otlp-endpoint", "http://collector:4318").unwrap().otlp_endpoint.is_some());
        for (name, value) in
            [("otlp-endpoint", "collector:4318"), ("log-burst", "-1"), ("enable-profiling", "x")]
        {
            assert!(read(name, value).is_err(), "{name}");
        }
    }
}
