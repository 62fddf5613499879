//! Log lines on standard error: for people, or JSON for machines. Whatever a client calls itself, a line stays one line, and no
//! token is in it (`lines`); a message that comes in floods is sampled (`sampling`); the level can be changed while the server runs.

mod lines;
mod sampling;

use std::io::IsTerminal;

use agentbench_server::config::Config;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{Format, JsonFields, debug_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use lines::Lines;
use sampling::Sampled;

/// Changes the level of a process's log lines.
pub(crate) struct Level {
    filter: Option<reload::Handle<EnvFilter, Registry>>,
}

impl Level {
    /// From now on, lines are written that pass the filter. Says what holds now.
    ///
    /// # Errors
    /// If the text is no filter: the old one stays.
    pub(crate) fn change(&self, text: &str) -> anyhow::Result<String> {
        let Some(handle) = &self.filter else { return Ok("log lines are turned off".to_owned()) };
        handle.reload(filter(text)?)?;
        Ok(format!("log level {text}"))
    }
}

fn filter(text: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(text)
        .map_err(|error| anyhow::anyhow!("log-level: {error}; try info, debug or agentbench_server=debug"))
}

/// Turns log lines on, as the settings want them.
///
/// # Errors
/// If the level is no filter.
pub(crate) fn start(config: &Config) -> anyhow::Result<Level> {
    if !config.enable_logging {
        return Ok(Level { filter: None });
    }
    let (filter, handle) = reload::Layer::new(filter(&config.log_level)?);
    let burst = config.operations.log_burst;
    let registry = tracing_subscriber::registry().with(filter);
    if config.log_json {
        let format = Sampled::new(Format::default().json(), burst, true);
        let layer = fmt::layer().event_format(format).fmt_fields(JsonFields::new());
        registry.with(layer.with_writer(|| Lines::new(std::io::stderr(), false))).init();
    } else {
        let ansi = std::io::stderr().is_terminal();
        let fields = debug_fn(|writer, field, value| lines::write_field(writer, field.name(), value));
        let format = Sampled::new(Format::default(), burst, false);
        let layer = fmt::layer().with_ansi(ansi).event_format(format).fmt_fields(fields.delimited(" "));
        registry.with(layer.with_writer(move || Lines::new(std::io::stderr(), ansi))).init();
    }
    Ok(Level { filter: Some(handle) })
}
