//! The settings of monitoring: exemplars, stalled sessions, alerts and their webhook.

use std::path::PathBuf;
use std::time::Duration;

use super::texts::{ConfigError, DAY_MS, Texts};
use crate::alerts::rules::RULES;
pub use crate::alerts::state::Limit;

/// Where alerts are sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// `http://` or `https://`.
    pub url: String,
    /// The secret that signs messages.
    pub secret: String,
    /// The authority of its certificate; the machine's own if `None`.
    pub authority: Option<PathBuf>,
}

impl std::fmt::Debug for Webhook {
    /// Omits the secret and the address, which often contains one, too.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").finish_non_exhaustive()
    }
}

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Watch {
    /// Record the traces that events name as exemplars of histograms.
    pub exemplars: bool,
    /// Silence after which a running session may be stalled.
    pub stall_after: Duration,
    /// The limit of each rule that is turned on, by name.
    pub limits: Vec<(&'static str, Limit)>,
    /// The webhook that alerts are sent to, if any.
    pub webhook: Option<Webhook>,
}

impl Watch {
    pub(super) fn from_texts(texts: &Texts) -> Result<Self, ConfigError> {
        let mut limits = Vec::new();
        for rule in RULES {
            let limit = texts.read(&rule.setting(), Limit::parse)?;
            limits.extend(limit.map(|limit| (rule.name, limit)));
        }
        Ok(Self {
            exemplars: texts.flag("metrics-exemplars")?,
            stall_after: texts.millis("stall-after", 1..=DAY_MS)?,
            limits,
            webhook: webhook(texts)?,
        })
    }

    /// A rule's limit, unless it is turned off.
    pub(crate) fn limit(&self, rule: &str) -> Option<Limit> {
        self.limits.iter().find(|(name, _)| *name == rule).map(|(_, limit)| *limit)
    }
}

fn webhook(texts: &Texts) -> Result<Option<Webhook>, ConfigError> {
    let url = texts.read("alert-webhook-url", |text| match text {
        "" => Ok(None),
        _ if text.starts_with("https://") || text.starts_with("http://") => Ok(Some(text.to_owned())),
        // The text is not shown: such addresses often hold a secret.
        _ => Err("must begin with https:// or http://".to_owned()),
    })?;
    let secret = texts.get("alert-webhook-secret").0.to_owned();
    let authority =
        Some(texts.get("alert-webhook-ca-file").0).filter(|text| !text.is_empty()).map(PathBuf::from);
    if url.is_some() && secret.len() < 16 {
        return texts.read("alert-webhook-secret", |_| {
            Err("must have 16 characters or more beside alert-webhook-url; try: openssl rand -hex 32"
                .to_owned())
        });
    }
    Ok(url.map(|url| Webhook { url, secret, authority }))
}
