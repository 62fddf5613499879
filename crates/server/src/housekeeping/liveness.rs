//! Monitors the workers' loops, and answers probes on `HEALTH_PORT` independently of the workers.
//!
//! A worker that has panicked or hangs answers no requests, while its listener goes on accepting connections. This job
//! reports it within seconds (readiness, alert, metric, log line), and ends the process if the worker does not recover: the
//! supervisor starts a new process, and everything acked is in the log.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::{Semaphore, watch};
use tokio::time::MissedTickBehavior;

use crate::config::Config;
use crate::ops::liveness::{Liveness, PERIOD};

/// Starts the thread. It ends when `stopped` is set, which has to be after the workers' end.
///
/// # Errors
/// The server cannot listen on `HEALTH_PORT`.
pub(crate) fn start(
    liveness: &Arc<Liveness>,
    config: &Config,
    probes: Router,
    mut stopped: watch::Receiver<bool>,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let port = config.operations.health_port;
    let listener = port.map(|port| bind(SocketAddr::new(config.host, port))).transpose()?;
    let (liveness, patience) = (Arc::clone(liveness), config.operations.worker_timeout);
    let keep = async move {
        let serving = async {
            if let Some(listener) = listener
                && let Err(error) = serve(probes, listener).await
            {
                tracing::error!(%error, "stopped serving HEALTH_PORT");
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = watch_workers(&liveness, patience) => {}
            () = serving => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    };
    std::thread::Builder::new().name("liveness".to_owned()).spawn(move || runtime.block_on(keep))
}

fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)
        .map_err(|error| io::Error::new(error.kind(), format!("HEALTH_PORT, {address}: {error}")))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Concurrent connections of probes; further ones wait. Probes are few, and the port may be reachable by others.
const PROBES: usize = 32;
/// Time limit for a probe's request, and keep-alive time of its connection.
const PROBE_PATIENCE: Duration = Duration::from_secs(30);

async fn serve(router: Router, listener: std::net::TcpListener) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(PROBES));
    loop {
        // The semaphore is never closed.
        let place = Arc::clone(&places).acquire_owned().await;
        let Ok((socket, _)) = listener.accept().await else {
            // Most likely out of file descriptors.
            tokio::time::sleep(PERIOD).await;
            continue;
        };
        let service = TowerToHyperService::new(router.clone());
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(PROBE_PATIENCE);
        let connection = builder.serve_connection(TokioIo::new(socket), service);
        tokio::spawn(async move {
            let _place = place;
            // A probe may disconnect at any time.
            let _ = connection.await;
        });
    }
}

async fn watch_workers(liveness: &Liveness, patience: Option<Duration>) {
    let mut interval = tokio::time::interval(PERIOD);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        for worker in liveness.check() {
            tracing::error!(
                worker,
                "a worker is stuck; its connections get no replies, and the server is not ready"
            );
        }
        let longest = liveness.longest();
        if patience.is_some_and(|patience| longest >= patience) {
            tracing::error!(
                seconds = longest.as_secs(),
                "a stuck worker did not recover: ending the process (WORKER_TIMEOUT)"
            );
            std::process::abort();
        }
    }
}
