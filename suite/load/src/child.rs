//! A server started for a measurement or a test: a free port, a scratch folder, and an end with its owner.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use agentbench_auth::{Algorithm, Claims, Role, SigningKey, sign};
use anyhow::{Context, bail};

/// A secret for scratch servers.
pub const SECRET: &str = "scratch-server-secret-0123456789abcdef";

/// How long a server may take until it listens: it may have a large log to read first.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// How to start a server.
#[derive(Debug, Clone)]
pub struct ServerCommand {
    /// The `agentbench` binary.
    pub binary: PathBuf,
    /// Where its data is.
    pub data_dir: PathBuf,
    /// Flags of `serve` beyond port and data.
    pub flags: Vec<String>,
    /// Core that it is held to, if any.
    pub core: Option<usize>,
    /// Port to listen on; 0 lets the system choose.
    pub port: u16,
}

/// A running server. Killed when dropped.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    address: SocketAddr,
}

impl ServerProcess {
    /// Starts a server and waits until it listens.
    ///
    /// # Errors
    /// If it does not start, with the last it said.
    pub fn start(command: &ServerCommand) -> anyhow::Result<Self> {
        let mut process = Command::new(&command.binary);
        process
            .arg("serve")
            .args(["--port", &command.port.to_string(), "--enable-logging", "false"])
            .arg("--data-dir")
            .arg(&command.data_dir)
            .args(&command.flags)
            .env_remove("JWT_KEYS_FILE")
            .env("JWT_SECRET", SECRET)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        // In a group of its own, so that Ctrl-C reaches the suite alone, which then ends its servers.
        process.process_group(0);
        let mut child =
            process.spawn().with_context(|| format!("cannot start {}", command.binary.display()))?;
        if let Some(core) = command.core {
            pin(child.id(), core)?;
        }
        let stdout = child.stdout.take().context("no standard output")?;
        let (found, address) = mpsc::channel();
        // Goes on reading to the end: what the server prints later must not block it.
        std::thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            for line in lines {
                let heard = line.strip_prefix("listening on ").and_then(|url| url.split_once("://"));
                if let Some((_, address)) = heard {
                    // Fails for a second such line, which nobody waits for.
                    let _ = found.send(address.to_owned());
                }
            }
        });
        let mut server = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        server.address = match address.recv_timeout(START_PATIENCE) {
            Ok(address) => address.parse().with_context(|| format!("the server listens on {address:?}"))?,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                bail!("the server did not say within {START_PATIENCE:?} where it listens")
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let status = server.child.wait()?;
                bail!("the server ended before it listened ({status})")
            }
        };
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself, or was ended from outside.
    pub fn has_ended(&mut self) -> bool {
        // A process that cannot be waited for is not ours any more.
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGKILL, and the end.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and the time until the end.
    ///
    /// # Errors
    /// If it does not end within `patience`, or not with exit code 0.
    pub fn stop(mut self, patience: Duration) -> anyhow::Result<Duration> {
        let started = Instant::now();
        signal(self.child.id(), libc::SIGTERM)?;
        while started.elapsed() < patience {
            if let Some(status) = self.child.try_wait()? {
                if !status.success() {
                    bail!("the server ended with {status}");
                }
                return Ok(started.elapsed());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("the server did not end within {patience:?}");
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The `agentbench` binary beside the running one, in the folder of the same build.
pub fn binary_beside() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let folders = [own.parent()?, own.parent()?.parent()?];
    folders.iter().map(|folder: &&Path| folder.join("agentbench")).find(|path| path.is_file())
}

/// A token for scratch servers, good for a day.
///
/// # Errors
/// If it cannot be signed.
pub fn token(user: &str, role: Role) -> anyhow::Result<String> {
    let key = SigningKey::from_secret(Algorithm::Hs256, SECRET.as_bytes())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    Ok(sign(&Claims::new(user, role, now - 10, now + 86_400), &key)?)
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
