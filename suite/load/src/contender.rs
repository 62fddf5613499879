//! Any server as a child process: held to a core from its first instruction, found by the line that it says, ended by its id.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::child::{pin, signal};

/// How long a server may take until it listens.
const START: Duration = Duration::from_secs(30);
/// How long it may take to end before it is killed.
const END: Duration = Duration::from_secs(10);
/// Lines kept for the error of a server that does not start.
const LINES: usize = 20;
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
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // In a group of its own, so that Ctrl-C reaches the measurement alone, which then ends its servers.
        command.process_group(0);
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = spawn_on(command, core).with_context(|| format!("cannot start {program}"))?;
        let (tell, lines) = mpsc::channel();
        let out = child.stdout.take().context("no standard output")?;
        let err = child.stderr.take().context("no standard error")?;
        read_lines(out, tell.clone());
        read_lines(err, tell);
        // From here on the child is ended with us, whatever happens.
        let mut contender = Self { child, address: (Ipv4Addr::LOCALHOST, 0).into() };
        let port = wait_for_port(&lines).with_context(|| format!("{program} did not start"))?;
        contender.address.set_port(port);
        Ok(contender)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM, and SIGKILL if that does not end it in time.
    ///
    /// # Errors
    /// If it had to be killed.
    pub fn stop(mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        signal(self.child.id(), libc::SIGTERM)?;
        while started.elapsed() < END {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("the server did not end within {END:?} of SIGTERM and was killed");
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process inherits the cores of the thread that starts it, and so do all threads that it starts itself; pinning it
/// afterwards would miss those.
fn spawn_on(mut command: Command, core: Option<usize>) -> anyhow::Result<Child> {
    let spawn = move || -> anyhow::Result<Child> {
        if let Some(core) = core {
            pin(0, core)?;
        }
        Ok(command.spawn()?)
    };
    std::thread::spawn(spawn).join().map_err(|_| anyhow::anyhow!("the starting thread panicked"))?
}

/// Reads to the end, so that what a server prints later does not block it.
fn read_lines(from: impl Read + Send + 'static, tell: mpsc::Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            // Nobody listens any more once the port is known.
            let _ = tell.send(line);
        }
    });
}

fn wait_for_port(lines: &mpsc::Receiver<String>) -> anyhow::Result<u16> {
    let (started, mut said) = (Instant::now(), Vec::new());
    loop {
        match lines.recv_timeout(START.saturating_sub(started.elapsed())) {
            Ok(line) => match port_of(&line) {
                Some(port) => return Ok(port),
                None => said.push(line),
            },
            Err(mpsc::RecvTimeoutError::Timeout) => {
                bail!("it does not listen after {START:?}{}", last(&said))
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => bail!("it ended at once{}", last(&said)),
        }
    }
}

fn last(said: &[String]) -> String {
    let lines = &said[said.len().saturating_sub(LINES)..];
    if lines.is_empty() { ", without a word".to_owned() } else { format!(":\n{}", lines.join("\n")) }
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
