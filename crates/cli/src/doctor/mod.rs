//! `agentbench doctor`: checks that this machine, data folder and server are fit for service. Each check has a figure, a verdict
//! and, unless the verdict is good, advice.
//!
//! - `machine` checks limits, memory and the clock; `folder` the data folder's disk; `secrets` keys and their files;
//!   `certificate` TLS; `server` a running server from outside.

mod certificate;
mod folder;
mod machine;
mod secrets;
mod server;

use std::path::PathBuf;
use std::process::ExitCode;

use agentbench_server::config::{Config, Texts};
use clap::Args;
use serde::Serialize;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Settings file; agentbench.toml in the current folder if not given and present
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data folder to check; that of the settings if not given
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Running server to check (ws://, wss://, http:// or https://)
    #[arg(long, env = "AGENTBENCH_URL")]
    url: Option<String>,
    /// Token to connect with; without one, the handshake is not tested
    #[arg(long, env = "AGENTBENCH_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// PEM file of the CA that signed the server's certificate; the system's CAs if not given
    #[arg(long, env = "AGENTBENCH_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// PEM file of the certificate to check; that of the settings if not given
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// Name that clients connect to, for the certificate; that of --url if not given
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The verdict of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Good,
    Warn,
    Bad,
}

/// The result of one check.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    /// Its name, for scripts.
    pub(crate) name: &'static str,
    pub(crate) verdict: Verdict,
    /// What was found, with its unit.
    pub(crate) figure: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) advice: Option<String>,
}

impl Check {
    pub(crate) fn good(name: &'static str, figure: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Good, figure: figure.into(), advice: None }
    }

    /// A check whose advice is dropped if the verdict is good.
    pub(crate) fn of(
        name: &'static str,
        verdict: Verdict,
        figure: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        let advice = (verdict != Verdict::Good).then(|| advice.into());
        Self { name, verdict, figure: figure.into(), advice }
    }
}

/// Runs all checks. The exit code is 1 if one is bad.
///
/// # Errors
/// The settings cannot be read.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let file = crate::serve::read_file(arguments.config.as_deref())?;
    let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let mut flags = Vec::new();
    if let Some(folder) = &arguments.data_dir {
        flags.push(("data-dir".to_owned(), folder.display().to_string()));
    }
    let texts = Texts::gather(file.as_deref(), env, &flags)?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let config = Config::from_texts(&texts, "doctor", cores)?;
    let mut checks = machine::checks(&config);
    checks.extend(folder::checks(&config));
    checks.extend(secrets::checks(&config));
    let host = arguments.name.clone().or_else(|| {
        let client = crate::api::client(arguments.url.as_deref()?, arguments.ca_file.as_deref());
        Some(client.ok()?.host().to_owned())
    });
    let configured = config.security.tls.as_ref();
    let certificate =
        arguments.tls_cert.as_deref().or_else(|| configured.map(|files| files.certificate.as_path()));
    if let Some(path) = certificate {
        checks.push(certificate::of_file(path, host.as_deref()));
    }
    if let Some(files) = configured {
        checks.push(certificate::pair(files));
    }
    if let Some(url) = &arguments.url {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let authority = arguments.ca_file.as_deref();
        checks.extend(runtime.block_on(server::checks(url, authority, arguments.token.as_deref())));
    }
    show(&checks, arguments.json);
    let is_bad = checks.iter().any(|check| check.verdict == Verdict::Bad);
    Ok(if is_bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn show(checks: &[Check], json: bool) {
    let worst = checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Good);
    if json {
        outln!("{}", serde_json::json!({"verdict": worst, "checks": checks}));
        return;
    }
    for check in checks {
        let verdict = match check.verdict {
            Verdict::Good => "good",
            Verdict::Warn => "WARN",
            Verdict::Bad => "BAD ",
        };
        outln!("{verdict}  {:<18} {}", check.name, check.figure);
        if let Some(advice) = &check.advice {
            outln!("      {:<18} -> {advice}", "");
        }
    }
}

/// A byte count for people.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let (mut value, mut unit) = (count as f64 / 1024.0, UNITS[0]);
    for larger in &UNITS[1..] {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    format!("{value:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_for_people() {
        for (count, text) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB")] {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(bytes(u64::MAX), "16777216.0 TiB");
    }

    #[test]
    fn good_things_need_no_advice() {
        assert!(Check::of("x", Verdict::Good, "1", "do").advice.is_none());
        assert_eq!(Check::of("x", Verdict::Warn, "1", "do").advice.as_deref(), Some("do"));
    }
}
