//! Arguments of a run of the suite.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agentbench_auth::Role;
use agentbench_report::{FailOn, fail_on};
use agentbench_scenarios::definition::Overrides;
use agentbench_scenarios::sdk::{Driver, Sdk};
use agentbench_scenarios::target::{Target, own_secret};
use anyhow::{Context, bail};
use clap::{Args, ValueEnum};

use super::Chosen;
use crate::access::{Access, make_token};

/// Core that `--pin` assigns to the server; the generator gets the next.
pub(crate) const SERVER_CORE: usize = 0;
/// Core that `--pin` assigns to the generator.
pub(crate) const GENERATOR_CORE: usize = 1;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Only scenarios whose name contains this; may be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Server to test; without it, the suite starts its own
    #[arg(long)]
    pub(crate) url: Option<String>,
    /// Flag of `serve` for servers that the suite starts, such as --server-flag=--workers=1; may be given several times
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    server_flag: Vec<String>,
    #[command(flatten)]
    pub(crate) access: Access,
    /// Seed of contents, schedule and faults; random if not given
    #[arg(long)]
    seed: Option<u64>,
    /// Run with a tenth of the events in a tenth of the time
    #[arg(long)]
    pub(crate) quick: bool,
    /// Number of clients in each scenario
    #[arg(long, env = "TEST_CLIENT_COUNT")]
    clients: Option<u32>,
    /// Number of events that each client publishes
    #[arg(long, env = "TEST_MESSAGES_PER_CLIENT")]
    messages: Option<u32>,
    /// Time limit of each scenario, ms; the events are spread over the same share of it
    #[arg(long, env = "TEST_DURATION")]
    duration: Option<u64>,
    /// Probability that a fault hits a message, 0 to 1, in scenarios of the category reliability
    #[arg(long, env = "TEST_FAILURE_RATE", value_parser = share)]
    failure_rate: Option<f64>,
    /// SDK that the suite's clients use; ts runs the TypeScript SDK in Node (docs/testing.md)
    #[arg(long, value_enum, default_value_t, value_name = "SDK")]
    pub(crate) client: ClientKind,
    /// Pin the server to one core and the suite to another, so that they do not compete
    #[arg(long)]
    pub(crate) pin: bool,
    /// After a broken promise, run again up to RUNS times to find a smaller plan that still fails
    #[arg(long, value_name = "RUNS", num_args = 0..=1, default_missing_value = "20")]
    pub(crate) shrink: Option<u32>,
    /// Number of times to repeat the whole run: a baseline needs several
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) repeat: u32,
    /// Report to compare with (report.json); give several for several runs of the same, which a verdict needs
    #[arg(long, value_name = "FILE")]
    pub(crate) baseline: Vec<PathBuf>,
    /// Thresholds that fail the run, such as 'p99_ms>50, loss>0, "Stress Test".memory_mb>400' (docs/reports.md)
    #[arg(long, value_name = "BOUNDS", value_parser = bounds)]
    pub(crate) fail_on: Option<FailOn>,
    /// Folder for reports; each run creates a subfolder
    #[arg(long, env = "TEST_OUTPUT_DIR", default_value = "./test-results")]
    pub(crate) output: PathBuf,
    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Print progress even without a terminal
    #[arg(long, env = "TEST_ENABLE_LOGGING", num_args = 0..=1)]
    #[arg(default_value_t = false, default_missing_value = "true")]
    pub(crate) enable_logging: bool,
}

/// An SDK.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClientKind {
    /// The Rust SDK, in this process
    #[default]
    Rust,
    /// The TypeScript SDK, in a process of Node
    Ts,
}

fn bounds(text: &str) -> Result<FailOn, String> {
    fail_on::parse(text).map_err(|error| error.to_string())
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("not a share from 0 to 1".to_owned()) }
}

