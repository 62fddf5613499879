//! The alert webhook: a signed POST for each rule that fires or clears, retried for a while, from a bounded queue.
//!
//! `Agentbench-Signature: sha256=…` is HMAC-SHA256 in hexadecimal digits of `Agentbench-Timestamp` (seconds since 1970), a full
//! stop, and the body as sent. Receivers should refuse old timestamps to prevent replays.

use std::collections::VecDeque;
use std::fmt::Write;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use hyper::Request;
use hyper::header::{CONTENT_TYPE, USER_AGENT};
use sha2::Sha256;
use tokio::sync::Notify;

use super::rules::Rule;
use super::state::RuleState;
use crate::clock;
use crate::config::Webhook;
use crate::figures::metrics::Metrics;
use crate::outgoing::Destination;

/// Maximum number of queued messages; beyond it the oldest is dropped, since the newest has the current state.
const QUEUE: usize = 64;
/// Attempts to send a message: with the pauses between them nearly five minutes.
const TRIES: u32 = 8;
/// The first pause; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// Time limit of one attempt.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The queue of messages for the webhook.
pub(crate) struct WebhookQueue {
    node: String,
    queue: Mutex<VecDeque<String>>,
    filled: Notify,
}

impl WebhookQueue {
    pub(crate) fn new(node: &str) -> Self {
        Self { node: node.to_owned(), queue: Mutex::default(), filled: Notify::new() }
    }

    /// Queues a message about a rule that fires or has cleared.
    pub(super) fn push(&self, now: u64, rule: &Rule, machine: &RuleState, value: Option<f64>) {
        let body = serde_json::json!({
            "node": self.node,
            "at": now,
            "name": rule.name,
            "severity": rule.severity,
            "state": machine.state,
            "value": value,
            "threshold": machine.threshold(),
            "unit": rule.unit,
            "summary": rule.summary,
            "description": rule.description,
        });
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.len() == QUEUE {
            queue.pop_front();
            tracing::warn!("the alert webhook is too slow: dropped the oldest queued alert");
        }
        queue.push_back(body.to_string());
        self.filled.notify_one();
    }

    /// Queued messages, and their bound.
    pub(crate) fn depth(&self) -> (usize, usize) {
        (self.queue.lock().unwrap_or_else(PoisonError::into_inner).len(), QUEUE)
    }

    fn pop(&self) -> Option<String> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// The destination of messages.
///
/// # Errors
/// The address is invalid, or the CA file cannot be read.
pub(crate) fn target(webhook: &Webhook) -> io::Result<Destination> {
    Destination::new("ALERT_WEBHOOK_URL", &webhook.url, webhook.authority.as_deref())
}

/// Sends queued messages, one at a time; never returns.
pub(crate) async fn send_all(
    outgoing: &WebhookQueue,
    metrics: &Metrics,
    webhook: &Webhook,
    target: &Destination,
) {
    loop {
        let Some(body) = outgoing.pop() else {
            outgoing.filled.notified().await;
            continue;
        };
        let sent = send(webhook, target, &body).await;
        metrics.webhook.inc([if sent { "sent" } else { "given_up" }]);
    }
}

/// Sends a message, with retries. Returns whether the webhook accepted it.
async fn send(webhook: &Webhook, target: &Destination, body: &str) -> bool {
    for attempt in 0..TRIES {
        if attempt > 0 {
            tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(attempt - 1)).await;
        }
        let error = match tokio::time::timeout(TIMEOUT, post(webhook, target, body)).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error,
            Err(_) => "no answer in time".to_owned(),
        };
        tracing::warn!(attempt, error, "the alert webhook did not accept an alert");
    }
    tracing::error!("an alert was dropped: the webhook did not accept it");
    false
}

async fn post(webhook: &Webhook, target: &Destination, body: &str) -> Result<(), String> {
    let timestamp = clock::now_ms() / 1_000;
    let request = Request::post(target.path())
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("agentbench/", env!("CARGO_PKG_VERSION")))
        .header("Agentbench-Timestamp", timestamp)
        .header("Agentbench-Signature", signature(&webhook.secret, timestamp, body));
    let answer = target.send(request, Bytes::copy_from_slice(body.as_bytes())).await?;
    if answer.status.is_success() { Ok(()) } else { Err(format!("the answer is {}", answer.status)) }
}

fn signature(secret: &str, timestamp: u64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length is a key of HMAC");
    mac.update(format!("{timestamp}.").as_bytes());
    mac.update(body.as_bytes());
    let mut text = "sha256=".to_owned();
    for byte in mac.finalize().into_bytes() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected value is from `printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac secret`.
    #[test]
    fn signatures_are_what_openssl_makes() {
        let expected = "sha256=49f24e537407743fa4a0242bb63b94b9a47ee99cbbe071ccd8a22550ae411686";
        assert_eq!(signature("secret", 1_700_000_000, "{\"a\":1}"), expected);
    }
}
