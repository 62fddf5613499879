//! The thread that exports spans to the collector, in batches. A slow or unavailable collector loses spans and nothing else.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use hyper::Request;
use hyper::header::CONTENT_TYPE;

use crate::clock;
use crate::outgoing::Destination;
use crate::trace::{Item, Span, Tracer, encode};

/// Maximum number of spans in one request.
const BATCH: usize = 512;
/// Time that a span waits for others to form a batch.
const DELAY: Duration = Duration::from_secs(1);
/// Time limit of one request.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Maximum number of requests for one batch, and the delay before the second; it doubles.
const ATTEMPTS: u32 = 3;
const BACKOFF: Duration = Duration::from_millis(250);
/// Time limit for queued spans when the server ends.
const FLUSH: Duration = Duration::from_secs(3);

/// Starts the thread, unless it runs already.
///
/// # Errors
/// The address is invalid, or the thread cannot be started.
pub(crate) fn start(tracer: &Arc<Tracer>, node: &str) -> io::Result<Option<JoinHandle<()>>> {
    let collector = Collector::new(&tracer.endpoint)?;
    let Some(spans) = tracer.take_waiting() else { return Ok(None) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (tracer, node) = (Arc::clone(tracer), node.to_owned());
    let thread = std::thread::Builder::new().name("traces".to_owned());
    thread.spawn(move || export(&tracer, &node, &collector, &spans, &runtime)).map(Some)
}

fn export(
    tracer: &Tracer,
    node: &str,
    collector: &Collector,
    spans: &Receiver<Item>,
    runtime: &tokio::runtime::Runtime,
) {
    let (mut is_over, mut is_down) = (false, false);
    while !is_over {
        let (batch, stop) = gather(spans);
        is_over = stop || tracer.stopping.load(Ordering::Relaxed);
        report_suppressed(tracer);
        if batch.is_empty() {
            continue;
        }
        let body = Bytes::from(encode::batch(node, &batch));
        // A stopping server does not wait for an unavailable collector.
        let attempts = if is_over || is_down { 1 } else { ATTEMPTS };
        match runtime.block_on(collector.send(&body, attempts, &tracer.stopping)) {
            Ok(()) if is_down => {
                is_down = false;
                tracing::info!("the collector accepts spans again");
            }
            Ok(()) => {}
            Err(error) => {
                if !is_down {
                    tracing::warn!(error, spans = batch.len(), "spans could not be sent; they are dropped");
                }
                is_down = true;
            }
        }
    }
    if !is_down {
        runtime.block_on(flush(node, collector, spans, &tracer.stopping));
    }
}

/// Sends queued spans, within the time limit.
async fn flush(node: &str, collector: &Collector, spans: &Receiver<Item>, stopping: &AtomicBool) {
    let until = clock::timer() + FLUSH;
    loop {
        let waiting = spans.try_iter().filter_map(|item| match item {
            Item::Span(span) => Some(*span),
            Item::Stop => None,
        });
        let batch: Vec<_> = waiting.take(BATCH).collect();
        if batch.is_empty() {
            return;
        }
        let body = Bytes::from(encode::batch(node, &batch));
        let sent = tokio::time::timeout_at(until, collector.send(&body, 1, stopping)).await;
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}

/// Waits for a span, then a while for others. Returns whether the queue has ended.
fn gather(spans: &Receiver<Item>) -> (Vec<Span>, bool) {
    let mut batch = Vec::new();
    match spans.recv() {
        Ok(Item::Span(span)) => batch.push(*span),
        Ok(Item::Stop) | Err(_) => return (batch, true),
    }
    let until = clock::instant() + DELAY;
    while batch.len() < BATCH {
        match spans.recv_timeout(until.saturating_duration_since(clock::instant())) {
            Ok(Item::Span(span)) => batch.push(*span),
            Ok(Item::Stop) | Err(RecvTimeoutError::Disconnected) => return (batch, true),
            Err(RecvTimeoutError::Timeout) => break,
        }
    }
    (batch, false)
}

fn report_suppressed(tracer: &Tracer) {
    let count = tracer.left_out.swap(0, Ordering::Relaxed);
    if count > 0 {
        tracing::warn!(count, "spans were dropped: the collector is too slow");
    }
}

/// The collector that receives spans.
struct Collector(Destination);

/// The outcome of one request.
enum ExportOutcome {
    Taken,
    /// A retry may succeed.
    Later(String),
    Refused(String),
}

impl Collector {
    /// The traces' address under the endpoint (OTLP/HTTP: `/v1/traces`).
    fn new(endpoint: &str) -> io::Result<Self> {
        let address = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        Destination::new("OTLP_ENDPOINT", &address, None).map(Self)
    }

    async fn send(&self, body: &Bytes, attempts: u32, stopping: &AtomicBool) -> Result<(), String> {
        let mut wait = BACKOFF;
        for attempt in 1..=attempts {
            let outcome = tokio::time::timeout(TIMEOUT, self.post(body.clone())).await;
            let error = match outcome {
                Ok(Ok(ExportOutcome::Taken)) => return Ok(()),
                Ok(Ok(ExportOutcome::Refused(error))) => return Err(error),
                Ok(Ok(ExportOutcome::Later(error))) | Ok(Err(error)) => error,
                Err(_) => "no answer in time".to_owned(),
            };
            if attempt == attempts || stopping.load(Ordering::Relaxed) {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        Ok(())
    }

    async fn post(&self, body: Bytes) -> Result<ExportOutcome, String> {
        let request = Request::post(self.0.path()).header(CONTENT_TYPE, "application/json");
        let status = self.0.send(request, body).await?.status;
        let said = format!("the collector answers {status}");
        Ok(match status.as_u16() {
            200..=299 => ExportOutcome::Taken,
            // Retryable by the protocol.
            429 | 502..=504 => ExportOutcome::Later(said),
            _ => ExportOutcome::Refused(said),
        })
    }
}
