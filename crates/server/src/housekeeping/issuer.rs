//! Fetches the keys that an issuer publishes: at the start, before they expire, and when a token names an unknown key, but
//! never more often than the settings allow. While the issuer is down, the known keys stay in use.

use std::io;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use agentbench_audit::Record;
use agentbench_auth::{KeyRing, PassedOver};
use bytes::Bytes;
use hyper::header::ACCEPT;
use hyper::{Request, StatusCode};
use tokio::sync::watch;

use super::Reports;
use crate::clock;
use crate::config::Jwks;
use crate::gate::Gate;
use crate::gate::issuer::{FETCH_TIMEOUT, Issuer};
use crate::outgoing::Destination;

/// Starts fetching, if there is an issuer, and waits a moment for the first fetch. The server also starts without its keys.
pub(crate) fn start(
    gate: &Arc<Gate>,
    reports: Reports,
    stopped: watch::Receiver<bool>,
) -> io::Result<Option<JoinHandle<()>>> {
    let Some(issuer) = &gate.issuer else { return Ok(None) };
    let source = Destination::new("JWKS_URL", &issuer.settings.url, issuer.settings.authority.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (gate, (first, fetched)) = (Arc::clone(gate), mpsc::channel());
    let thread = std::thread::Builder::new().name("issuer".to_owned());
    let thread =
        thread.spawn(move || runtime.block_on(keep_fresh(&gate, &reports, &source, stopped, &first)))?;
    // If the sender was dropped, the failure has been logged.
    let _ = fetched.recv_timeout(FETCH_TIMEOUT * 2);
    Ok(Some(thread))
}

async fn keep_fresh(
    gate: &Gate,
    reports: &Reports,
    source: &Destination,
    mut stopped: watch::Receiver<bool>,
    first: &mpsc::Sender<()>,
) {
    let Some(issuer) = &gate.issuer else { return };
    loop {
        issuer.begin();
        let next = tokio::select! {
            next = fetch_once(gate, reports, issuer, source) => next,
            _ = stopped.wait_for(|stopped| *stopped) => return,
        };
        issuer.end();
        // Only the start waits, and only for the first fetch.
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

/// The published keys, those that were skipped, and how long they are valid.
async fn keys(source: &Destination) -> Result<(KeyRing, Vec<PassedOver>, Option<Duration>), String> {
    let request = Request::get(source.path()).header(ACCEPT, "application/json");
    let answer = source.send(request, Bytes::new()).await?;
    if answer.status != StatusCode::OK {
        return Err(format!("the answer is {}", answer.status));
    }
    let text = std::str::from_utf8(&answer.body).map_err(|_| "the answer is no text".to_owned())?;
    let (keys, passed_over) = KeyRing::from_jwks(text).map_err(|error| error.to_string())?;
    Ok((keys, passed_over, answer.max_age))
}

/// Fetches and installs the keys; returns the time until the next fetch.
async fn fetch_once(gate: &Gate, reports: &Reports, issuer: &Issuer, source: &Destination) -> Duration {
    let Jwks { min_interval, max_age, url, .. } = &issuer.settings;
    let fetched = match tokio::time::timeout(FETCH_TIMEOUT, keys(source)).await {
        Ok(fetched) => fetched,
        Err(_) => Err("no answer in time".to_owned()),
    };
    match fetched {
        Ok((keys, passed_over, fresh_for)) => {
            let (before, names) = (format!("{:?}", gate.keys()), format!("{keys:?}"));
            let mut unused: Vec<_> = passed_over.iter().map(ToString::to_string).collect();
            unused.extend(gate.hidden_by_own_keys(&keys));
            issuer.log_unused(url, unused);
            issuer.record_success();
            reports.metrics.reloads("issuer", "taken");
            gate.set_issuer_keys(keys);
            if format!("{:?}", gate.keys()) != before {
                tracing::info!(url, keys = names, "installed the issuer's keys");
                reports
                    .auditor
                    .record(|| Record::allowed(clock::now_ms(), "issuer_keys_changed").detail(names));
            }
            fresh_for.unwrap_or(*max_age).clamp(*min_interval, (*max_age).max(*min_interval))
        }
        Err(error) => {
            reports.metrics.reloads("issuer", "refused");
            if issuer.record_failure() {
                tracing::error!(url, error, "cannot fetch the issuer's keys; the known keys stay in use");
            }
            *min_interval
        }
    }
}
