//! A server in this process, on a folder of its own, that can be stopped and started again.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use agentbench_auth::KeyRing;
use agentbench_event_log::memory::MemoryLog;
use agentbench_event_log_disk::faults::Faults;
use agentbench_server::config::Config;
use agentbench_server::{Engine, Server, bind};
use tempfile::TempDir;

use super::tokens::{SECRET, evaluator};
use super::{Client, Opening, PATIENCE, wait_until};

pub(crate) struct TestServer {
    server: Option<Server>,
    settings: Box<dyn Fn(&mut Config)>,
    keys: fn() -> KeyRing,
    pub(crate) faults: Arc<Faults>,
    /// The log, if it is one in memory, which others may share.
    log: Option<MemoryLog>,
    addresses: Vec<SocketAddr>,
    next_worker: Cell<usize>,
    dir: TempDir,
}

/// An HTTP answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl TestServer {
    /// A server with the defaults and this number of workers.
    pub(crate) fn with_workers(workers: usize) -> Self {
        Self::with(workers, |_| {})
    }

    /// A server with changed settings.
    pub(crate) fn with(workers: usize, settings: impl Fn(&mut Config) + 'static) -> Self {
        Self::with_keys(workers, settings, || KeyRing::from_secret(SECRET.as_bytes()))
    }

    pub(crate) fn with_keys(
        workers: usize,
        settings: impl Fn(&mut Config) + 'static,
        keys: fn() -> KeyRing,
    ) -> Self {
        Self::with_log(workers, settings, keys, None)
    }

    /// A server that writes to a log in memory.
    pub(crate) fn on_log(workers: usize, log: MemoryLog) -> Self {
        Self::with_log(workers, |_| {}, || KeyRing::from_secret(SECRET.as_bytes()), Some(log))
    }

    fn with_log(
        workers: usize,
        settings: impl Fn(&mut Config) + 'static,
        keys: fn() -> KeyRing,
        log: Option<MemoryLog>,
    ) -> Self {
        let settings = move |config: &mut Config| {
            config.workers = workers;
            settings(config);
        };
        let mut server = Self {
            server: None,
            settings: Box::new(settings),
            keys,
            faults: Arc::default(),
            log,
            addresses: Vec::new(),
            next_worker: Cell::new(0),
            dir: tempfile::tempdir().expect("a folder for the data"),
        };
        server.start();
        server
    }

    /// Starts on the folder, which may have the data of an earlier run.
    pub(crate) fn start(&mut self) {
        let mut config = Config::embedded(self.dir.path(), SECRET);
        (self.settings)(&mut config);
        // A port for each worker, so that a test can say which one serves a connection.
        let listeners: Vec<_> = (0..config.workers)
            .flat_map(|_| bind(([127, 0, 0, 1], 0).into(), 1).expect("a free port"))
            .collect();
        self.addresses = listeners.iter().map(|it| it.local_addr().expect("it is bound")).collect();
        let engine = match &self.log {
            Some(log) => Engine::Opened(Arc::new(log.same_writer())),
            None => Engine::EmbeddedWithFaults(Arc::clone(&self.faults)),
        };
        let started = Server::start(config, (self.keys)(), listeners, engine);
        self.server = Some(started.expect("the server starts"));
    }

    pub(crate) fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop().expect("the log closes");
        }
    }

    /// Stops a server whose log can no longer be closed properly.
    pub(crate) fn abandon(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop().expect_err("a failed log does not close as if nothing had happened");
        }
        self.faults = Arc::default();
    }

    /// Stops on another thread, for clients that observe the stop.
    pub(crate) fn stop_aside(&mut self) -> std::thread::JoinHandle<()> {
        let server = self.server.take().expect("the server runs");
        std::thread::spawn(move || server.stop().expect("the log closes"))
    }

    pub(crate) fn restart(&mut self) {
        self.stop();
        self.start();
    }

    /// The folder of the data.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.dir.path()
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().expect("the server runs")
    }

    /// The address of the next worker in turn.
    pub(crate) fn address(&self) -> SocketAddr {
        let turn = self.next_worker.get();
        self.next_worker.set(turn + 1);
        self.addresses[turn % self.addresses.len()]
    }

    /// A connection of an evaluator without a project, JSON, no extras.
    pub(crate) fn connect(&self, user: &str) -> Client {
        self.opening(&evaluator(user)).connect()
    }

    /// A connection to be described further.
    pub(crate) fn opening(&self, token: &str) -> Opening {
        Opening::new(self.address()).header("Authorization", &format!("Bearer {token}"))
    }

    /// A connection without any token.
    pub(crate) fn bare_opening(&self) -> Opening {
        Opening::new(self.address())
    }

    /// A socket on which nothing was sent yet.
    pub(crate) fn socket(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address()).expect("the server listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        socket
    }

    /// A plain HTTP request.
    pub(crate) fn get(&self, path: &str) -> Answer {
        let mut socket = self.socket();
        write!(socket, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").expect("it listens");
        Answer::read(socket)
    }

    /// A request to the next worker in turn.
    pub(crate) fn ask(&self, method: &str, target: &str) -> super::http::Ask {
        super::http::Ask::new(self.address(), method, target)
    }

    /// A metric of `/metrics`, 0 if it is absent.
    pub(crate) fn metric(&self, name: &str) -> i64 {
        let body = self.get("/metrics").body;
        let value = body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().expect("a whole number"))
    }

    /// Waits until a metric has a value.
    pub(crate) fn wait_for_metric(&self, name: &str, value: i64) {
        wait_until(&format!("{name} is {value}"), || self.metric(name) == value);
    }

    /// Proves that the server still serves: a session from creation to a delivered and acknowledged event.
    pub(crate) fn prove_well(&self) {
        let mut client = self.connect("well-behaved");
        let session = client.create_following(&format!("well-{}", self.next_worker.get()));
        let ack = client.publish(&session, "e", &serde_json::json!({"fine": true}));
        let seq = ack["data"]["seq"].as_u64().expect("an ack has a seq");
        assert_eq!(client.events_to(seq).last().expect("the event is delivered")["id"], "e");
    }

    /// Waits until the metrics show no connections and nothing held for them.
    pub(crate) fn wait_for_quiet(&self) {
        self.wait_for_metric("agentbench_connections", 0);
        wait_until("no connection is counted", || self.server().connections() == 0);
        self.wait_for_metric("agentbench_receive_buffer_bytes", 0);
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
    }
}

impl Answer {
    /// Reads a response that ends with its connection.
    pub(crate) fn read(mut socket: TcpStream) -> Self {
        let mut bytes = Vec::new();
        socket.read_to_end(&mut bytes).expect("an answer");
        let text = String::from_utf8_lossy(&bytes);
        let (head, body) = text.split_once("\r\n\r\n").expect("a whole head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Self { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }
}
