//! The keys that an issuer publishes: fetched at start, again before they are old, and at once when a token names a key that
//! is not known, yet never more often than the settings allow. While the issuer is down, the keys that are known stay.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use agentbench_audit::Record;
use agentbench_auth::{KeyRing, PassedOver};
use http_body_util::Full;
use hyper::header::ACCEPT;
use hyper::{Request, StatusCode};
use tokio::sync::{Notify, watch};

use crate::config::Jwks;
use crate::outgoing::Destination;
use crate::shared::Shared;

/// Longest time that one fetch may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// What workers know of the thread that fetches.
pub(crate) struct Issuer {
    settings: Jwks,
    wanted: Notify,
    /// Fetches that have ended, well or not.
    ended: watch::Sender<u64>,
    last_began: Mutex<Option<Instant>>,
    is_fetching: AtomicBool,
    is_down: AtomicBool,
    /// Keys that are not used, as the log has them.
    unused: Mutex<Vec<String>>,
    /// When keys were last taken; the start until then.
    last_taken: Mutex<Instant>,
}

impl Issuer {
    pub(crate) fn new(settings: Jwks) -> Self {
        let ended = watch::Sender::new(0);
        let (is_fetching, is_down) = (AtomicBool::new(false), AtomicBool::new(false));
        let last_taken = Mutex::new(Instant::now());
        Self {
            settings,
            wanted: Notify::new(),
            ended,
            last_began: Mutex::new(None),
            is_fetching,
            is_down,
            unused: Mutex::default(),
            last_taken,
        }
    }

    /// Has the keys fetched and waits for the end of that; at once if they were fetched just before: whoever makes up names of
    /// keys cannot make us ask the issuer more often.
    pub(crate) async fn asked_again(&self) {
        let mut ended = self.ended.subscribe();
        if !self.is_fetching.load(Ordering::Acquire) {
            if self.wait_before_next() > Duration::ZERO {
                return;
            }
            self.wanted.notify_one();
        }
        // Without an answer in time the keys are what they were.
        let _ = tokio::time::timeout(FETCH_TIMEOUT * 2, ended.changed()).await;
    }

    /// Writes down which keys are not used and why, when that changes.
    fn note_unused(&self, url: &str, unused: Vec<String>) {
        let mut noted = self.unused.lock().unwrap_or_else(PoisonError::into_inner);
        if *noted != unused {
            for reason in &unused {
                tracing::warn!(url, reason, "a key of the issuer is not used");
            }
            *noted = unused;
        }
    }

    /// Time since the issuer last gave its keys, or since the start.
    pub(crate) fn silent_for(&self) -> Duration {
        self.last_taken.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Time until the keys may be fetched again.
    fn wait_before_next(&self) -> Duration {
        let last = *self.last_began.lock().unwrap_or_else(PoisonError::into_inner);
        last.map_or(Duration::ZERO, |last| self.settings.min_interval.saturating_sub(last.elapsed()))
    }

    fn begin(&self) {
        self.is_fetching.store(true, Ordering::Release);
        *self.last_began.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

/// Starts fetching, if there is an issuer, and gives the first fetch a moment: most issuers answer. Without its keys the server
/// starts all the same.
pub(crate) fn start(
    shared: &Arc<Shared>,
    stopped: watch::Receiver<bool>,
) -> io::Result<Option<JoinHandle<()>>> {
    let Some(issuer) = &shared.issuer else { return Ok(None) };
    let source = Destination::new("JWKS_URL", &issuer.settings.url, issuer.settings.authority.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (shared, (first, fetched)) = (Arc::clone(shared), mpsc::channel());
    let thread = std::thread::Builder::new().name("issuer".to_owned());
    let thread = thread.spawn(move || runtime.block_on(keep_fresh(&shared, &source, stopped, &first)))?;
    // Its end without a word is as good: the log has said why.
    let _ = fetched.recv_timeout(FETCH_TIMEOUT * 2);
    Ok(Some(thread))
}

async fn keep_fresh(
    shared: &Shared,
    source: &Destination,
    mut stopped: watch::Receiver<bool>,
    first: &mpsc::Sender<()>,
) {
    let Some(issuer) = &shared.issuer else { return };
    loop {
        issuer.begin();
        let next = tokio::select! {
            next = fetch_once(shared, issuer, source) => next,
            _ = stopped.wait_for(|stopped| *stopped) => return,
        };
        issuer.is_fetching.store(false, Ordering::Release);
        issuer.ended.send_modify(|count| *count += 1);
        // Nobody waits for any but the first.
        let _ = first.send(());
        tokio::select! {
            () = tokio::time::sleep(next) => {}
            () = async {
                issuer.wanted.notified().await;
                tokio::time::sleep(issuer.wait_before_next()).await;
            } => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
    }
}

/// The keys that are served there, those that were passed over, and how long they are good.
async fn keys(source: &Destination) -> Result<(KeyRing, Vec<PassedOver>, Option<Duration>), String> {
    let request = Request::get(source.path()).header(ACCEPT, "application/json");
    let answer = source.send(request, Full::default()).await?;
    if answer.status != StatusCode::OK {
        return Err(format!("the answer is {}", answer.status));
    }
    let text = std::str::from_utf8(&answer.body).map_err(|_| "the answer is no text".to_owned())?;
    let (keys, passed_over) = KeyRing::from_jwks(text).map_err(|error| error.to_string())?;
    Ok((keys, passed_over, answer.max_age))
}

/// Fetches and takes the keys; returns the time until the next fetch.
async fn fetch_once(shared: &Shared, issuer: &Issuer, source: &Destination) -> Duration {
    let Jwks { min_interval, max_age, url, .. } = &issuer.settings;
    let fetched = match tokio::time::timeout(FETCH_TIMEOUT, keys(source)).await {
        Ok(fetched) => fetched,
        Err(_) => Err("no answer in time".to_owned()),
    };
    match fetched {
        Ok((keys, passed_over, fresh_for)) => {
            let (before, names) = (format!("{:?}", shared.keys()), format!("{keys:?}"));
            let mut unused: Vec<_> = passed_over.iter().map(ToString::to_string).collect();
            unused.extend(shared.hidden_by_own_keys(&keys));
            issuer.note_unused(url, unused);
            *issuer.last_taken.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            shared.metrics.reloads("issuer", "taken");
            shared.set_issuer_keys(keys);
            if format!("{:?}", shared.keys()) != before {
                tracing::info!(url, keys = names, "took the issuer's keys");
                shared.audit(|| Record::allowed(crate::clock::now_ms(), "issuer_keys_changed").detail(names));
            }
            issuer.is_down.store(false, Ordering::Relaxed);
            fresh_for.unwrap_or(*max_age).clamp(*min_interval, (*max_age).max(*min_interval))
        }
        Err(error) => {
            shared.metrics.reloads("issuer", "refused");
            if !issuer.is_down.swap(true, Ordering::Relaxed) {
                tracing::error!(url, error, "cannot fetch the issuer's keys; those that are known stay");
            }
            *min_interval
        }
    }
}
