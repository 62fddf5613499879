//! The texts of settings: flags go over environment over file over defaults; each value knows its origin.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::settings::{SETTINGS, find};

pub(super) const DAY_MS: u64 = 86_400_000;

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The table's default.
    Default,
    /// `agentbench.toml`.
    File,
    /// An environment variable.
    Environment,
    /// A flag.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Environment => "environment",
            Self::Flag => "flag",
        })
    }
}

/// A setting that cannot be used, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The value is invalid.
    #[error("{name} ({origin}): {detail}")]
    Invalid {
        /// The setting.
        name: String,
        /// Where the value came from.
        origin: &'static str,
        /// What it has to be.
        detail: String,
    },
    /// The file cannot be used.
    #[error("{0}")]
    File(String),
}

/// The texts of all settings with their origins.
#[derive(Debug, Clone)]
pub struct Texts {
    values: BTreeMap<&'static str, (String, Origin)>,
}

impl Texts {
    /// Merges the layers. `file` is the text of `agentbench.toml`, if it exists; `flags` are pairs of name and value.
    ///
    /// # Errors
    /// The file is not TOML, or has an unknown key.
    pub fn gather(
        file: Option<&str>,
        env: impl Fn(&str) -> Option<String>,
        flags: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        let mut values: BTreeMap<_, _> = SETTINGS
            .iter()
            .map(|setting| (setting.name, (setting.default.to_owned(), Origin::Default)))
            .collect();
        for (name, value) in file.map_or_else(|| Ok(Vec::new()), read_file)? {
            values.insert(name, (value, Origin::File));
        }
        for setting in SETTINGS {
            let value = env(setting.env).or_else(|| setting.env_alias.and_then(&env));
            if let Some(value) = value {
                values.insert(setting.name, (value, Origin::Environment));
            }
        }
        for (name, value) in flags {
            if let Some(setting) = find(name) {
                values.insert(setting.name, (value.clone(), Origin::Flag));
            }
        }
        Ok(Self { values })
    }

    /// The text and origin of one setting.
    pub fn get(&self, name: &str) -> (&str, Origin) {
        let (text, origin) = self.values.get(name).expect("only names of the table are asked for");
        (text, *origin)
    }

    /// All settings in the table's order: name, text (secrets hidden), origin.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, String, Origin)> {
        SETTINGS.iter().map(|setting| {
            let (text, origin) = self.get(setting.name);
            let shown =
                if setting.secret && !text.is_empty() { "(hidden)".to_owned() } else { text.to_owned() };
            (setting.name, shown, origin)
        })
    }

    pub(super) fn read<T>(
        &self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, ConfigError> {
        let (text, origin) = self.get(name);
        read(text).map_err(|detail| ConfigError::Invalid {
            name: name.to_owned(),
            origin: match origin {
                Origin::Default => "default",
                Origin::File => "from the file",
                Origin::Environment => "from the environment",
                Origin::Flag => "from the flag",
            },
            detail,
        })
    }

    pub(super) fn number(
        &self,
        name: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<u64, ConfigError> {
        self.read(name, |text| {
            let number = text.trim().parse::<u64>().ok().filter(|number| range.contains(number));
            number.ok_or_else(|| {
                format!("must be a whole number from {} to {}, not {text:?}", range.start(), range.end())
            })
        })
    }

    pub(super) fn size(
        &self,
        name: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<usize, ConfigError> {
        Ok(usize::try_from(self.number(name, range)?).unwrap_or(usize::MAX))
    }

    pub(super) fn millis(
        &self,
        name: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<Duration, ConfigError> {
        Ok(Duration::from_millis(self.number(name, range)?))
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, ConfigError> {
        self.read(name, |text| match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(format!("must be true or false, not {text:?}")),
        })
    }
}

fn read_file(text: &str) -> Result<Vec<(&'static str, String)>, ConfigError> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        ConfigError::File(format!("agentbench.toml: {}", error.message()))
    })?;
    let mut values = Vec::new();
    for (key, value) in table {
        match value {
            // Settings that begin alike may stand in a table: [alerts] memory = … is alert-memory.
            toml::Value::Table(alerts) if key == "alerts" => {
                for (name, value) in alerts {
                    values.push(file_value(&format!("alert_{name}"), &value)?);
                }
            }
            value => values.push(file_value(&key, &value)?),
        }
    }
    Ok(values)
}

fn file_value(key: &str, value: &toml::Value) -> Result<(&'static str, String), ConfigError> {
    let setting = find(&key.replace('_', "-")).ok_or_else(|| {
        ConfigError::File(format!("agentbench.toml: {key:?} is no setting; see agentbench serve --help"))
    })?;
    let text = match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Integer(_) | toml::Value::Boolean(_) | toml::Value::Float(_) => value.to_string(),
        _ => return Err(ConfigError::File(format!("agentbench.toml: {key} must be a single value"))),
    };
    Ok((setting.name, text))
}