impl Arguments {
    /// The chosen scenarios that the flags select, with the flags' overrides.
    pub(crate) fn wanted(&self, chosen: Vec<Chosen>) -> anyhow::Result<Vec<Chosen>> {
        let only: Vec<String> = self.only.iter().map(|name| name.to_lowercase()).collect();
        let names: Vec<String> = chosen.iter().map(|chosen| chosen.scenario.name.clone()).collect();
        let fits = |chosen: &Chosen| {
            let name = chosen.scenario.name.to_lowercase();
            only.is_empty() || only.iter().any(|wanted| name.contains(wanted))
        };
        let overrides = self.overrides();
        let wanted = chosen.into_iter().filter(fits);
        let wanted: Vec<Chosen> =
            wanted.map(|chosen| Chosen { scenario: chosen.scenario.with(overrides), ..chosen }).collect();
        if wanted.is_empty() {
            bail!("no scenario matches; available: {}", names.join(", "));
        }
        for chosen in &wanted {
            chosen.scenario.check()?;
        }
        Ok(wanted)
    }

    fn overrides(&self) -> Overrides {
        Overrides {
            clients: self.clients,
            messages: self.messages,
            limit: self.duration.map(Duration::from_millis),
            failure_rate: self.failure_rate,
            quick: self.quick,
        }
    }

    /// The given seed, or a random one.
    pub(crate) fn seed(&self) -> anyhow::Result<u64> {
        match self.seed {
            Some(seed) => Ok(seed),
            // Half of the bits: JSON readers keep only 53 bits of a number.
            None => {
                Ok(getrandom::u64().map_err(|error| anyhow::anyhow!("no random numbers: {error}"))? >> 32)
            }
        }
    }

    /// The SDK of the clients. Starts Node if needed.
    pub(crate) fn sdk(&self) -> anyhow::Result<Sdk> {
        Ok(match self.client {
            ClientKind::Rust => Sdk::Rust,
            ClientKind::Ts => Sdk::TypeScript(Arc::new(Driver::start(&Driver::find()?)?)),
        })
    }

    /// The server to test.
    pub(crate) fn target(&self) -> anyhow::Result<Target> {
        const USER: &str = "agentbench-suite";
        if let Some(url) = &self.url {
            return Ok(Target::Running {
                url: url.clone(),
                token: self.access.token(USER, Role::Evaluator)?,
            });
        }
        let mut flags = self.server_flag.clone();
        if self.pin {
            flags.push("--workers=1".to_owned());
        }
        Ok(Target::Start {
            binary: std::env::current_exe().context("cannot find the path of this binary")?,
            flags,
            token: make_token(own_secret(), USER, Role::Evaluator)?,
            core: self.pin.then_some(SERVER_CORE),
        })
    }

    /// The command that runs a scenario again with the same flags.
    pub(crate) fn replay(&self, called: &str, seed: u64) -> String {
        let mut command = format!("agentbench suite run {} --seed {seed}", quoted(called));
        let mut add = |flag: &str, value: Option<String>| {
            if let Some(value) = value {
                command.push_str(&format!(" --{flag} {}", quoted(&value)));
            }
        };
        add("url", self.url.clone());
        add("clients", self.clients.map(|it| it.to_string()));
        add("messages", self.messages.map(|it| it.to_string()));
        add("duration", self.duration.map(|it| it.to_string()));
        add("failure-rate", self.failure_rate.map(|it| it.to_string()));
        add("client", (self.client == ClientKind::Ts).then(|| "ts".to_owned()));
        for flag in &self.server_flag {
            command.push_str(&format!(" --server-flag={}", quoted(flag)));
        }
        for (flag, is_given) in [("quick", self.quick), ("pin", self.pin)] {
            if is_given {
                command.push_str(&format!(" --{flag}"));
            }
        }
        command
    }
}

/// Quotes a text as one word of a shell.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_words_in_a_shell() {
        let cases = [
            ("Small Load Test", "'Small Load Test'"),
            ("./my.toml", "./my.toml"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
            ("$(reboot)", "'$(reboot)'"),
        ];
        for (text, expected) in cases {
            assert_eq!(quoted(text), expected);
        }
    }
}
