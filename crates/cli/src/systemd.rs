//! What systemd and the server say to each other: sockets that are handed over (sd_listen_fds(3)), and notices of how the service
//! is (sd_notify(3)), both without its library.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use agentbench_server::Probe;
use anyhow::{Context, bail};
use listenfd::ListenFd;
use rustix::time::{ClockId, clock_gettime};

/// The sockets that were handed over, if any: one for all workers, or one for each.
///
/// # Errors
/// If one is no listening TCP socket, or nobody would accept from some of them.
pub(crate) fn listeners(workers: usize) -> anyhow::Result<Option<Vec<TcpListener>>> {
    let mut handed = ListenFd::from_env();
    let count = handed.len();
    if count > workers {
        bail!(
            "{count} sockets were handed over (LISTEN_FDS) for {workers} workers: nobody would accept from the rest; set WORKERS={count}, or have fewer ListenStream"
        );
    }
    let mut listeners = Vec::with_capacity(count);
    for index in 0..count {
        let listener = handed
            .take_tcp_listener(index)
            .with_context(|| format!("socket {index} of LISTEN_FDS is no listening TCP socket"))?;
        let listener = listener.with_context(|| format!("socket {index} of LISTEN_FDS is not there"))?;
        listener.set_nonblocking(true)?;
        listeners.push(listener);
    }
    Ok((!listeners.is_empty()).then_some(listeners))
}

/// Tells the service manager how the service is, if it wants to know.
pub(crate) struct Notifier {
    socket: Option<UnixDatagram>,
}

impl Notifier {
    /// To `NOTIFY_SOCKET`. A socket that cannot be had is said in the log: the service goes on without.
    pub(crate) fn from_env() -> Self {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self { socket: None };
        };
        let connect = || {
            let bytes = name.as_bytes();
            let address = match bytes.strip_prefix(b"@") {
                Some(name) => SocketAddr::from_abstract_name(name)?,
                None => SocketAddr::from_pathname(&name)?,
            };
            let socket = UnixDatagram::unbound()?;
            socket.connect_addr(&address)?;
            // A manager that does not read is no reason to wait.
            socket.set_nonblocking(true)?;
            Ok::<_, std::io::Error>(socket)
        };
        match connect() {
            Ok(socket) => Self { socket: Some(socket) },
            Err(error) => {
                tracing::warn!(%error, "NOTIFY_SOCKET cannot be used; systemd will not hear from this server");
                Self { socket: None }
            }
        }
    }

    /// Connections are accepted.
    pub(crate) fn ready(&self) {
        self.say("READY=1\nSTATUS=serving");
    }

    /// Settings are read again, until [`Notifier::ready`].
    pub(crate) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1_000;
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// Nobody new is let in, and the process will end.
    pub(crate) fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=sending clients away");
    }

    fn say(&self, message: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(message.as_bytes())
        {
            tracing::warn!(%error, "systemd could not be told");
        }
    }

    /// Feeds the watchdog, if there is one, as long as every worker answers: a server that hangs is started again.
    pub(crate) fn watch(&self, probe: Probe) -> anyhow::Result<()> {
        let Some(socket) = &self.socket else { return Ok(()) };
        let var = |name: &str| std::env::var(name).ok();
        let Some(period) = watchdog(var("WATCHDOG_USEC"), var("WATCHDOG_PID")) else { return Ok(()) };
        let notifier = Self { socket: Some(socket.try_clone()?) };
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(period / 4).await;
                if probe.answers(period / 4).await {
                    notifier.say("WATCHDOG=1");
                } else {
                    tracing::error!("a worker does not answer; the watchdog is not fed");
                }
            }
        });
        Ok(())
    }
}

/// The watchdog's patience, if it is meant for this process (sd_watchdog_enabled(3)).
fn watchdog(micros: Option<String>, pid: Option<String>) -> Option<Duration> {
    if pid.is_some_and(|pid| pid != std::process::id().to_string()) {
        return None;
    }
    micros?.parse().ok().filter(|micros| *micros > 0).map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_of_another_process_is_not_ours() {
        let own = Some(std::process::id().to_string());
        let micros = || Some("2000000".to_owned());
        assert_eq!(watchdog(micros(), None), Some(Duration::from_secs(2)));
        assert_eq!(watchdog(micros(), own), Some(Duration::from_secs(2)));
        assert_eq!(watchdog(micros(), Some("1".to_owned())), None);
        assert_eq!(watchdog(None, None), None);
        assert_eq!(watchdog(Some("0".to_owned()), None), None);
        assert_eq!(watchdog(Some("soon".to_owned()), None), None);
    }

    #[test]
    fn notices_are_in_the_manager_s_words() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let notifier = Notifier { socket: Some(ours) };
        notifier.ready();
        notifier.reloading();
        notifier.stopping();
        let mut buffer = [0; 256];
        let mut next = || {
            let count = theirs.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..count]).into_owned()
        };
        assert!(next().starts_with("READY=1\n"));
        let reloading = next();
        let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(micros.parse::<u64>().unwrap() > 0);
        assert!(next().starts_with("STOPPING=1"));
    }
}
