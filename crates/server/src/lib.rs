//! The Tokio shell: the only crate that wires the parts together.
//!
//! - [`Server::start`] opens the log with its [`Engine`], starts the workers on given listeners, and returns a handle that stops them.
//! - Every file belongs to a floor and uses only its own floor and lower ones; see ARCHITECTURE.md.
//! - [`config`] is every setting.
//!
//! Data flow: `transport` reads and decodes, `dispatch` finds the session, its owner (`owner`) orders the events, `worker`
//! submits the frames of all sessions to the log in one batch, the outcome arrives through the mailbox, and `delivery` fills
//! the followers' sockets.

mod alerts;
mod cgroup;
mod clock;
pub mod config;
mod control;
mod delivery;
mod dispatch;
pub mod echo;
mod figures;
mod gate;
mod housekeeping;
mod http;
mod inspection;
mod intake;
mod letters;
mod limits;
mod memory;
mod names;
mod networks;
mod opening;
mod ops;
mod outgoing;
mod overview;
mod owner;
mod query;
pub mod revocation;
mod rules;
mod sabotage;
mod session;
mod shared;
#[cfg(any(test, feature = "simulation"))]
pub mod simulation;
mod storage;
mod trace;
mod traceparent;
mod transport;
mod uploads;
mod worker;

#[cfg(test)]
#[path = "../tests/pair/mod.rs"]
mod pair;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use agentbench_auth::KeyRing;
use agentbench_event_log::LogError;
use agentbench_event_log_disk::{OpenError, RecoveryReport};
use agentbench_protocol::CloseCode;
use agentbench_tls::{Acceptor, TlsError};
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

use agentbench_audit::Record;

use crate::config::{Config, TlsFiles};
use crate::figures::metrics::Metrics;
use crate::gate::Gate;
use crate::housekeeping::{Jobs, Reports, retention};
use crate::letters::OwnerLetter;
use crate::letters::connections::StreamClose;
use crate::opening::OpenedLog;
use crate::ops::audit::Auditor;
use crate::ops::liveness::WORKER_THREAD;
use crate::revocation::Revocations;
use crate::session::observing::apply_change;
use crate::shared::Shared;
use crate::storage::Opened;
use crate::worker::Worker;

