//! Any server as a child process, recognized by the line that it prints when it listens.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::child::Child;

/// Time limit until a server listens.
const START: Duration = Duration::from_secs(30);
/// Time limit for it to exit before it is killed.
const END: Duration = Duration::from_secs(10);
/// What servers print before their port at the end of the line: those of `bench/peers`, ours, NATS, Sockudo.
const LISTENING_LINES: [&str; 4] =
    ["listening on ", "echoing on ", "websocket clients on ", "http server listening"];

/// A running server of any kind. Killed when dropped.
#[derive(Debug)]
pub struct Contender {
    child: Child,
    address: SocketAddr,
}

impl Contender {
    /// Starts a server, pinned to this core if one is given, and waits until it prints its port (on 127.0.0.1).
    ///
    /// # Errors
    /// It cannot be started, exits, or prints nothing for half a minute; the error has its last line.
    pub fn start(mut command: Command, core: Option<usize>) -> anyhow::Result<Self> {
        command.stderr(Stdio::piped());
        let (child, port) = Child::start(command, core, START, port_of)?;
        Ok(Self { child, address: (Ipv4Addr::LOCALHOST, port).into() })
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Stops it with SIGTERM, and with SIGKILL if it does not exit in time.
    ///
    /// # Errors
    /// It had to be killed.
    pub fn stop(self) -> anyhow::Result<()> {
        self.child.stop(END).map(drop)
    }
}

/// The port in a line, if the line reports where the server listens.
fn port_of(line: &str) -> Option<u16> {
    let rest = LISTENING_LINES.iter().find_map(|saying| Some(line.split_once(saying)?.1))?;
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
