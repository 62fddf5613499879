//! Log lines on standard error: for people, or JSON for machines. Untrusted text cannot break a line, and tokens are masked
//! (`lines`); floods of one message are sampled (`sampling`); the level can be changed while the server runs.

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
    /// Sets the filter for lines from now on. Returns a text that names the current level.
    ///
    /// # Errors
    /// The text is not a valid filter; the old one remains.
    pub(crate) fn change(&self, text: &str) -> anyhow::Result<String> {
        let Some(handle) = &self.filter else { return Ok("log lines are turned off".to_owned()) };
        handle.reload(filter(text)?)?;
        Ok(format!("log level {text}"))
    }
}

/// Parses a filter. A bare word is a level in any case, or one of our crates; the library would accept any word as the name of
/// a crate and write only that crate's lines.
fn filter(text: &str) -> anyhow::Result<EnvFilter> {
    let refused = |what: String| {
        anyhow::anyhow!(
            "log-level: {what}; try error, warn, info, debug, trace, off or agentbench_server=debug"
        )
    };
    // Brackets hold names of spans, in which a comma is no separator.
    let parts: Vec<_> = if text.contains('[') { vec![text] } else { text.split(',').collect() };
    let parts = parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).map(directive);
    let parts = parts.collect::<Result<Vec<_>, _>>().map_err(refused)?;
    if parts.is_empty() {
        return Err(refused("the text is empty".to_owned()));
    }
    EnvFilter::try_new(parts.join(",")).map_err(|error| refused(error.to_string()))
}

/// One part of a filter, with its level as the library spells it, or an error text.
fn directive(part: &str) -> Result<String, String> {
    match part.rsplit_once('=') {
        _ if part.contains('[') => Ok(part.to_owned()),
        Some((target, word)) => {
            let level = level(word.trim()).ok_or_else(|| format!("{word:?} is not a level"))?;
            Ok(format!("{}={level}", target.trim()))
        }
        None => match level(part) {
            Some(level) => Ok(level),
            None if part.starts_with("agentbench") => Ok(part.to_owned()),
            None => Err(format!("{part:?} is neither a level nor a part of this server")),
        },
    }
}

fn level(word: &str) -> Option<String> {
    let word = word.to_ascii_lowercase();
    let word = if word == "warning" { "warn".to_owned() } else { word };
    let known = ["error", "warn", "info", "debug", "trace", "off"].contains(&&*word);
    known.then_some(word)
}

/// Starts logging as configured.
///
/// # Errors
/// The level is not a valid filter.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_level_or_a_part_of_this_server_or_refused() {
        for (text, means) in [
            ("info", "info"),
            ("INFO", "info"),
            (" trace ", "trace"),
            ("warning", "warn"),
            ("Warning", "warn"),
            ("off", "off"),
            ("agentbench_server", "agentbench_server=trace"),
            ("agentbench_server=DEBUG", "agentbench_server=debug"),
            ("warning, hyper=Warning,", "hyper=warn,warn"),
        ] {
            assert_eq!(filter(text).unwrap().to_string(), means, "{text:?}");
        }
        assert!(filter("[span{field=1}]=debug,info").is_ok());
        for text in [
            "",
            " ",
            ",",
            "verbose",
            "critical",
            "notice",
            "inf0",
            "info debug",
            "hyper",
            "a=verbose",
            "info,verbose",
        ] {
            let refused = filter(text).unwrap_err().to_string();
            assert!(refused.contains("try error, warn, info"), "{text:?}: {refused}");
        }
    }
}
