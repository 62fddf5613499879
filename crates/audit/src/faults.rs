//! Faults of the audit log's disk, to be put in by tests: nothing happens unless a test asks for it.

use std::io::{Error, ErrorKind, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// What the disk does wrong, from now on. Clones act together.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<State>);

#[derive(Debug, Default)]
struct State {
    is_full: AtomicBool,
    hangs: Mutex<bool>,
    goes_on: Condvar,
}

/// Faults are no part of what is configured.
impl PartialEq for Faults {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Faults {}

impl Faults {
    /// From now on there is no room, or there is again.
    pub fn fill(&self, full: bool) {
        self.0.is_full.store(full, Ordering::SeqCst);
    }

    /// From now on a write does not return, or goes on again.
    pub fn hang(&self, hang: bool) {
        *self.0.hangs.lock().unwrap_or_else(PoisonError::into_inner) = hang;
        self.0.goes_on.notify_all();
    }

    pub(crate) fn on_write(&self) -> Result<()> {
        let hangs = self.0.hangs.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.0.goes_on.wait_while(hangs, |hangs| *hangs).unwrap_or_else(PoisonError::into_inner));
        if self.0.is_full.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::StorageFull, "injected: no space"));
        }
        Ok(())
    }
}
