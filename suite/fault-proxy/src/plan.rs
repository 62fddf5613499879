//! A plan: proxies and their faults as a TOML file. The fields of a fault are those of the control API.
//!
//! ```toml
//! seed = 7
//!
//! [[proxy]]
//! name = "server"
//! listen = "127.0.0.1:4001"
//! upstream = "127.0.0.1:3001"
//!
//! [[proxy.fault]]
//! name = "ack lost"
//! direction = "up"
//! when = { contains = "evt-17" }
//! effect = { kind = "reset", forward = true }
//! ```

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::{Fault, InvalidFault};

/// Longest name of a proxy; it becomes part of URLs.
const MAX_NAME: usize = 64;

/// Proxies and their faults.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Seed of all draws.
    #[serde(default)]
    pub seed: u64,
    /// The proxies.
    #[serde(default, rename = "proxy")]
    pub proxies: Vec<ProxyPlan>,
}

/// One proxy of a plan, or of a request to create one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyPlan {
    /// 1 to 64 letters, digits, `-`, `_` or `.`.
    pub name: String,
    /// Where clients connect. If absent: loopback, a free port.
    #[serde(default = "any_port")]
    pub listen: SocketAddr,
    /// Address that links connect to.
    pub upstream: SocketAddr,
    /// Faults, in force from the first link on.
    #[serde(default, rename = "fault", skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
}

/// Loopback, a free port.
fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// Why a plan is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// It is not valid TOML, or a field is unknown, missing or of the wrong type.
    #[error("line {line}, {field}: {problem}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Field, such as `proxy[0].fault[2].effect`.
        field: String,
        /// What is wrong, and what is allowed.
        problem: String,
    },
    /// A fault is invalid.
    #[error("proxy {proxy}, fault {fault}: {invalid}")]
    Fault {
        /// The proxy's name.
        proxy: String,
        /// The fault's number in its proxy, from 1.
        fault: usize,
        /// What is wrong.
        invalid: InvalidFault,
    },
    /// A name is not valid in a URL.
    #[error("proxy name {0:?}: must be 1 to 64 letters, digits, '-', '_' or '.'")]
    Name(String),
    /// Two proxies have the same name.
    #[error("proxy name {0:?} is used twice")]
    Twice(String),
}

impl Plan {
    /// Parses and checks a plan.
    ///
    /// # Errors
    /// The first error: its place, and what is allowed there.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let document = toml::Deserializer::parse(text).map_err(|error| syntax(text, "the file", &error))?;
        let plan: Self = serde_path_to_error::deserialize(document)
            .map_err(|error| syntax(text, &error.path().to_string(), error.inner()))?;
        plan.check()?;
        Ok(plan)
    }

    fn check(&self) -> Result<(), PlanError> {
        let mut names = BTreeSet::new();
        for proxy in &self.proxies {
            proxy.check()?;
            if !names.insert(&proxy.name) {
                return Err(PlanError::Twice(proxy.name.clone()));
            }
        }
        Ok(())
    }
}

impl ProxyPlan {
    /// Checks a plan for invalid values.
    ///
    /// # Errors
    /// The first one found.
    pub fn check(&self) -> Result<(), PlanError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if self.name.is_empty() || self.name.len() > MAX_NAME || !self.name.chars().all(allowed) {
            return Err(PlanError::Name(self.name.clone()));
        }
        for (index, fault) in self.faults.iter().enumerate() {
            fault.check().map_err(|invalid| PlanError::Fault {
                proxy: self.name.clone(),
                fault: index + 1,
                invalid,
            })?;
        }
        Ok(())
    }
}

fn syntax(text: &str, field: &str, error: &toml::de::Error) -> PlanError {
    let start = error.span().map_or(0, |span| span.start).min(text.len());
    let line = text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count() + 1;
    PlanError::Syntax { line, field: field.to_owned(), problem: error.message().to_owned() }
}
