//! Log lines on standard error: for people, or JSON for machines.

use std::io::IsTerminal;

use agentbench_server::config::Config;
use tracing_subscriber::EnvFilter;

/// Turns log lines on, as the settings want them.
///
/// # Errors
/// If the level is no filter.
pub(crate) fn start(config: &Config) -> anyhow::Result<()> {
    if !config.enable_logging {
        return Ok(());
    }
    let filter = EnvFilter::try_new(&config.log_level)
        .map_err(|error| anyhow::anyhow!("log-level: {error}; try info, debug or agentbench_server=debug"))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if config.log_json {
        lines.json().init();
    } else {
        lines.with_ansi(std::io::stderr().is_terminal()).init();
    }
    Ok(())
}