pub use crate::alerts::prometheus::prometheus_rules;
pub use crate::control::Control;
#[cfg(feature = "schema")]
pub use crate::http::openapi::document as openapi;
pub use crate::opening::Engine;
pub use crate::ops::liveness::end_process_when_a_worker_panics;
pub use crate::overview::probe::Probe;
#[cfg(feature = "fuzzing")]
pub use crate::transport::fuzzing;
pub use crate::transport::listen::bind;

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log cannot be opened.
    #[error("cannot open the log: {0}")]
    Log(#[from] OpenError),
    /// The log's sessions cannot be listed.
    #[error("cannot list the log's sessions: {0}")]
    List(#[from] LogError),
    /// Certificate or key cannot be used.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// The audit log cannot be written or continued.
    #[error(transparent)]
    Audit(#[from] agentbench_audit::OpenError),
    /// A socket or thread cannot be created.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A running server.
pub struct Server {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    workers: Vec<JoinHandle<()>>,
    jobs: Jobs,
    /// Set when no worker runs any more.
    ended: watch::Sender<bool>,
    address: SocketAddr,
    recovery: RecoveryReport,
}

/// Blocking threads of one worker. More of them read no faster, and each has a stack and a heap.
const READING_THREADS: usize = 4;
/// Maximum number of administrators' requests queued for the host program.
const CONTROL_REQUESTS: usize = 8;

impl Server {
    /// Opens the log with its engine and serves on the listeners: one for each worker (see [`bind`]), or fewer, which workers
    /// share.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(
        config: Config,
        keys: KeyRing,
        listeners: Vec<TcpListener>,
        engine: Engine,
    ) -> Result<Self, StartError> {
        let tls = config.security.tls.as_ref().map(load_tls).transpose()?;
        let metrics = Arc::new(Metrics::new());
        let auditor = Auditor::open(config.security.audit.as_ref(), Arc::clone(&metrics), clock::now_ms())?;
        let OpenedLog { log, recovery, condition } = engine.open(&config)?;
        let gate = Gate::new(&config, tls, keys, Revocations::open(&config.data_dir)?);
        let is_damaged = !recovery.damage.is_empty() || !recovery.missing.is_empty();
        let opened = Opened { log, condition, is_damaged };
        let shared = Shared::new(config, gate, auditor, metrics, opened, [random()?, random()?]);
        let shared = Arc::new(shared);
        // Before the list, so that nothing is missed in between.
        observe(&shared);
        retention::check_start_time(&shared.clock, recovery.witnessed_at);
        let now = clock::now_ms();
        for session in shared.storage.catalog.load(shared.storage.log.list()?, now) {
            tracing::error!(%session, "the summary of a session cannot be read; the session is not listed");
        }
        let first = listeners.first().ok_or_else(|| io::Error::other("no listener was given"))?;
        let address = first.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let (ended, when_ended) = watch::channel(false);
        let mut jobs = Jobs::default();
        let probes = http::probes(Arc::clone(&shared));
        let liveness =
            housekeeping::liveness::start(&shared.ops.liveness, &shared.config, probes, when_ended.clone())?;
        jobs.add("what watches the workers", liveness);
        let ticks = housekeeping::ticks::start(&shared, when_ended)?;
        jobs.add("what wakes the workers", ticks);
        let mut workers = Vec::new();
        for index in 0..shared.config.workers {
            let listener = listeners.get(index % listeners.len()).unwrap_or(first).try_clone()?;
            let (shared, stopped) = (Arc::clone(&shared), stopped.clone());
            let thread = std::thread::Builder::new().name(format!("{WORKER_THREAD}{index}"));
            workers.push(thread.spawn(move || run_worker(index, &shared, listener, stopped))?);
        }
        drop(listeners);
        shared.audit(|| Record::allowed(now, "server_started").detail(address.to_string()));
        start_jobs(&mut jobs, &shared, &stopped)?;
        Ok(Self { shared, stop, workers, jobs, ended, address, recovery })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether the port uses TLS.
    pub fn is_encrypted(&self) -> bool {
        self.shared.gate.tls.is_some()
    }

    /// The report of the log's recovery.
    pub fn recovery(&self) -> &RecoveryReport {
        &self.recovery
    }

    /// Replaces the keys that verify tokens; open connections stay.
    pub fn set_keys(&self, keys: KeyRing) {
        self.shared.audit(|| Record::allowed(clock::now_ms(), "keys_changed").detail(format!("{keys:?}")));
        self.shared.gate.set_keys(keys);
    }

    /// Receives administrators' HTTP requests to the host program. A further call replaces the receiver; without a receiver
    /// such requests are refused.
    pub fn control(&self) -> mpsc::Receiver<Control> {
        let (sender, requests) = mpsc::channel(CONTROL_REQUESTS);
        self.shared.gate.doors.set_host(sender);
        requests
    }

    /// Checks the certificate's files for changes; this also happens every few seconds.
    pub fn refresh_certificate(&self) {
        let Shared { gate, metrics, ops, .. } = &*self.shared;
        housekeeping::upkeep::reload_certificate(gate, metrics, &ops.auditor);
    }

    /// A liveness probe for a watchdog.
    pub fn probe(&self) -> Probe {
        Probe { shared: Arc::clone(&self.shared) }
    }

    /// The alert rules and their states: the object of `GET /api/v1/alerts`.
    pub fn alerts(&self) -> serde_json::Value {
        serde_json::to_value(self.shared.ops.alerts.describe()).expect("own types serialise")
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        self.shared.gate.places.taken()
    }

    /// Stops the server: refuses new connections, sends every client a time to reconnect, commits events in flight, and
    /// closes the log.
    ///
    /// # Errors
    /// The log could not be made durable.
    pub fn stop(mut self) -> Result<(), LogError> {
        self.shared.gate.doors.start_draining();
        self.shared.ops.auditor.hurry();
        self.stop.send_replace(true);
        for worker in self.workers.drain(..) {
            if worker.join().is_err() {
                tracing::error!("a worker has panicked");
            }
        }
        self.ended.send_replace(true);
        if let Some(tracer) = &self.shared.ops.tracer {
            tracer.close();
        }
        // The next server on the same folder must find it unused.
        self.jobs.join();
        self.shared.audit(|| Record::allowed(clock::now_ms(), "server_stopped"));
        self.shared.ops.auditor.close();
        self.shared.storage.log.close()
    }
}

/// Follows what other processes do with the log.
fn observe(shared: &Arc<Shared>) {
    // The log must not keep alive what keeps it.
    let shared_by_observer = Arc::downgrade(shared);
    shared.storage.log.observe(Box::new(move |change| {
        let Some(shared) = shared_by_observer.upgrade() else { return };
        let (catalog, now) = (&shared.storage.catalog, shared.clock.wall_ms());
        if let Some(session) = apply_change(catalog, change, now, shared.sabotage) {
            let owner = shared.post.names.owner_of(session);
            shared.send(owner, OwnerLetter::Observed { session, change: change.clone() }.into());
        }
    }));
}

/// Starts the jobs that end when the server stops.
fn start_jobs(jobs: &mut Jobs, shared: &Arc<Shared>, stopped: &watch::Receiver<bool>) -> io::Result<()> {
    let stopped = || stopped.clone();
    let reports = Reports { metrics: Arc::clone(&shared.metrics), auditor: Arc::clone(&shared.ops.auditor) };
    if let Some(tracer) = &shared.ops.tracer
        && let Some(traces) = housekeeping::traces::start(tracer, &shared.config.node_name)?
    {
        jobs.add("what exports spans", traces);
    }
    if let Some(issuer) = housekeeping::issuer::start(&shared.gate, reports, stopped())? {
        jobs.add("what fetches the issuer's keys", issuer);
    }
    jobs.add("upkeep", housekeeping::upkeep::start(shared, stopped())?);
    jobs.add("what watches over the server", housekeeping::watch::start(shared, stopped())?);
    jobs.add("housekeeping", retention::start(shared, stopped())?);
    Ok(())
}

/// Reads certificate and key, and opens the file for sessions' secrets if there is one.
fn load_tls(files: &TlsFiles) -> Result<Acceptor, TlsError> {
    let acceptor = Acceptor::load(&files.certificate, &files.key)?;
    let Some(path) = &files.key_log else { return Ok(acceptor) };
    tracing::warn!(path = %path.display(), "TLS_KEY_LOG: the file decrypts all traffic of this server");
    acceptor.with_key_log(path)
}

fn random() -> io::Result<u64> {
    getrandom::u64().map_err(|error| io::Error::other(error.to_string()))
}

fn run_worker(index: usize, shared: &Arc<Shared>, listener: TcpListener, stopped: watch::Receiver<bool>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(READING_THREADS)
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!(%error, "cannot start a worker's runtime"),
    };
    let local = LocalSet::new();
    let patience = shared.config.shutdown_timeout;
    let router = http::router(Arc::clone(shared), index);
    let worker = Worker::new(index, Arc::clone(shared), router, dispatch::dispatch);
    local.block_on(&runtime, async {
        let mut run = tokio::task::spawn_local(Rc::clone(&worker).run());
        tokio::select! {
            () = accept(&worker, listener, stopped) => drain(&worker).await,
            // It ends only by a panic, which also ends the thread and its listener.
            ended = &mut run => {
                if let Err(error) = ended && error.is_panic() {
                    std::panic::resume_unwind(error.into_panic());
                }
            }
        }
    });
    shared.ops.liveness.mark_ended(index);
    // Running tasks there keep the log open; queued ones are dropped.
    runtime.shutdown_timeout(patience);
}

/// Accepts until the stop.
async fn accept(worker: &Rc<Worker>, listener: TcpListener, mut stopped: watch::Receiver<bool>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "cannot listen"),
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stopped| *stopped) => return,
        };
        match accepted {
            Ok((socket, from)) => {
                set_options(&socket, &worker.shared.config);
                tokio::task::spawn_local(transport::admission::admit(Rc::clone(worker), socket, from));
            }
            Err(error) => {
                // Most likely out of file descriptors: open connections continue, new ones wait in the backlog.
                tracing::warn!(%error, "cannot accept a connection");
                worker.shared.metrics.refused("accept_failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Sets the options of every socket, before its protocol is known. A failure does not refuse the connection.
fn set_options(stream: &tokio::net::TcpStream, config: &Config) {
    let socket = socket2::SockRef::from(stream);
    // A response in two writes would wait for the client's delayed ACK, 40 ms.
    let _ = socket.set_tcp_nodelay(true);
    if config.send_buffer > 0 {
        let _ = socket.set_send_buffer_size(config.send_buffer);
    }
    if config.receive_buffer > 0 {
        let _ = socket.set_recv_buffer_size(config.receive_buffer);
    }
}

/// Closes every connection with a time to reconnect, and waits until all have ended and the log has everything.
async fn drain(worker: &Rc<Worker>) {
    let config = &worker.shared.config;
    let deadline = clock::instant() + config.shutdown_timeout;
    // Events that were read are logged and acked before connections are closed.
    while worker.has_uncommitted() && clock::instant() < deadline {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let connections = worker.connections.all();
    let spread = config.reconnect_spread.as_millis() as u64;
    let streams = worker.shared.streams.of_worker(worker.index);
    let count = (connections.len() + streams.len()).max(1) as u64;
    for (place, connection) in connections.iter().enumerate() {
        let after_ms = spread * place as u64 / count;
        worker.close(connection, CloseCode::Restarting, "the server restarts", Some(after_ms));
        worker.flush(&connection.reader);
    }
    for (place, stream) in streams.iter().enumerate() {
        let after_ms = Some(spread * (connections.len() + place) as u64 / count);
        stream.end(StreamClose { code: CloseCode::Restarting, detail: "the server restarts", after_ms });
    }
    drop((connections, streams));
    let busy = || {
        !worker.connections.is_empty()
            || worker.has_uncommitted()
            || worker.shared.gate.doors.has_requests()
            || !worker.shared.streams.of_worker(worker.index).is_empty()
    };
    while busy() && clock::instant() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the socket option: 40 ms of a delayed ACK cannot be distinguished from a busy machine.
    #[test]
    fn every_accepted_socket_sends_at_once() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (accepted, _) = listener.accept().await.unwrap();
            assert!(!accepted.nodelay().unwrap());
            set_options(&accepted, &Config::embedded("unused", "a secret"));
            assert!(accepted.nodelay().unwrap());
        });
    }
}
