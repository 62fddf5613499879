//! A server that is started as a guide says, in a scratch folder, on a free port.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use agentbench_load::child::ServerProcess;

use crate::shell::{BINARY, without_settings};

/// How long a server may take to end; no measure of speed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server. Killed when dropped.
pub(crate) struct Server {
    process: ServerProcess,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// `agentbench serve` in this folder with these further words and variables.
    pub(crate) fn start(folder: &Path, words: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(BINARY);
        without_settings(&mut command).arg("serve").args(words).envs(environment.iter().copied());
        command.current_dir(folder).stderr(Stdio::null());
        let process = ServerProcess::of(command, None).unwrap();
        Self { address: process.address(), process }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// `kill -9`.
    pub(crate) fn kill(self) {
        self.process.kill().unwrap();
    }

    /// SIGTERM, and an end with exit code 0.
    pub(crate) fn stop(self) {
        self.process.stop(PATIENCE).unwrap();
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
