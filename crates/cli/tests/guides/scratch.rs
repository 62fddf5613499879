//! A server that is started as a guide says, in a scratch folder, on a free port.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use agentbench_load::child::signal;

use crate::shell::{BINARY, without_settings};

/// A running server. Killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// `agentbench serve` in this folder with these further words and variables.
    pub(crate) fn start(folder: &Path, words: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(BINARY);
        without_settings(&mut command).arg("serve").args(words).envs(environment.iter().copied());
        Self::of(command.current_dir(folder))
    }

    /// Starts a command that is a server, and waits until it says where it listens.
    pub(crate) fn of(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut server = Self { child: child.unwrap(), address: ([127, 0, 0, 1], 0).into() };
        let mut lines = BufReader::new(server.child.stdout.take().unwrap()).lines();
        let listening = lines.by_ref().map_while(Result::ok).find(|line| line.starts_with("listening on "));
        let listening = listening.expect("the server ended before it listened");
        server.address = listening.rsplit_once('/').unwrap().1.parse().unwrap();
        // What it prints later must not block it.
        std::thread::spawn(move || lines.for_each(drop));
        server
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and an end with exit code 0.
    pub(crate) fn stop(mut self) {
        signal(self.child.id(), libc::SIGTERM).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A GET with this token; the status and the body.
pub(crate) fn get(address: SocketAddr, path: &str, token: &str) -> (u16, String) {
    use std::io::{Read, Write};
    let mut socket = std::net::TcpStream::connect(address).unwrap();
    write!(socket, "GET {path} HTTP/1.0\r\nAuthorization: Bearer {}\r\n\r\n", token.trim()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}
