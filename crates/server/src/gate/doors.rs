//! Whether anybody new is let in, and whether requests still wait for their answers: what a drain goes by.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::control::Control;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Doors {
    draining: AtomicBool,
    /// Asked to drain over HTTP: not ready, nobody new, but not stopping before its host says so.
    retiring: AtomicBool,
    /// HTTP requests that have not been answered.
    requests: AtomicI64,
    /// The program around the server.
    host: Mutex<Option<mpsc::Sender<Control>>>,
}

impl Doors {
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(crate) fn start_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether nobody new is let in.
    pub(crate) fn are_closed(&self) -> bool {
        self.is_draining() || self.retiring.load(Ordering::Relaxed)
    }

    /// Begins to drain, if the program around the server takes it.
    pub(crate) fn retire(&self) -> bool {
        if self.are_closed() {
            return true;
        }
        let is_taken = self.tell_host(Control::Drain);
        self.retiring.store(is_taken, Ordering::Relaxed);
        is_taken
    }

    /// Names the program around the server, which gets what administrators ask for.
    pub(crate) fn set_host(&self, host: mpsc::Sender<Control>) {
        *self.host.lock().unwrap_or_else(PoisonError::into_inner) = Some(host);
    }

    /// Passes a request on to the program around the server. Returns whether it takes it.
    pub(crate) fn tell_host(&self, control: Control) -> bool {
        let host = self.host.lock().unwrap_or_else(PoisonError::into_inner);
        host.as_ref().is_some_and(|host| host.try_send(control).is_ok())
    }

    pub(crate) fn count_request(&self, change: i64) {
        self.requests.fetch_add(change, Ordering::Relaxed);
    }

    /// Whether HTTP requests wait for their answers.
    pub(crate) fn has_requests(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > 0
    }
}
