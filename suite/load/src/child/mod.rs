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

/// Lines kept for the error of a server that does not start.
const LINES: usize = 20;
/// Lines that may be read ahead of the search for the one that says that the server is up.
const LINES_AHEAD: usize = 256;
/// Time between two samples at whether it has ended.
const POLL: Duration = Duration::from_millis(5);

/// A running server. Killed when dropped.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
}

impl Child {
    /// Starts a command on this core, if one is given, and waits until `find` takes something from a line of its output. Standard
    /// error belongs to the output if the command has it piped.
    ///
    /// # Errors
    /// If it cannot be started, ends, or prints no such line within `limit`; with its last lines.
    pub fn start<T>(
        mut command: Command,
        core: Option<usize>,
        limit: Duration,
        find: impl FnMut(&str) -> Option<T>,
    ) -> anyhow::Result<(Self, T)> {
        let deadline = Instant::now() + limit;
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        // In a group of its own, so that Ctrl-C reaches the suite alone, which then ends its servers.
        command.process_group(0);
        let program = command.get_program().to_string_lossy().into_owned();
        let process = spawn_on(command, core).with_context(|| format!("cannot start {program}"))?;
        // From here on the process is ended with us, whatever happens.
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
                    bail!("it does not say where it listens{}", last(&printed))
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => match self.wait_until(deadline)? {
                    Some(status) => bail!("it ended before it listened ({status}){}", last(&printed)),
                    None => bail!("it closed its output and goes on{}", last(&printed)),
                },
            }
        }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Whether it has ended by itself, or was ended from outside.
    pub fn has_ended(&mut self) -> bool {
        // A process that cannot be waited for is not ours any more.
        !matches!(self.process.try_wait(), Ok(None))
    }

    /// Waits until it ends by itself. Nothing if it does not within `limit`.
    ///
    /// # Errors
    /// If it cannot be waited for.
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

    /// SIGKILL, and the end.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// SIGTERM, and SIGKILL if that does not end it within `limit`.
    ///
    /// # Errors
    /// If it had to be killed.
    pub fn stop(mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        // The id of one that has been waited for may be another's by now.
        if !self.has_ended() {
            signal(self.pid(), libc::SIGTERM)?;
        }
        let status = self.wait(limit)?;
        status.with_context(|| format!("the server did not end within {limit:?} of SIGTERM and was killed"))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A process inherits the cores of the thread that starts it, and so do all threads that it starts itself; pinning it
/// afterwards would miss those.
fn spawn_on(mut command: Command, core: Option<usize>) -> anyhow::Result<std::process::Child> {
    let Some(core) = core else { return Ok(command.spawn()?) };
    let spawn = move || -> anyhow::Result<_> {
        pin(0, core)?;
        Ok(command.spawn()?)
    };
    std::thread::spawn(spawn).join().map_err(|_| anyhow::anyhow!("the starting thread panicked"))?
}

/// Reads to the end, so that what a server prints later does not block it.
fn read_lines(from: impl Read + Send + 'static, lines: mpsc::SyncSender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            // The receiver is gone once the server is up.
            let _ = lines.send(line);
        }
    });
}

fn last(printed: &[String]) -> String {
    if printed.is_empty() { ", without a word".to_owned() } else { format!(":\n{}", printed.join("\n")) }
}

/// Holds a process to one core. `pid` 0 is this thread.
///
/// # Errors
/// If there is no such core.
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
/// If it has gone.
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
