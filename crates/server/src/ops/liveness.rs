//! Whether the workers turn: each counts the turns of its own loop, and a thread that is no worker watches the counts.
//!
//! A worker that has panicked or hangs answers nobody, and its listener goes on accepting connections. So the thread here
//! says so within seconds (readiness, alert, metric, log line), and ends the process if the worker does not come back: its
//! supervisor starts another one, and everything acked is in the log. The same thread answers probes on `HEALTH_PORT`, for
//! which no worker has to turn.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::{Semaphore, watch};
use tokio::time::MissedTickBehavior;

use crate::shared::Shared;

/// Time between looks. A machine that stands still as a whole delays the looks, too, so nothing is held against a worker
/// for that.
const PERIOD: Duration = Duration::from_millis(500);
/// Looks without a turn from which a worker counts as stuck: three seconds. It turns twice a second.
const STUCK_AT: u64 = 6;

/// What one worker has done, and what was seen of it.
#[derive(Debug, Default)]
struct Turns {
    done: AtomicU64,
    seen: AtomicU64,
    /// Looks since the last turn.
    missed: AtomicU64,
    has_ended: AtomicBool,
}

/// The turns of all workers.
#[derive(Debug)]
pub(crate) struct Liveness {
    workers: Vec<Turns>,
}

impl Liveness {
    pub(crate) fn new(workers: usize) -> Self {
        Self { workers: (0..workers).map(|_| Turns::default()).collect() }
    }

    /// The worker's loop has turned.
    pub(crate) fn turned(&self, worker: usize) {
        self.workers[worker].done.fetch_add(1, Ordering::Relaxed);
    }

    /// The worker has ended as it should, and turns no more.
    pub(crate) fn ended(&self, worker: usize) {
        self.workers[worker].has_ended.store(true, Ordering::Relaxed);
    }

    /// Compares with the look before. Returns the workers that were found to be stuck by this one.
    fn look(&self) -> Vec<usize> {
        let look = |turns: &Turns| {
            let done = turns.done.load(Ordering::Relaxed);
            let has_ended = turns.has_ended.load(Ordering::Relaxed);
            if turns.seen.swap(done, Ordering::Relaxed) != done || has_ended {
                turns.missed.store(0, Ordering::Relaxed);
                return false;
            }
            turns.missed.fetch_add(1, Ordering::Relaxed) + 1 == STUCK_AT
        };
        self.workers.iter().enumerate().filter(|(_, turns)| look(turns)).map(|(worker, _)| worker).collect()
    }

    /// The longest time that a worker has not turned, as far as looks tell.
    fn longest(&self) -> Duration {
        let missed = self.workers.iter().map(|turns| turns.missed.load(Ordering::Relaxed)).max();
        PERIOD * u32::try_from(missed.unwrap_or(0)).unwrap_or(u32::MAX)
    }

    /// The turns of all workers since the start.
    pub(crate) fn turns(&self) -> u64 {
        self.workers.iter().map(|turns| turns.done.load(Ordering::Relaxed)).sum()
    }

    /// How many workers are stuck.
    pub(crate) fn stuck(&self) -> usize {
        self.workers.iter().filter(|turns| turns.missed.load(Ordering::Relaxed) >= STUCK_AT).count()
    }
}

/// Starts the thread. It ends when `stopped` says so, which has to be after the workers' end.
///
/// # Errors
/// If `HEALTH_PORT` cannot be listened on.
pub(crate) fn start(shared: &Arc<Shared>, mut stopped: watch::Receiver<bool>) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let port = shared.config.operations.health_port;
    let listener = port.map(|port| bind(SocketAddr::new(shared.config.host, port))).transpose()?;
    let shared = Arc::clone(shared);
    let keep = async move {
        let serving = async {
            if let Some(listener) = listener
                && let Err(error) = serve(&shared, listener).await
            {
                tracing::error!(%error, "HEALTH_PORT is not served any more");
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = watch_workers(&shared) => {}
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

/// Connections of probes at once; the next one waits. Probes are few, and the port may be reachable by others.
const PROBES: usize = 32;
/// Time that a probe has for its request, and that its connection is kept for the next one.
const PROBE_PATIENCE: Duration = Duration::from_secs(30);

async fn serve(shared: &Arc<Shared>, listener: std::net::TcpListener) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let router = crate::http::probes(Arc::clone(shared));
    let places = Arc::new(Semaphore::new(PROBES));
    loop {
        // The semaphore is never closed.
        let place = Arc::clone(&places).acquire_owned().await;
        let Ok((socket, _)) = listener.accept().await else {
            // Out of file descriptors, most likely.
            tokio::time::sleep(PERIOD).await;
            continue;
        };
        let service = TowerToHyperService::new(router.clone());
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(PROBE_PATIENCE);
        let connection = builder.serve_connection(TokioIo::new(socket), service);
        tokio::spawn(async move {
            let _place = place;
            // A probe that goes away has its answer, or does not want it.
            let _ = connection.await;
        });
    }
}

async fn watch_workers(shared: &Shared) {
    let mut interval = tokio::time::interval(PERIOD);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        for worker in shared.liveness.look() {
            tracing::error!(
                worker,
                "a worker does not turn; its connections get no answers, and the server is not ready"
            );
        }
        let (longest, patience) = (shared.liveness.longest(), shared.config.operations.worker_timeout);
        if patience.is_some_and(|patience| longest >= patience) {
            tracing::error!(
                seconds = longest.as_secs(),
                "a worker does not come back: the process ends (WORKER_TIMEOUT)"
            );
            std::process::abort();
        }
    }
}

/// Has a panic on a worker's own thread end the process, after the line that tells it. Without this such a worker answers
/// nobody any more, until `WORKER_TIMEOUT` ends the process. For the program around the server, since a panic hook is the
/// whole process's.
pub fn end_process_when_a_worker_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        before(panic);
        let thread = std::thread::current();
        if thread.name().is_some_and(|name| name.starts_with(WORKER_THREAD)) {
            tracing::error!(%panic, "a worker has panicked: the process ends");
            std::process::abort();
        }
    }));
}

/// What the names of the workers' threads begin with; those that read the disk for them have other names.
pub(crate) const WORKER_THREAD: &str = "worker-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_without_turns_is_stuck_until_it_turns_again() {
        let liveness = Liveness::new(2);
        let look = || {
            liveness.turned(0);
            liveness.look()
        };
        liveness.turned(1);
        for _ in 0..STUCK_AT {
            assert_eq!((look(), liveness.stuck()), (vec![], 0));
        }
        assert_eq!((look(), liveness.stuck(), liveness.longest()), (vec![1], 1, PERIOD * 6));
        assert_eq!((look(), liveness.stuck(), liveness.longest()), (vec![], 1, PERIOD * 7));
        liveness.turned(1);
        assert_eq!((look(), liveness.stuck(), liveness.longest()), (vec![], 0, Duration::ZERO));
        liveness.ended(1);
        for _ in 0..2 * STUCK_AT {
            assert_eq!((look(), liveness.stuck()), (vec![], 0));
        }
    }
}
