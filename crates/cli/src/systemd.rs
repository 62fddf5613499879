//! The interface to systemd: inherited sockets (sd_listen_fds(3)) and notifications of the service's state (sd_notify(3)).

use std::net::TcpListener;

use agentbench_server::Probe;
use anyhow::{Context, bail};
use listenfd::ListenFd;
use sd_notify::NotifyState;

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

/// Notifies the service manager of the service's state, if there is one. Only the main thread waits for a manager that does
/// not read; workers go on.
pub(crate) struct Notifier {
    /// `NOTIFY_SOCKET` names a manager.
    is_managed: bool,
}

impl Notifier {
    pub(crate) fn from_env() -> Self {
        Self { is_managed: std::env::var_os("NOTIFY_SOCKET").is_some_and(|name| !name.is_empty()) }
    }

    /// The server accepts connections.
    pub(crate) fn ready(&self) {
        self.send(&[NotifyState::Ready, NotifyState::Status("serving")]);
    }

    /// Settings are being reloaded, until [`Notifier::ready`].
    pub(crate) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(since) => self.send(&[NotifyState::Reloading, since]),
            Err(error) => tracing::warn!(%error, "cannot notify systemd of a reload"),
        }
    }

    /// The server accepts no new connections, and the process will exit.
    pub(crate) fn stopping(&self) {
        self.send(&[NotifyState::Stopping, NotifyState::Status("disconnecting clients")]);
    }

    fn send(&self, state: &[NotifyState<'_>]) {
        if self.is_managed
            && let Err(error) = sd_notify::notify(state)
        {
            tracing::warn!(%error, "cannot notify systemd");
        }
    }

    /// Feeds the watchdog, if there is one, as long as every worker answers, so that systemd restarts a server that hangs.
    pub(crate) fn watch(&self, probe: Probe) {
        let period = sd_notify::watchdog_enabled().filter(|period| self.is_managed && !period.is_zero());
        let Some(period) = period else { return };
        let notifier = Self { is_managed: true };
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(period / 4).await;
                if probe.answers(period / 4).await {
                    notifier.send(&[NotifyState::Watchdog]);
                } else {
                    tracing::error!("a worker does not answer; the watchdog is not fed");
                }
            }
        });
    }
}
