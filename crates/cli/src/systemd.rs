//! The interface to systemd, without its library: inherited sockets (sd_listen_fds(3)) and notifications of the service's state
//! (sd_notify(3)).

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use agentbench_server::Probe;
use anyhow::{Context, bail};
use listenfd::ListenFd;
use rustix::time::{ClockId, clock_gettime};

/// The inherited sockets, if any: one for all workers, or one for each.
///
/// # Errors
/// A socket is not a listening TCP socket, or some sockets would have no worker to accept from them.
pub(crate) fn listeners(workers: usize) -> anyhow::Result<Option<Vec<TcpListener>>> {
    let mut handed = ListenFd::from_env();
    let count = handed.len();
    if count > workers {
        bail!(
            "{count} sockets were passed (LISTEN_FDS) for {workers} workers: nothing would accept from the rest; set WORKERS={count}, or use fewer ListenStream"
        );
    }
    let mut listeners = Vec::with_capacity(count);
    for index in 0..count {
        let listener = handed
            .take_tcp_listener(index)
            .with_context(|| format!("socket {index} of LISTEN_FDS is not a listening TCP socket"))?;
        let listener = listener.with_context(|| format!("socket {index} of LISTEN_FDS does not exist"))?;
        listener.set_nonblocking(true)?;
        listeners.push(listener);
    }
    Ok((!listeners.is_empty()).then_some(listeners))
}

/// Notifies the service manager of the service's state, if there is one.
pub(crate) struct Notifier {
    socket: Option<UnixDatagram>,
}

impl Notifier {
    /// Connects to `NOTIFY_SOCKET`. If that fails, it logs a warning and sends no notifications.
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
            // A manager that does not read must not block the server.
            socket.set_nonblocking(true)?;
            Ok::<_, std::io::Error>(socket)
        };
        match connect() {
            Ok(socket) => Self { socket: Some(socket) },
            Err(error) => {
                tracing::warn!(%error, "NOTIFY_SOCKET cannot be used; systemd gets no notifications from this server");
                Self { socket: None }
            }
        }
    }

    /// The server accepts connections.
    pub(crate) fn ready(&self) {
        self.send("READY=1\nSTATUS=serving");
    }

    /// Settings are being reloaded, until [`Notifier::ready`].
    pub(crate) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1_000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// The server accepts no new connections, and the process will exit.
    pub(crate) fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=disconnecting clients");
    }

    fn send(&self, message: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(message.as_bytes())
        {
            tracing::warn!(%error, "cannot notify systemd");
        }
    }

    /// Feeds the watchdog, if there is one, as long as every worker answers, so that systemd restarts a server that hangs.
    pub(crate) fn watch(&self, probe: Probe) -> anyhow::Result<()> {
        let Some(socket) = &self.socket else { return Ok(()) };
        let var = |name: &str| std::env::var(name).ok();
        let Some(period) = watchdog(var("WATCHDOG_USEC"), var("WATCHDOG_PID")) else { return Ok(()) };
        let notifier = Self { socket: Some(socket.try_clone()?) };
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(period / 4).await;
                if probe.answers(period / 4).await {
                    notifier.send("WATCHDOG=1");
                } else {
                    tracing::error!("a worker does not answer; the watchdog is not fed");
                }
            }
        });
        Ok(())
    }
}

/// The watchdog's timeout, if it applies to this process (sd_watchdog_enabled(3)).
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
