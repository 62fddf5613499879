//! Any server as a child process, found by the line that it prints when it listens.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::child::Child;

/// How long a server may take until it listens.
const START: Duration = Duration::from_secs(30);
/// How long it may take to end before it is killed.
const END: Duration = Duration::from_secs(10);
/// What servers say before their port, at the end of the line: those of `bench/peers`, ours, NATS.
const SAYINGS: [&str; 3] = ["listening on ", "echoing on ", "websocket clients on "];

/// See the module. Killed when dropped.
#[derive(Debug)]
pub struct Contender {
    child: Child,
    address: SocketAddr,
}

impl Contender {
    /// Starts it, on this core if one is given, and waits until it says where it listens (on 127.0.0.1).
    ///
    /// # Errors
    /// If it cannot be started, ends, or says nothing for half a minute; with the last that it said.
    pub fn start(mut command: Command, core: Option<usize>) -> anyhow::Result<Self> {
        command.stderr(Stdio::piped());
        let (child, port) = Child::start(command, core, START, port_of)?;
        Ok(Self { child, address: (Ipv4Addr::LOCALHOST, port).into() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// SIGTERM, and SIGKILL if that does not end it in time.
    ///
    /// # Errors
    /// If it had to be killed.
    pub fn stop(self) -> anyhow::Result<()> {
        self.child.stop(END).map(drop)
    }
}

/// The port that a line names, if it is one that says where the server listens.
fn port_of(line: &str) -> Option<u16> {
    let rest = SAYINGS.iter().find_map(|saying| Some(line.split_once(saying)?.1))?;
    let digits = rest.rsplit(':').next()?;
    digits.trim_end_matches('/').trim().parse().ok().filter(|&port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn lines_that_name_a_port() {
        for (line, port) in [
            ("listening on 4000", Some(4000)),
            ("listening on ws://127.0.0.1:4001", Some(4001)),
            ("echoing on ws://127.0.0.1:4002", Some(4002)),
            ("[1] 2026/01/01 [INF] Listening for websocket clients on ws://127.0.0.1:4003", Some(4003)),
            ("[1] 2026/01/01 [INF] Listening for client connections on 127.0.0.1:4004", None),
            ("listening on the radio", None),
            ("listening on 70000", None),
        ] {
            assert_eq!(port_of(line), port, "{line}");
        }
    }

    #[test]
    fn a_server_that_listens_is_found_and_ended() {
        let server =
            Contender::start(shell("echo hello; echo listening on 4000 >&2; exec sleep 600"), Some(0))
                .unwrap();
        assert_eq!(server.address().port(), 4000);
        let pid = server.pid();
        server.stop().unwrap();
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn a_server_that_does_not_start_is_told_with_its_words() {
        let error = Contender::start(shell("echo no such module; exit 1"), None).unwrap_err();
        assert!(format!("{error:#}").contains("no such module"), "{error:#}");
        let error = Contender::start(Command::new("/nowhere/at/all"), None).unwrap_err();
        assert!(format!("{error:#}").contains("cannot start /nowhere/at/all"), "{error:#}");
    }

    #[test]
    fn a_server_that_is_dropped_is_ended() {
        let server =
            Contender::start(shell("echo listening on 4000; trap '' TERM; exec sleep 600"), None).unwrap();
        let pid = server.pid();
        drop(server);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}
