//! A case's settings, as this machine has them.

use std::time::Duration;

use agentbench_client::{Backoff, OutboxPolicy, Settings};
use serde_json::{Map, Value};

use super::super::pair;

pub(super) fn ms(value: &Value) -> Option<Duration> {
    value.as_u64().map(Duration::from_millis)
}

pub(super) fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

/// The cases' defaults with these changes.
pub(super) fn settings(change: &Map<String, Value>) -> Settings {
    let mut settings =
        pair::settings(|config| config.heartbeat_interval(None).silence_timeout(Duration::ZERO));
    for (name, value) in change {
        match name.as_str() {
            "token" => settings.token = value.as_str().map(str::to_owned),
            "tokenProvider" => settings.has_token_provider = value == true,
            "connectTimeout" => settings.connect_timeout = ms(value).unwrap(),
            "commandTimeout" => settings.command_timeout = ms(value).unwrap(),
            "ackTimeout" => settings.ack_timeout = ms(value),
            "heartbeatInterval" => settings.heartbeat_interval = ms(value),
            "silenceTimeout" => settings.silence_timeout = ms(value),
            "publishRetries" => settings.publish_retries = Some(u32::try_from(number(value)).unwrap()),
            "outboxMessages" => settings.outbox_messages = number(value),
            "outboxBytes" => settings.outbox_bytes = number(value),
            "inFlight" => settings.in_flight = number(value),
            "outboxPolicy" => {
                settings.outbox_policy = match value.as_str() {
                    Some("refuse") => OutboxPolicy::Refuse,
                    Some("dropOldestUnsent") => OutboxPolicy::DropOldestUnsent,
                    _ => OutboxPolicy::Wait,
                };
            }
            "backoff" => {
                let attempts = value["attempts"].as_u64().map(|most| u32::try_from(most).unwrap());
                let Backoff { base, max, .. } = settings.backoff;
                let wait = |name: &str, usual| ms(&value[name]).unwrap_or(usual);
                settings.backoff = Backoff { base: wait("base", base), max: wait("max", max), attempts };
            }
            other => panic!("no such setting: {other}"),
        }
    }
    settings
}
