//! Under a service manager: one listening socket through two lives of a server while clients keep connecting, and the notices
//! that the manager gets.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const BINARY: &str = env!("CARGO_BIN_EXE_agentbench");
/// How long anything may take before a test gives up; no measure of speed.
const PATIENCE: Duration = Duration::from_secs(60);

/// The manager: holds the port, and hears what the service says.
struct Manager {
    port: TcpListener,
    notices: UnixDatagram,
    folder: tempfile::TempDir,
}

/// A life of the service; killed if the test fails.
struct Life(Child);

impl Drop for Life {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let notices = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        notices.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { port: TcpListener::bind("127.0.0.1:0").unwrap(), notices, folder }
    }

    fn address(&self) -> SocketAddr {
        self.port.local_addr().unwrap()
    }

    /// As systemd does it: the socket is file descriptor 3, and the variables name the process.
    fn start(&self, sockets: usize, workers: usize) -> Life {
        let script = format!(
            "exec 3<&0 4<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS={sockets} WATCHDOG_PID=$$ exec \"$@\""
        );
        let socket = OwnedFd::from(self.port.try_clone().unwrap());
        let child = Command::new("/bin/sh")
            .args(["-c", &script, "sh", BINARY, "serve", "--log-level", "warn", "--reconnect-spread", "0"])
            .args(["--workers", &workers.to_string(), "--data-dir"])
            .arg(self.data())
            .env("JWT_SECRET", agentbench_load::child::SECRET)
            .env("NOTIFY_SOCKET", self.folder.path().join("notify"))
            .env("WATCHDOG_USEC", "400000")
            .stdin(Stdio::from(socket))
            .stdout(Stdio::null())
            .spawn();
        Life(child.unwrap())
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Waits for a notice that begins so; what is said of the watchdog meanwhile is passed over.
    fn wait_for(&self, beginning: &str) -> String {
        let mut buffer = [0; 512];
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "never heard: {beginning}");
            let count = self.notices.recv(&mut buffer).unwrap();
            let notice = String::from_utf8_lossy(&buffer[..count]).into_owned();
            if notice.starts_with(beginning) {
                return notice;
            }
            assert_eq!(notice.trim_end(), "WATCHDOG=1", "while waiting for {beginning}");
        }
    }
}

fn signal(life: &Life, name: &str) {
    let done = Command::new("kill").args([name, &life.0.id().to_string()]).status().unwrap();
    assert!(done.success());
}

fn wait(life: &mut Life) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match life.0.try_wait().unwrap() {
            Some(status) => return assert!(status.success(), "{status}"),
            None => assert!(Instant::now() < deadline, "it does not end"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Counts of the clients.
#[derive(Default)]
struct ClientCounts {
    stop: AtomicBool,
    answered: AtomicU64,
    /// Accepted by the kernel, then refused or cut off by a server that was stopping.
    sent_away: AtomicU64,
    refused: AtomicU64,
}

fn keep_connecting(address: SocketAddr, met: &ClientCounts) {
    while !met.stop.load(Ordering::Relaxed) {
        let asked = TcpStream::connect(address).and_then(|mut socket| {
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.write_all(b"GET /readyz HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            socket.read_to_string(&mut answer)?;
            Ok(answer)
        });
        let counter = match asked {
            Ok(answer) if answer.starts_with("HTTP/1.1 200") => &met.answered,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => &met.refused,
            Ok(_) | Err(_) => &met.sent_away,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn wait_for_count(counter: &AtomicU64, at_least: u64) {
    let deadline = Instant::now() + PATIENCE;
    while counter.load(Ordering::Relaxed) < at_least {
        assert!(Instant::now() < deadline, "clients are not answered");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_restart_refuses_nobody_and_the_manager_hears_of_it() {
    let manager = Manager::new();
    let met = Arc::new(ClientCounts::default());
    // Before there is any server: the port is open, and whoever comes waits.
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (met, address) = (Arc::clone(&met), manager.address());
            std::thread::spawn(move || keep_connecting(address, &met))
        })
        .collect();
    for _ in 0..2 {
        // Two workers share the one socket.
        let mut life = manager.start(1, 2);
        manager.wait_for("READY=1");
        wait_for_count(&met.answered, met.answered.load(Ordering::Relaxed) + 100);
        let mut buffer = [0; 64];
        let count = manager.notices.recv(&mut buffer).unwrap();
        assert_eq!(buffer[..count].trim_ascii_end(), b"WATCHDOG=1");
        signal(&life, "-HUP");
        let reloading = manager.wait_for("RELOADING=1");
        assert!(reloading.contains("\nMONOTONIC_USEC="), "{reloading}");
        manager.wait_for("READY=1");
        signal(&life, "-TERM");
        manager.wait_for("STOPPING=1");
        wait(&mut life);
    }
    let mut last = manager.start(1, 2);
    manager.wait_for("READY=1");
    wait_for_count(&met.answered, met.answered.load(Ordering::Relaxed) + 100);
    met.stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    signal(&last, "-TERM");
    wait(&mut last);
    assert_eq!(met.refused.load(Ordering::Relaxed), 0);
    let (answered, sent_away) = (met.answered.load(Ordering::Relaxed), met.sent_away.load(Ordering::Relaxed));
    // A server that stops sends away only whom it had let in already.
    assert!(sent_away <= 64, "{sent_away} of {answered} were sent away");
}

#[test]
fn sockets_that_nobody_would_accept_from_are_no_start() {
    let manager = Manager::new();
    let mut life = manager.start(2, 1);
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match life.0.try_wait().unwrap() {
            Some(status) => break status,
            None => assert!(Instant::now() < deadline, "it does not end"),
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    assert_eq!(status.code(), Some(2));
}
