//! Drain state: whether new clients are admitted, and whether HTTP requests are in progress.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::control::Control;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Doors {
    draining: AtomicBool,
    /// A drain was requested over HTTP: not ready, no new clients, but stopping only when the host program does so.
    retiring: AtomicBool,
    /// HTTP requests in progress.
    requests: AtomicI64,
    /// The host program, which runs the server.
    host: Mutex<Option<mpsc::Sender<Control>>>,
}

impl Doors {
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(crate) fn start_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether new clients are refused.
    pub(crate) fn are_closed(&self) -> bool {
        self.is_draining() || self.retiring.load(Ordering::Relaxed)
    }

    /// Starts to drain, if the host program accepts the request.
    pub(crate) fn retire(&self) -> bool {
        if self.are_closed() {
            return true;
        }
        let is_taken = self.notify_host(Control::Drain);
        self.retiring.store(is_taken, Ordering::Relaxed);
        is_taken
    }

    /// Sets the host program that receives administrators' requests.
    pub(crate) fn set_host(&self, host: mpsc::Sender<Control>) {
        *self.host.lock().unwrap_or_else(PoisonError::into_inner) = Some(host);
    }

    /// Forwards a request to the host program. Returns whether it accepts it.
    pub(crate) fn notify_host(&self, control: Control) -> bool {
        let host = self.host.lock().unwrap_or_else(PoisonError::into_inner);
        host.as_ref().is_some_and(|host| host.try_send(control).is_ok())
    }

    pub(crate) fn count_request(&self, change: i64) {
        self.requests.fetch_add(change, Ordering::Relaxed);
    }

    /// Whether HTTP requests are in progress.
    pub(crate) fn has_requests(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > 0
    }
}
