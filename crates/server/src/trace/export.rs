//! The thread that sends spans to the collector, in batches. A collector that is slow or down costs spans, and nothing else.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use agentbench_tls::{Connector, Stream};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Item, Span, Tracer, encode};
use crate::shared::Shared;

/// Spans of one request.
const BATCH: usize = 512;
/// Time that a span waits for others.
const DELAY: Duration = Duration::from_secs(1);
/// Longest time of one request.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Requests for one batch, and the time before the second; it doubles.
const ATTEMPTS: u32 = 3;
const BACKOFF: Duration = Duration::from_millis(250);
/// Time for what still waits when the server ends.
const FLUSH: Duration = Duration::from_secs(3);
/// Bytes of an answer that are read.
const MAX_ANSWER: usize = 64 * 1024;

/// Starts the thread, if there is a collector.
///
/// # Errors
/// An address that is none, or no thread.
pub(crate) fn start(shared: &Arc<Shared>) -> io::Result<Option<JoinHandle<()>>> {
    let Some(tracer) = &shared.tracer else { return Ok(None) };
    let collector = Collector::new(&tracer.endpoint)?;
    let Some(spans) = tracer.take_waiting() else { return Ok(None) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let shared = Arc::clone(shared);
    let thread = std::thread::Builder::new().name("traces".to_owned());
    thread.spawn(move || export(&shared, &collector, &spans, &runtime)).map(Some)
}

fn export(shared: &Shared, collector: &Collector, spans: &Receiver<Item>, runtime: &tokio::runtime::Runtime) {
    let Some(tracer) = &shared.tracer else { return };
    let (mut is_over, mut is_down) = (false, false);
    while !is_over {
        let (batch, stop) = gather(spans);
        is_over = stop || tracer.stopping.load(Ordering::Relaxed);
        report_left_out(tracer);
        if batch.is_empty() {
            continue;
        }
        let body = Bytes::from(encode::batch(&shared.config.node_name, &batch));
        // A server that ends does not wait for a collector that is down.
        let attempts = if is_over || is_down { 1 } else { ATTEMPTS };
        match runtime.block_on(collector.send(&body, attempts, &tracer.stopping)) {
            Ok(()) if is_down => {
                is_down = false;
                tracing::info!("the collector takes spans again");
            }
            Ok(()) => {}
            Err(error) => {
                if !is_down {
                    tracing::warn!(error, spans = batch.len(), "spans could not be sent; they are left out");
                }
                is_down = true;
            }
        }
    }
    if !is_down {
        runtime.block_on(flush(&shared.config.node_name, collector, spans, &tracer.stopping));
    }
}

/// Sends what still waits, as far as that goes quickly.
async fn flush(node: &str, collector: &Collector, spans: &Receiver<Item>, stopping: &AtomicBool) {
    let until = tokio::time::Instant::now() + FLUSH;
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

/// Waits for a span, and for others a while. Tells whether nothing comes after them.
fn gather(spans: &Receiver<Item>) -> (Vec<Span>, bool) {
    let mut batch = Vec::new();
    match spans.recv() {
        Ok(Item::Span(span)) => batch.push(*span),
        Ok(Item::Stop) | Err(_) => return (batch, true),
    }
    let until = Instant::now() + DELAY;
    while batch.len() < BATCH {
        match spans.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Item::Span(span)) => batch.push(*span),
            Ok(Item::Stop) | Err(RecvTimeoutError::Disconnected) => return (batch, true),
            Err(RecvTimeoutError::Timeout) => break,
        }
    }
    (batch, false)
}

fn report_left_out(tracer: &Tracer) {
    let count = tracer.left_out.swap(0, Ordering::Relaxed);
    if count > 0 {
        tracing::warn!(count, "spans were left out: the collector is slower than they come");
    }
}

/// Where spans go.
struct Collector {
    uri: Uri,
    host: String,
    port: u16,
    connector: Option<Connector>,
}

/// What became of one request.
enum Outcome {
    Taken,
    /// Asking again may help.
    Later(String),
    Refused(String),
}

impl Collector {
    /// The traces' address under the endpoint (OTLP/HTTP: `/v1/traces`).
    fn new(endpoint: &str) -> io::Result<Self> {
        let wrong = |why: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("OTLP_ENDPOINT {why}"));
        let full = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        let uri: Uri = full.parse().map_err(|_| wrong("is no address"))?;
        let host = uri.host().ok_or_else(|| wrong("names no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_encrypted = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_encrypted { 443 } else { 80 });
        let connector = is_encrypted.then(Connector::native).transpose().map_err(io::Error::other)?;
        Ok(Self { uri, host, port, connector })
    }

    async fn send(&self, body: &Bytes, attempts: u32, stopping: &AtomicBool) -> Result<(), String> {
        let mut wait = BACKOFF;
        for attempt in 1..=attempts {
            let outcome = tokio::time::timeout(TIMEOUT, self.post(body.clone())).await;
            let error = match outcome {
                Ok(Ok(Outcome::Taken)) => return Ok(()),
                Ok(Ok(Outcome::Refused(error))) => return Err(error),
                Ok(Ok(Outcome::Later(error))) | Ok(Err(error)) => error,
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

    async fn post(&self, body: Bytes) -> Result<Outcome, String> {
        let stream = self.connect().await.map_err(|error| error.to_string())?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        let target = self.uri.path_and_query().map_or("/", |target| target.as_str());
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        let request = Request::post(target).header(HOST, authority).header(CONTENT_TYPE, "application/json");
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
            let status = response.status();
            // Read to its end, so that the other side is not cut off.
            let _ = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            let said = format!("the collector answers {status}");
            Ok(match status.as_u16() {
                200..=299 => Outcome::Taken,
                // What the protocol calls retryable.
                429 | 502..=504 => Outcome::Later(said),
                _ => Outcome::Refused(said),
            })
        };
        tokio::pin!(exchange, connection);
        let mut is_over = false;
        loop {
            tokio::select! {
                answer = &mut exchange => return answer,
                // The end of the connection; what the exchange makes of it is the answer.
                _ = &mut connection, if !is_over => is_over = true,
            }
        }
    }

    async fn connect(&self) -> io::Result<Stream> {
        let socket = TcpStream::connect((self.host.as_str(), self.port)).await?;
        match &self.connector {
            Some(connector) => connector.connect(socket, &self.host).await,
            None => Ok(Stream::Plain(socket)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_traces_is_below_the_endpoint() {
        let path = |endpoint| Collector::new(endpoint).map(|it| (it.uri.path().to_owned(), it.port)).unwrap();
        assert_eq!(path("http://collector:4318"), ("/v1/traces".to_owned(), 4318));
        assert_eq!(path("http://collector:4318/"), ("/v1/traces".to_owned(), 4318));
        assert_eq!(path("http://gateway/otlp"), ("/otlp/v1/traces".to_owned(), 80));
        assert!(Collector::new("http://").is_err());
    }
}
