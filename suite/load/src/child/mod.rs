//! A server as a child process: pinned to a core from its first instruction, ready once it has printed a known line, stopped
//! by its id.
//!
//! - [`Child`] is the process of any program.
//! - [`ServerProcess`] is a server of ours, on a free port and with a fixed test secret. [`crate::contender`] starts servers of
//!   any kind.

mod server;
#[cfg(test)]
mod tests;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

pub use server::{SECRET, ServerCommand, ServerProcess, binary_beside, token};

/// Number of lines kept for the error of a server that does not start.
const LINES: usize = 20;
/// Capacity of the queue of lines to be searched for the one that reports the start.
const LINES_AHEAD: usize = 256;
/// Time between two checks whether it has exited.
const POLL: Duration = Duration::from_millis(5);

/// A running server. Killed when dropped.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
}

impl Child {
    /// Starts a command, pinned to this core if one is given, and waits until `find` returns a value for a line of its output. Standard
    /// error is included if the command pipes it.
    ///
    /// # Errors
    /// It cannot be started, exits, or prints no such line within `limit`; the error has its last lines.
    pub fn start<T>(
        mut command: Command,
        core: Option<usize>,
        limit: Duration,
        find: impl FnMut(&str) -> Option<T>,
    ) -> anyhow::Result<(Self, T)> {
        let deadline = Instant::now() + limit;
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        // In its own process group, so that Ctrl-C reaches only the suite, which then stops its servers.
        command.process_group(0);
        let program = command.get_program().to_string_lossy().into_owned();
        let process = spawn_on(command, core).with_context(|| format!("cannot start {program}"))?;
        // From here on, dropping it ends the process.
        let mut child = Self { process };
        let (sender, lines) = mpsc::sync_channel(LINES_AHEAD);
        if let Some(errors) = child.process.stderr.take() {
            read_lines(errors, sender.clone());
        }
        read_lines(child.process.stdout.take().context("no standard output")?, sender);
        let found = child.wait_for_line(&lines, deadline, find);
        let found = found.with_context(|| format!("{program} did not start within {limit:?}"))?;
        Ok((child, found))
    }

    fn wait_for_line<T>(
        &mut self,
        lines: &mpsc::Receiver<String>,
        deadline: Instant,
        mut find: impl FnMut(&str) -> Option<T>,
    ) -> anyhow::Result<T> {
        let mut printed = Vec::with_capacity(LINES);
        loop {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => match find(&line) {
                    Some(found) => return Ok(found),
                    None => {
                        if printed.len() == LINES {
                            printed.remove(0);
                        }
                        printed.push(line);
                    }
                },
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    bail!("it did not print its address{}", last(&printed))
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => match self.wait_until(deadline)? {
                    Some(status) => bail!("it exited before it listened ({status}){}", last(&printed)),
                    None => bail!("it closed its output and keeps running{}", last(&printed)),
                },
            }
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Whether it has exited, by itself or from outside.
    pub fn has_ended(&mut self) -> bool {
        // A process that cannot be waited for is no longer ours.
        !matches!(self.process.try_wait(), Ok(None))
    }

    /// Waits until it exits by itself. `None` if it does not within `limit`.
    ///
    /// # Errors
    /// Waiting for it fails.
    pub fn wait(&mut self, limit: Duration) -> anyhow::Result<Option<ExitStatus>> {
        self.wait_until(Instant::now() + limit)
    }

    fn wait_until(&mut self, deadline: Instant) -> anyhow::Result<Option<ExitStatus>> {
        loop {
            let status = self.process.try_wait()?;
            if status.is_some() || Instant::now() >= deadline {
                return Ok(status);
            }
            std::thread::sleep(POLL);
        }
    }

    /// Kills it (SIGKILL) and waits for its end.
    ///
    /// # Errors
    /// Waiting for it fails.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Stops it with SIGTERM, or with SIGKILL if it does not exit within `limit`.
    ///
    /// # Errors
    /// It had to be killed.
    pub fn stop(mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        // The id of a process that has been waited for may belong to another one.
        if !self.has_ended() {
            signal(self.pid(), libc::SIGTERM)?;
        }
        let status = self.wait(limit)?;
        status.with_context(|| format!("the server did not exit within {limit:?} of SIGTERM and was killed"))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A process inherits the cores of the thread that starts it, and so do all its threads; pinning it
/// afterwards would miss those.
fn spawn_on(mut command: Command, core: Option<usize>) -> anyhow::Result<std::process::Child> {
    let Some(core) = core else { return Ok(command.spawn()?) };
    let spawn = move || -> anyhow::Result<_> {
        pin(0, core)?;
        Ok(command.spawn()?)
    };
    std::thread::spawn(spawn).join().map_err(|_| anyhow::anyhow!("the starting thread panicked"))?
}

/// Reads to the end, so that later output of a server does not block it.
fn read_lines(from: impl Read + Send + 'static, lines: mpsc::SyncSender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            // The receiver is gone once the server is up.
            let _ = lines.send(line);
        }
    });
}

fn last(printed: &[String]) -> String {
    if printed.is_empty() { ", without output".to_owned() } else { format!(":\n{}", printed.join("\n")) }
}

/// Pins a process to one core. `pid` 0 is this thread.
///
/// # Errors
/// There is no such core.
#[expect(
    unsafe_code,
    reason = "the C library has no safe wrapper here; the set is ours and of the right size"
)]
pub fn pin(pid: u32, core: usize) -> anyhow::Result<()> {
    // SAFETY: `cpu_set_t` is plain data; zero is the empty set, and CPU_SET checks its range.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(pid as libc::pid_t, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    if result == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error()).context(format!("cannot pin to core {core}"))
    }
}

/// Sends a signal to a process that we started.
///
/// # Errors
/// It has exited.
#[expect(unsafe_code, reason = "kill(2) takes two numbers")]
pub fn signal(pid: u32, signal: libc::c_int) -> anyhow::Result<()> {
    // SAFETY: no memory is involved.
    let result = unsafe { libc::kill(pid as libc::pid_t, signal) };
    if result == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error()).context("cannot signal the server")
    }
}
