//! Workers that hang or panic: probes say so, on every connection and on a port of their own, and the process ends where the
//! program around the server wants it to.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agentbench_server::config::Config;

use crate::support::server::Answer;
use crate::support::{PATIENCE, TestServer, wait_until};

/// The name of the worker that hangs, if it is to.
static HANGS: AtomicBool = AtomicBool::new(false);

/// What the workers call while memory is short: the one way for a test to get onto their threads.
fn hang() {
    while HANGS.load(Ordering::Relaxed) && std::thread::current().name() == Some("worker-1") {
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn fail() {
    panic!("a broken invariant");
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

fn with_short_memory(config: &mut Config, release: fn()) {
    config.memory_budget = Some(1);
    config.release_memory = Some(release);
}

fn probe(address: SocketAddr, path: &str) -> Answer {
    let mut socket = TcpStream::connect(address).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    write!(socket, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").expect("it is taken");
    Answer::read(socket)
}

#[test]
fn a_worker_that_hangs_is_seen_by_probes_and_alerts_until_it_goes_on() {
    let port = free_port();
    let server = TestServer::with(2, move |config| {
        with_short_memory(config, hang);
        config.operations.health_port = Some(port);
        config.operations.worker_timeout = None;
    });
    let health = SocketAddr::from(([127, 0, 0, 1], port));
    // Memory is short here, so the server is not ready for that; what is stuck is said first.
    let ready = |address| !probe(address, "/readyz").body.starts_with("worker_stuck");
    let firing = || {
        let rules = server.server().alerts();
        let rules = rules["rules"].as_array().expect("rules").clone();
        rules.iter().any(|rule| rule["name"] == "worker_stuck" && rule["state"] == "firing")
    };
    // Addresses are dealt in turn: the first worker's, then the other's.
    let turning = server.address();
    assert!(ready(health) && ready(turning) && !firing());
    HANGS.store(true, Ordering::Relaxed);
    wait_until("the server is not ready", || !ready(health));
    assert!(!ready(turning), "the worker that turns knows of the other one");
    let said = probe(health, "/readyz").body;
    assert!(said.starts_with("worker_stuck: 1 of 2"), "{said}");
    assert!(probe(health, "/metrics").body.contains("agentbench_workers_stuck 1"));
    assert_eq!(probe(health, "/healthz").status, 200);
    wait_until("the alert fires", firing);
    HANGS.store(false, Ordering::Relaxed);
    wait_until("the server is ready again", || ready(health) && ready(turning));
}

#[test]
fn a_worker_that_panics_lets_go_of_its_listener_and_is_seen() {
    let port = free_port();
    let health = SocketAddr::from(([127, 0, 0, 1], port));
    let server = TestServer::with(1, move |config| {
        with_short_memory(config, fail);
        config.operations.health_port = Some(port);
        config.operations.worker_timeout = None;
    });
    let address = server.address();
    wait_until("its port is closed", || TcpStream::connect(address).is_err());
    wait_until("it is seen", || probe(health, "/readyz").body.starts_with("worker_stuck: 1 of 1"));
}

/// The variable that makes this test binary the process that is to end, and says how.
const ROLE: &str = "AGENTBENCH_TEST_ENDS_BY";

#[test]
fn a_process_whose_worker_panics_or_hangs_ends() {
    match std::env::var(ROLE).as_deref() {
        Ok("panic") => {
            agentbench_server::end_process_when_a_worker_panics();
            end_by(fail);
        }
        Ok(_) => {
            HANGS.store(true, Ordering::Relaxed);
            end_by(hang);
        }
        Err(_) => {}
    }
    for how in ["panic", "hang"] {
        let test = "liveness::a_process_whose_worker_panics_or_hangs_ends";
        let program = std::env::current_exe().expect("this program");
        let ended = Command::new(program).args(["--exact", test]).env(ROLE, how).output().expect("it runs");
        let signal = std::os::unix::process::ExitStatusExt::signal(&ended.status);
        assert_eq!(signal, Some(6), "{how}: {}", String::from_utf8_lossy(&ended.stderr));
    }
}

fn end_by(release: fn()) {
    let _server = TestServer::with(2, move |config| {
        with_short_memory(config, release);
        config.operations.worker_timeout = Some(Duration::from_secs(2));
    });
    std::thread::sleep(PATIENCE);
    panic!("nothing ended the process");
}
